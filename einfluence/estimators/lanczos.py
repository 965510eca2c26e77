"""Leave-one-out by the largest eigenvectors of the curvature, found by Lanczos' method.

Influence is (1/n) times the sum over eigenvectors v of (a_q . v) (-g_z . v) / (sigma + lambda), sigma the eigenvalue of
v: (C + lambda)^-1 as far as these reach, and nothing beside (Schioppa et al. 2022, "Scaling up influence functions").
With all eigenvectors it is that of :mod:`einfluence.estimators.exact`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch import Tensor

from einfluence.engine.batch_sizes import memory_budget
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import Curvature
from einfluence.engine.measurement import Item
from einfluence.errors import InputError
from einfluence.estimators.curvature_set import naming, too_few
from einfluence.estimators.curved import curvature_items, curving
from einfluence.estimators.estimate import MATH, EstimatedRow, Estimates
from einfluence.estimators.inverted import damped_curvature, in_lots, products_with, rows_of
from einfluence.estimators.point import point_of
from einfluence.estimators.pushes import Pushes, row
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Lanczos
from einfluence.samples import ProbeSamples, Sample

ROUNDS = 50  # of restarts, each of about as many products as there are eigenvectors


def fit(
    base: Base, arm: Lanczos, seed: int, samples: Sequence[Sample], *, within: TrainedSet | None = None
) -> Mapping[str, Tensor]:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    collector = Collector(point_of(base, arm, seed, within))
    items = curvature_items(base, arm, samples)
    with naming(samples):
        curvature = damped_curvature(collector, items, arm)
    about = {"n": torch.tensor(len(items)), "added": torch.as_tensor(curvature.added, dtype=torch.float64)}
    return {**largest(curvature, arm), **about}


def block(
    base: Base,
    arm: Lanczos,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet | None = None,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    at = curving(base, arm, seed, probes, within)
    known = state or {}
    few = None
    if "added" in known:  # at least so many, since the smaller eigenvalues are not known
        standing = (1.0 - known["added"] / known["values"]).clamp(0.0, 1.0)
        few = too_few(arm, int(known["n"]), at.probes.point.numbers, float(standing.sum()))
    rows = _rows(at.probes, at.pushes, known, list(encode_all(base, queries)), few)
    return Estimates(rows, at.probes.point.numbers)


def largest(curvature: Curvature, arm: Lanczos) -> dict[str, Tensor]:
    """``vectors`` (k, p) and ``values`` (k,): the eigenvectors of the curvature that are largest in size.

    The values are those of the damped curvature.

    Raises:
        InputError: When they are not found, or do not fit into memory.
    """
    p, k, like = sum(curvature.sizes), arm.recipe.eigenvectors, curvature.parameters[0]
    if (held := min(k + 1, p) * 3 * p * 8) > memory_budget(like.device):
        found, fix = f"{k} of {p:,} numbers each", "take fewer, or train less by `adapter`"
        raise InputError("arms lanczos recipe.eigenvectors", found, f"what fits into memory ({held:,} bytes)", fix)
    start = np.random.default_rng(0).standard_normal(p)
    if not np.isfinite(curvature.product(start)).all():
        values, vectors = np.full(min(k, p), np.nan), np.full((p, min(k, p)), np.nan)
    elif k < p:
        operator: Any = LinearOperator((p, p), matvec=curvature.product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
        try:
            values, vectors = eigsh(operator, k, v0=start, tol=torch.finfo(like.dtype).eps ** 0.5, maxiter=ROUNDS * k)
        except ArpackNoConvergence as error:
            found, fix = f"{len(error.eigenvalues)} of {k} eigenvectors", "take fewer, or `dtype: float64`"
            raise InputError("arms lanczos recipe.eigenvectors", found, "all of them", fix) from error
    else:
        whole = np.stack([curvature.product(one) for one in np.eye(p)])
        values, vectors = np.linalg.eigh((whole + whole.T) / 2)
    rows = torch.from_numpy(np.ascontiguousarray(vectors.T)).to(like.dtype)
    return {"vectors": rows, "values": torch.from_numpy(np.asarray(values, np.float64))}


def _rows(
    collector: Collector, pushes: Pushes, state: Mapping[str, Tensor], queries: Sequence[Item], few: str | None
) -> Iterator[EstimatedRow]:
    begun = time.perf_counter()
    vectors, values = state["vectors"].to(collector.device), state["values"].numpy()
    queried = products_with(collector, queries, vectors) / values / float(state["n"])
    seconds = (time.perf_counter() - begun) / max(len(pushes.each), 1)
    note = f"{len(values)} of {vectors.shape[1]:,} eigenvectors, of {min(values):.1e} to {max(values):.1e}; {MATH}"
    note = f"{note}; {few}" if few else note
    for first, some in in_lots(collector, pushes):
        begun = time.perf_counter()
        found = queried @ (rows_of(collector, some) @ vectors.T).double().cpu().numpy().T
        each = seconds + (time.perf_counter() - begun) / len(some.each)
        for place, influence in enumerate(found.T):
            yield row(first + place, influence, each, note)
