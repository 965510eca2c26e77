"""The Fisher matrix by its Kronecker factors' eigenvectors: EK-FAC.

Of each parameter matrix, C = Q L Qᵀ: Q are the eigenvectors of the second moments of what enters the layer and of the
gradient of what leaves it, L the second moments of the samples' gradients in that basis, with targets drawn from the
model itself (George et al. 2018; Grosse et al. 2023, "Studying large language model generalization with influence
functions", section 2.2). The damping is a share of the mean of L, matrix by matrix. A side that is longer than
``WIDEST`` keeps its own basis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.features import Features, paired, second_moments, slices
from einfluence.engine.measurement import Item
from einfluence.estimators.curved import curvature_items, mean_losses, probes_of
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.point import point_of
from einfluence.estimators.pushes import Product, estimates
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Ekfac
from einfluence.samples import ProbeSamples, Sample

WIDEST = 2048  # sides of a matrix that are turned into a basis of eigenvectors


def fit(
    base: Base, arm: Ekfac, seed: int, samples: Sequence[Sample], *, within: TrainedSet | None = None
) -> Mapping[str, Tensor]:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    return factors(Collector(point_of(base, arm, seed, within)), curvature_items(base, arm, samples), seed)


def block(
    base: Base,
    arm: Ekfac,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet | None = None,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    collector, pushes = probes_of(base, arm, seed, probes, within)
    known = {name: value.to(collector.device) for name, value in (state or {}).items()}
    how = by_factors(known, arm.recipe.damping)
    return estimates(collector, pushes, list(encode_all(base, queries)), how, 1.0 / float(known["n"]))


def factors(collector: Collector, items: Sequence[Item], seed: int) -> dict[str, Tensor]:
    """Of each parameter the eigenvectors of both sides and the second moments in their basis; and the number of items.

    Args:
        collector: At the point where the curvature is taken.
        items: n samples.
        seed: Of the targets.
    """
    found: dict[str, Tensor] = {"n": torch.tensor(len(items))}
    for names in collector.groups(items):
        drawn = collector.collect(items, names, seed=seed)
        for name in names:
            own = mean_losses(drawn.pop(name), items, 0.5)
            left, right = bases(own)
            found[f"{name}:values"] = second_moments(own.turned(left, right))
            sides = {f"{name}:left": left, f"{name}:right": right}
            found |= {side: basis for side, basis in sides.items() if basis is not None}
    return found


def by_factors(known: Mapping[str, Tensor], damping: float) -> Product:
    """Products of gradients with the inverse between them.

    Args:
        known: From :func:`factors`.
        damping: Share of the mean of the second moments.
    """

    def product(name: str, own: Features) -> Callable[[Features], Tensor]:
        sides = known.get(f"{name}:left"), known.get(f"{name}:right")
        inverse, turned = damped_inverse(known[f"{name}:values"], damping), own.turned(*sides)
        return lambda queried: paired(queried.turned(*sides), turned, lambda rows, some: rows * inverse[some])

    return product


def damped_inverse(values: Tensor, damping: float) -> Tensor:
    """1 / (values + damping * their mean); 0 where all are 0, since then nothing depends on the parameter."""
    mean = values.mean()
    return torch.where(mean > 0, 1.0 / (values + damping * mean), 0.0)


def bases(features: Features) -> tuple[Tensor | None, Tensor | None]:
    """Eigenvectors of the second moments of both sides of a parameter's gradients; None keeps a side as it is.

    Of factors the sides are what entered the layer and the gradient of what left it; of other gradients their rows and
    columns.
    """
    rows, columns = features.matrix
    left = right = None
    ids = any(part.left.dim() == 2 for part in features.parts)
    if 1 < rows <= WIDEST and not ids:
        left = _eigenvectors([part.left for part in features.parts], features, rows, transposed=True)
    if columns <= WIDEST:
        right = _eigenvectors([part.right for part in features.parts], features, columns, transposed=False)
    return left, right


def _eigenvectors(vectors: Sequence[Tensor], features: Features, size: int, *, transposed: bool) -> Tensor:
    moments: Tensor | None = None
    for each in vectors:
        flat = each.flatten(0, 1).double()
        moments = flat.T @ flat + (0.0 if moments is None else moments)
    if not vectors:
        whole = [features.rows(*some).double() for some in slices(features)] if features.whole is not None else []
        all_rows = torch.cat(whole, 1)
        flat = (all_rows.mT if transposed else all_rows).flatten(0, 1)
        moments = flat.T @ flat
    if moments is None or moments.shape != (size, size):
        raise ValueError(f"second moments of a parameter of shape {features.shape}")
    return torch.linalg.eigh(moments).eigenvectors.to(features.like.dtype)
