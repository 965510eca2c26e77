"""The samples that a curvature is taken over: one without a gradient is named, and too few for the damping are said."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from einfluence.arms import FineTune, LeaveOneOut, estimators
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.estimators import curvature_set, datainf, exact
from einfluence.estimators.curvature_set import NoNumbersError, SmallSetWarning
from einfluence.estimators.datainf import by_single_inverses
from einfluence.estimators.ekfac import factors
from einfluence.estimators.fisher import inverses
from einfluence.estimators.inverted import damped_curvature
from einfluence.estimators.pushes import scores
from einfluence.estimators.within import TrainedSet
from einfluence.predictors import Ekfac, Exact, Inverting, Projected
from einfluence.recipe import Recipe
from einfluence.samples import ProbeSamples
from tests.estimators.softmax import CLASSES, SCHEDULE, TUNING, Array, Problem, estimated, gradients, problem
from tests.estimators.test_exact import DECAY, at_the_end, curvature_by_hand
from tests.estimators.test_gradient_estimates import FULL, blocks, once

WITHOUT_END = Inverting(curvature="gauss_newton", dtype="float64")
TAKEN: dict[str, Callable[[Collector, list[Any]], object]] = {
    "ekfac": lambda at, items: factors(at, items, 0),
    "fisher": lambda at, items: inverses(at, items, Projected(projection=None), 0),
    "datainf": lambda at, items: scores(at, once(items[:1]), items[:1], by_single_inverses(at, items, 0.1)),
    "exact, lanczos": lambda at, items: damped_curvature(
        at, items, Exact(recipe=WITHOUT_END, stands_for=LeaveOneOut(recipe=TUNING))
    ),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_sample_whose_gradient_is_no_number_is_found(name: str) -> None:
    some, items = problem(0, n=6), list(problem(0, n=6).items)
    at = Collector(Point.start(some.base, Recipe.model_validate(FULL), 0))
    TAKEN[name](at, items)
    items[3] = replace(items[3], pixels=np.full_like(items[3].pixels, np.nan))
    with pytest.raises(NoNumbersError) as found:
        TAKEN[name](at, items)
    assert found.value.place == 3


def test_the_error_of_a_fit_names_the_sample_and_what_to_do() -> None:
    some = problem(0, n=6)
    x = some.x.copy()
    x[3] = np.nan
    samples = [replace(sample, source=f"points.csv:{place}") for place, sample in enumerate(some.samples)]
    alone = Ekfac(stands_for=FineTune(recipe=Recipe.model_validate(FULL)))
    with pytest.raises(ArithmeticError, match=r"^points.csv:3 \(sample 3\): gradients .* leave it out, or take `dtype"):
        estimators()["ekfac"].implementation.fit(replace(some, x=x).base, alone, 0, samples)


def arm(name: str, **recipe: object) -> Any:
    kind = estimators()[name].arm
    return kind.model_validate({"stands_for": LeaveOneOut(recipe=TUNING), "recipe": {"dtype": "float64", **recipe}})


@pytest.mark.parametrize(("module", "step"), [(exact, "damped_curvature"), (datainf, "mean_losses")])
def test_without_a_fit_all_probes_fail_with_it(module: Any, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_numbers(*_: object) -> None:
        raise NoNumbersError(1)

    some = problem(0, n=6, queries=2)
    monkeypatch.setattr(module, step, without_numbers)
    within = TrainedSet(some.samples, SCHEDULE, ((0,), (1,)))
    probes = [ProbeSamples((sample,)) for sample in some.samples[:2]]
    name = module.__name__.rpartition(".")[2]
    rows = list(module.block(some.base, arm(name), 0, probes, some.asked_samples, within=within).rows)
    assert [(row.probe, row.influence) for row in rows] == [(0, None), (1, None)]
    assert all(row.failed.startswith("sample 1: gradients that are no numbers") for row in rows)


def expected(name: str, some: Problem) -> float:
    """tr C (C + lambda)^-1 of matrices laid out, at the end of the training."""
    theta = at_the_end(some, 1)
    own = gradients(theta, some.x, some.y)
    if name in ("exact", "lanczos"):
        curvature, added = curvature_by_hand(theta, some.x), 0.1 * (own**2).mean() + DECAY
        inverse = np.linalg.inv(curvature + added * np.eye(len(theta)))
        return float(np.trace(curvature @ inverse) if name == "lanczos" else np.mean((own @ inverse * own).sum(1)))
    total = 0.0
    for z in blocks(own):
        moments, eye = z.T @ z / len(z), np.eye(z.shape[1])
        added = 0.1 * np.trace(moments) / len(moments)
        inverse = np.linalg.inv(moments + added * eye)
        if name == "datainf":
            inverse = np.mean([np.linalg.inv(np.outer(g, g) + added * eye) for g in z], 0)
        total += float(np.trace(moments @ inverse))
    return total


@pytest.mark.parametrize("name", ["ekfac", "fisher", "datainf", "exact", "lanczos"])
def test_directions_are_the_leverage_of_all_samples(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    some, seen, kind = problem(1, n=20, queries=2), list[tuple[int, int, float]](), estimators()[name]
    monkeypatch.setattr(kind.implementation, "too_few", lambda _, *found: seen.append(found))
    given: dict[str, object] = {"fisher": {"projection": None}, "lanczos": {"eigenvectors": 18}}.get(name, {})
    estimated(some, name, 1, **given)
    [(n, p, directions)] = seen
    assert (n, p) == (20, CLASSES * 6)
    if name == "ekfac":  # with its own draws: those of the state
        within = TrainedSet(some.samples, SCHEDULE)
        known = kind.implementation.fit(some.base, arm(name), 1, some.samples, within=within)
        each: list[Array] = [value.numpy() for key, value in known.items() if key.endswith(":values")]
        right = sum(float((v / (v + 0.1 * v.mean())).sum()) for v in each)
    else:
        right = expected(name, some)
    assert directions == pytest.approx(right, rel=1e-6)


def test_a_set_that_is_small_for_its_damping_is_said_and_one_that_is_not_is_not() -> None:
    predicted: Any = Ekfac.model_validate({"stands_for": LeaveOneOut(), "recipe": {"damping": 0.01}})
    with pytest.warns(SmallSetWarning, match="^ekfac for leave_one_out: curvature over 83 samples of 139,264 numbers"):
        note = curvature_set.too_few(predicted, 83, 139_264, 4120.4)
    assert note is not None
    assert "of which damping 0.01 leaves 4,120 directions, 49.6 a sample and at most 0.5: compare ranks" in note
    with warnings.catch_warnings(action="error"):
        assert curvature_set.too_few(predicted, 83, 139_264, 41.5) is None
        assert curvature_set.too_few(predicted, 83, 139_264, float("nan")) is None


def test_outcomes_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    some = problem(1, n=20, queries=2)
    for name in ("ekfac", "fisher", "datainf", "exact", "lanczos"):
        kind, own = estimators()[name], arm(name)
        within = TrainedSet(some.samples, SCHEDULE, ((0,),))
        state = kind.implementation.fit(some.base, own, 0, some.samples, within=within) if kind.fits else None
        probes = [ProbeSamples((some.samples[0],))]
        for most, said in ((1e-6, True), (1e6, False)):
            monkeypatch.setattr(curvature_set, "MOST_LEVERAGE", most)
            found = kind.implementation.block(some.base, own, 0, probes, some.asked_samples, state=state, within=within)
            [row] = found.rows
            assert ("curvature over 20 samples" in (row.note or "")) == said, name
