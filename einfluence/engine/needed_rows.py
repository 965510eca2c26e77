"""Of recorded operations that work on each row alone, the rows that are taken in the end: a classifier takes one.

For models whose last block cannot be run on some rows (:mod:`einfluence.engine.read_rows`): what comes after the last
attention is, without the model's help.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from einfluence.engine.operations import ATEN, PRODUCTS, Operation, Slot, address
from einfluence.engine.read_rows import picked

ELEMENTWISE: set[Any] = {
    ATEN.add.Tensor, ATEN.sub.Tensor, ATEN.mul.Tensor, ATEN.div.Tensor, ATEN.gelu.default, ATEN.relu.default,
    ATEN.silu.default, ATEN.tanh.default, ATEN.sigmoid.default, ATEN.pow.Tensor_Scalar, ATEN.rsqrt.default,
    ATEN.neg.default, ATEN.to.dtype,
}  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What an operation takes of (B, L, ...): rows of each of B items.

    Args:
        shape: B and L.
        rows: Which.
        again: The same operation where nothing but these rows is left: what it runs, and what it takes behind them.
    """

    shape: tuple[int, int]
    rows: Int[Tensor, "B T"]
    again: tuple[Any, tuple[Any, ...]]


def needed_rows(
    operations: Sequence[Operation], count: int, changing: Container[int] = ()
) -> tuple[list[Operation], int]:
    """Operations that give the same, and how many slots they have; their shapes are no longer true.

    Args:
        operations: In their order.
        count: How many slots they have.
        changing: Addresses of what changes in place.
    """
    shapes = {each.out.place: each.shape for each in operations if isinstance(each.out, Slot) and each.shape}
    for last in range(len(operations) - 1, -1, -1):
        taken = _taken(operations[last], shapes)
        if taken is not None and (narrow := _narrow(operations, last, taken, shapes)):
            return _narrowed(operations, last, taken, narrow, shapes, count, changing)
    return list(operations), count


def _taken(each: Operation, shapes: Mapping[int, torch.Size]) -> Taken | None:
    """The rows that an operation takes, where it does nothing else; of those where L rows are, it must leave some."""
    slot: Any = each.args[0] if each.args else None
    if not isinstance(slot, Slot) or len(shape := shapes.get(slot.place, ())) < 3 or each.kwargs:
        return None
    size, (_, *how) = (shape[0], shape[1]), each.args
    if each.run is ATEN.select.int and how[0] == 1:
        rows = torch.full((shape[0], 1), how[1] % shape[1])
        return Taken(size, rows, (ATEN.select.int, (1, 0)))
    if each.run is ATEN.index.Tensor and len(how[0]) == 2 and all(isinstance(some, Tensor) for some in how[0]):
        items, rows = how[0]
        if items.dtype == rows.dtype == torch.int64 and torch.equal(items, torch.arange(shape[0], device=items.device)):
            if rows.shape == items.shape:
                return Taken(size, rows[:, None] % shape[1], (ATEN.select.int, (1, 0)))
    if each.run is ATEN.gather.default and how[0] == 1 and isinstance(how[1], Tensor) and len(shape) == 3:
        index = how[1]
        rows = index[..., 0]
        if index.shape[::2] == shape[::2] and index.shape[1] < shape[1] and bool((index == rows[..., None]).all()):
            every = torch.arange(index.shape[1], device=index.device)[None, :, None].expand(index.shape)
            return Taken(size, rows, (ATEN.gather.default, (1, every)))
    return None


def _narrow(operations: Sequence[Operation], last: int, taken: Taken, shapes: Mapping[int, torch.Size]) -> set[int]:
    """Which operations no one needs of more rows."""
    takers: dict[int, list[int]] = {}
    for at, each in enumerate(operations):
        for slot in each.takes:
            takers.setdefault(slot.place, []).append(at)
    narrow = {last}
    written = max((at for at, each in enumerate(operations) if each.writes), default=-1)
    for at in range(last - 1, written, -1):  # rows that were picked before would not be what they became
        each = operations[at]
        wanted = isinstance(each.out, Slot) and set(takers.get(each.out.place, ())) <= narrow
        if wanted and _of_each_row(each, taken, shapes):
            narrow.add(at)
    return narrow - {last}


def _of_each_row(each: Operation, taken: Taken, shapes: Mapping[int, torch.Size]) -> bool:
    """Whether a row of the outcome follows from the same row of what was taken."""
    if each.shape is None or len(each.shape) < 3 or tuple(each.shape[:2]) != taken.shape:
        return False
    if each.run is ATEN.layer_norm.default:
        return len(each.args[1]) <= len(each.shape) - 2
    if each.run is ATEN.mean.dim:
        return all(dim in (-1, len(each.shape) - 1) for dim in each.args[1]) and each.args[2:] == (True,)
    if each.run in ELEMENTWISE:  # what is the same for all items has its rows elsewhere
        some = [_shape(value, shapes) for value in each.args]
        return all(shape is not None and (len(shape) != len(each.shape) - 1 or shape[0] == 1) for shape in some)
    return each.run in PRODUCTS


def _shape(value: Any, shapes: Mapping[int, torch.Size]) -> Sequence[int] | None:
    """The shape of an argument, where it is known."""
    return shapes.get(value.place) if isinstance(value, Slot) else value.shape if isinstance(value, Tensor) else ()


def _narrowed(
    operations: Sequence[Operation],
    last: int,
    taken: Taken,
    narrow: set[int],
    shapes: Mapping[int, torch.Size],
    count: int,
    changing: Container[int],
) -> tuple[list[Operation], int]:
    made, found = list[Operation](), dict[Any, Slot]()
    few = {operations[at].out for at in narrow}
    for at, each in enumerate(operations):
        if at == last:
            run, how = taken.again
            made.append(replace(each, run=run, args=(each.args[0], *how)))
            continue
        if at not in narrow:
            made.append(each)
            continue
        args: list[Any] = []
        for value in each.args:
            if (isinstance(value, Slot) and value in few) or not _has_rows(_shape(value, shapes) or (), each, taken):
                args.append(value)
            elif isinstance(value, Tensor) and address(value) not in changing:
                args.append(picked(value, taken.rows))
            else:
                if value not in found:
                    found[value], count = Slot(count), count + 1
                    made.append(Operation(picked, (value, taken.rows), {}, found[value]))
                args.append(found[value])
        made.append(replace(each, args=tuple(args)))
    return made, count


def _has_rows(shape: Sequence[int], each: Operation, taken: Taken) -> bool:
    """Whether something is taken row by row, and not the same for all."""
    return (
        len(shape) > 2
        and len(shape) == len(each.shape or ())
        and shape[1] == taken.shape[1]
        and shape[0] in (1, taken.shape[0])
    )
