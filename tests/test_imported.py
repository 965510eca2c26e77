"""Scores of other tools: what a file may say, which cells it makes, and what the scorecard makes of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest
import torch
from rich.console import Console

from einfluence.errors import InputError
from einfluence.imported import Imported, import_scores
from einfluence.report.leaderboard import show_leaderboard
from einfluence.score import score_store
from einfluence.store.store import ArmKey, Store
from tests.store.made_up import ARM, computed, curated, samples_of

FACTS = 6


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Six probes trained alone, each on the six samples and four more queries."""
    made = Store(tmp_path / "store")
    made.open_for_writing()
    probes, queries = samples_of(FACTS), samples_of(FACTS + 4)
    folder = made.add_curation("c" * 20, curated(probes, queries), {})
    made.point_study("study", "c" * 20, 1)
    made.add_rows("bases", [{"base": ARM.base, "label": "tiny", "modality": "text", "json": "{}"}])
    made.add_rows("recipes", [{"recipe": ARM.recipe, "estimator": "finetune", "label": "SGD", "json": "{}"}])
    for block in made.missing(folder, ARM, FACTS):
        made.add_part(ARM, computed(block), since=block.since)
    return made


def measured(store: Store) -> list[dict[str, Any]]:
    query = """select probes.name as train_id, samples.name as query_id, influence as score from influence
        join probes using (probe_id) join samples on query_id = sample_id where estimator = 'finetune'"""
    with store.connect() as connection:
        return connection.sql(query).to_arrow_table().to_pylist()


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    writer: Any = pyarrow.parquet.write_table if path.suffix == ".parquet" else pyarrow.csv.write_csv
    writer(pa.Table.from_pylist(rows), path)
    return path


def imported(store: Store, path: Path, **more: Any) -> Imported:
    return import_scores(store, path, **{"estimator": "kron", "stands_for": "finetune", **more})


def test_scores_are_cells_of_an_estimate_that_is_only_ranked(store: Store, tmp_path: Path) -> None:
    rows = [{**row, "score": 1e5 * row["score"] ** 3} for row in measured(store)]
    found = imported(store, written(tmp_path / "scores.parquet", rows))
    assert (found.scores, found.probes, found.queries, found.added) == (60, 6, 10, 60)
    with store.connect() as connection:
        row = connection.sql("select * from recipes where estimator = 'kron'").to_arrow_table().to_pylist()[0]
        said = connection.sql(
            "select count(*), count(logprob_after), min(seed) from influence where estimator = 'kron'"
        )
        assert said.fetchall() == [(60, 0, 0)]
    assert (row["stands_for"], row["unit"], row["label"]) == (ARM.recipe, "none", "scores, 6 × 10")
    card = [row for row in score_store(store).to_pylist() if row["estimator"] == "kron" and row["domain"] == "all"]
    assert {row["desideratum"] for row in card} == {"fidelity"}
    values = {row["variant"]: row["value"] for row in card}
    assert values["spearman"] == pytest.approx(1.0) and values["spearman by query"] == pytest.approx(1.0)
    assert "slope" not in values and "sign" not in values
    console = Console(width=140, record=True)
    with store.connect() as connection:
        console.print(show_leaderboard(connection))
    text = console.export_text()
    assert "tiny · finetune, SGD" in text and "kron" in text and "1.00" in text


def test_the_same_scores_again_add_nothing_whatever_their_order_format_and_names(store: Store, tmp_path: Path) -> None:
    rows = measured(store)
    first = imported(store, written(tmp_path / "scores.parquet", rows))
    with store.connect() as connection:
        ids = dict(connection.sql("select name, sample_id from samples").fetchall())
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    renamed = [{"probe": ids[r["train_id"]], "query": ids[r["query_id"]], "score": r["score"]} for r in shuffled]
    again = imported(store, written(tmp_path / "other.csv", renamed))
    assert (again.recipe, again.added) == (first.recipe, 0)
    others = imported(store, written(tmp_path / "scores.parquet", [{**row, "score": -row["score"]} for row in rows]))
    assert others.recipe != first.recipe and others.added == 60
    assert imported(store, written(tmp_path / "nats.parquet", rows), nats=True).recipe != first.recipe


def test_scores_in_nats_have_every_desideratum_of_an_estimate(store: Store, tmp_path: Path) -> None:
    imported(store, written(tmp_path / "scores.csv", measured(store)), nats=True)
    card = {(r["desideratum"], r["variant"]): r for r in score_store(store).to_pylist() if r["estimator"] == "kron"}
    assert card["fidelity", "slope"]["value"] == pytest.approx(1.0)
    assert card["fidelity", "sign"]["value"] == pytest.approx(1.0)
    assert ("gate", "learned") in card and ("classification", "self: gained") not in card


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"train_id": "s99"}, r"1 of 7 probes that the intervention has no cells of: 's99'; expected names or ids"),
        ({"query_id": "x"}, r"1 of 11 queries that the intervention has no cells of: 'x'"),
        ({"score": float("nan")}, "1 scores that are not finite"),
        ({"score": None}, "rows without a score"),
        ({}, "2 scores of probe"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(store: Store, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    rows = measured(store)
    with pytest.raises(InputError, match=says):
        imported(store, written(tmp_path / "scores.parquet", [*rows, {**rows[0], **change}]))
    assert not [unit for unit in store.units() if unit.arm.estimator == "kron"]


def test_a_file_or_an_intervention_that_is_not_there_is_named(store: Store, tmp_path: Path) -> None:
    rows = measured(store)
    path = written(tmp_path / "scores.parquet", rows)
    for given, says in (
        (
            {"stands_for": "leave_one_out"},
            r"names 0 interventions; expected one of: rrrrrrrr \(finetune, SGD\) on tiny",
        ),
        ({"base": "other"}, "on 'other', which names 0 interventions"),
        ({"estimator": "finetune"}, "a name of letters, digits and _ that is none of finetune, in_context"),
        ({"estimator": "a/b"}, "a name of letters"),
    ):
        with pytest.raises(InputError, match=says):
            imported(store, path, **given)
    with pytest.raises(InputError, match="one of train_id, probe, probe_id for the probe"):
        imported(store, written(tmp_path / "bad.csv", [{"score": 1.0}]))
    with pytest.raises(InputError, match=r"\.parquet or \.csv"):
        imported(store, tmp_path / "scores.pt")
    with pytest.raises(InputError, match="no file"):
        imported(store, tmp_path / "none.csv")
    (tmp_path / "broken.parquet").write_bytes(b"PAR")
    with pytest.raises(InputError, match="Parquet or CSV with ids and numbers"):
        imported(store, tmp_path / "broken.parquet")


def test_one_of_several_interventions_is_named_by_its_recipe(store: Store, tmp_path: Path) -> None:
    other = ArmKey(ARM.base, "finetune", "q" * 20, 0, "1")
    folder = store.root / "curations" / ("c" * 20)
    for block in store.missing(folder, other, FACTS):
        store.add_part(other, computed(block), since=block.since)
    path = written(tmp_path / "scores.parquet", measured(store)[:60])
    with pytest.raises(InputError, match="names 2 interventions"):
        imported(store, path)


PAGE = (Path(__file__).parents[1] / "docs" / "imported-scores.md").read_text(encoding="utf-8")
TRAIN, QUERIES = ["a", "b", "c"], ["x", "y"]
SCORES = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])  # training samples × queries


def kronfluence(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import save_file

    (folder / "scores_ekfac").mkdir()
    found = {"all_modules": np.ascontiguousarray(SCORES.T.astype(np.float32))}
    save_file(found, folder / "scores_ekfac" / "pairwise_scores.safetensors")
    return {}


def bergson(folder: Path) -> dict[str, Any]:
    """Records of a float32 and a flag, each pair in eight bytes, as bergson/score/score_writer.py lays them out."""
    names = ["score_0", "written_0", "score_1", "written_1"]
    layout = {"names": names, "formats": ["float32", "bool"] * 2, "offsets": [0, 4, 8, 12], "itemsize": 16}
    records = np.zeros(len(TRAIN), np.dtype(layout))
    for i in range(len(QUERIES)):
        records[f"score_{i}"], records[f"written_{i}"] = SCORES[:, i], True
    (folder / "scores").mkdir()
    records.tofile(folder / "scores" / "scores.bin")
    info = {"num_items": len(TRAIN), "num_scores": len(QUERIES), "dtype": layout}
    (folder / "scores" / "info.json").write_text(json.dumps(info))
    return {}


def dattri(folder: Path) -> dict[str, Any]:
    class Attributor:
        def attribute(self, train: object, test: object) -> torch.Tensor:
            return torch.tensor(SCORES, dtype=torch.float32)

    return {"attributor": Attributor(), "train_loader": None, "test_loader": None}


@pytest.mark.parametrize("tool", [kronfluence, bergson, dattri], ids=lambda tool: tool.__name__)
def test_the_script_of_each_tool_reads_its_shape(tool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, ids in (("train", TRAIN), ("queries", QUERIES)):
        Path(f"{name}.jsonl").write_text("".join(json.dumps({"id": one}) + "\n" for one in ids))
    script = re.search(rf'```python title="{tool.__name__}"\n(.*?)```', PAGE, re.DOTALL)
    assert script is not None
    exec(script[1], tool(tmp_path))
    rows = pyarrow.parquet.read_table("scores.parquet").to_pylist()
    found = {(row["train_id"], row["query_id"]): row["score"] for row in rows}
    assert found == {(t, q): SCORES[i, j] for i, t in enumerate(TRAIN) for j, q in enumerate(QUERIES)}
