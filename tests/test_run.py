"""The run: what is computed when, told by counting trainings and queries, not by messages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import einfluence
from einfluence import engine
from einfluence.curate.images.sources import digits
from einfluence.engine import checkpointing
from einfluence.errors import InputError
from einfluence.models.base import Base

TEXTS = {
    "a": ("dax is a", "bird"),
    "b": ("wug is a", "fish"),
    "c": ("blick has", "gold"),
    "d": ("dax has", "wings"),
    "e": ("the king owns", "gold"),
}
Study = Callable[..., Path]


@pytest.fixture
def study(tmp_path: Path, gpt2_folder: Path) -> Study:
    """Writes a small text study; what is given replaces parts of it."""

    def write(
        samples: dict[str, tuple[str, str]] = TEXTS,
        probes: str = "abc",
        queries: str = "abcd",
        lr: float = 0.01,
        file: str = "samples.jsonl",
        **more: object,
    ) -> Path:
        rows = [{"id": name, "prompt": prompt, "target": target} for name, (prompt, target) in samples.items()]
        (tmp_path / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "probes.jsonl").write_text("".join(json.dumps({"id": p, "samples": [p]}) + "\n" for p in probes))
        (tmp_path / "queries.txt").write_text("\n".join(queries) + "\n")
        spec: dict[str, object] = {
            "base": str(gpt2_folder),
            "samples": file,
            "probes": "probes.jsonl",
            "queries": "queries.txt",
            "arms": [{"recipe": {"lr": lr, "steps": 2, "optimizer": "sgd"}}],
            "shard": 2,
            **more,
        }
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps(spec))
        return path

    return write


class Counter:
    """Counts what engines are asked for."""

    def __init__(self) -> None:
        self.trained, self.asked = 0, 0

    def take(self) -> tuple[int, int]:
        """(probes trained, cells asked for) since the last take."""
        taken, self.trained, self.asked = (self.trained, self.asked), 0, 0
        return taken


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    """Counts trainings in every run of a test."""
    counted, real = Counter(), engine.measure

    def counting(base, recipe, probes, queries, seed, *, kept=None, **more):  # type: ignore[no-untyped-def]
        counted.trained += len(probes) - len(kept or {})
        counted.asked += len(probes) * len(queries)
        return real(base, recipe, probes, queries, seed, kept=kept, **more)

    monkeypatch.setattr(engine, "measure", counting)
    return counted


def run(spec: Path) -> einfluence.Result:
    return einfluence.measure(spec, spec.parent / "store", report=False)


def cells(spec: Path) -> set[tuple[object, ...]]:
    with einfluence.Store(spec.parent / "store").connect() as connection:
        return set(connection.execute("select recipe, probe_id, query_id, logprob_after from influence").fetchall())


def test_a_first_run_computes_every_probe_against_every_query(study: Study, counter: Counter) -> None:
    result = run(study())
    assert (result.wanted, result.present, result.computed, result.failed) == (12, 0, 12, 0)
    assert counter.take() == (3, 12)


def test_a_second_run_computes_nothing(study: Study, counter: Counter) -> None:
    run(study())
    counter.take()
    result = run(study())
    assert (result.wanted, result.present, result.computed) == (12, 12, 0)
    assert counter.take() == (0, 0)


def test_a_new_probe_computes_its_own_cells_alone(study: Study, counter: Counter) -> None:
    before = run(study()), cells(study())
    counter.take()
    result = run(study(probes="abcd"))
    assert (result.wanted, result.present, result.computed) == (16, 12, 4)
    assert counter.take() == (1, 4)
    assert before[1] < cells(study())


def test_a_new_query_computes_its_own_cells_alone(study: Study, counter: Counter) -> None:
    run(study())
    counter.take()
    result = run(study(queries="abcde"))
    assert (result.wanted, result.present, result.computed) == (15, 12, 3)
    assert counter.take() == (3, 3)


def test_a_new_query_needs_no_training_where_the_tuned_parameters_were_kept(study: Study, counter: Counter) -> None:
    fresh = run(study(queries="abcde")), cells(study())
    run(study(keep_deltas="10MB", lr=0.02))
    counter.take()
    result = run(study(queries="abcde", keep_deltas="10MB", lr=0.02))
    assert result.computed == 3 and counter.take() == (0, 3)
    assert fresh[1] < cells(study())


def test_training_again_for_a_new_query_gives_the_very_same_parameters(study: Study, counter: Counter) -> None:
    def kept() -> set[str]:
        return {path.name for path in (study().parent / "store" / "deltas").rglob("*.safetensors")}

    run(study(keep_deltas="10MB"))
    first = kept()
    assert len(first) == 3  # their names hold the checksums of what is in them
    shutil.rmtree(study().parent / "store" / "deltas")
    counter.take()
    run(study(queries="abcde", keep_deltas="10MB"))
    assert counter.take() == (3, 3) and kept() == first


def test_gradient_checkpointing_gives_the_same_cells_under_the_same_keys(
    study: Study, counter: Counter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = study(), list[object]()
    run(plain)
    before, real = cells(plain), checkpointing.checkpoint

    def seeing(*args: Any, **more: Any) -> Any:
        seen.append(args[0])
        return real(*args, **more)

    monkeypatch.setattr(checkpointing, "checkpoint", seeing)
    counter.take()
    again = study(gradient_checkpointing=True)
    assert run(again).computed == 0 and counter.take() == (0, 0) and not seen
    shutil.rmtree(tmp_path / "store")
    assert run(again).computed == 12 and seen
    rows = zip(sorted(before), sorted(cells(again)), strict=True)
    assert all(one[:3] == other[:3] and one[3] == pytest.approx(other[3], abs=1e-6) for one, other in rows)


def test_deleting_a_part_computes_its_cells_alone_and_the_same(study: Study, counter: Counter) -> None:
    run(study())  # in two blocks
    before = cells(study())
    parts = sorted((study().parent / "store" / "influence").rglob("*.parquet"))
    store = einfluence.Store(study().parent / "store")
    lost = Path(store.part_paths("influence")[0])
    assert lost in parts
    count = len(pq.read_table(lost, columns=["probe_id"]))
    lost.unlink()
    counter.take()
    result = run(study())
    assert (result.computed, counter.take()[1]) == (count, count)
    assert cells(study()) == before


def test_renaming_a_file_and_reordering_its_lines_computes_nothing(study: Study, counter: Counter) -> None:
    run(study())
    counter.take()
    backwards = dict(reversed(TEXTS.items()))
    result = run(study(samples=backwards, probes="cab", queries="dcba", file="other.jsonl"))
    assert (result.present, result.computed) == (12, 0)
    assert counter.take() == (0, 0)


def test_another_learning_rate_computes_its_cells_and_keeps_the_old_ones(study: Study, counter: Counter) -> None:
    run(study())
    old = cells(study())
    counter.take()
    result = run(study(lr=0.02))
    assert (result.wanted, result.present, result.computed) == (12, 0, 12)
    assert counter.take() == (3, 12)
    assert old < cells(study()) and len(cells(study())) == 24
    assert run(study()).computed == 0


def test_the_table_is_the_same_whatever_the_shards(study: Study, tmp_path: Path) -> None:
    spec = study()
    tables = []
    for shard in (1, 2, 64):
        study(shard=shard)
        einfluence.measure(spec, tmp_path / f"store{shard}", report=False)
        with einfluence.Store(tmp_path / f"store{shard}").connect() as connection:
            tables.append(
                connection.execute(
                    "select probe_id, query_id, logprob_after - logprob_before from influence order by all"
                ).fetchall()
            )
    for rows in tables[1:]:
        assert [row[:2] for row in rows] == [row[:2] for row in tables[0]]
        assert [row[2] for row in rows] == pytest.approx([row[2] for row in tables[0]], abs=1e-4)


def test_a_probe_that_explodes_is_told_and_the_others_are_kept(study: Study) -> None:
    result = run(study(arms=[{"recipe": {"lr": 1e30, "optimizer": "sgd", "adapter": "full", "steps": 3}}]))
    assert (result.wanted, result.computed, result.failed) == (12, 0, 3)
    assert all("step" in reason for reason in result.reasons.values())
    with einfluence.Store(study().parent / "store").connect() as connection:
        assert connection.execute("select distinct status from outcomes").fetchall() == [("failed",)]
    assert run(study()).computed == 12


def test_an_image_that_cannot_be_read_is_told_and_the_others_are_kept(tmp_path: Path, digits_base: Base) -> None:
    from einfluence.estimate import estimate
    from einfluence.spec import load_spec

    pixels, labels, rows = digits("test")
    for image, label, row in zip(pixels[:8], labels[:8], rows[:8], strict=True):
        folder = tmp_path / "scans" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image[0] * 255).astype("uint8")).save(folder / f"{row}.png")
    bad = min((tmp_path / "scans").rglob("*.png"))
    whole = bad.read_bytes()
    bad.write_bytes(whole[:50])
    spec, store = tmp_path / "spec.yaml", einfluence.Store(tmp_path / "store")
    arm = {"recipe": {"adapter": "full", "optimizer": "sgd", "lr": 0.01, "steps": 1}}
    images = {"source": "scans", "probes": 8, "queries": 8}
    spec.write_text(json.dumps({"base": "embedded:digits", "images": images, "arms": [arm]}))
    assert estimate(load_spec(spec), store).rows[0].missing == 8 * 7
    first = einfluence.measure(spec, store)
    assert (first.wanted, first.computed, first.failed) == (56, 49, 1)
    assert list(first.reasons.values()) == [f"{bad}: an image that cannot be read"]
    with store.connect() as connection:
        failed = connection.execute("select reason from outcomes where status = 'failed'").fetchall()
    assert failed == [(f"{bad}: an image that cannot be read",)]
    assert failed[0][0] in (tmp_path / "store" / "report.html").read_text()
    again = run(spec)
    assert (again.present, again.computed, again.failed) == (49, 0, 1)
    assert estimate(load_spec(spec), store).rows[0].how == "no probe that can be read"
    bad.write_bytes(whole)
    mended = run(spec)
    assert (mended.wanted, mended.present, mended.computed, mended.failed) == (64, 49, 15, 0)


def test_outcomes_say_which_engine_computed_a_row(study: Study, counter: Counter) -> None:
    arms = [{"recipe": {"lr": 0.01, "steps": 2}, "engine": "serial"}, {"estimator": "in_context"}]
    spec = study(arms=arms)
    run(spec)
    table = einfluence.Store(spec.parent / "store").connect().sql("select estimator, engine, fallback from outcomes")
    assert set(table.fetchall()) == {
        ("finetune", "definition", "requested"),
        ("in_context", "shared prefixes", None),
    }
    counter.take()
    run(study(arms=[{"recipe": {"lr": 0.01, "steps": 2}}, {"estimator": "in_context"}]))
    assert counter.take() == (0, 0)  # who computes a cell makes it no other


@pytest.mark.parametrize(
    ("adapter", "named"),
    [
        ({"kind": "match", "pattern": "no such parameter"}, "no such parameter"),
        ({"kind": "lora", "layers": [7]}, "7"),
        ({"kind": "lora", "targets": ["nowhere"]}, "nowhere"),
    ],
)
def test_a_recipe_that_fits_nothing_is_refused_and_no_engine_is_blamed(
    study: Study, adapter: dict[str, object], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        run(study(arms=[{"recipe": {"adapter": adapter, "steps": 1}}]))


def test_prompting_fills_the_same_table(study: Study) -> None:
    result = run(study(arms=[{"estimator": "in_context", "recipe": {"join": " . "}}]))
    assert result.computed == 12
    with einfluence.Store(study().parent / "store").connect() as connection:
        assert connection.execute("select distinct estimator from influence").fetchall() == [("in_context",)]


def test_the_store_opens_from_python(study: Study) -> None:
    run(study())
    relation = einfluence.Store(study().parent / "store").influence()
    assert relation.filter("influence is not null").to_arrow_table().num_rows == 12


def test_layers_are_undone_of_the_probes_asked_for_and_only_what_is_new_is_asked_again(
    study: Study, tmp_path: Path
) -> None:
    relations = tmp_path / "relations.csv"
    relations.write_text("probe,query,kind\na,b,paraphrase\na,c,unrelated\nb,a,paraphrase\n")
    arm = {"recipe": {"lr": 0.01, "steps": 2}}
    given = {"probes": "ab", "relations": "relations.csv"}
    store = einfluence.Store(tmp_path / "store")

    def run(restore: int) -> einfluence.Result:
        return einfluence.measure(study(**given, arms=[{**arm, "restore": restore}]), store, report=False)

    assert run(0).computed == 8
    assert run(2).computed == 4  # two probes, each on itself and its paraphrase; no cell is computed again
    table = (
        store.connect()
        .execute(
            "select p.name, s.name, place, r.logprob_after - i.logprob_after, logprob_restored - r.logprob_after"
            " from restorations r join probes p using (probe_id) join samples s on sample_id = query_id"
            " join influence i using (probe_id, query_id) order by all"
        )
        .fetchall()
    )
    assert {row[:2] for row in table} == {("a", "a"), ("a", "b"), ("b", "a"), ("b", "b")}
    places = {row[2] for row in table}
    assert len(places) >= 2
    assert len(table) == 4 * len(places)
    assert max(abs(row[3]) for row in table) < 1e-4  # what training gave is what the table of influence says
    assert max(abs(row[4]) for row in table) > 1e-4
    assert (run(2).computed, run(2).wanted) == (0, 12)
    relations.write_text(relations.read_text() + "b,c,entailed\n")
    assert run(2).computed == 1
    odd = "select place from restorations where place != coalesce('layer ' || layer, 'outside the layers')"
    assert store.connect().execute(odd).fetchall() == []
    again = store.connect().execute("select count(*), count(distinct (probe_id, query_id, place)) from restorations")
    assert again.fetchone() == (5 * len(places),) * 2


def test_the_estimate_counts_what_a_run_will_count(study: Study, tmp_path: Path) -> None:
    from einfluence.estimate import estimate
    from einfluence.spec import load_spec

    arms = [{"recipe": {"lr": 0.01, "steps": 1}, "restore": 2}]
    file, store = study(probes="ab", arms=arms), einfluence.Store(tmp_path / "store")
    (before,) = estimate(load_spec(file), store).rows
    done = einfluence.measure(file, store, report=False)
    assert (before.wanted, before.missing) == (done.wanted, done.computed) and before.seconds > 0
    (after,) = estimate(load_spec(file), store).rows
    assert (after.wanted, after.missing, after.probes, after.seconds) == (done.wanted, 0, 0, 0.0)


def test_two_writers_of_one_restoration_leave_it_once(study: Study, tmp_path: Path) -> None:
    from einfluence.compute import compute
    from einfluence.plan import plan
    from einfluence.prepare import prepare
    from einfluence.session import Session
    from einfluence.spec import load_spec

    spec = load_spec(study(probes="ab", arms=[{"recipe": {"lr": 0.01, "steps": 1}, "restore": 2}]))
    store = einfluence.Store(tmp_path / "store")
    session = Session()
    jobs = plan(spec, [prepare(spec, spec.parts[0], store, session)], store).jobs
    for job in (*jobs, jobs[-1]):
        compute(job, session)
    counted = store.connect().execute("select count(*), count(distinct (probe_id, query_id, place)) from restorations")
    ((rows, distinct),) = counted.fetchall()
    assert rows == distinct > 0


def test_a_cell_that_only_another_part_wants_is_not_missing(study: Study, tmp_path: Path) -> None:
    path, store = study(), tmp_path / "store"
    spec = json.loads(path.read_text())
    own = {name: spec.pop(name) for name in ("samples", "probes", "queries", "arms", "base")}
    (tmp_path / "others.txt").write_text("a\nd\ne\n")
    other = {**own, "queries": "others.txt", "arms": [{"recipe": {"lr": 0.05, "steps": 2}}]}
    path.write_text(json.dumps({**spec, "parts": [{"name": "one", **own}, {"name": "two", **other}]}))
    assert einfluence.measure(path, store, report=False).computed == 3 * 4 + 3 * 3
    with einfluence.Store(store).connect() as connection:
        missing = connection.sql("select * from desiderata where variant = 'missing cells'").fetchall()
        wanted = connection.sql("select queries, count(*) from wanted group by all order by all").fetchall()
    assert (missing, wanted) == ([], [(3, 3), (4, 3)])
