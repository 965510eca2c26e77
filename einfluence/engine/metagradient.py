"""The exact derivative of one number after a training by the weights of its samples, in one pass backwards.

It is the mean over queries of what :mod:`einfluence.estimators.unrolled` computes for each, at the cost of one of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from einfluence.engine.measurement import Item
from einfluence.engine.unrolling import State, Trajectory

AT_ONCE = 64  # queries whose gradients are taken together


def metagradient(
    path: Trajectory, queries: Sequence[Item], *, keep: int | None = None
) -> tuple[float, npt.NDArray[np.float64]]:
    """The mean log-probability of queries after a training, and its derivative by the weight of each item.

    Args:
        path: The training; derivatives are taken at the weights that it has.
        queries: Q of them, at least one.
        keep: See :meth:`.Trajectory.backwards`.

    Returns:
        Nats a query, and (items,) of them.

    Raises:
        ArithmeticError: When a number is not finite.
    """
    mean, adjoint = 0.0, list[Tensor]()
    found = np.zeros(len(path.training.items))
    for index, before, after in path.backwards(keep):
        if not adjoint:
            mean, adjoint = at_end(path, after, queries)
        adjoint, own = path.pulled_back(before, index, adjoint)
        np.add.at(found, list(path.steps[index].step.batch), own[0].double().cpu().numpy())
    if not (np.isfinite(mean) and np.isfinite(found).all()):
        raise ArithmeticError("a derivative through the training is not finite")
    return mean, found


def mean_logprob(path: Trajectory, queries: Sequence[Item]) -> float:
    """The mean log-probability of queries after a training, in nats.

    Raises:
        ArithmeticError: When the weights are not finite.
    """
    values = path.end().values
    with torch.no_grad():
        return float(np.mean([nats for some in _chunks(queries) for nats in path.logprobs(values, some).tolist()]))


def at_end(path: Trajectory, end: State, queries: Sequence[Item]) -> tuple[float, list[Tensor]]:
    """The mean log-probability of queries at the end, and its derivatives by the state there, each with one row."""
    leaves, total = [value.detach().requires_grad_() for value in end.values], 0.0
    sums = [torch.zeros_like(value) for value in leaves]
    for some in _chunks(queries):
        nats = path.logprobs(leaves, some).sum()
        total += nats.item()
        sums = [old + new for old, new in zip(sums, torch.autograd.grad(nats, leaves), strict=True)]
    whole = [*sums, *(torch.zeros_like(memory) for memory in end.memory)]
    return total / len(queries), [tensor[None] / len(queries) for tensor in whole]


def _chunks(queries: Sequence[Item]) -> list[Sequence[Item]]:
    return [queries[start : start + AT_ONCE] for start in range(0, len(queries), AT_ONCE)]
