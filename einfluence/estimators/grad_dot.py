"""The dot product of gradients: what a probe's steps would do to a query if they all were the first one.

Influence is eta * steps * a_q . d_z, where a_q is the gradient of the query's log-prob, and d_z what the optimizer
makes of the gradient g_z of the probe's mean loss: -g_z for SGD, and for Adam what its first step is,
-g_z / (|g_z| + eps). Alone it is taken at the base. Within a training set it is taken at the trained model: `steps` is
the sum, over the steps that a sample is in, of its share of their targets; and d_z is -g_z, for Adam times what the
last step multiplied gradients by. Where the training has a second stage, the sample's gradient is that at the end of
the first and the query's that at the end of both, as if the second kept all that the first had done.

It knows nothing of clipping and, alone, of weight decay: where the training has them, outcomes say so and a run warns.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.features import Features, dot_products, paired
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.point import asked_at, point_of, recipe_of, set_training, trained_moment
from einfluence.estimators.pushes import Product, estimates, pushes_alone, pushes_within
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import GradDot
from einfluence.recipe import Recipe, Sgd
from einfluence.samples import ProbeSamples, Sample


class LeftOutWarning(UserWarning):
    """A training has something that the estimate of it does not know, so that its nats may be far off."""


def block(
    base: Base,
    arm: GradDot,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet | None = None,
) -> Estimates:
    """See :class:`einfluence.estimators.measure.Implementation`."""
    recipe, queried = recipe_of(arm, within), list(encode_all(base, queries))
    kind, note = recipe.optimizer, left_out(recipe, alone=within is None)
    if note is not None:
        warnings.warn(f"grad_dot for {arm.of.estimator}: {note}", LeftOutWarning, stacklevel=2)
    if within is None:
        pushes, collector = pushes_alone(base, recipe, probes), Collector(point_of(base, arm, seed))
        if isinstance(kind, Sgd):
            return estimates(collector, pushes, queried, plain, kind.lr, note=note)
        return estimates(collector, pushes, queried, first_of_adam(kind.eps), kind.lr, apart=True, note=note)
    pushes = pushes_within(within, recipe, set_training(base, within, seed))
    behind = asked_at(base, arm, seed, within)
    asked, first = None if behind is None else Collector(behind), within.first_stage
    if isinstance(kind, Sgd) or arm.recipe.adapter is not None:
        collector = Collector(point_of(base, arm, seed, first))
        return estimates(collector, pushes, queried, plain, kind.lr, asked=asked, note=note)
    point, scales = trained_moment(base, recipe, first, seed)
    return estimates(Collector(point), pushes, queried, scaled(scales), kind.lr, asked=asked, note=note)


def left_out(recipe: Recipe, *, alone: bool) -> str | None:
    """What of a training is not in its formula; None for nothing.

    Within a set weight decay pulls with a sample as without it, to first order; of one alone it is a part of what is
    measured.
    """
    decay = recipe.optimizer.weight_decay if alone else 0.0
    some = [f"{name} {value:g}" for name, value in (("clip", recipe.clip), ("weight decay", decay)) if value]
    return f"without {' and '.join(some)}, which `unrolled` and `data_value` follow: compare ranks" if some else None


def plain(_name: str, probes: Features) -> Callable[[Features], Tensor]:
    """Dot products of gradients as they are."""
    return lambda queries: dot_products(queries, probes)


def scaled(scales: Mapping[str, Tensor]) -> Product:
    """Dot products of gradients, each element times what an optimizer multiplies it by."""

    def product(name: str, probes: Features) -> Callable[[Features], Tensor]:
        own = scales[name].reshape(probes.matrix)
        return lambda queries: paired(queries, probes, lambda rows, some: rows * own[some])

    return product


def first_of_adam(eps: float) -> Product:
    """Dot products of queries' gradients with what Adam's first step makes of the others."""

    def product(_name: str, probes: Features) -> Callable[[Features], Tensor]:
        return lambda queries: paired(queries, probes, lambda rows, _: rows / (rows.abs() + eps))

    return product
