"""The Fisher matrix by its Kronecker factors' eigenvectors: EK-FAC.

Of each parameter matrix, C = Q L Qᵀ: Q are the eigenvectors of the second moments of what enters the layer and of the
gradient of what leaves it, L the second moments of the samples' gradients in that basis, with targets drawn from the
model itself, once for both or anew for L (George et al. 2018; Grosse et al. 2023, "Studying large language model
generalization with influence functions", section 2.2). The damping is a share of the mean of L, matrix by matrix. A
side that is longer than ``WIDEST`` keeps its own basis.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.features import SLICE, Features, paired, second_moments, slices
from einfluence.engine.measurement import Item
from einfluence.estimators.curvature_set import naming, too_few
from einfluence.estimators.curved import curvature_items, curving, mean_losses, own_point
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.point import point_of
from einfluence.estimators.pushes import Product, estimates
from einfluence.estimators.second_stage import lengths
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Ekfac
from einfluence.samples import ProbeSamples, Sample

REDRAWN = 1 << 64  # added to a seed, and beyond all that a spec has
WIDEST = 2048  # sides of a matrix that are turned into a basis of eigenvectors


def fit(
    base: Base, arm: Ekfac, seed: int, samples: Sequence[Sample], *, within: TrainedSet | None = None
) -> Mapping[str, Tensor]:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    own = Collector(own_point(base, arm, seed, within))
    with naming(samples):
        found = factors(own, curvature_items(base, arm, samples), seed, redraw=arm.recipe.redraw)
    if within is not None and within.later:
        behind = Collector(point_of(base, arm, seed, within))
        with naming(within.later):
            later = factors(behind, list(encode_all(base, within.later)), seed, redraw=arm.recipe.redraw)
        steps = lengths(base, arm, seed, within, own.point.trained)
        later |= {f"{name}:length": torch.tensor(each) for name, each in steps.items()}
        found |= {f"then {name}": value for name, value in later.items()}
    return found


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
    at = curving(base, arm, seed, probes, within)
    known = {name: value.to(at.probes.device) for name, value in (state or {}).items()}
    how, queried = by_factors(known, arm.recipe.damping), list(encode_all(base, queries))
    n, of = int(known["n"]), at.probes.point
    directions = sum(standing_out(known[f"{name}:values"], arm.recipe.damping) for name in of.trained)
    note = too_few(arm, n, of.numbers, directions)
    return estimates(at.probes, at.pushes, queried, how, 1.0 / n, asked=at.queries, note=note)


def preconditioner(
    collector: Collector,
    items: Sequence[Item],
    added: float | Float[npt.NDArray[np.float64], " p"],
    seed: int,
) -> Callable[[npt.NDArray[Any]], npt.NDArray[np.float64]]:
    """Products of vectors of all parameters in a row with about (C + added)^-1, C the Fisher matrix of some items.

    Conjugate gradients end at the same solution however near it is; only how soon depends on that.

    Args:
        collector: At the point where the curvature is taken.
        items: The samples that it is taken over.
        added: To its diagonal; where it is a row, one number for each parameter.
        seed: Of the targets.

    Raises:
        NoNumbersError: When a gradient is no number.
    """
    known, trained = factors(collector, items, seed), collector.point.trained
    sizes = [value.numel() for value in trained.values()]
    firsts = np.cumsum([0, *sizes[:-1]])
    plus = np.broadcast_to(added, sum(sizes))[firsts].tolist()

    def product(vector: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        found = list[Tensor]()
        parts = torch.as_tensor(np.asarray(vector).reshape(-1)).to(collector.device).split(sizes)
        for (name, value), part, own in zip(trained.items(), parts, plus, strict=True):
            values = known[f"{name}:values"].double()
            left, right = (_whole(known.get(f"{name}:{side}")) for side in ("left", "right"))
            turned = Features(tuple(value.shape), 1, (), part.double().reshape(1, *values.shape)).turned(left, right)
            scaled = Features(tuple(values.shape), 1, (), turned.rows(0, len(values)) / (values + own))
            back = scaled.turned(*(None if side is None else side.T for side in (left, right)))
            found.append(back.rows(0, len(values)).flatten())
        return torch.cat(found).cpu().numpy()

    return product


def _whole(basis: Tensor | None) -> Tensor | None:
    return None if basis is None else basis.double()


def factors(collector: Collector, items: Sequence[Item], seed: int, *, redraw: bool = False) -> dict[str, Tensor]:
    """Of each parameter the eigenvectors of both sides and the second moments in their basis; and the number of items.

    Args:
        collector: At the point where the curvature is taken.
        items: n samples.
        seed: Of the targets.
        redraw: Whether they are drawn anew for the second moments.

    Raises:
        NoNumbersError: When a gradient is no number.
    """
    found: dict[str, Tensor] = {"n": torch.tensor(len(items))}
    for names in collector.groups(items):
        drawn = collector.collect(items, names, seed=seed)
        both = {name: bases(mean_losses(drawn[name], items, 0.5)) for name in names}
        if redraw:
            drawn = collector.collect(items, names, seed=seed + REDRAWN)
        for name, (left, right) in both.items():
            own = mean_losses(drawn.pop(name), items, 0.5)
            found[f"{name}:values"] = second_moments(own.turned(left, right))
            sides = {f"{name}:left": left, f"{name}:right": right}
            found |= {side: basis for side, basis in sides.items() if basis is not None}
    return found


def by_factors(known: Mapping[str, Tensor], damping: float) -> Product:
    """Products of gradients with the inverse between them.

    Args:
        known: From :func:`fit`.
        damping: Share of the mean of the second moments.
    """

    def product(name: str, own: Features) -> Callable[[Features], Tensor]:
        sides = known.get(f"{name}:left"), known.get(f"{name}:right")
        inverse, turned = damped_inverse(known[f"{name}:values"], damping), own.turned(*sides)
        if f"then {name}:values" in known:
            return _behind(known, name, turned, inverse)
        return lambda queried: paired(queried.turned(*sides), turned, lambda rows, some: rows * inverse[some])

    return product


def _behind(known: Mapping[str, Tensor], name: str, turned: Features, inverse: Tensor) -> Callable[[Features], Tensor]:
    """Products with what a second stage leaves: from the basis of the first stage's factors to that of its own."""
    before, behind = ([known.get(f"{which}{name}:{side}") for side in ("left", "right")] for which in ("", "then "))
    across = [_between(*both) for both in zip(before, behind, strict=True)]
    left = 1.0 / (1.0 + known[f"then {name}:length"] * known[f"then {name}:values"])
    rows, columns = turned.matrix
    lot = max(SLICE // (rows * columns), 1)  # probes whose gradients are laid out at once

    def passed_on(begin: int) -> Features:
        some = turned.some(begin, min(begin + lot, turned.n))
        return Features((rows, columns), some.n, (), some.rows(0, rows) * inverse).turned(*across)

    def product(queried: Features) -> Tensor:
        asked = queried.turned(*behind)
        each = (passed_on(begin) for begin in range(0, turned.n, lot))
        return torch.cat([paired(asked, some, lambda rows, which: rows * left[which]) for some in each], 1)

    return product


def _between(before: Tensor | None, behind: Tensor | None) -> Tensor | None:
    """From one basis of a side to another; None is that of the parameter itself."""
    if before is None:
        return behind
    return before.T if behind is None else before.T @ behind


def damped_inverse(values: Tensor, damping: float) -> Tensor:
    """1 / (values + damping * their mean); 0 where all are 0, since then nothing depends on the parameter."""
    mean = values.mean()
    return torch.where(mean > 0, 1.0 / (values + damping * mean), 0.0)


def standing_out(values: Tensor, damping: float) -> float:
    """How many directions stand out of the damping: the sum of values / (values + damping * their mean)."""
    return float((values * damped_inverse(values, damping)).sum(dtype=torch.float64))


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
