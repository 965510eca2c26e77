"""The mean of the inverses of single samples' Fisher matrices, in the place of the inverse of their mean: DataInf.

Of each parameter matrix, (C + lambda)^-1 becomes (1/n) sum over samples i of (g_i g_iᵀ + lambda)^-1, which is
(1 - g_i g_iᵀ / (lambda + |g_i|²)) / lambda (Kwon et al. 2024, "DataInf", equation 5). lambda is a share of the mean
square of the gradients' elements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.features import Features, dot_products, second_moments, squared_norms
from einfluence.engine.measurement import Item
from einfluence.estimators.curvature_set import naming, too_few
from einfluence.estimators.curved import curvature_items, curving, mean_losses
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.pushes import Product, estimates
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import DataInf
from einfluence.samples import ProbeSamples, Sample

SEEN_BY = 64  # samples whose own gradients say how many directions stand out of the damping


def block(
    base: Base,
    arm: DataInf,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    at, items = curving(base, arm, seed, probes, within), curvature_items(base, arm, within.samples)
    directions, queried = list[float](), list(encode_all(base, queries))
    how = by_single_inverses(at.probes, items, arm.recipe.damping, directions)
    try:
        with naming(within.samples):
            found = estimates(at.probes, at.pushes, queried, how, 1.0 / len(items))
    except ArithmeticError as error:
        return Estimates.failed(len(probes), str(error))
    few = too_few(arm, len(items), at.probes.point.numbers, sum(directions))
    return found._replace(rows=(row._replace(note=few) for row in found.rows))


def by_single_inverses(
    collector: Collector, items: Sequence[Item], damping: float, directions: list[float] | None = None
) -> Product:
    """Products of gradients with the mean of the inverses between them.

    Args:
        collector: At the point where the curvature is taken.
        items: n samples.
        damping: Share of the mean square of their gradients' elements.
        directions: Gets how many stand out of the damping, of each parameter, as some of the samples see it.
    """
    groups, held = list(collector.groups(items)), dict[str, Features]()

    def product(name: str, own: Features) -> Callable[[Features], Tensor]:
        if name not in held:  # with those beside it that fit into memory, since all come from one pass
            held.clear()
            held.update(collector.collect(items, next(group for group in groups if name in group)))
        known = mean_losses(held.pop(name), items)
        added = damping * second_moments(known).double().mean()
        onto = dot_products(known, own).double() / (added + squared_norms(known))[:, None] / len(items)
        if not added > 0:  # nothing depends on the parameter
            return lambda queried: onto.new_zeros(queried.n, own.n)
        if directions is not None:
            some = known.some(0, min(SEEN_BY, known.n))
            shared = (dot_products(some, known).double() ** 2 / (added + squared_norms(known))).mean(1)
            directions.append(float((squared_norms(some) - shared).mean() / added))
        return lambda queried: (
            (dot_products(queried, own).double() - dot_products(queried, known).double() @ onto) / added
        )

    return product
