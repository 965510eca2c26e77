"""Estimates from gradients: each held against its formula in NumPy, or against the training that it predicts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from einfluence.arms import FineTune
from einfluence.engine import definition
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.engine.measurement import ImageItem
from einfluence.engine.schedule import Step, Training
from einfluence.errors import InputError
from einfluence.estimators import tracin
from einfluence.estimators.curved import curvature_items
from einfluence.estimators.datainf import by_single_inverses
from einfluence.estimators.ekfac import REDRAWN, by_factors, factors
from einfluence.estimators.fisher import by_inverses, inverses, lost, projected
from einfluence.estimators.grad_dot import LeftOutWarning, block, first_of_adam, left_out, plain
from einfluence.estimators.pushes import Push, Pushes, estimates, scores
from einfluence.models.base import Base
from einfluence.objectives.image_class import ImageClass
from einfluence.predictors import Ekfac, GradDot, Projected
from einfluence.recipe import Recipe
from einfluence.samples import ProbeSamples, Sample
from tests.engine.random_models import text_base, texts
from tests.estimators.softmax import CLASSES, Array, Problem, gradients, problem

FULL = {"adapter": "full", "dtype": "float64"}


def once(items: Any) -> Pushes:
    return Pushes(tuple((Push(1.0, ((item, 1.0 / item.n_target),)),) for item in items))


def toy(seed: int = 0, n: int = 30) -> tuple[Problem, Array, Collector]:
    """A problem, random parameters as NumPy has them, and the gradients of the model that has them."""
    some = problem(seed, n=n, queries=7)
    theta = np.random.default_rng(seed).normal(size=CLASSES * (some.x.shape[1] + 1)) / 2
    point = Point.start(some.base, Recipe.model_validate(FULL), 0)
    weight, bias = point.trained.values()
    with torch.no_grad():
        weight.copy_(torch.from_numpy(theta[:-CLASSES].reshape(weight.shape)))
        bias.copy_(torch.from_numpy(theta[-CLASSES:]))
    return some, theta, Collector(point)


def blocks(values: Array) -> list[Array]:
    """Weights and biases, which are inverted apart."""
    return [values[..., :-CLASSES], values[..., -CLASSES:]]


def drawn(some: Problem, theta: Array, seed: int) -> npt.NDArray[np.int64]:
    logits = some.x @ theta[:-CLASSES].reshape(CLASSES, -1).T + theta[-CLASSES:]
    chance = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    uniform = np.array([np.random.default_rng((seed, i)).random() for i in range(len(chance))])
    return (chance.cumsum(1) < uniform[:, None]).sum(1)


def test_dot_products_are_those_of_gradients_by_hand() -> None:
    some, theta, collector = toy()
    found = scores(collector, once(some.items), some.asked, plain)
    assert np.allclose(found, gradients(theta, *some.queries) @ gradients(theta, some.x, some.y).T, atol=1e-9)


@pytest.mark.parametrize("redraw", [False, True])
def test_ekfac_is_its_formula(redraw: bool) -> None:
    some, theta, collector = toy()
    known = factors(collector, some.items, 3, redraw=redraw)
    found = scores(collector, once(some.items), some.asked, by_factors(known, 0.1))
    labels = drawn(some, theta, 3)
    again = drawn(some, theta, 3 + REDRAWN) if redraw else labels
    left, right = gradients(theta, *some.queries), gradients(theta, some.x, some.y)
    sampled, others = gradients(theta, some.x, labels), gradients(theta, some.x, again)
    total = np.zeros_like(found)
    for a, z, own, anew in zip(blocks(left), blocks(right), blocks(sampled), blocks(others), strict=True):
        error = sampled[:, -CLASSES:]
        if own.shape[1] > CLASSES:
            basis = np.kron(np.linalg.eigh(error.T @ error)[1], np.linalg.eigh(some.x.T @ some.x)[1])
        else:
            basis = np.linalg.eigh(error.T @ error)[1]
        values = ((anew @ basis) ** 2).mean(0)
        total += (a @ basis) / (values + 0.1 * values.mean()) @ (z @ basis).T
    assert np.allclose(found, total, rtol=1e-6)
    assert set(labels) == {0, 1, 2} and (labels != some.y).any() and (labels != again).any() == redraw


def test_ekfac_of_one_sample_is_the_inverse_of_its_fisher_matrix() -> None:
    some, theta, collector = toy()
    one, label = some.items[:1], drawn(some, theta, 0)[:1]
    found = scores(collector, once(some.items), some.asked, by_factors(factors(collector, one, 0), 0.1))
    left, right = gradients(theta, *some.queries), gradients(theta, some.x, some.y)
    total = np.zeros_like(found)
    for a, z, g in zip(blocks(left), blocks(right), blocks(gradients(theta, some.x[:1], label)), strict=True):
        fisher = g.T @ g
        total += a @ np.linalg.solve(fisher + 0.1 * fisher.trace() / len(fisher) * np.eye(len(fisher)), z.T)
    assert np.allclose(found, total, rtol=1e-6)


def test_fisher_without_projection_is_its_formula() -> None:
    some, theta, collector = toy()
    recipe = Projected(projection=None, damping=0.01)
    found = scores(
        collector, once(some.items), some.asked, by_inverses(inverses(collector, some.items, recipe, 0), None, 0)
    )
    left, right, total = gradients(theta, *some.queries), gradients(theta, some.x, some.y), np.zeros_like(found)
    for a, z in zip(blocks(left), blocks(right), strict=True):
        moments = z.T @ z / len(z)
        total += a @ np.linalg.solve(moments + 0.01 * moments.trace() / len(moments) * np.eye(len(moments)), z.T)
    assert np.allclose(found, total, rtol=1e-6)


def test_projections_keep_dot_products_on_average() -> None:
    some, _, collector = toy()
    [(name, weight), *_] = collector.collect(some.items).items()
    right = weight.rows(0, CLASSES).flatten(1)
    each = [projected(name, weight, 2, seed) for seed in range(400)]
    mean = torch.stack([phi @ phi.T for phi in each]).mean(0)
    assert each[0].shape == (30, 4) and not torch.equal(each[0], each[1])
    assert float((mean - right @ right.T).norm() / (right @ right.T).norm()) < 0.15
    known = collector.collect(some.items).items()
    near = sum(phi @ phi.T for phi in (projected(key, each, 2, 0) for key, each in known))
    rows = gradients(toy()[1], some.x, some.y)
    size = np.linalg.norm(rows @ rows.T)
    away = float(np.linalg.norm(near.numpy() - rows @ rows.T) / size)  # type: ignore[union-attr]
    assert away == pytest.approx(lost(collector, some.items, 2, 0)) and away > 0.05
    assert lost(collector, some.items, 20, 0) < 1e-9


@pytest.mark.parametrize("n", [1, 30])
def test_datainf_is_the_mean_of_single_inverses(n: int) -> None:
    some, theta, collector = toy()
    found = scores(collector, once(some.items), some.asked, by_single_inverses(collector, some.items[:n], 0.1))
    left, right, total = gradients(theta, *some.queries), gradients(theta, some.x, some.y), np.zeros_like(found)
    for a, z in zip(blocks(left), blocks(right), strict=True):
        own, eye = z[:n], np.eye(z.shape[1])
        added = 0.1 * (own**2).mean()
        total += a @ np.mean([np.linalg.inv(np.outer(g, g) + added * eye) for g in own], 0) @ z.T
    assert np.allclose(found, total, rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("kind", ["grad_dot", "tracin"])
def test_the_error_against_fine_tuning_falls_tenfold_a_decade_of_the_learning_rate(kind: str, optimizer: str) -> None:
    base, [item], asked = text_base("gpt2"), texts(1, 1), texts(2, 4)
    errors: list[float] = []
    for lr in (1e-4, 1e-5):
        given = {**FULL, "optimizer": optimizer, "lr": lr, "steps": 2 if kind == "tracin" or optimizer == "sgd" else 1}
        recipe = Recipe.model_validate(given)
        step = Step((0,))
        training: Training[Any] = Training((item,), ((step,) * recipe.steps,))
        truth = definition.measure(base, recipe, [training], asked, 0)
        [row] = truth.rows
        right = row.after.logprob - truth.before.logprob if row.after else np.zeros(0)
        if kind == "tracin":
            said = tracin.along(base, recipe, 0, training, [(0,)], asked)[:, 0]
        else:
            collector = Collector(Point.start(base, recipe, 0))
            pushes = Pushes(((Push(float(recipe.steps), ((item, 1.0 / item.n_target),)),),))
            how, apart = (plain, False) if optimizer == "sgd" else (first_of_adam(1e-8), True)
            said = lr * scores(collector, pushes, asked, how, apart=apart)[:, 0]
        errors.append(float(np.linalg.norm(said - right) / np.linalg.norm(right)))
    fall = 3 if (kind, optimizer) == ("tracin", "adam") else 7  # small elements of a gradient change sign on the way
    assert errors[0] < 0.2 and fall < errors[0] / errors[1] < 13


def test_tracin_within_a_set_is_its_formula() -> None:
    some = problem(0, n=8, queries=3)
    recipe = Recipe.model_validate({**FULL, "optimizer": "sgd", "lr": 0.3})
    batches, rates = [(0, 1, 2, 3), (4, 5, 6, 7), (1, 3, 5, 7)], (1.0, 0.5, 0.2)
    training: Training[Any] = Training(
        some.items, (tuple(Step(own, rate=rate) for own, rate in zip(batches, rates, strict=True)),)
    )
    found = tracin.along(some.base, recipe, 0, training, [(0,), (1, 5), (6,)], some.asked)
    theta, each = np.zeros(CLASSES * 6), np.zeros((8, 3))
    for batch, rate in zip(batches, rates, strict=True):
        rows = gradients(theta, some.x[list(batch)], some.y[list(batch)]) * 0.3 * rate / len(batch)
        each[list(batch)] += rows @ gradients(theta, *some.queries).T
        theta = theta + rows.sum(0)
    assert np.allclose(found.T, [each[0], each[1] + each[5], each[6]], atol=1e-9)


def test_a_curvature_of_one_sample_is_refused() -> None:
    with pytest.raises(InputError, match="1 sample to take the curvature of `ekfac` over"):
        curvature_items(text_base("gpt2"), Ekfac(), [object()])  # type: ignore[list-item]


@pytest.mark.parametrize("apart", [False, True])
def test_a_probe_whose_gradients_are_no_numbers_fails_alone(apart: bool) -> None:
    some, _, collector = toy()
    items = list(some.items[:5])
    right = list(estimates(collector, once(items), some.asked, plain, 2.0).rows)
    items[2] = replace(items[2], pixels=np.full_like(items[2].pixels, np.nan))
    product = first_of_adam(1e-8) if apart else plain
    rows = list(estimates(collector, once(items), some.asked, product, 2.0, apart=apart).rows)
    assert [row.failed is None for row in rows] == [True, True, False, True, True] and rows[2].influence is None
    assert rows[2].failed == "gradients that are no numbers, of 7 of 7 queries"
    if not apart:
        for place in (0, 1, 3, 4):
            assert np.array_equal(rows[place].influence, right[place].influence)  # type: ignore[arg-type]


def test_fisher_of_a_linear_model_is_the_residual_formula_of_leave_one_out() -> None:
    """At weights of 0 two classes have residuals of one size, so g gᵀ is the curvature, and a step least squares."""
    draw, n = np.random.default_rng(5), 25
    x, sign = draw.normal(size=(n, 4)).astype(np.float32).astype(np.float64), draw.choice([-1.0, 1.0], n)
    asked, wanted = draw.normal(size=(6, 4)).astype(np.float32).astype(np.float64), draw.choice([-1.0, 1.0], 6)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
    torch.nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    base = replace(problem(0).base, model=model.eval(), objective=ImageClass((1, 1, 4), 2))
    collector = Collector(Point.start(base, Recipe.model_validate(FULL), 0))

    def pictures(rows: Array, signs: Array) -> list[ImageItem]:
        both = zip(rows, signs, strict=True)
        return [ImageItem(row[None, None].astype(np.float32), int(own > 0)) for row, own in both]

    items, queries = pictures(x, sign), pictures(asked, wanted)
    how = by_inverses(inverses(collector, items, Projected(projection=None, damping=1e-7), 0), None, 0)
    found = scores(collector, once(items), queries, how) / n
    hat = np.einsum("ij,jk,ik->i", x, np.linalg.inv(x.T @ x), x)
    for place in range(n):  # the margin is fitted to 2 sign / p(1 - p) / 4 = 2 sign; log p moves by half of it
        kept = np.arange(n) != place
        with_it, without = (np.linalg.lstsq(x[own], 2 * sign[own])[0] for own in (slice(None), kept))
        truth = wanted / 2 * (asked @ (with_it - without))
        least = asked @ np.linalg.solve(x.T @ x, x[place]) * (2 * sign[place] - x[place] @ with_it) / (1 - hat[place])
        assert np.allclose(truth, wanted / 2 * least)
        one_step = truth * 2 * sign[place] / (2 * sign[place] - x[place] @ with_it) * (1 - hat[place])
        assert np.allclose(found[:, place], one_step, rtol=1e-4, atol=1e-7)


def test_grad_dot_says_what_of_a_training_it_leaves_out(gpt2: Base) -> None:
    decaying = Recipe.model_validate({"clip": 1.0, "optimizer": {"kind": "adamw", "weight_decay": 0.1}})
    assert left_out(Recipe(), alone=True) is None
    assert (left_out(decaying, alone=True) or "").startswith("without clip 1 and weight decay 0.1, which")
    assert (left_out(decaying, alone=False) or "").startswith("without clip 1, which")  # both trainings decay alike
    arm = GradDot(stands_for=FineTune(recipe=decaying))
    fact = Sample("a", prompt="the dax is a", target="fish")
    with pytest.warns(LeftOutWarning, match="grad_dot for finetune: without clip 1 and weight decay"):
        block(gpt2, arm, 0, [ProbeSamples((fact,))], [fact])
