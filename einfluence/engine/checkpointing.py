"""Gradient checkpointing: of a block only its input is kept for the backward pass, where the block is run again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from torch import nn
from torch.utils.checkpoint import checkpoint

from einfluence.engine.adapters import PREFIX
from einfluence.engine.structure import structure_of
from einfluence.errors import InputError
from einfluence.models.base import Base

Again = Callable[[], AbstractContextManager[Any]]


def blocks_in(base: Base, where: str) -> dict[str, int]:
    """The index of each block of a model that can be checkpointed, by module name.

    Args:
        base: The base.
        where: What asks for checkpointing, for the message.

    Raises:
        InputError: For a model without blocks, and one that says that its blocks cannot be run again.
    """
    model: Any = base.model
    found = f"true for {base.info.label}, a {type(model).__name__}"
    if getattr(model, "supports_gradient_checkpointing", None) is False:
        expected = "a model whose class in transformers says that it supports gradient checkpointing"
        raise InputError(where, f"{found}, which says that it does not support it", expected, "leave it out")
    places = structure_of(model).blocks if hasattr(model, "config") else {}
    if not places:
        raise InputError(
            where, f"{found} without a list of blocks", "a model of transformers, which has one", "leave it out"
        )
    return places


def blocks_of(base: Base, model: nn.Module | None = None) -> list[nn.Module]:
    """The blocks of a base that are checkpointed, in order; none where checkpointing is not asked for.

    Args:
        base: The base.
        model: A copy of it, with peft's adapters or without, whose blocks are wanted.

    Raises:
        InputError: For a model that cannot be checkpointed.
    """
    if not base.info.gradient_checkpointing:
        return []
    places = blocks_in(base, "gradient_checkpointing")
    copied = base.model if model is None else model
    modules = {name.removeprefix(PREFIX): module for name, module in copied.named_modules()}
    return [modules[name] for name in sorted(places, key=lambda name: places[name])]


@contextmanager
def checkpointed(blocks: Iterable[nn.Module], again: Again = nullcontext) -> Generator[None]:
    """Checkpoints blocks that are run within; the backward pass may come after.

    Args:
        blocks: They must give the same from the same input; so random numbers are not drawn again.
        again: Called whenever a block is run; gives what it must be run within when it is run again.
    """
    every: list[Any] = list(dict.fromkeys(blocks))
    own = [vars(block).get("forward") for block in every]
    for block in every:
        block.forward = partial(_checkpointed, block.forward, again)
    try:
        yield
    finally:
        for block, forward in zip(every, own, strict=True):
            del block.forward
            if forward is not None:
                block.forward = forward


def _checkpointed(forward: Callable[..., Any], again: Again, *args: Any, **kwargs: Any) -> Any:
    return checkpoint(
        forward,
        *args,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), again()),
        **kwargs,
    )
