"""Actions: what is removed, what it is compared with, that nothing is trained twice, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.metrics import per_probe
from einfluence.store.store import Store
from einfluence.training_set import FULL, More, Variant
from tests.test_training_sets import RECIPE, TEXTS, rows, write

LOO = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
MORE = {"f": ("zup is a", "bird"), "g": ("zup has", "gold"), "h": ("fep is", "old"), "i": ("fep has", "a nest")}


def study(folder: Path, base: Path, actions: str, arms: str = LOO) -> Path:
    write(folder / "train.jsonl", "abcd")
    write(folder / "valid.jsonl", "efghi")
    path = folder / "spec.yaml"
    path.write_text(
        f"base: {base}\ntraining_set: {{samples: train.jsonl, held_out: valid.jsonl, epochs: 2, batch_size: 2}}\n"
        f"arms: [{arms}]\nactions: [{actions}]\n"
    )
    return path


@pytest.fixture(autouse=True)
def _more_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MORE.items():
        monkeypatch.setitem(TEXTS, name, text)


def test_a_variant_is_named_by_all_that_it_does() -> None:
    plain = Variant("removed", left_out=(1,))
    assert plain.training_id("s") == Variant("without", "x", (1,)).training_id("s")
    ids = {
        one.training_id("s")
        for one in (
            FULL,
            plain,
            Variant("reweighted", weights=((1, 0.5),)),
            Variant("unlearned", more=(More((1,), (-1.0,)),)),
        )
    }
    assert len(ids) == 4


def test_the_most_harmful_sample_is_removed_and_a_drawn_one_beside_it(gpt2_folder: Path, tmp_path: Path) -> None:
    spec = study(tmp_path, gpt2_folder, "{remove: {by: leave_one_out, order: lowest, shares: 0.25, draws: 2}}")
    store = tmp_path / "store"
    einfluence.measure(spec, store, report=False)
    harm = dict(
        rows(
            store,
            "select samples.name, sum(influence) from influence join probe_members using (probe_id)"
            " join samples using (sample_id) where estimator = 'leave_one_out' and query_id[-1:] < '8'"
            " and query_id not in (select sample_id from training_set_members) group by all",
        )
    )
    found = rows(
        store,
        "select method, s.name, a.draw, a.reference = f.training from actions a"
        " join training_weights w using (training)"
        " join training_set_members m using (training_set, position) join samples s using (sample_id)"
        " join trainings f on f.kind = 'full' where weight = 0 order by method, draw",
    )
    assert found[0] == ("lowest", min(harm, key=lambda name: harm[name]), None, True)
    assert [row[0] for row in found[1:]] == ["random", "random"]
    judged = {row["probe"] for row in per_removal(store)}
    chosen_on = {name for name, query in rows(store, "select name, sample_id from samples") if query[-1] < "8"}
    assert judged and judged == set("efghi") - chosen_on


def per_removal(store: Path) -> list[dict[str, Any]]:
    with Store(store).connect() as connection:
        return [row for row in per_probe(connection).to_pylist() if row["desideratum"] == "removal"]
