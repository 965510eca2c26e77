"""Leave-one-out by the inverse of the curvature itself, solved for each probe by conjugate gradients.

Influence is (1/n) a_q (C + lambda)^-1 (-g_z) with C the Gauss-Newton matrix or the second derivatives of the set's mean
loss, over all parameters together (Koh & Liang 2017, "Understanding black-box predictions via influence functions").
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
from einfluence.estimators.curved import curvature_items, probes_of
from einfluence.estimators.estimate import MATH, EstimatedRow, Estimates
from einfluence.estimators.inverted import damped_curvature, in_lots, products_with, rows_of
from einfluence.estimators.pushes import Pushes, row
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Exact
from einfluence.samples import ProbeSamples, Sample

MOST = 1000  # products with the curvature for one probe
WORST = 0.01  # residual, as a share of the gradient's norm, beyond which a probe fails


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
    collector, pushes = probes_of(base, arm, seed, probes, within)
    curvature = damped_curvature(collector, curvature_items(base, arm, within.samples), arm)
    rows = _rows(collector, pushes, curvature, list(encode_all(base, queries)))
    return Estimates(rows, collector.point.numbers)


def _rows(
    collector: Collector, pushes: Pushes, curvature: Curvature, queries: Sequence[Item]
) -> Iterator[EstimatedRow]:
    for first, some in in_lots(collector, pushes):
        begun = time.perf_counter()
        solved = [solve(curvature, b) for b in rows_of(collector, some).double().cpu().numpy()]
        usable = [one.x if one.residual <= WORST else np.zeros_like(one.x) for one in solved]
        vectors = torch.from_numpy(np.stack(usable)).to(curvature.parameters[0])
        found = products_with(collector, queries, vectors).T / len(curvature.items)
        seconds = (time.perf_counter() - begun) / len(solved)
        for place, (one, influence) in enumerate(zip(solved, found, strict=True)):
            note = f"residual {one.residual:.1e} after {one.products} products"
            if one.residual <= WORST:
                yield row(first + place, influence, seconds, f"{note}; {MATH}")
            else:
                yield EstimatedRow(first + place, None, seconds, _why(one, note))


def _why(one: Solution, note: str) -> str:
    if not np.isfinite(one.residual):
        return "gradients that are no numbers, of the probe or of the curvature"
    return f"no inverse: {note}, at most {WORST:g}; take more `damping`, `curvature: gauss_newton` or `dtype: float64`"


def solve(curvature: Curvature, b: Float[npt.NDArray[np.float64], " p"]) -> Solution:
    """(C + lambda) x = b, as far as the parameters' dtype allows; the residual is NaN where something is no number."""
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
    x: Any = cg(operator, b, rtol=aim, maxiter=MOST)[0]
    return Solution(x, float(np.linalg.norm(b - counted(x)) / np.linalg.norm(b)), taken)
