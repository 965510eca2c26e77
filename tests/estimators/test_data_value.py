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


@pytest.mark.parametrize("steps", [5, 3, 12])
def test_the_fifths_of_a_training_add_up_to_the_whole(steps: int) -> None:
    some = problem(0, n=12, queries=5)
    batches = [Step((i % 12, (3 * i + 1) % 12, (7 * i + 2) % 12)) for i in range(steps)]
    how = Recipe.model_validate({"adapter": "full", "dtype": "float64", **RECIPES["momentum"]})
    path = Trajectory(some.base, how, Training(some.items, (tuple(batches),)), 0)
    whole = data_value.influence(path, some.asked)
    fifths = [data_value.influence(path, some.asked, fifth=fifth) for fifth in range(1, 6)]
    assert np.abs(sum(fifths) - whole).max() < 1e-10
    assert all(np.abs(one).max() > 1e-4 for one in fifths)


def test_a_step_between_two_fifths_counts_to_each_in_part() -> None:
    assert data_value.shares(5, 2).tolist() == [0, 1, 0, 0, 0]
    assert data_value.shares(10, 1).tolist() == [1, 1, *[0] * 8]
    assert data_value.shares(6, 2).tolist() == pytest.approx([0, 0.8, 0.4, 0, 0, 0], abs=1e-15)
    assert data_value.shares(1, 5).tolist() == [0.2]


def test_of_a_sample_that_one_step_trained_on_only_its_fifth_says_something() -> None:
    some = problem(0, n=12, queries=5)
    steps = tuple(Step((index,)) for index in range(5))
    how = Recipe.model_validate({"adapter": "full", "dtype": "float64", **RECIPES["sgd"]})
    path = Trajectory(some.base, how, Training(some.items, (steps,)), 0)
    for fifth in range(1, 6):
        found = np.abs(data_value.influence(path, some.asked, fifth=fifth)).max(1)
        assert np.flatnonzero(found).tolist() == [fifth - 1]
