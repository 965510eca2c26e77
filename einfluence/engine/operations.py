"""Operations of torch that were recorded, and how they are run again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ATEN = torch.ops.aten
LINEAR, ONEDNN_LINEAR = ATEN.linear.default, torch.ops.mkldnn._linear_pointwise.default
PRODUCTS: set[Any] = {LINEAR, ONEDNN_LINEAR}
ONEDNN = torch.backends.mkldnn.is_available()


@dataclass(frozen=True)
class Slot:
    """Where the outcome of an operation is found."""

    place: int


@dataclass(frozen=True, eq=False)
class Operation:
    """One of torch's operations.

    Args:
        run: It.
        args: With slots for what earlier operations gave.
        kwargs: Likewise.
        out: A slot, or several.
        shape: Of the outcome, where it is one.
        over: Places of arguments in whose memory the outcome could be left.
        done: What no later operation takes.
    """

    run: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Any
    shape: torch.Size | None = None
    over: tuple[int, ...] = ()
    done: tuple[int, ...] = ()

    @property
    def writes(self) -> bool:
        """Whether it changes what it takes."""
        schema: Any = getattr(self.run, "_schema", None)
        return schema is not None and schema.is_mutable

    @property
    def takes(self) -> Iterator[Slot]:
        """The slots of what it takes, as often as it takes them."""
        return (leaf for leaf in leaves((self.args, *self.kwargs.values())) if isinstance(leaf, Slot))


def runner(each: Operation) -> Callable[[list[Any]], Any]:
    """Runs an operation on what earlier ones gave; what is known of its arguments is looked at once."""
    run, kwargs = getattr(each.run, "_op", each.run), each.kwargs  # without the Python that an OpOverload has around it
    if kwargs or any(isinstance(leaf, Slot) for value in each.args for leaf in leaves([value]) if leaf is not value):
        named = kwargs.items()
        return lambda values: run(*filled(each.args, values), **{name: filled(value, values) for name, value in named})
    args = [None if isinstance(value, Slot) else value for value in each.args]
    places = [(at, value.place) for at, value in enumerate(each.args) if isinstance(value, Slot)]

    def call(values: list[Any]) -> Any:
        own = args.copy()
        for at, place in places:
            own[at] = values[place]
        return run(*own)

    return call


def by_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether oneDNN does their product: in about a tenth less time than torch takes for float32 on a CPU."""
    return ONEDNN and x.device.type == "cpu" and {x.dtype, weight.dtype} == {torch.float32}


def filled(value: Any, values: list[Any]) -> Any:
    """What an operation takes, with what earlier ones gave."""
    if type(value) is Slot:
        return values[value.place]
    if type(value) in (list, tuple):
        return type(value)(filled(each, values) for each in value)
    return value


def leaves(value: Any) -> Iterator[Any]:
    """What is in lists and tuples, and in those within."""
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from leaves(each)
    else:
        yield value


def address(value: Tensor) -> int:
    """Where a tensor's numbers are, or those that it is a view of."""
    return value.untyped_storage().data_ptr()
