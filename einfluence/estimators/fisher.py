"""The empirical Fisher matrix of projected gradients: TRAK's kernel, and LoGra's projection.

Each parameter's gradients are projected from both sides by drawn signs, and C = (1/n) sum of phi phiᵀ is the second
moment of what is left, matrix by matrix (Park et al. 2023, "TRAK"; Choe et al. 2024, LoGra).
The damping is a share of the mean of its diagonal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.features import Features, dot_products
from einfluence.engine.measurement import Item
from einfluence.errors import InputError
from einfluence.estimators.curvature_set import naming, too_few
from einfluence.estimators.curved import curvature_items, curving, mean_losses, own_point
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.point import point_of
from einfluence.estimators.pushes import Product, estimates
from einfluence.estimators.second_stage import lengths
from einfluence.estimators.within import TrainedSet
from einfluence.keys import content_hash
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Fisher, Projected
from einfluence.samples import ProbeSamples, Sample

COMPARED = 64  # samples whose dot products say what the projection loses
LARGEST = 4096  # numbers of a projected gradient, whose second moments are inverted


def fit(
    base: Base, arm: Fisher, seed: int, samples: Sequence[Sample], *, within: TrainedSet | None = None
) -> Mapping[str, Tensor]:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    own, items = Collector(own_point(base, arm, seed, within)), curvature_items(base, arm, samples)
    with naming(samples):
        found = inverses(own, items, arm.recipe, seed)
    if arm.recipe.projection is not None:
        found["error"] = torch.tensor(lost(own, items[:COMPARED], arm.recipe.projection, seed))
    if within is not None and within.later:
        behind, later = Collector(point_of(base, arm, seed, within)), list(encode_all(base, within.later))
        steps = lengths(base, arm, seed, within, own.point.trained)
        with naming(within.later):
            for name, moments in projected_moments(behind, later, arm.recipe, seed):
                kept = torch.linalg.inv(torch.eye(len(moments)).to(moments) + steps[name] * moments)
                found[name] = kept @ found[name]
    return found


def block(
    base: Base,
    arm: Fisher,
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
    known = {name: value.to(at.probes.device) for name, value in (state or {}).items()}
    how, queried = by_inverses(known, arm.recipe.projection, seed), list(encode_all(base, queries))
    said, n = list[str](), int(known["n"])
    if "error" in known:
        said.append(f"projection: dot products to {float(known['error']):.2f} of their size")
    if "directions" in known and (few := too_few(arm, n, at.probes.point.numbers, float(known["directions"]))):
        said.append(few)
    note = "; ".join(said) or None
    return estimates(at.probes, at.pushes, queried, how, 1.0 / n, asked=at.queries, note=note)


def inverses(collector: Collector, items: Sequence[Item], recipe: Projected, seed: int) -> dict[str, Tensor]:
    """Of each parameter the damped inverse of its projected gradients' second moments.

    Beside them the number of items, ``n``, and of ``directions`` that stand out of the damping.

    Args:
        collector: At the point where the curvature is taken.
        items: n samples.
        recipe: Projection and damping.
        seed: Of the projections.

    Raises:
        InputError: When what is left of a parameter's gradient is too large to be inverted.
        NoNumbersError: When a gradient is no number.
    """
    found: dict[str, Tensor] = {"n": torch.tensor(len(items))}
    directions = 0.0
    for name, moments in projected_moments(collector, items, recipe, seed):
        damping = recipe.damping * moments.diagonal().mean()
        found[name] = torch.zeros_like(moments)  # where nothing depends on the parameter
        if damping > 0:
            found[name] = torch.linalg.inv(moments + damping * torch.eye(len(moments)).to(moments))
            directions += float((moments * found[name]).sum())
    return {**found, "directions": torch.tensor(directions)}


def lost(collector: Collector, items: Sequence[Item], projection: int, seed: int) -> float:
    """How far the dot products of all pairs of items are off once they are projected, over their size (Frobenius)."""
    right = near = torch.zeros(len(items), len(items), dtype=torch.float64, device=collector.device)
    for names in collector.groups(items):
        for name, features in collector.collect(items, names).items():
            own = mean_losses(features, items)
            phi = projected(name, own, projection, seed).double()
            right, near = right + dot_products(own, own).double(), near + phi @ phi.T
    return float((near - right).norm() / right.norm())


def projected_moments(
    collector: Collector, items: Sequence[Item], recipe: Projected, seed: int
) -> Iterator[tuple[str, Float[Tensor, "k k"]]]:
    """Each parameter's name with the second moments of what its gradients are projected to; see :func:`inverses`."""
    for names in collector.groups(items):
        gradients = collector.collect(items, names)
        for name in names:
            phi = projected(name, mean_losses(gradients.pop(name), items), recipe.projection, seed).double()
            yield name, phi.T @ phi / len(items)


def by_inverses(known: Mapping[str, Tensor], projection: int | None, seed: int) -> Product:
    """Products of projected gradients with the inverse between them; ``known`` is from :func:`inverses`."""

    def product(name: str, own: Features) -> Callable[[Features], Tensor]:
        right = known[name] @ projected(name, own, projection, seed).double().T
        return lambda queried: projected(name, queried, projection, seed).double() @ right

    return product


def projected(name: str, features: Features, size: int | None, seed: int) -> Tensor:
    """(n, k): gradients between two matrices of drawn signs, each side of a length of at most ``size``.

    Raises:
        InputError: When what is left is too large to be inverted.
    """
    sides = [_signs(name, side, length, size, seed, features) for side, length in enumerate(features.matrix)]
    turned = features.turned(*sides)
    rows, columns = turned.matrix
    if rows * columns > LARGEST:
        found = f"{rows * columns} numbers of a gradient of {name}, whose second moments would have to be inverted"
        raise InputError("arms fisher recipe.projection", found, f"at most {LARGEST}", "give `projection`, e.g. 16")
    return turned.rows(0, rows).flatten(1)


def _signs(name: str, side: int, length: int, size: int | None, seed: int, like: Features) -> Tensor | None:
    if size is None or length <= size:
        return None
    stream = np.random.Philox(key=int(content_hash(("signs", name, side, length, size, seed)), 16))
    bits = stream.random_raw(length * size) >> np.uint64(63)
    signs = torch.from_numpy(bits.astype(np.float64).reshape(length, size) * 2 - 1)
    return (signs / size**0.5).to(like.like)
