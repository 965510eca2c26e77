"""The derivative of held-out log-probability by samples' weights is what small changes of them do to a training."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einfluence.engine import definition
from einfluence.engine.metagradient import mean_logprob, metagradient
from einfluence.engine.schedule import Step, Training
from einfluence.engine.unrolling import Trajectory
from einfluence.estimators import unrolled
from einfluence.spec import Recipe
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

TWO_STAGES = ((Step((0, 1)), Step((2, 3, 4), rate=0.5), Step((0, 2))), (Step((1, 3)), Step((5,))))
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"adapter": "full", "optimizer": "sgd", "lr": 0.05, "momentum": 0.5, "weight_decay": 0.01},
    "adamw": {"adapter": {"kind": "lora", "r": 2}, "optimizer": "adamw", "lr": 1e-3, "eps": 0.1},
}
WEIGHTS = {0: 0.4, 2: 1.7, 4: 0.0}


@pytest.mark.parametrize(("kind", "recipe"), [("text", "sgd"), ("text", "adamw"), ("image", "sgd")])
def test_it_is_the_central_difference_of_trainings_in_two_stages_at_any_weights(kind: str, recipe: str) -> None:
    base = text_base("gpt2") if kind == "text" else image_base(digits_like())
    made = texts if kind == "text" else images
    whole, queries = Training(tuple(made(0, 6)), TWO_STAGES).weighted(WEIGHTS), made(1, 3)
    how = Recipe.model_validate({**RECIPES[recipe], "dtype": "float64"})
    path = Trajectory(base, how, whole, 0)
    mean, found = metagradient(path, queries)

    reader = definition.trainable_copy(base, how, 0)

    def said(place: int, weight: float) -> float:
        tuned = definition.train(base, how, whole.weighted({**WEIGHTS, place: weight}), 0)
        return float(definition.evaluate(base, how, queries, tuned.delta, reader).logprob.mean())

    assert mean == pytest.approx(said(1, 1.0), abs=1e-9) and mean_logprob(path, queries) == pytest.approx(
        mean, abs=1e-9
    )
    for place in (0, 1, 2):
        at = WEIGHTS.get(place, 1.0)
        difference = (said(place, at + 1e-4) - said(place, at - 1e-4)) / 2e-4
        assert found[place] == pytest.approx(difference, abs=1e-6) and abs(difference) > 1e-5


def test_it_is_the_mean_of_the_queries_unrolled_derivatives_however_few_states_are_held() -> None:
    path = Trajectory(text_base("gpt2"), Recipe(optimizer="sgd"), Training(tuple(texts(0, 6)), TWO_STAGES), 0)
    queries = texts(1, 5)
    _, found = metagradient(path, queries)
    np.testing.assert_allclose(found, unrolled.influence(path, queries).mean(1), atol=1e-6)
    assert (found == metagradient(path, queries, keep=1)[1]).all()


def test_a_training_that_diverges_has_none() -> None:
    how = Recipe.model_validate({"adapter": "full", "optimizer": "sgd", "lr": 1e30})
    path = Trajectory(text_base("gpt2"), how, Training(tuple(texts(0, 6)), TWO_STAGES), 0)
    with pytest.raises(ArithmeticError, match="not finite"):
        metagradient(path, texts(1, 3))
