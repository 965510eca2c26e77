"""A base after a training: it scores what the training's queries were given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from einfluence.engine import definition
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Step, Training
from einfluence.engine.text.low_rank_sgd import LowRankSgdEngine
from einfluence.engine.trained import parameters, trained_base, trained_copy
from einfluence.models.base import Base
from einfluence.spec import Recipe
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "adapters on GPT-2's Conv1D": ("gpt2", {"adapter": {"kind": "lora", "r": 2}, "lr": 0.01}),
    "adapters on Linear": ("gpt-neox", {"adapter": {"kind": "lora", "r": 2}, "lr": 0.01}),
    "an adapter on a tied output layer": (
        "llama-tied", {"adapter": {"kind": "lora", "r": 2, "targets": ["lm_head"]}, "optimizer": "sgd", "lr": 0.3},
    ),
    "all parameters": ("opt", {"adapter": "full", "lr": 0.002}),
    "a tied output layer": ("gpt2", {"adapter": "last", "optimizer": "sgd", "lr": 0.1}),
}  # fmt: skip


def scheduled(items: list[Item]) -> Training[Item]:
    """Two epochs in batches of two, one sample left out."""
    steps = [Step((0, 1), (1.0, 0.0)), Step((2, 3)), Step((3, 0)), Step((1, 2), (0.0, 1.0))]
    return Training(tuple(items), (tuple(steps),))


def assert_same(base: Base, recipe: Recipe, delta: dict[str, torch.Tensor], queries: list[Item], off: float) -> None:
    """The trained base, and a copy with the parameters, score what the definition scores with the ``delta``."""
    wanted = definition.evaluate(base, recipe, queries, delta)
    before = definition.evaluate(base, recipe, queries)
    after = trained_base(base, recipe, delta, "trained", "trained")
    found = definition.evaluate(after, recipe.model_copy(update={"adapter": Recipe(adapter="full").adapter}), queries)
    np.testing.assert_allclose(found.logprob, wanted.logprob, atol=off)
    np.testing.assert_array_equal(found.rank, wanted.rank)
    copied = definition.evaluate(base, recipe, queries, copied=trained_copy(base, recipe, delta))
    np.testing.assert_array_equal(copied.logprob, wanted.logprob)
    np.testing.assert_array_equal(definition.evaluate(base, recipe, queries).logprob, before.logprob)
    assert np.abs(wanted.logprob - before.logprob).max() > 0.01
    assert after.info.base_id == "trained"


@pytest.mark.parametrize("case", CASES)
def test_a_trained_base_scores_what_the_training_left(case: str) -> None:
    name, given = CASES[case]
    base, recipe = text_base(name), Recipe.model_validate({**given, "dtype": "float64"})
    tuned = definition.train(base, recipe, scheduled(texts(1, 4)), 0)
    off = 1e-5 if name.startswith("llama") else 1e-9  # whose norms are in float32
    assert_same(base, recipe, tuned.delta, texts(2, 5), off)


def test_a_trained_classifier_of_images_scores_what_the_training_left() -> None:
    base, recipe = image_base(digits_like()), Recipe.model_validate({"adapter": "full", "dtype": "float64", "lr": 0.01})
    tuned = definition.train(base, recipe, scheduled(images(1, 4)), 0)
    assert_same(base, recipe, tuned.delta, images(2, 5), 1e-9)


@pytest.mark.parametrize("name", ["gpt2", "gpt-neox"])
def test_factors_of_a_change_are_made_the_parameters_that_they_stand_for(name: str) -> None:
    given = {"adapter": "full", "optimizer": "sgd", "lr": 0.05, "momentum": 0.5, "weight_decay": 0.01}
    base, recipe = text_base(name), Recipe.model_validate({**given, "steps": 3, "dtype": "float64"})
    training: Training[Item] = Training(tuple(texts(1, 2)), ((Step((0, 1)),) * 3,))
    [tuned] = LowRankSgdEngine(base, recipe, 0).train_all([training])
    assert any(":" in key for key in tuned.delta)
    wanted = definition.train(base, recipe, training, 0).delta
    found = parameters(base, recipe, tuned.delta)
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-9, atol=1e-11)


def test_adapters_in_bfloat16_are_not_rounded_with_the_weights() -> None:
    base = text_base("gpt2")
    recipe = Recipe.model_validate({"adapter": {"kind": "lora", "r": 2}, "lr": 0.01, "dtype": "bfloat16"})
    tuned = definition.train(base, recipe, scheduled(texts(1, 4)), 0)
    after = trained_base(base, recipe, tuned.delta, "trained", "trained")
    assert {value.dtype for value in after.model.parameters()} == {torch.float32}
    exact = recipe.model_copy(update={"dtype": "float32"})
    assert_same(base, exact, tuned.delta, texts(2, 5), 1e-4)
