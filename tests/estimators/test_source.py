"""SOURCE: exact where curvature and gradients are constant, the sum of steps where steps are small."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from einfluence.engine.schedule import Step, Training, probe_training
from einfluence.engine.unrolling import Trajectory
from einfluence.errors import InputError
from einfluence.estimators import source, unrolled
from einfluence.spec import Recipe
from tests.engine.random_models import text_base, texts
from tests.estimators.softmax import problem


def test_gradient_descent_on_a_quadratic_loss_is_followed_exactly() -> None:
    draw, p, n, lrs = np.random.default_rng(0), 6, 4, (0.1, 0.2, 0.15, 0.05, 0.1)
    root = draw.normal(size=(p, p))
    curvature, slopes, asked = root @ root.T / p, draw.normal(size=(n, p)), draw.normal(size=(3, p))

    def trained(weights: np.ndarray) -> np.ndarray:
        theta = np.ones(p)
        for lr in lrs:
            theta = theta - lr * (curvature @ theta + weights @ slopes / n)
        return theta

    truth = np.stack([asked @ (trained(np.ones(n)) - trained(1.0 - np.eye(n)[i])) for i in range(n)])
    for cut in ([5], [2, 3], [1, 3, 1]):
        bounds = np.cumsum([0, *cut])
        parts = [
            source.Segment(
                torch.tensor(lrs[a:b], dtype=torch.float64),
                torch.tensor(curvature),
                torch.ones(p, dtype=torch.float64),
                torch.tensor(-slopes / n),
            )
            for a, b in zip(bounds, bounds[1:], strict=False)
        ]
        assert np.allclose(source.followed(torch.tensor(asked), parts), truth, atol=1e-12)


def test_a_curvature_that_is_too_large_for_the_rate_is_followed_to_its_minimum() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    part = source.Segment(
        torch.ones(7, dtype=torch.float64), torch.diag(torch.tensor([50.0, 0.0]).double()), eye[0] + eye[1], eye
    )
    assert source.followed(eye, [part]).tolist() == [[1 / 50, 0], [0, 7]]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_with_a_segment_for_each_step_it_is_the_unrolled_derivative_of_a_convex_loss(optimizer: str) -> None:
    some = problem(0, n=12, queries=5)
    steps = tuple(Step(tuple(range(12))) for _ in range(6))
    tuning = {
        "sgd": {"lr": 0.3, "weight_decay": 0.01},
        "adamw": {"lr": 3e3, "betas": (0.0, 0.999), "eps": 1e4, "weight_decay": 1e-6},
    }
    how = Recipe.model_validate({"adapter": "full", "dtype": "float64", "optimizer": optimizer, **tuning[optimizer]})
    path = Trajectory(some.base, how, Training(some.items, (steps,)), 0)
    found, exact = source.influence(path, some.asked, segments=6, states=1), unrolled.influence(path, some.asked)
    assert np.allclose(found, exact, atol=1e-9 if optimizer == "sgd" else 1e-4 * np.abs(exact).max())


def test_small_steps_add_up() -> None:
    errors = list[float]()
    for lr in (1e-1, 1e-2):
        how = Recipe.model_validate(
            {"adapter": {"kind": "match", "pattern": "ln_f"}, "optimizer": "sgd", "lr": lr, "dtype": "float64"}
        )
        path = Trajectory(text_base("gpt2"), how, probe_training(texts(0, 2), 4), 0)
        found, exact = source.influence(path, texts(1, 3)), unrolled.influence(path, texts(1, 3))
        errors.append(np.abs(found - exact).max() / np.abs(exact).max())
    assert errors[0] < 1e-3 and errors[0] / errors[1] == pytest.approx(100, rel=0.3)


def test_more_numbers_than_a_matrix_may_have_are_refused() -> None:
    path = Trajectory(text_base("gpt2"), Recipe(), probe_training(texts(0, 2), 4), 0)
    with pytest.raises(InputError, match="trained numbers for `source`; expected at most 3,000"):
        source.influence(path, texts(1, 3))
