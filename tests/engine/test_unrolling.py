"""Trainings as functions: the same parameters as the definition's, the same states however few are held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from einfluence.engine import definition
from einfluence.engine.schedule import Step, Training
from einfluence.engine.unrolling import Trajectory
from einfluence.errors import InputError
from einfluence.spec import Recipe
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

STEPS = ((Step((0, 1)), Step((2, 3, 4), rate=0.5), Step((0, 2), (1.0, 0.5))), (Step((1, 3)),))
RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"adapter": "full", "optimizer": "sgd", "lr": 0.05},
    "momentum, clipped": {"adapter": "last", "optimizer": "sgd", "lr": 0.05, "momentum": 0.5, "clip": 0.5},
    "adam": {"adapter": {"kind": "match", "pattern": "weight"}, "optimizer": "adam", "lr": 0.001, "weight_decay": 0.1},
    "lora": {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1},
}


def training(items: Any) -> Training[Any]:
    return Training(tuple(items), STEPS)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_last_state_is_what_the_definition_leaves_behind(kind: str, recipe: str) -> None:
    base = text_base("gpt2") if kind == "text" else image_base(digits_like())
    whole = training(texts(0, 5) if kind == "text" else images(0, 5))
    how = Recipe.model_validate({**RECIPES[recipe], "dtype": "float64"})
    path, delta = Trajectory(base, how, whole, 3), definition.train(base, how, whole, 3).delta
    end = dict(zip(path.names, path.end().values, strict=True))
    for name, value in delta.items():
        assert torch.allclose(end.get(name, path.engine.start[name]), value, rtol=1e-9, atol=1e-12), name
    moved = max((end[name] - path.engine.start[name]).abs().max().item() for name in end)
    assert moved > 1e-3


def test_states_that_are_computed_again_are_the_same_bits() -> None:
    path = Trajectory(text_base("gpt2"), Recipe.model_validate(RECIPES["lora"]), training(texts(0, 5)), 0)
    walks = [list(path.backwards(keep)) for keep in (None, 100, 1)]
    for walk in walks:
        assert [index for index, _, _ in walk] == [3, 2, 1, 0]
        for (_, *some), (_, *others) in zip(walk, walks[0], strict=True):
            for one, other in zip(some, others, strict=True):
                assert one.taken == other.taken
                assert all(a.equal(b) for a, b in zip(one.tensors, other.tensors, strict=True))


def test_gradients_of_samples_are_those_of_each_alone_in_any_company() -> None:
    base, items = text_base("gpt2"), texts(1, 6)
    path = Trajectory(base, Recipe(adapter="full", dtype="float64"), training(texts(0, 5)), 0)
    start = path.start().values
    together = path.sample_gradients(start, items)
    for item, found in zip(items, together, strict=True):
        leaves = path.start().leaves().values
        alone = torch.autograd.grad(path.logprobs(leaves, [item])[0], leaves)
        assert torch.allclose(torch.cat([g.flatten() for g in alone]), found, atol=1e-10)
    said = path.logprobs(start, items).tolist()
    expected = definition.evaluate(base, path.recipe, items).logprob
    assert np.allclose(said, expected, atol=1e-10)


def test_half_precision_is_refused() -> None:
    with pytest.raises(InputError, match="bfloat16, in which the steps of a training cannot be differentiated"):
        Trajectory(text_base("gpt2"), Recipe(dtype="bfloat16"), training(texts(0, 5)), 0)
