"""Unrolled differentiation: it is what small changes of a sample's weight do to a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einfluence.engine import definition
from einfluence.engine.schedule import Step, Training, probe_training
from einfluence.engine.unrolling import Trajectory
from einfluence.estimators import unrolled
from einfluence.spec import Recipe
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

STEPS = ((Step((0, 1)), Step((2, 3, 4), rate=0.5), Step((0, 2))), (Step((1, 3)),))
RECIPES: dict[str, dict[str, Any]] = {
    "sgd, full": {"adapter": "full", "optimizer": "sgd", "lr": 0.05, "momentum": 0.5, "weight_decay": 0.01},
    "sgd, clipped": {"optimizer": "sgd", "lr": 0.1, "clip": 0.5},
    "adam": {"adapter": {"kind": "match", "pattern": "attn|2"}, "optimizer": "adam", "lr": 1e-3, "eps": 1e-2},
    "adamw": {"optimizer": "adamw", "lr": 1e-3, "eps": 1e-3, "weight_decay": 0.01},
}


@pytest.mark.parametrize(
    ("kind", "recipe"), [*(("text", recipe) for recipe in RECIPES), ("image", "sgd, full"), ("image", "adamw")]
)
def test_it_is_the_central_difference_of_trainings(kind: str, recipe: str) -> None:
    base = text_base("gpt2") if kind == "text" else image_base(digits_like())
    made = texts if kind == "text" else images
    whole, queries = Training(tuple(made(0, 5)), STEPS), made(1, 3)
    how = Recipe.model_validate({**RECIPES[recipe], "dtype": "float64"})
    found = unrolled.influence(Trajectory(base, how, whole, 0), queries, at_once=2)

    reader = definition.trainable_copy(base, how, 0)

    def said(weight: float) -> Any:
        tuned = definition.train(base, how, whole.weighted({0: weight}), 0)
        return definition.evaluate(base, how, queries, tuned.delta, reader).logprob

    difference = (said(1 + 1e-4) - said(1 - 1e-4)) / 2e-4
    assert np.abs(found[0] - difference).max() < 1e-6 and np.abs(difference).max() > 1e-4


def test_holding_fewer_states_changes_no_bit() -> None:
    base, items = text_base("gpt2"), texts(0, 5)
    path = Trajectory(base, Recipe(optimizer="sgd"), Training(tuple(items), STEPS), 0)
    assert (unrolled.influence(path, texts(1, 3)) == unrolled.influence(path, texts(1, 3), keep=1)).all()


def test_of_one_sample_and_small_steps_it_is_what_finetuning_does() -> None:
    base, queries = text_base("gpt2"), texts(1, 4)
    probe, errors = texts(0, 1), list[float]()
    for lr in (1e-4, 1e-5):
        how = Recipe.model_validate({"adapter": "full", "optimizer": "sgd", "lr": lr, "steps": 3, "dtype": "float64"})
        found = unrolled.influence(Trajectory(base, how, probe_training(probe, 3), 0), queries)[0]
        [row] = definition.measure(base, how, [probe], queries, 0).rows
        truth = row.after.logprob - definition.evaluate(base, how, queries).logprob
        errors.append(np.abs(found - truth).max() / np.abs(truth).max())
    assert errors[0] < 0.1 and errors[0] / errors[1] == pytest.approx(10, rel=0.2)


def test_metasmoothness_is_1_where_weights_act_linearly_and_low_where_adam_divides_by_nothing() -> None:
    base, whole = text_base("gpt2"), Training(tuple(texts(0, 5)), STEPS)

    def smoothness(**optimizer: Any) -> float:
        how = Recipe.model_validate({"adapter": "full", "dtype": "float64", "optimizer": optimizer})
        return unrolled.metasmoothness(Trajectory(base, how, whole, 0), 0)

    assert smoothness(kind="sgd", lr=1e-3) > 0.999
    assert smoothness(kind="sgd", lr=0.0) == 1.0
    assert smoothness(kind="adam", lr=0.1, eps=1e-12) < 0.9
