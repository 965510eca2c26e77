"""Estimates of what a first stage's samples do to a model that was trained on others after it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from einfluence import engine
from einfluence.arms import estimators
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import Curvature
from einfluence.engine.gradients.definition import Point
from einfluence.estimators.ekfac import by_factors, factors
from einfluence.estimators.exact import SecondStage, solve
from einfluence.estimators.pushes import Push, Pushes, scores
from einfluence.estimators.training import trainings_of, with_steps
from einfluence.estimators.within import TrainedSet
from einfluence.recipe import Recipe, Tuning
from einfluence.training_set import FULL, Variant
from tests.estimators.softmax import CLASSES, TUNING, Array, Problem, estimated, gradients, in_two_stages, problem

ABLE = [name for name, made_by in estimators().items() if made_by.two_stages]
RANK = Tuning.model_validate({**dict(TUNING), "adapter": {"kind": "lora", "r": 2, "targets": ["1"]}})


@pytest.mark.parametrize("name", ABLE)
def test_a_second_stage_whose_rate_is_0_changes_nothing(name: str) -> None:
    some = problem(0, n=40, queries=5)
    tuning = RANK if name == "turn_over" else TUNING
    within = in_two_stages(some, 30, batch_size=10, warmup=1)  # the first step of a warm-up takes 0
    found = estimated(some, name, 0, within, tuning)
    alone = estimated(some, name, 0, within.first_stage, tuning)
    assert np.allclose(found, alone, rtol=1e-7, atol=1e-10) and np.abs(alone).max() > 1e-4


def curvature_of(theta: Array, x: Array) -> Array:
    logits = x @ theta[:-CLASSES].reshape(CLASSES, -1).T + theta[-CLASSES:]
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total = np.zeros((len(theta), len(theta)))
    for row, p in zip(x, chance, strict=True):
        jacobian = np.concatenate([np.kron(np.eye(CLASSES), row), np.eye(CLASSES)], 1)
        total += jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian / len(x)
    return total


def minimum(x: Array, y: Array, weights: Array, pull: Array | float, home: Array) -> Array:
    """Where the weighted mean loss is least, with pull / 2 times the square of the way from home, by Newton's steps."""
    theta = home.copy()
    for _ in range(30):
        rows = gradients(theta, x, y) * weights[:, None]
        logits = x @ theta[:-CLASSES].reshape(CLASSES, -1).T + theta[-CLASSES:]
        chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        hessian = np.diag(np.broadcast_to(pull, len(theta))).copy()
        for row, p, weight in zip(x, chance, weights, strict=True):
            jacobian = np.concatenate([np.kron(np.eye(CLASSES), row), np.eye(CLASSES)], 1)
            hessian += weight * jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian / len(x)
        theta = theta - np.linalg.solve(hessian, -rows.mean(0) + pull * (theta - home))
    return theta


def at(some: Problem, theta: Array) -> Point:
    point = Point.start(some.base, Recipe.model_validate({"adapter": "full", "dtype": "float64"}), 0)
    weight, bias = point.trained.values()
    with torch.no_grad():
        weight.copy_(torch.from_numpy(theta[:-CLASSES].reshape(weight.shape)))
        bias.copy_(torch.from_numpy(theta[-CLASSES:]))
    return point


def test_both_solutions_are_the_derivative_through_both_minima() -> None:
    some, ridge = problem(3, n=20, queries=4), 0.05
    pull = np.where(np.arange(18) < 15, 0.3, 0.7)  # weights and biases are held otherwise
    (x, y), (later, labels) = (some.x[:12], some.y[:12]), (some.x[12:], some.y[12:])

    def ends(weights: Array) -> tuple[Array, Array]:
        first = minimum(x, y, weights, ridge, np.zeros(18))
        return first, minimum(later, labels, np.ones(8), pull, first)

    first, last = ends(np.ones(12))
    one = Curvature(at(some, first), some.items[:12], "hessian", ridge)
    two = SecondStage(pull, Curvature(at(some, last), some.items[12:], "hessian", pull))
    for place in range(0, 12, 5):
        found = two.kept(solve(one, gradients(first, x, y)[place])).x / 12
        step = np.where(np.arange(12) == place, 1e-4, 0.0)
        right = (ends(1 + step)[1] - ends(1 - step)[1]) / 2e-4
        assert np.abs(right).max() > 1e-3 and np.allclose(found, right, rtol=1e-5, atol=1e-7)


def test_products_with_factors_of_both_stages_are_their_formula() -> None:
    some = problem(4, n=20, queries=3)
    draw = np.random.default_rng(0)
    theta = [draw.normal(size=18) / 2 for _ in range(2)]
    one, two = (Collector(at(some, each)) for each in theta)
    items, later = some.items[:12], some.items[12:]
    own, behind = factors(one, items, 0), factors(two, later, 0)
    length = {name: torch.tensor(each) for name, each in zip(one.point.trained, (0.5, 2.0), strict=True)}
    known = {**own, **{f"then {name}": each for name, each in behind.items()}}
    known |= {f"then {name}:length": each for name, each in length.items()}
    pushes = Pushes(tuple((Push(1.0, ((item, 1.0),)),) for item in items))
    found = scores(one, pushes, some.asked, by_factors(known, 0.1), asked=two)
    z, a = gradients(theta[0], some.x[:12], some.y[:12]), gradients(theta[1], *some.queries)
    right = np.zeros_like(found)
    for place, (name, value) in enumerate(one.point.trained.items()):
        part = slice(0, 15) if place == 0 else slice(15, 18)

        def inverse(state: dict[str, torch.Tensor], name: str = name, shape: torch.Size = value.shape) -> Array:
            left, turned = state.get(f"{name}:left"), state[f"{name}:right"].numpy()
            return np.kron(np.eye(1) if left is None else left.numpy(), turned)

        q, r = inverse(own), inverse(behind)
        first, second = (state[f"{name}:values"].numpy().ravel() for state in (own, behind))
        middle = (r / (1 + float(length[name]) * second)) @ r.T @ (q / (first + 0.1 * first.mean())) @ q.T
        right += a[:, part] @ middle @ z[:, part].T
    assert np.allclose(found, right, rtol=1e-6, atol=1e-9)


def truth(some: Problem, within: TrainedSet, tuning: Tuning = TUNING) -> Array:
    """What leaving each point out of the first stage does to the queries after both, (n, Q)."""
    without = [Variant("without", str(place), (place,)) for place in range(len(within.samples))]
    trainings = trainings_of(some.base, within.samples, within.schedule, 0, [FULL, *without], within.later)
    how = with_steps(tuning, within.schedule, len(within.samples), len(within.later))
    full, *rest = [row.after.logprob for row in engine.measure(some.base, how, trainings, some.asked, 0).rows]
    return np.stack([full - each for each in rest])


def test_what_the_second_stage_leaves_is_nearer_to_the_truth_than_what_the_first_did() -> None:
    some = problem(0, n=90)
    within = in_two_stages(some, 60, epochs=2, batch_size=10)
    right = truth(some, within)
    least = {"unrolled": 0.99, "source": 0.98, "exact": 0.96, "ekfac": 0.84, "grad_dot": 0.84}
    for name, bound in least.items():
        found, first = estimated(some, name, 0, within), estimated(some, name, 0, within.first_stage)
        ranked, before = (
            np.mean([spearmanr(*both).statistic for both in zip(one.T, right.T, strict=True)]) for one in (found, first)
        )
        assert bound < ranked and before < ranked, name
        slopes = [(one * right).sum() / (one**2).sum() for one in (found, first)]
        assert abs(1 - slopes[0]) < abs(1 - slopes[1]), name
