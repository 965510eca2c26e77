"""What a model computes of fixed inputs, recorded once, operation by operation, and run again for other trainings.

The model's own Python, which takes a sixth of a small model's time, runs once; so does what follows from nothing
trained. As the operations are those of one run, nothing may be decided by what trained parameters gave: an operation
that would tell is refused. What is decided where torch does not see it is found by running the model with others beside
it, which :mod:`einfluence.engine.merged_reading` does once for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from einfluence.engine.merged import Adapted
from einfluence.engine.needed_rows import needed_rows
from einfluence.engine.operations import (
    ATEN,
    LINEAR,
    ONEDNN_LINEAR,
    PRODUCTS,
    Operation,
    Slot,
    address,
    by_onednn,
    leaves,
    runner,
)
from einfluence.engine.quicker_attention import quicker_attention

CONV2D, INDEX, ADD = ATEN.conv2d.default, ATEN.index.Tensor, ATEN.add.Tensor
IN_PLACE: dict[Any, Any] = {
    ADD: ATEN.add_.Tensor,
    ATEN.gelu.default: ATEN.gelu_.default,
    ATEN.relu.default: ATEN.relu_.default,
    ATEN.silu.default: ATEN.silu_.default,
}
FRESH: set[Any] = {*PRODUCTS, *IN_PLACE}  # what they give is nobody else's
UNSTEADY = {torch.Tag.dynamic_output_shape, torch.Tag.data_dependent_output}


class UnrecordableError(Exception):
    """A model of which a recording would not hold for other trainings."""


@dataclass(frozen=True, eq=False)
class Recording:
    """What :func:`record` recorded.

    Args:
        operations: In their order.
        slots: How many there are.
        out: Whose outcome is that of the whole.
        kept: The bytes of what operations take and none gives, by its address.
    """

    operations: list[Operation]
    slots: int
    out: int
    kept: dict[int, int]

    @torch.inference_mode()
    def __call__(self) -> Float[Tensor, "..."]:
        """What the function gives with the weights as they are."""
        values: list[Any] = [None] * self.slots
        for run, out, done in self._steps:
            found = run(values)
            if len(out) == 1:
                values[out[0]] = found
            else:
                for place, value in zip(out, found, strict=True):
                    values[place] = value
            for place in done:
                values[place] = None
        return values[self.out]

    @cached_property
    def _steps(self) -> list[tuple[Callable[[list[Any]], Any], list[int], tuple[int, ...]]]:
        """Each operation, where its outcome is put, and what is then let go of."""
        return [(runner(each), [slot.place for slot in _several(each.out)], each.done) for each in self.operations]


def record(
    run: Callable[[], Tensor], adapted: Iterable[Adapted], written: Iterable[Tensor] = ()
) -> tuple[Recording, Float[Tensor, "..."]]:
    """Runs a function and records what follows from a training; gives the recording, and what it gives now.

    Args:
        run: It must not depend on anything that changes but what follows.
        adapted: The weights with adapters in them, which change in place.
        written: Other parameters that do.

    Raises:
        UnrecordableError: Where another training could lead to other operations.
    """
    recorder = _Recorder(adapted, written)
    with torch.inference_mode():
        with recorder:
            out = run()
        if out not in recorder.slots:
            raise UnrecordableError("what follows from nothing trained")
        place = recorder.slots[out].place
    operations, count = needed_rows(quicker_attention(recorder.operations), recorder.count, recorder.weights)
    recording = Recording(_freed(_in_place(operations, place), place), count, place, recorder.kept)
    # Other operations round otherwise, and what is read before and after has to be read in the same way.
    return recording, out if operations == recorder.operations else recording()


class _Recorder(TorchDispatchMode):
    """Notes the operations that follow from a training.

    Args:
        adapted: What adapters are merged into.
        written: Other parameters that change.
    """

    def __init__(self, adapted: Iterable[Adapted], written: Iterable[Tensor]) -> None:
        super().__init__()
        self.slots: Any = WeakTensorKeyDictionary()
        self.operations: list[Operation] = []
        self.count = 0
        self.kept: dict[int, int] = {}
        self._fresh: set[int] = set()
        self.weights: dict[int, Adapted | None] = {address(each): None for each in written}
        self.weights |= {address(each.merged): each for each in adapted}
        self._factors = {address(side) for each in adapted for side in (each.down, each.up)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        follows = self._follows((args, *kwargs.values()))
        for written in _written(func, args, kwargs):
            own = written in self.slots
            if address(written) in self.weights or (not own and (follows or address(written) in self.kept)):
                raise UnrecordableError(f"{func} writes to what it would find otherwise")
        run = func
        if follows:
            run, args, kwargs = self._faster(func, args, kwargs)
        out = run(*args, **kwargs)
        if follows and not self._same(func, out, args):
            steady = not UNSTEADY & set(func.tags) or (func is INDEX and not self._follows(args[1:]))
            if not steady or not all(isinstance(each, Tensor) for each in _several(out)):
                raise UnrecordableError(f"{func}, by whose outcome something may be decided")
            taken = self._noted(args), {name: self._noted(value) for name, value in kwargs.items()}
            slots = [self._slot(each) for each in _several(out)]
            over, one = self._over(func, args, kwargs, out), isinstance(out, Tensor)
            self.operations.append(Operation(run, *taken, slots[0] if one else slots, out.shape if one else None, over))
            if run in FRESH:
                self._fresh.add(slots[0].place)
        return out

    def _over(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> tuple[int, ...]:
        """Places of arguments in whose memory an outcome could be left."""
        if func not in IN_PLACE:
            return ()
        some = range(len(args)) if func is ADD and not kwargs else range(1)
        return tuple(
            place
            for place in some
            if isinstance(args[place], Tensor)
            and args[place] in self.slots
            and self.slots[args[place]].place in self._fresh
            and (args[place].shape, args[place].dtype) == (out.shape, out.dtype)
        )

    def _same(self, func: Any, out: Any, args: Any) -> bool:
        """Whether the outcome is no new one: a view of a weight, which changes with it, or what was given."""
        if not isinstance(out, Tensor) or func._schema.is_mutable:
            return False
        first = args[0] if args else None
        if isinstance(first, Tensor) and first in self.slots and _alike(out, first):
            self.slots[out] = self.slots[first]
        return address(out) in self.weights or out in self.slots

    def _faster(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The same product in less time.

        Of what follows from nothing trained, the product with the base's weight is computed once. Others are done by
        oneDNN where they can be.
        """
        if func not in (LINEAR, CONV2D) or kwargs:
            return func, args, kwargs
        x, weight, *rest = args
        own = self.weights.get(address(weight))
        if own is not None and weight is own.merged and not self._follows([x, *rest]):
            beside = _linear_beside if func is LINEAR else _conv_beside
            return beside, (func(x, own.weight, *rest), x, own.down, own.up, own.scaling, *rest[1:]), {}
        if func is LINEAR and by_onednn(x, weight):
            return ONEDNN_LINEAR, (x, weight, (*rest, None)[0], "none", [], ""), {}
        return func, args, kwargs

    def _follows(self, taken: Iterable[Any]) -> bool:
        some = [value for value in leaves(list(taken)) if isinstance(value, Tensor)]
        return any(value in self.slots or address(value) in self.weights for value in some)

    def _slot(self, value: Tensor) -> Slot:
        if value not in self.slots:
            self.slots[value] = Slot(self.count)
            self.count += 1
        return self.slots[value]

    def _noted(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(self._noted(each) for each in value)
        if not isinstance(value, Tensor):
            return value
        if value in self.slots:
            return self.slots[value]
        if value.numel() and (where := address(value)) not in self.weights and where not in self._factors:
            self.kept[where] = value.untyped_storage().nbytes()
        return value


def _in_place(operations: list[Operation], out: int) -> list[Operation]:
    """Operations that leave their outcome where an argument was that nothing else takes, for memory is slow to get."""
    takers = Counter([out])
    for each in operations:
        takers.update(slot.place for slot in each.takes)
    made: list[Operation] = []
    for each in operations:
        over = next((place for place in each.over if takers[each.args[place].place] == 1), None)
        if over is None:
            made.append(each)
        else:
            others = (*each.args[:over], *each.args[over + 1 :])
            made.append(replace(each, run=IN_PLACE[each.run], args=(each.args[over], *others)))
    return made


def _freed(operations: list[Operation], out: int) -> list[Operation]:
    """Operations that let go of what no later one takes, without those of which nothing is taken."""
    seen, made = {out}, list[Operation]()
    for each in reversed(operations):
        given = {leaf.place for leaf in leaves([each.out]) if isinstance(leaf, Slot)}
        if not (given & seen or each.writes):
            continue
        done = ({slot.place for slot in each.takes} | given) - seen
        seen |= done
        made.append(replace(each, done=tuple(done)))
    return made[::-1]


def _linear_beside(
    base: Float[Tensor, "*rows out"], x: Float[Tensor, "*rows in"], down: Tensor, up: Tensor, scaling: float
) -> Float[Tensor, "*rows out"]:
    """A product with an adapter, from what the weight alone gave."""
    return torch.addmm(base.flatten(0, -2), x.flatten(0, -2) @ down.T, up.T, alpha=scaling).view_as(base)


def _conv_beside(base: Tensor, x: Tensor, down: Tensor, up: Tensor, scaling: float, *how: Any) -> Tensor:
    """A convolution with an adapter, from what the weight alone gave."""
    return torch.add(base, F.conv2d(F.conv2d(x, down, None, *how), up), alpha=scaling)


def _written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """What an operation writes to."""
    if func._schema.is_mutable:
        for place, each in enumerate(func._schema.arguments):
            if each.alias_info is not None and each.alias_info.is_write:
                yield from _several(args[place] if place < len(args) else kwargs.get(each.name))


def _alike(some: Tensor, other: Tensor) -> bool:
    """Whether one is the other under another name."""
    return (address(some), some.dtype) == (address(other), other.dtype) and (
        (some.shape, some.stride(), some.storage_offset()) == (other.shape, other.stride(), other.storage_offset())
    )


def _several(value: Any) -> list[Any]:
    return [] if value is None else list(value) if isinstance(value, (list, tuple)) else [value]
