"""What estimates by curvature share: the samples that it is taken over, and leave-one-out by its inverse.

Influence is (1/n) a_q (C + lambda)^-1 (-g_z): the first step of Newton's method from the optimum of all n samples to
that without z (Koh & Liang 2017), with some stand-in C for the second derivatives of the mean loss; a_q is the gradient
of the query's log-prob, g_z that of the probe's mean loss, and lambda the damping. Where the training has a second
stage, all but a_q is taken at the end of the first, and a_q (1 + l C_2)^-1 is in the place of a_q (second_stage.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.engine.gradients.features import Features
from einfluence.engine.measurement import Item
from einfluence.errors import InputError
from einfluence.estimators.curvature_set import NoNumbersError
from einfluence.estimators.point import asked_at, point_of, recipe_of
from einfluence.estimators.pushes import Push, Pushes, pushes_alone
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.predictors import Curved
from einfluence.samples import ProbeSamples, Sample

FEWEST = 2  # samples that a curvature is taken over


def curvature_items(base: Base, arm: Curved, samples: Sequence[Sample]) -> list[Item]:
    """The samples that a curvature is taken over, encoded.

    Raises:
        InputError: When they are too few to say anything of any direction but one.
    """
    if len(samples) < FEWEST:
        found = f"{len(samples)} sample to take the curvature of `{arm.estimator}` over"
        expected = f"at least {FEWEST}: with fewer there is nothing but damping"
        raise InputError(f"arms {arm.estimator}", found, expected, "give it more samples, or take `grad_dot`")
    return list(encode_all(base, samples))


class Curving(NamedTuple):
    """Where an estimate by curvature takes which gradients.

    Args:
        probes: At the base, or where the training on a set, or its first stage, ends.
        queries: Where the whole training ends: the same but for a second stage.
        pushes: The mean losses of the probes: each of its samples counts once.
    """

    probes: Collector
    queries: Collector
    pushes: Pushes


def curving(base: Base, arm: Curved, seed: int, probes: Sequence[ProbeSamples], within: TrainedSet | None) -> Curving:
    """Of some probes."""
    behind, collector = asked_at(base, arm, seed, within), Collector(own_point(base, arm, seed, within))
    alone = pushes_alone(base, recipe_of(arm, within), probes)
    once = tuple(
        (Push(1.0, tuple((item, 1.0 / item.n_target) for push in some for item, _ in push.items)),)
        for some in alone.each
    )
    return Curving(collector, collector if behind is None else Collector(behind), Pushes(once))


def own_point(base: Base, arm: Curved, seed: int, within: TrainedSet | None) -> Point:
    """Where the curvature over the probes' own samples is taken."""
    return point_of(base, arm, seed, within if within is None else within.first_stage)


def mean_losses(features: Features, items: Sequence[Item], power: float = 1.0) -> Features:
    """From gradients of log-probs to those of mean losses, upwards.

    Args:
        features: Of the items.
        items: Their number of targets divides.
        power: Of that number. With 0.5, the mean of outer products over drawn targets is the curvature of mean losses:
            single targets are independent, so their products add up as they do in the sum.

    Raises:
        NoNumbersError: When a gradient is no number.
    """
    if not (finite := features.finite).all():
        raise NoNumbersError(int((~finite).nonzero()[0]))
    weight = features.like.new_tensor([item.n_target**-power for item in items])
    return features.grouped(weight, torch.arange(len(items), device=weight.device), len(items))
