"""Data values: the adjoint recursion without a p x p matrix is the forward recursion with it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einfluence.engine.schedule import Step, Training, probe_training
from einfluence.engine.unrolling import Trajectory
from einfluence.estimators import data_value, unrolled
from einfluence.spec import Recipe
from tests.engine.random_models import text_base, texts
from tests.estimators.softmax import data_values, problem

RECIPES: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "lr": 0.3, "weight_decay": 0.01},
    "momentum": {"optimizer": "sgd", "lr": 0.1, "weight_decay": 0.01, "momentum": 0.7},
    "clipped": {"optimizer": "sgd", "lr": 0.3, "weight_decay": 0.01, "clip": 0.3},
    "adam": {"optimizer": "adam", "lr": 0.02, "weight_decay": 0.01},
    "adamw": {"optimizer": "adamw", "lr": 0.02, "weight_decay": 0.1, "clip": 0.3},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_is_the_forward_recursion_with_the_batches_empirical_fisher_matrices(recipe: str) -> None:
    some, batches = problem(0, n=12, queries=5), [(0, 1, 2, 3), (4, 5, 6, 7), (8, 9), (10, 0, 4), (1, 2, 3, 11)]
    how = Recipe.model_validate({"adapter": "full", "dtype": "float64", **RECIPES[recipe]})
    path = Trajectory(some.base, how, Training(some.items, (tuple(map(Step, batches)),)), 0)
    found = data_value.influence(path, some.asked)
    assert np.allclose(found, data_values(some, batches, RECIPES[recipe]), atol=1e-10)
    assert (found == data_value.influence(path, some.asked, keep=1)).all()
    assert np.abs(found).max() > 0.01


def test_where_one_step_is_taken_it_is_the_unrolled_derivative() -> None:
    path = Trajectory(
        text_base("gpt2"), Recipe(adapter="full", optimizer="sgd", dtype="float64"), probe_training(texts(0, 3), 1), 0
    )
    queries = texts(1, 4)
    assert np.allclose(data_value.influence(path, queries), unrolled.influence(path, queries), atol=1e-10)
