"""What estimates by the inverse of a whole curvature share: the curvature, and gradients of all parameters in rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from einfluence.engine.batch_sizes import memory_budget
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import Curvature, unstacked
from einfluence.engine.gradients.features import Features, dot_products, second_moments
from einfluence.engine.measurement import Item
from einfluence.estimators.curved import mean_losses
from einfluence.estimators.pushes import QUERIES, Pushes
from einfluence.predictors import Inverted
from einfluence.recipe import AdamW, Tuning


def damped_curvature(collector: Collector, items: Sequence[Item], arm: Inverted) -> Curvature:
    """The curvature of the mean of the items' losses, damped.

    The damping is a share of the mean square of the elements of the items' gradients. Weight decay is added where it is
    a part of the loss (which AdamW's is not) and the parameters are the intervention's.
    """
    total, count = 0.0, 0
    for names in collector.groups(items):
        for each in collector.collect(items, names).values():
            square = second_moments(mean_losses(each, items)).double()
            total, count = total + float(square.sum()), count + square.numel()
    return Curvature(
        collector.point, items, arm.recipe.curvature, arm.recipe.damping * total / count + decay_in_loss(arm)
    )


def decay_in_loss(arm: Inverted) -> float:
    """Weight decay where it is a part of the loss of the parameters that an estimate looks at."""
    optimizer = arm.of.recipe.only(Tuning).optimizer
    in_loss = arm.recipe.adapter is None and not isinstance(optimizer, AdamW)
    return optimizer.weight_decay if in_loss else 0.0


def in_lots(collector: Collector, pushes: Pushes) -> Iterator[tuple[int, Pushes]]:
    """As many probes at a time as a quarter of the memory has room for gradients of; and the first one's place."""
    values = collector.point.trained.values()
    size = sum(value.numel() * value.element_size() for value in values)
    most = max(memory_budget(collector.device) // 4 // size, 1)
    for begin in range(0, len(pushes.each), most):
        yield begin, Pushes(pushes.each[begin : begin + most])


def rows_of(collector: Collector, pushes: Pushes) -> Float[Tensor, "N p"]:
    """The gradients of some probes, all parameters in a row, in the order of the point's."""
    found: dict[str, Tensor] = {}
    for names in collector.groups(pushes.items):
        for name, each in collector.collect(pushes.items, names).items():
            added = pushes.added(each)
            found[name] = added.rows(0, added.matrix[0]).flatten(1)
    return torch.cat([found[name] for name in collector.point.trained], 1)


def products_with(
    collector: Collector, queries: Sequence[Item], vectors: Float[Tensor, "k p"]
) -> Float[npt.NDArray[np.float64], "Q k"]:
    """Dot products of queries' gradients with some rows of all parameters."""
    total = np.zeros((len(queries), len(vectors)))
    held: dict[str, Features] = {}
    for name, part in unstacked(vectors, collector.point).items():
        blank = Features(tuple(collector.point.trained[name].shape), len(part))
        held[name] = Features(blank.shape, blank.n, (), part.reshape(blank.n, *blank.matrix))
    for names in collector.groups(queries) if queries else ():
        for begin in range(0, len(queries), QUERIES):
            queried = collector.collect(queries[begin : begin + QUERIES], names)
            for name in names:
                total[begin : begin + QUERIES] += dot_products(queried[name], held[name]).double().cpu().numpy()
    return total
