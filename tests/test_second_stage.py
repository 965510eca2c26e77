"""A training set with a second stage on other samples."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import einfluence
from einfluence.bases.load import find_base, load_base
from einfluence.engine import definition
from einfluence.errors import InputError
from einfluence.estimators.training import trained_base, with_steps
from einfluence.inputs import full_training
from einfluence.objectives import encode
from einfluence.samples import Sample
from einfluence.session import session_here
from einfluence.spec import TrainedBase, load_spec
from einfluence.training_set import Members, Schedule
from tests.test_training_sets import RECIPE, TEXTS, cells, rows, study

OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
LATER = {"f": ("blick has", "wings"), "g": ("dax is a", "fish"), "h": ("wug is a", "gold")}
FIRST, SECOND = ["ab", "cd"] * 2, ["fg", "h"]
THEN = "then: {samples: later.jsonl, batch_size: 2, shuffle_seed: null}"
SCHEDULE = f"epochs: 2, batch_size: 2, shuffle_seed: null, {THEN}"


def write_later(folder: Path, names: str = "fgh") -> None:
    each = [{"id": name, "prompt": LATER[name][0], "target": LATER[name][1]} for name in names]
    (folder / "later.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))


def loop(base: Path, optimizer: str, left_out: str = "", second: Sequence[str] = SECOND) -> dict[str, float]:
    """Log-probabilities after a plain torch loop of both stages, the optimizer made anew for the second."""
    loaded = load_base(find_base(str(base), "base"))
    items = {name: encode(loaded, Sample(name, *text)) for name, text in {**TEXTS, **LATER}.items()}
    model = copy.deepcopy(loaded.model).double().requires_grad_(True)

    def nats(item: Any) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([item.ids])).logits[0].log_softmax(-1)
        return -sum(logits[place - 1, item.ids[place]] for place in range(len(item.ids) - item.n_target, len(item.ids)))

    def stage(batches: Sequence[str]) -> None:
        taken = OPTIMIZERS[optimizer](model.parameters(), lr=0.05)
        if optimizer == "adamw":
            taken = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.0)
        for batch in batches:
            taken.zero_grad()
            kept = [nats(items[name]) for name in batch if name != left_out]
            (sum(kept) / sum(items[name].n_target for name in batch)).backward()
            taken.step()

    stage(FIRST)
    stage(second)
    with torch.no_grad():
        return {name: -nats(items[name]).item() for name in TEXTS}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_influence_of_the_first_stage_is_that_after_both(tmp_path: Path, gpt2_folder: Path, optimizer: str) -> None:
    lr = {"sgd": 0.05, "adamw": 0.01}[optimizer]
    recipe = f"{{adapter: full, optimizer: {optimizer}, lr: {lr}, dtype: float64}}"
    write_later(tmp_path)
    spec = study(tmp_path, gpt2_folder, f"{{estimator: leave_one_out, recipe: {recipe}}}", schedule=SCHEDULE)
    result = einfluence.measure(spec, tmp_path / "store", report=False)
    assert (result.failed, result.computed) == (0, 4 * 5 + 5 * 5)
    found, full = cells(tmp_path / "store", "leave_one_out"), loop(gpt2_folder, optimizer)
    assert len(found) == 20
    for probe in "abcd":
        without = loop(gpt2_folder, optimizer, probe)
        for query in TEXTS:
            _, before, after, *_ = found[probe, query]
            assert (before, after) == pytest.approx((without[query], full[query]), abs=1e-9)
    assert rows(tmp_path / "store", "select samples, label from training_sets") == [
        (4, "2 epochs in batches of 2, then 1 epoch in batches of 2")
    ]
    [(steps,)] = rows(tmp_path / "store", "select distinct len(losses) from trainings")
    assert steps == 4 + 2
    [(about,)] = rows(tmp_path / "store", "select json from training_sets")
    stored = json.loads(about)["then"]["samples"]
    assert stored == [Sample(name, *LATER[name]).sample_id for name in "fgh"]


def test_a_trained_base_has_both_stages_and_other_samples_make_another(tmp_path: Path, gpt2_folder: Path) -> None:
    write_later(tmp_path)
    arm = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
    spec = load_spec(study(tmp_path, gpt2_folder, arm, schedule=f"{SCHEDULE}, watch: 5"))
    session, part = session_here("auto", None), spec.parts[0]
    first = full_training(spec, part, TrainedBase(training="main"), session)
    einfluence.measure(spec, tmp_path / "store", report=False)
    [(training,)] = rows(tmp_path / "store", "select training from trainings where kind = 'full'")
    assert training == first.training_id
    watched = loop(gpt2_folder, "sgd", second=SECOND[:1])
    said = rows(
        tmp_path / "store",
        "select name, logprob from training_scores join samples on sample_id = query_id where step = 5",
    )
    assert dict(said) == pytest.approx(watched, abs=1e-9)
    base = load_base(find_base(str(gpt2_folder), "base"))
    own = list(first.samples.values())
    after = trained_base(base, first.recipe, 0, own, first.schedule, later=first.later)
    queries = [encode(base, Sample(name, *TEXTS[name])) for name in TEXTS]
    wanted = loop(gpt2_folder, "sgd")
    found = definition.evaluate(after, with_steps(first.recipe, first.schedule, 4, 3), queries).logprob
    np.testing.assert_allclose(found, [wanted[name] for name in TEXTS], atol=1e-9)
    write_later(tmp_path, "fg")
    assert full_training(spec, part, TrainedBase(training="main"), session).training_id != training


def test_estimates_of_the_first_stage_are_of_the_model_after_both(tmp_path: Path, gpt2_folder: Path) -> None:
    recipe = "{adapter: {kind: match, pattern: ln_}, optimizer: sgd, lr: 0.05, dtype: float64}"
    names = ("unrolled", "ekfac")
    arms = "".join(f", {{estimator: {name}, recipe: {{dtype: float64}}}}" for name in names)
    write_later(tmp_path)
    spec = study(tmp_path, gpt2_folder, f"{{estimator: leave_one_out, recipe: {recipe}}}{arms}", schedule=SCHEDULE)
    result = einfluence.measure(spec, tmp_path / "store", report=False)
    assert result.failed == 0
    said = rows(
        tmp_path / "store",
        "select said.estimator, count(*), corr(truth.influence, said.influence), regr_slope(truth.influence, "
        "said.influence) from influence as said join recipes on said.recipe = recipes.recipe join influence as truth "
        "on recipes.stands_for = truth.recipe and said.probe_id = truth.probe_id and said.query_id = truth.query_id "
        "group by all",
    )
    found = {name: (count, agreed, slope) for name, count, agreed, slope in said}
    assert {count for count, _, _ in found.values()} == {20}
    assert found["unrolled"][1] > 0.999 and found["unrolled"][2] == pytest.approx(1, abs=0.05)
    assert min(agreed for _, agreed, _ in found.values()) > 0.3


def test_a_set_of_one_stage_is_named_as_ever() -> None:
    members, schedule = Members.of({"a": ["x"], "b": ["y"]}), Schedule(epochs=3, batch_size=2)
    assert members.set_id(schedule) == "daca514af32d8097c55e"
    then = Schedule.model_validate({"epochs": 3, "batch_size": 2, "then": {"samples": "a.jsonl"}})
    elsewhere = Schedule.model_validate({"epochs": 3, "batch_size": 2, "then": {"samples": "b.jsonl"}})
    later = Members.of({"a": ["x"], "b": ["y"]}, ["z"])
    assert later.set_id(then) == later.set_id(elsewhere) != members.set_id(schedule)  # what counts is the samples
    assert later.set_id(then) != Members.of({"a": ["x"], "b": ["y"]}, ["w"]).set_id(then)


@pytest.mark.parametrize(
    ("then", "extra", "found"),
    [
        ("{epochs: 2}", "", r"training_set.then"),
        ("{samples: later.jsonl}", "", r"training_set.then.batch_size: found 8 for 3 samples"),
        ("{samples: none.jsonl}", "", r"none.jsonl"),
        ("{samples: twice.jsonl}", "", r"twice.jsonl:4: found a sample of the second stage again"),
        ("{samples: other.jsonl}", "", r"other.jsonl:1: found the id 'a' again"),
        ("{samples: empty.jsonl}", "", r"empty.jsonl"),
        (
            "{samples: later.jsonl, batch_size: 2}", ", {estimator: datainf}",
            r"training_set.then: found `datainf`, which does not know what a second stage leaves of the first; "
            r"expected of estimates `unrolled`, ",
        ),
        (
            "{samples: later.jsonl, batch_size: 2}",
            ", {estimator: ekfac, recipe: {adapter: last}, stands_for: {estimator: leave_one_out}}",
            r"arms ekfac recipe.adapter: found last.* behind a second stage of adamw",
        ),
    ],
)  # fmt: skip
def test_a_second_stage_that_cannot_be_is_refused(
    tmp_path: Path, gpt2_folder: Path, then: str, extra: str, found: str
) -> None:
    write_later(tmp_path)
    later = (tmp_path / "later.jsonl").read_text()
    (tmp_path / "twice.jsonl").write_text(later + later.splitlines()[0].replace('"f"', '"z"') + "\n")
    (tmp_path / "other.jsonl").write_text(later.replace('"f"', '"a"'))
    (tmp_path / "empty.jsonl").write_text("")
    arms = f"{{estimator: leave_one_out, recipe: {RECIPE}}}{extra}"
    spec = study(tmp_path, gpt2_folder, arms, schedule=f"batch_size: 2, then: {then}")
    with pytest.raises(InputError, match=found):
        einfluence.measure(spec, tmp_path / "store", report=False)
