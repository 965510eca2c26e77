"""The action `ignore`: weights that held-out queries gain by, what is kept of them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import einfluence
from einfluence.actions.weights import learn, weights_of
from einfluence.engine.metagradient import mean_logprob
from einfluence.engine.schedule import Step, Training
from einfluence.engine.unrolling import Trajectory
from einfluence.errors import InputError
from einfluence.estimate import estimate
from einfluence.estimators.unrolled import RoughWarning
from einfluence.run import nothing_to_do
from einfluence.samples import Sample
from einfluence.spec import Recipe, load_spec
from tests.engine.random_models import text_base, texts
from tests.test_training_sets import TEXTS, rows, write

MORE = {"f": ("zup is a", "bird"), "g": ("zup has", "gold"), "h": ("fep is", "big"), "i": ("fep has", "a nest")}
SGD = "{adapter: full, optimizer: sgd, lr: 0.3, dtype: float64}"
LATER = {"x": ("blick has", "wings"), "y": ("dax is a", "fish")}


def study(
    folder: Path, base: Path, action: str, recipe: str = SGD, held_out: str = "efghi", schedule: str = ""
) -> Path:
    write(folder / "train.jsonl", "abcd")
    write(folder / "valid.jsonl", held_out)
    each = [{"id": name, "prompt": LATER[name][0], "target": LATER[name][1]} for name in LATER]
    (folder / "later.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    path = folder / "spec.yaml"
    path.write_text(
        f"base: {base}\n"
        f"training_set: {{samples: train.jsonl, held_out: valid.jsonl, epochs: 2, batch_size: 2{schedule}}}\n"
        f"arms: [{{estimator: leave_one_out, recipe: {recipe}}}]\nactions: [{action}]\n"
    )
    return path


@pytest.fixture(autouse=True)
def _more_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MORE.items():
        monkeypatch.setitem(TEXTS, name, text)


def weights(store: Path, method: str, draw: int | None = None) -> list[float]:
    found = rows(
        store,
        "select m.position, coalesce(w.weight, 1) from actions a join training_set_members m using (training_set)"
        " left join training_weights w on a.training = w.training and m.position = w.position"
        f" where method = '{method}' and draw is not distinct from {'null' if draw is None else draw} order by 1",
    )
    return [weight for _, weight in found]


def means(note: str) -> tuple[float, float]:
    """The queries' mean before and after, as a note has them."""
    words = note.split()
    return float(words[words.index("nats") - 1]), float(words[words.index("after;") - 1])


@pytest.mark.parametrize("schedule", ["", ", then: {samples: later.jsonl, batch_size: 2}"], ids=["one stage", "two"])
def test_weights_are_learned_once_and_trained_with_beside_the_same_shuffled(
    tmp_path: Path, gpt2_folder: Path, schedule: str
) -> None:
    action, store = "{ignore: {steps: 3, lr: 1.0, draws: 2}}", tmp_path / "store"
    spec = study(tmp_path, gpt2_folder, action, schedule=schedule)
    _, _, weighed, actions = estimate(load_spec(spec), einfluence.Store(store)).rows
    assert (weighed.unit, weighed.wanted, weighed.missing, actions.probes) == ("state", 1, 1, 3)
    assert f"3 derivatives through {5 if schedule else 4} steps" in weighed.how
    assert weighed.seconds > 0 and weighed.memory > 0 and weighed.disk == 8 * (4 + 3 + 2)
    assert not einfluence.measure(spec, store, report=False).failed
    left = estimate(load_spec(spec), einfluence.Store(store)).rows
    assert not any(row.missing or row.seconds for row in left) and [
        row.wanted for row in left if row.unit == "state"
    ] == [1]
    learned, first, second = weights(store, "learned"), weights(store, "shuffled", 0), weights(store, "shuffled", 1)
    assert np.mean(learned) == pytest.approx(1) and np.ptp(learned) > 0.1
    assert sorted(first) == sorted(second) == sorted(learned)
    [(reference,)] = rows(store, "select distinct reference from actions")
    assert rows(store, f"select kind from trainings where training = '{reference}'") == [("full",)]
    assert rows(store, "select count(*) from trainings where kind = 'reweighted' and status = 'done'")[0][0] >= 2
    # What it learned from gained as much as was said: the training with the weights is taken by the engine.
    gained = rows(
        store,
        "select avg(t.logprob - f.logprob) from actions a join training_scores t using (training)"
        " join training_scores f on f.training = a.reference and f.query_id = t.query_id"
        " where method = 'learned' and t.query_id[-1:] < '8'"
        " and t.query_id not in (select sample_id from training_set_members)",
    )[0][0]
    [(note,)] = rows(store, "select note from actions where method = 'learned'")
    before, after = means(note)
    assert gained == pytest.approx(after - before, abs=2e-4) and gained > 0
    again = einfluence.measure(spec, store, report=False)
    assert (again.computed, len(list((store / "states").glob("*.json")))) == (0, 1)


def test_what_was_learned_is_found_again_and_belongs_to_the_queries_it_was_learned_on(
    tmp_path: Path, gpt2_folder: Path
) -> None:
    store = tmp_path / "store"
    both = "{ignore: {steps: 1, draws: 1}}, {ignore: {steps: 1, draws: 2, draw: 1}}"
    spec = study(tmp_path, gpt2_folder, both)
    einfluence.measure(spec, store)
    states = sorted((store / "states").glob("*.json"))
    assert len(states) == 1  # draws change no weight
    assert nothing_to_do(load_spec(spec), einfluence.Store(store)) is not None
    half = [name for name in MORE if Sample(name, *MORE[name]).sample_id[-1] < "8"]
    assert half and len(half) < len(MORE)
    einfluence.measure(study(tmp_path, gpt2_folder, both, held_out=f"e{''.join(set(MORE) - {half[0]})}"), store)
    assert len(list((store / "states").glob("*.json"))) == 2
    for state in states:
        state.unlink()
    assert nothing_to_do(load_spec(study(tmp_path, gpt2_folder, both)), einfluence.Store(store)) is None


def test_the_mean_that_it_learns_from_rises_and_the_best_weights_are_kept() -> None:
    steps = ((Step((0, 1)), Step((2, 3)), Step((0, 4))), (Step((5,)),))
    how = Recipe.model_validate({"adapter": "full", "optimizer": "sgd", "lr": 0.3, "dtype": "float64"})
    path = Trajectory(text_base("gpt2"), how, Training(tuple(texts(0, 6)), steps), 0)
    found = learn(path, texts(1, 3), 5, steps=4, lr=0.5)
    assert found.weights.shape == (5,) and found.weights.mean().item() == pytest.approx(1)
    assert found.means[0].item() == pytest.approx(mean_logprob(path, texts(1, 3)))
    assert found.means[1:].max() > found.means[0]
    best = path.reweighted(dict(enumerate(found.weights.tolist())))
    assert mean_logprob(best, texts(1, 3)) == pytest.approx(found.means[1:].max().item())


def test_at_first_it_is_the_training_as_written() -> None:
    assert weights_of(torch.zeros(4, dtype=torch.float64)).tolist() == [1.0] * 4


def test_a_rough_training_is_warned_of() -> None:
    how = Recipe.model_validate(
        {"adapter": "full", "dtype": "float64", "optimizer": {"kind": "adam", "lr": 0.1, "eps": 1e-12}}
    )
    path = Trajectory(text_base("gpt2"), how, Training(tuple(texts(0, 4)), ((Step((0, 1)), Step((2, 3))) * 3,)), 0)
    with pytest.warns(RoughWarning, match="too rough"):
        learn(path, texts(1, 3), 4, steps=1, lr=0.5)


def test_a_training_that_diverges_teaches_no_weights_and_the_run_goes_on(tmp_path: Path, gpt2_folder: Path) -> None:
    recipe = "{adapter: full, optimizer: sgd, lr: 1.0e+30}"
    spec = study(tmp_path, gpt2_folder, "{ignore: {steps: 1}}", recipe)
    rows_planned = estimate(load_spec(spec), einfluence.Store(tmp_path / "store")).rows
    [planned] = [row for row in rows_planned if row.unit == "state"]
    assert planned.missing == 1 and planned.how.startswith("nothing: ArithmeticError: ")
    result = einfluence.measure(spec, tmp_path / "store", report=False)
    assert any("ignore" in name and "not finite" in reason for name, reason in result.reasons.items())
    assert rows(tmp_path / "store", "select count(*) from actions") == [(0,)]


@pytest.mark.parametrize(
    ("action", "recipe", "held_out", "found"),
    [
        ("{ignore: {}}", SGD, "e", r"actions.ignore: found 1 queries that are not in the set; expected enough for two"),
        ("{ignore: {}}", "{dtype: bfloat16}", "efghi", r"actions.ignore: found a training in bfloat16"),
        ("{ignore: {steps: 0}}", SGD, "efghi", r"ignore.steps: found 0"),
        ("{ignore: {lr: -1}}", SGD, "efghi", r"ignore.lr: found -1"),
    ],
)
def test_what_cannot_be_learned_is_refused_before_anything_is_computed(
    tmp_path: Path, gpt2_folder: Path, action: str, recipe: str, held_out: str, found: str
) -> None:
    with pytest.raises(InputError, match=found):
        einfluence.measure(study(tmp_path, gpt2_folder, action, recipe, held_out), tmp_path / "store", report=False)
