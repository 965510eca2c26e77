"""Leave-one-out by the inverse of the curvature itself, solved for each probe by conjugate gradients.

Influence is (1/n) a_q (C + lambda)^-1 (-g_z) with C the Gauss-Newton matrix or the second derivatives of the set's mean
loss, over all parameters together (Koh & Liang 2017, "Understanding black-box predictions via influence functions").
What a second stage leaves of that, (1 + l C_2)^-1, is solved for likewise. EK-FAC's factors, with the same damping, are
the preconditioner where they save products; of the solution they change what its residual allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy.sparse.linalg import LinearOperator, cg
from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import Curvature
from einfluence.engine.measurement import Item
from einfluence.estimators.curvature_set import NoNumbersError, naming, too_few
from einfluence.estimators.curved import Curving, curvature_items, curving
from einfluence.estimators.ekfac import preconditioner
from einfluence.estimators.estimate import MATH, EstimatedRow, Estimates
from einfluence.estimators.inverted import damped_curvature, decay_in_loss, in_lots, products_with, rows_of
from einfluence.estimators.pushes import Push, Pushes, row
from einfluence.estimators.second_stage import lengths
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Exact
from einfluence.samples import ProbeSamples, Sample

MOST = 1000  # products with the curvature for one probe
WORST = 0.01  # residual, as a share of the gradient's norm, beyond which a probe fails


Near = Callable[[npt.NDArray[Any]], npt.NDArray[np.float64]]


class Solution(NamedTuple):
    """What conjugate gradients reach.

    Args:
        x: (p,), about (C + lambda)^-1 b.
        residual: |b - (C + lambda) x| / |b|.
        products: With the curvature that it took.
    """

    x: Float[npt.NDArray[np.float64], " p"]
    residual: float
    products: int


def block(
    base: Base,
    arm: Exact,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    at = curving(base, arm, seed, probes, within)
    try:
        with naming(within.samples):
            curvature = damped_curvature(at.probes, curvature_items(base, arm, within.samples), arm)
    except ArithmeticError as error:
        return Estimates.failed(len(probes), str(error))
    behind = _second_stage(at.queries, arm, seed, within) if within.later else None
    near = nearly(at.probes, curvature, seed)
    rows = _rows(arm, at, curvature, near, behind, list(encode_all(base, queries)))
    return Estimates(rows, at.probes.point.numbers)


class SecondStage(NamedTuple):
    """What keeps parameters where a first stage left them, and what moves them on.

    Args:
        pull: (p,), 1 / l.
        curvature: C_2 + pull, and weight decay.
        near: About the inverse of that, for :func:`solve`.
    """

    pull: Float[npt.NDArray[np.float64], " p"]
    curvature: Curvature
    near: Near | None = None

    def kept(self, first: Solution) -> Solution:
        """What is left of a first stage's solution; the worse residual, and the products of both."""
        if not first.residual <= WORST:
            return first
        x, residual, products = solve(self.curvature, self.pull * first.x, self.near)
        return Solution(x, max(first.residual, residual), first.products + products)


def _second_stage(collector: Collector, arm: Exact, seed: int, within: TrainedSet) -> SecondStage | None:
    """None where its rates are all 0, which keeps everything; the collector is at its end."""
    point = collector.point
    each = lengths(point.base, arm, seed, within, point.trained)
    if not any(each.values()):
        return None
    pull = np.concatenate([np.full(value.numel(), 1 / each[name]) for name, value in point.trained.items()])
    later = list(encode_all(point.base, within.later))
    curvature = Curvature(point, later, arm.recipe.curvature, decay_in_loss(arm) + pull)
    return SecondStage(pull, curvature, nearly(collector, curvature, seed))


def nearly(collector: Collector, curvature: Curvature, seed: int) -> Near | None:
    """About the inverse of a curvature, at the collector's point; None where it saves no products.

    That is tried on the gradient of the first sample. Over few samples a curvature has few directions beside the
    damping, which conjugate gradients go through one by one; factors, which spread them over all, take more products.
    """
    try:
        near = preconditioner(collector, curvature.items, curvature.added, seed)
    except NoNumbersError:
        return None
    of_the_first = Pushes(((Push(1.0, ((curvature.items[0], 1.0),)),),))
    b = rows_of(collector, of_the_first)[0].double().cpu().numpy()
    plain = solve(curvature, b).products
    return near if solve(curvature, b, near, plain).products < plain else None


def _rows(
    arm: Exact,
    at: Curving,
    curvature: Curvature,
    near: Near | None,
    behind: SecondStage | None,
    queries: Sequence[Item],
) -> Iterator[EstimatedRow]:
    for first, some in in_lots(at.probes, at.pushes):
        begun = time.perf_counter()
        own = rows_of(at.probes, some).double().cpu().numpy()
        solved = [solve(curvature, b, near) for b in own]
        few = too_few(arm, len(curvature.items), at.probes.point.numbers, _directions(own, solved, some))
        if behind is not None:
            solved = [behind.kept(one) for one in solved]
        usable = [one.x if one.residual <= WORST else np.zeros_like(one.x) for one in solved]
        vectors = torch.from_numpy(np.stack(usable)).to(curvature.parameters[0])
        found = products_with(at.queries, queries, vectors).T / len(curvature.items)
        seconds = (time.perf_counter() - begun) / len(solved)
        for place, (one, influence) in enumerate(zip(solved, found, strict=True)):
            note = f"residual {one.residual:.1e} after {one.products} products"
            beside = f"{note}; {MATH}; {few}" if few else f"{note}; {MATH}"
            if one.residual <= WORST:
                yield row(first + place, influence, seconds, beside)
            else:
                yield EstimatedRow(first + place, None, seconds, _why(one, note))


def _directions(own: Float[npt.NDArray[np.float64], "N p"], solved: Sequence[Solution], pushes: Pushes) -> float:
    """How many stand out of the damping, as those probes see it that are one sample."""
    each = zip(own, solved, pushes.each, strict=True)
    seen = [float(b @ one.x) for b, one, some in each if len(some[0].items) == 1 and one.residual <= WORST]
    return float(np.mean(seen)) if seen else 0.0


def _why(one: Solution, note: str) -> str:
    if not np.isfinite(one.residual):
        return "gradients that are no numbers, of the probe or of the curvature"
    return f"no inverse: {note}, at most {WORST:g}; take more `damping`, `curvature: gauss_newton` or `dtype: float64`"


def solve(
    curvature: Curvature, b: Float[npt.NDArray[np.float64], " p"], near: Near | None = None, most: int | None = None
) -> Solution:
    """(C + lambda) x = b, as far as the parameters' dtype allows; the residual is NaN where something is no number.

    Args:
        curvature: C + lambda.
        b: Right side.
        near: Products with about the inverse, which must be positive: the nearer, the fewer products it takes.
        most: Products before it ends as it is; None takes :data:`MOST`.
    """
    if not b.any():
        return Solution(b, 0.0, 0)
    if not np.isfinite(b).all() or not np.isfinite(curvature.product(b)).all():
        return Solution(np.zeros_like(b), float("nan"), 0)
    taken = 0

    def counted(vector: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        nonlocal taken
        taken += 1
        return curvature.product(vector)

    aim = torch.finfo(curvature.parameters[0].dtype).eps ** 0.5
    operator: Any = LinearOperator((len(b), len(b)), matvec=counted, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    like: Any = None if near is None else LinearOperator((len(b), len(b)), matvec=near, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    x: Any = cg(operator, b, rtol=aim, maxiter=MOST if most is None else most, M=like)[0]
    return Solution(x, float(np.linalg.norm(b - counted(x)) / np.linalg.norm(b)), taken)
