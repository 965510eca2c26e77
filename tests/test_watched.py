"""A training on a whole set that is watched before its end."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import einfluence
from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.estimate import estimate
from einfluence.objectives import encode
from einfluence.samples import Sample
from einfluence.spec import load_spec
from tests.test_training_sets import RECIPE, TEXTS, rows, study

OPTIMIZERS = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}
BATCHES, RATES = [(0, 1), (2, 3)] * 3, [1.0, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
WATCHED = "epochs: 3, batch_size: 2, shuffle_seed: null, lr_schedule: linear, watch: 2"


def loop(base: Path, optimizer: str, batches: Sequence[Sequence[int]]) -> list[dict[str, float]]:
    """Log-probabilities after each step of a plain torch loop, the learning rate falling."""
    loaded = load_base(find_base(str(base), "base"))
    items = {name: encode(loaded, Sample(name, *TEXTS[name])) for name in TEXTS}
    model = copy.deepcopy(loaded.model).double().requires_grad_(True)
    taken = OPTIMIZERS[optimizer](model.parameters(), lr=0.01, weight_decay=0.1)

    def nats(item: Any) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([item.ids])).logits[0].log_softmax(-1)
        return -sum(logits[place - 1, item.ids[place]] for place in range(len(item.ids) - item.n_target, len(item.ids)))

    found: list[dict[str, float]] = []
    for batch, rate in zip(batches, RATES, strict=True):
        taken.zero_grad()
        some = [items["abcd"[index]] for index in batch]
        (sum(map(nats, some)) / sum(item.n_target for item in some)).backward()
        taken.param_groups[0]["lr"] = 0.01 * rate
        taken.step()
        with torch.no_grad():
            found.append({name: -nats(item).item() for name, item in items.items()})
    return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_watched_is_a_loop_that_stops_there(tmp_path: Path, gpt2_folder: Path, optimizer: str) -> None:
    recipe = f"{{adapter: full, optimizer: {{kind: {optimizer}, lr: 0.01, weight_decay: 0.1}}, dtype: float64}}"
    arm = f"{{estimator: leave_one_out, recipe: {recipe}}}"
    result = einfluence.measure(study(tmp_path, gpt2_folder, arm, schedule=WATCHED), tmp_path / "store", report=False)
    assert (result.failed, result.computed) == (0, 4 * 5 + 5 * 5 + 2 * 5)
    wanted = loop(gpt2_folder, optimizer, BATCHES)
    found = rows(
        tmp_path / "store",
        "select name, step, logprob from training_scores join trainings using (base, recipe, seed, training)"
        " join samples on sample_id = query_id where kind in ('watched', 'full')",
    )
    assert len(found) == 5 * 3
    for name, step, logprob in found:
        assert logprob == pytest.approx(wanted[(step or 6) - 1][name], abs=1e-9)
    assert {step for _, step, _ in found} == {2, 4, None}
    told = rows(tmp_path / "store", "select about, len(losses), update_norm from trainings where kind = 'watched'")
    assert sorted((about, steps) for about, steps, _ in told) == [("2", 2), ("4", 4)]
    assert all(moved > 0 for *_, moved in told)


def test_watching_a_training_that_was_done_costs_that_alone(tmp_path: Path, gpt2_folder: Path) -> None:
    arm, store = f"{{estimator: leave_one_out, recipe: {RECIPE}}}", tmp_path / "store"
    einfluence.measure(study(tmp_path, gpt2_folder, arm), store, report=False)
    sets = rows(store, "select training_set from training_sets")
    cells = rows(store, "select * from influence order by all")
    spec = study(tmp_path, gpt2_folder, arm, schedule="epochs: 2, batch_size: 2, watch: 1")
    planned = estimate(load_spec(spec), einfluence.Store(store)).rows
    assert [(row.missing, row.probes) for row in planned] == [(0, 0), (3 * 5, 3)]
    assert einfluence.measure(spec, store, report=False).computed == 3 * 5
    assert rows(store, "select training_set from training_sets") == sets
    assert rows(store, "select * from influence order by all") == cells
    assert rows(store, "select count(*) from trainings where kind = 'full'") == [(1,)]
    again = study(tmp_path, gpt2_folder, arm, schedule="epochs: 2, batch_size: 2, watch: 3")
    assert einfluence.measure(again, store, report=False).computed == 0
    valid = tmp_path / "valid.jsonl"
    valid.write_text(valid.read_text() + json.dumps({"id": "f", "prompt": "blick has", "target": "wings"}) + "\n")
    assert einfluence.measure(again, store, report=False).computed == 4 + 5 + 1


def test_a_watched_training_that_fails_says_what_it_said_before(tmp_path: Path, gpt2_folder: Path) -> None:
    arm = "{estimator: leave_one_out, recipe: {adapter: full, lr: 1.0e+30}}"
    spec = study(tmp_path, gpt2_folder, arm, schedule="epochs: 2, batch_size: 2, warmup: 2, watch: 1")
    einfluence.measure(spec, tmp_path / "store", report=False)
    said = rows(tmp_path / "store", "select about, status from trainings where kind = 'watched' order by about")
    assert said == [("1", "done"), ("2", "failed"), ("3", "failed")]
    same = rows(tmp_path / "store", "select max(abs(logprob - logprob_base)) from training_scores where step = 1")
    assert same[0][0] < 1e-5  # a warm-up's first step takes a learning rate of 0


@pytest.mark.parametrize(
    ("watch", "found"),
    [(4, r"training_set.watch: found 4 for a training of 4 steps; expected fewer"), (0, r"training_set.watch")],
)
def test_a_watch_that_sees_nothing_is_refused(tmp_path: Path, gpt2_folder: Path, watch: int, found: str) -> None:
    arm = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
    spec = study(tmp_path, gpt2_folder, arm, schedule=f"epochs: 2, batch_size: 2, watch: {watch}")
    with pytest.raises(InputError, match=found):
        einfluence.measure(spec, tmp_path / "store", report=False)
