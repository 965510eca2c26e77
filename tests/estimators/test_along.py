"""Estimates along the way of a training as arms of a spec: beside what they predict, groups, notes, refusals."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import einfluence
from einfluence.errors import InputError
from einfluence.estimators import ekfac
from einfluence.spec import load_spec

TEXTS = {
    "a": ("dax is a", "bird"),
    "b": ("wug is a", "fish"),
    "c": ("blick has", "gold"),
    "d": ("dax has", "wings"),
    "e": ("wug has", "gold wings"),
}
SGD = "{optimizer: sgd, lr: 0.5, adapter: {kind: match, pattern: ln_}, dtype: float64}"


def study(folder: Path, base: Path, arms: str, probes: str = "") -> Path:
    rows = [{"id": name, "prompt": prompt, "target": target} for name, (prompt, target) in TEXTS.items()]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "spec.yaml"
    schedule = "training_set: {samples: train.jsonl, epochs: 2, batch_size: 2}"
    path.write_text(f"base: {base}\n{schedule}\n{probes}arms:\n{arms}")
    return path


def rows(store: Path, query: str) -> list[tuple[Any, ...]]:
    with einfluence.Store(store).connect() as connection:
        return connection.sql(query).fetchall()


def test_they_are_close_to_what_they_predict_alone_and_within_a_set(tmp_path: Path, gpt2_folder: Path) -> None:
    names = ("unrolled", "data_value", "source")
    exact = "".join(f"  - {{estimator: {name}, recipe: {{dtype: float64}}}}\n" for name in names)
    arms = f"  - {{recipe: {{steps: 2, {SGD[1:]}}}\n  - {{estimator: leave_one_out, recipe: {SGD}}}\n{exact}"
    store = tmp_path / "store"
    result = einfluence.measure(study(tmp_path, gpt2_folder, arms), store, report=False)
    assert result.failed == 0
    found = rows(
        store,
        """
        select said.estimator, truth.estimator, count(*), max(abs(said.influence - truth.influence)),
            max(abs(truth.influence))
        from influence as said
        join recipes on said.recipe = recipes.recipe
        join influence as truth
            on recipes.stands_for = truth.recipe and said.seed = truth.seed
            and said.probe_id = truth.probe_id and said.query_id = truth.query_id
        group by all order by all
        """,
    )
    assert [row[:3] for row in found] == [(n, of, 25) for n in sorted(names) for of in ("finetune", "leave_one_out")]
    for name, _, _, error, scale in found:
        assert error < (0.02 if name == "unrolled" else 0.1) * scale and scale > 1e-3
    notes = rows(store, "select distinct estimator, status, reason from outcomes where reason is not null")
    assert [(row[0], row[1]) for row in notes] == [("unrolled", "done")]
    assert notes[0][2].startswith("metasmoothness 1.00; attention by torch's math kernel")


def test_a_group_counts_as_its_samples_together_and_turn_over_takes_halves(tmp_path: Path, gpt2_folder: Path) -> None:
    arms = "  - {estimator: leave_one_out, recipe: {lr: 0.05, adapter: {kind: lora, r: 4}}}\n"
    arms += "".join(f"  - {{estimator: {name}}}\n" for name in ("data_value", "turn_over"))
    groups = {"a": ["a"], "b": ["b"], "both": ["a", "b"], "c": ["c"]}
    lines = (json.dumps({"id": name, "samples": some}) + "\n" for name, some in groups.items())
    (tmp_path / "probes.jsonl").write_text("".join(lines))
    store = tmp_path / "store"
    assert (
        einfluence.measure(study(tmp_path, gpt2_folder, arms, "probes: probes.jsonl\n"), store, report=False).failed
        == 0
    )
    for name in ("data_value", "turn_over"):
        found = rows(store, "select query_id, name, influence, estimator from influence join probes using (probe_id)")
        cells = {(row[0], row[1]): row[2] for row in found if row[3] == name}
        for asked in {key[0] for key in cells}:
            assert cells[asked, "both"] == pytest.approx(cells[asked, "a"] + cells[asked, "b"], abs=1e-6)
        assert np.abs(list(cells.values())).max() > 1e-3
    labels = rows(store, "select label from recipes where estimator = 'turn_over'")
    assert labels[0][0].startswith("4 trainings, for leave_one_out: LoRA r4")


def test_a_training_without_an_end_fails_its_probes_and_a_rough_one_is_warned_of(
    tmp_path: Path, gpt2_folder: Path
) -> None:
    wild = "{optimizer: sgd, lr: 1.0e+30, adapter: full}"
    rough = "{optimizer: adam, lr: 0.3, eps: 1.0e-12, adapter: full}"
    arms = "".join(
        f"  - {{estimator: {name}, stands_for: {{estimator: leave_one_out, recipe: {how}}}}}\n"
        for name, how in (("data_value", wild), ("unrolled", rough))
    )
    store = tmp_path / "store"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        einfluence.measure(study(tmp_path, gpt2_folder, arms), store, report=False)
    assert any("metasmoothness" in str(one.message) and "too rough" in str(one.message) for one in caught)
    found = rows(store, "select distinct estimator, status, reason from outcomes order by 1")
    assert found[0][:2] == ("data_value", "failed") and found[0][2].startswith("weights are not finite after ")
    assert found[1][:2] == ("unrolled", "done") and "the training is too rough" in found[1][2]


def test_what_stands_for_two_interventions_of_one_training_is_computed_once(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, real = list[str](), ekfac.block
    monkeypatch.setattr(ekfac, "block", lambda *given, **how: taken.append("block") or real(*given, **how))
    one, both = (
        f"  - {{estimator: leave_one_out, recipe: {SGD}}}\n",
        f"  - {{estimator: subsets, recipe: {{count: 2, {SGD[1:]}}}\n",
    )
    path, store, apart = (
        study(tmp_path, gpt2_folder, f"{one}{both}  - {{estimator: ekfac}}\n"),
        tmp_path / "store",
        tmp_path / "apart",
    )
    result = einfluence.measure(path, store, report=False)
    assert (result.failed, taken) == (0, ["block"]) and result.computed == result.wanted
    assert einfluence.measure(path, store, report=False).computed == 0
    for intervention in (one, both):
        study(tmp_path, gpt2_folder, f"{intervention}  - {{estimator: ekfac}}\n")
        einfluence.measure(path, apart, report=False)
    assert len(taken) == 3
    cells = "select recipe, seed, probe_id, query_id, influence from influence where estimator = 'ekfac' order by all"
    found = rows(store, cells)
    assert found == rows(apart, cells) and len({row[0] for row in found}) == 2
    assert rows(store, "select count(*), count(distinct status) from outcomes where estimator = 'ekfac'") == [(10, 1)]


@pytest.mark.parametrize(
    ("arms", "says"),
    {
        "  - {recipe: {}}\n  - {estimator: turn_over}\n": "an arm `leave_one_out` or `subsets` beside `turn_over`",
        "  - {estimator: leave_one_out}\n  - {estimator: unrolled, recipe: {adapter: last}}\n":
            "no `adapter`, since it follows the parameters that the intervention trains",
        "  - {estimator: leave_one_out}\n  - {estimator: source, recipe: {segments: 0}}\n": "segments",
    }.items(),
)  # fmt: skip
def test_what_they_cannot_have_is_refused(tmp_path: Path, arms: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        load_spec(study(tmp_path, Path("embedded:world"), arms))
    assert says in str(error.value)
