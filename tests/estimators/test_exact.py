"""Leave-one-out by the inverse of the curvature: products, solutions and eigenvectors against matrices laid out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from einfluence.arms import LeaveOneOut, estimators
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import Curvature
from einfluence.engine.gradients.definition import Point
from einfluence.estimators import ekfac, exact
from einfluence.estimators.within import TrainedSet
from einfluence.recipe import Recipe
from einfluence.samples import ProbeSamples
from tests.engine.random_models import text_base, texts
from tests.estimators.softmax import CLASSES, SCHEDULE, TUNING, Array, Problem, estimated, gradients, problem

DECAY = 0.01


def at_the_end(some: Problem, seed: int) -> Array:
    """The parameters that gradient descent on all points leaves behind."""
    theta = np.zeros(CLASSES * (some.x.shape[1] + 1))
    for batch in SCHEDULE.batches(len(some.x), seed):
        rows = gradients(theta, some.x[list(batch)], some.y[list(batch)])
        theta = theta + 0.3 * (rows.mean(0) - DECAY * theta)
    return theta


def curvature_by_hand(theta: Array, x: Array) -> Array:
    """(p, p): second derivatives of the mean loss, weights row by row, then biases."""
    logits = x @ theta[:-CLASSES].reshape(CLASSES, -1).T + theta[-CLASSES:]
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    total: Any = 0.0
    for row, p in zip(x, chance, strict=True):
        jacobian = np.concatenate([np.kron(np.eye(CLASSES), row), np.eye(CLASSES)], 1)
        total = total + jacobian.T @ (np.diag(p) - np.outer(p, p)) @ jacobian / len(x)
    return total


@pytest.mark.parametrize("curvature", ["hessian", "gauss_newton"])
def test_exact_is_a_dense_solution_on_thirty_parameters(curvature: str) -> None:
    some = problem(1, n=20, width=9, queries=6)
    theta = at_the_end(some, 1)
    own, asked = gradients(theta, some.x, some.y), gradients(theta, *some.queries)
    added = 0.1 * (own**2).mean() + DECAY
    right = own @ np.linalg.solve(curvature_by_hand(theta, some.x) + added * np.eye(30), asked.T) / 20
    found = estimated(some, "exact", 1, curvature=curvature)
    assert len(theta) == 30 and np.allclose(found, right, rtol=1e-5, atol=1e-8)


def test_lanczos_with_all_eigenvectors_is_exact_and_with_some_is_their_part() -> None:
    some = problem(1, n=20, width=9, queries=6)
    whole = estimated(some, "exact", 1)
    assert np.allclose(estimated(some, "lanczos", 1, eigenvectors=30), whole, rtol=1e-5, atol=1e-8)
    theta = at_the_end(some, 1)
    own, asked = gradients(theta, some.x, some.y), gradients(theta, *some.queries)
    values, vectors = np.linalg.eigh(curvature_by_hand(theta, some.x))
    damped = values[-7:] + 0.1 * (own**2).mean() + DECAY
    right = (own @ vectors[:, -7:] / damped) @ (asked @ vectors[:, -7:]).T / 20
    found = estimated(some, "lanczos", 1, eigenvectors=7)
    assert np.allclose(found, right, rtol=1e-5, atol=1e-7) and not np.allclose(found, whole, rtol=0.05)


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_products_are_those_of_the_matrix_laid_out_in_a_model_with_attention(
    kind: Literal["hessian", "gauss_newton"],
) -> None:
    base, items = text_base("gpt2"), texts(3, 3)
    recipe = Recipe.model_validate({"adapter": {"kind": "match", "pattern": r"h\.0\.ln_"}, "dtype": "float64"})
    point = Point.start(base, recipe, 0)
    sizes = [value.numel() for value in point.trained.values()]

    def logits(row: torch.Tensor, item: Any) -> torch.Tensor:
        batch = base.objective.collate([item]).to(row.device, row.dtype)
        parts = zip(point.trained.items(), row.split(sizes), strict=True)
        own = {name: part.view_as(value) for (name, value), part in parts}
        said = base.objective.logits(lambda *a, **k: functional_call(point.model, own, a, k), batch)
        return said[0][batch.counts[0]]

    def loss(row: torch.Tensor) -> torch.Tensor:
        total = torch.zeros((), dtype=row.dtype)
        for item in items:
            targets = base.objective.collate([item])
            total = total + torch.nn.functional.cross_entropy(logits(row, item), targets.targets[0][targets.counts[0]])
        return total / len(items)

    start = torch.cat([value.detach().flatten() for value in point.trained.values()])
    with sdpa_kernel(SDPBackend.MATH):
        if kind == "hessian":
            whole: Any = torch.autograd.functional.hessian(loss, start)
        else:
            whole = torch.zeros(len(start), len(start), dtype=start.dtype)
            for item in items:
                jacobian: Any = torch.autograd.functional.jacobian(lambda row, item=item: logits(row, item), start)
                for own, p in zip(jacobian, logits(start, item).softmax(-1).detach(), strict=True):
                    share = 1 / (item.n_target * len(items))
                    whole += share * (own.T @ (torch.diag(p) - torch.outer(p, p)) @ own)
    curvature = Curvature(point, items, kind, added=0.5)
    vectors = np.random.default_rng(0).normal(size=(3, len(start)))
    found = np.stack([curvature.product(one) for one in vectors])
    assert base.model.config._attn_implementation == "sdpa"
    assert np.allclose(found, vectors @ (whole.numpy() + 0.5 * np.eye(len(start))), atol=1e-9)
    assert np.abs(whole.numpy()).max() > 1e-3


def block(some: Problem, **recipe: object) -> list[Any]:
    kind = estimators()["exact"]
    arm = kind.arm.model_validate({"stands_for": LeaveOneOut(recipe=TUNING), "recipe": recipe})
    within = TrainedSet(some.samples, SCHEDULE, tuple((place,) for place in range(3)))
    probes = [ProbeSamples((sample,)) for sample in some.samples[:3]]
    return list(exact.block(some.base, arm, 0, probes, some.asked_samples, within=within).rows)  # type: ignore[arg-type]


def test_the_residual_is_in_the_note_and_one_that_is_too_large_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    some = problem(1, n=20, queries=3)
    rows = block(some)
    assert all(row.note.startswith("residual ") and "products" in row.note for row in rows)
    assert max(float(row.note.split()[1]) for row in rows) < 1e-3
    monkeypatch.setattr(exact, "MOST", 1)
    for row in block(some, damping=1e-6):
        assert row.influence is None and row.failed.startswith("no inverse: residual ") and "damping" in row.failed


def test_what_is_no_number_has_no_inverse() -> None:
    some = problem(1, n=4, queries=1)
    point = Point.start(some.base, Recipe.model_validate({"adapter": "full", "dtype": "float64"}), 0)
    bad = exact.solve(Curvature(point, some.items, "hessian", 0.1), np.full(18, np.nan))
    assert np.isnan(bad.residual) and not bad.x.any()
    bad = exact.solve(Curvature(point, some.items, "hessian", np.nan), np.ones(18))
    assert np.isnan(bad.residual) and bad.products == 0


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
def test_the_factors_of_ek_fac_take_fewer_products_to_the_same_solution(
    kind: Literal["hessian", "gauss_newton"],
) -> None:
    some = problem(1, n=150, width=20, queries=3)
    some = replace(some, x=(some.x * np.logspace(1, -1, 20)).astype(np.float32).astype(np.float64))
    point = Point.start(some.base, Recipe.model_validate({"adapter": "full", "dtype": "float64"}), 0)
    b, added = np.random.default_rng(0).normal(size=63), np.repeat([1e-3, 1e-2], [60, 3])
    curvature = Curvature(point, some.items, kind, added)
    near = ekfac.preconditioner(Collector(point), some.items, added, 0)
    plain, helped = exact.solve(curvature, b), exact.solve(curvature, b, near)
    dense = np.linalg.solve(curvature_by_hand(np.zeros(63), some.x) + np.diag(added), b)
    assert np.allclose(helped.x, dense, rtol=1e-5, atol=1e-6 * np.abs(dense).max()) and helped.residual < 1e-7
    assert helped.products < 0.5 * plain.products
    basis = np.stack([near(one) for one in np.eye(63)])
    assert np.allclose(basis, basis.T) and np.linalg.eigvalsh(basis).min() > 0
    one = ekfac.preconditioner(Collector(point), some.items[:1], 0.1, 0)  # of one sample the factors are its Fisher
    fisher = np.linalg.inv(np.stack([one(row) for row in np.eye(63)])) - 0.1 * np.eye(63)
    assert np.linalg.matrix_rank(fisher[:60, :60], tol=1e-8) == 1


def test_factors_that_save_no_products_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    some = problem(1, n=150, width=20, queries=3)
    point = Point.start(some.base, Recipe.model_validate({"adapter": "full", "dtype": "float64"}), 0)
    curvature = Curvature(point, some.items, "gauss_newton", 0.01)
    inverse = np.linalg.inv(np.stack([curvature.product(row) for row in np.eye(63)]))
    monkeypatch.setattr(exact, "preconditioner", lambda *_: lambda row: inverse @ row)
    near = exact.nearly(Collector(point), curvature, 0)
    assert near is not None and np.allclose(near(np.ones(63)), inverse @ np.ones(63))
    monkeypatch.setattr(exact, "preconditioner", lambda *_: lambda row: np.logspace(0, 6, 63) * row)
    assert exact.nearly(Collector(point), curvature, 0) is None
