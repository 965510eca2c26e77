"""What a few tokens show of a model: where text passes, which modules are its blocks, whether running it changes it.

Names cannot tell: a vision tower has layers of its own, and so have experts and projections. So a private copy is run
once, and what ran is what counts.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from einfluence.errors import InputError

Needless = tuple[dict[str, int], dict[str, int]]
"""Widths of products, by their name in a block, which the first and the second of two runs do without."""
_CONTAINERS = (nn.ModuleList, nn.ModuleDict)


@dataclass
class Structure:
    """What is known of a model.

    Args:
        blocks: The index of the block that each module inside one is in, by module name.
        count: How many blocks there are.
        idle: Modules that no text passes: a vision tower, cross-attention. An expert that these tokens did not choose
            is none of them.
        several: Modules that give more than one tensor, as some routers do that are Linear by name; peft cannot adapt
            them.
        settles: Whether the first forward pass changes the weights (and no later one does).
        packs: Whether texts may be laid end to end; None while nobody has tried.
        joins: Whether texts laid end to end may be in rows of a batch, each token at a position of its own; likewise.
        rows: Whether what comes after the last attention may be computed on some rows only; likewise.
        writes: Whether the model writes into what a product with a weight gave; likewise.
        resumes: By the index of a block, whether those before it may be left out once what enters it is known.
        narrows: By what is read of it, which products its last block needs not where it computes the rows that are read
            alone (:mod:`einfluence.engine.read_rows`); None where it has to compute all.
        records: By what is read of it and what is trained, whether its operations may be recorded
            (:mod:`einfluence.engine.recorded`); empty while nobody has tried.
        masks: Whether padded texts may be read with a mask that holds what attention adds, and the longest that was
            tried.
    """

    blocks: dict[str, int]
    count: int
    idle: frozenset[str]
    several: frozenset[str]
    settles: bool
    packs: bool | None = None
    joins: bool | None = None
    rows: bool | None = None
    writes: bool | None = None
    resumes: dict[int, bool] = field(default_factory=dict[int, bool])
    narrows: dict[object, Needless | None] = field(default_factory=dict[object, Needless | None])
    records: dict[object, list[bool]] = field(default_factory=dict[object, list[bool]])
    masks: tuple[bool, int] = (True, 0)

    @property
    def last_block(self) -> str | None:
        """The name of the last block; None where it is not plain which it is."""
        last = [name for name, index in self.blocks.items() if index == self.count - 1]
        return last[0] if len(last) == 1 else None

    def layer_of(self, name: str) -> int | None:
        """The index of the block that a module or parameter (peft's names too) is in; None outside the blocks."""
        name = name.removeprefix("base_model.model.")
        while name:
            if name in self.blocks:
                return self.blocks[name]
            name = name.rpartition(".")[0]
        return None


_KNOWN: WeakKeyDictionary[nn.Module, Structure] = WeakKeyDictionary()


def structure_of(model: nn.Module) -> Structure:
    """Finds a language model's anatomy, once a process; the model itself is not run.

    Raises:
        InputError: When every forward pass changes the weights, so that no number would mean anything.
    """
    if model not in _KNOWN:
        twin = _copied(model).eval()
        called, several = _run(twin)
        settles = not same_weights(twin, model)
        if settles:
            settled = _copied(twin)
            _run(settled)
            if not same_weights(settled, twin):
                fix = "take a model that leaves its weights alone in eval mode"
                raise InputError("base", f"{type(model).__name__}, whose forward pass changes its weights", "one", fix)
        blocks, count = _blocks(model, called)
        _KNOWN[model] = Structure(blocks, count, _idle(model, called, blocks), several, settles)
    return _KNOWN[model]


def layer_of(model: nn.Module, name: str) -> int | None:
    """The index of the layer that a module or parameter is in.

    For a language model that of its block, for an image classifier the first number in the name; None outside.
    """
    if hasattr(model, "config"):
        return structure_of(model).layer_of(name)
    return next((int(piece) for piece in name.split(".") if piece.isdecimal()), None)


def whole_copy(model: nn.Module) -> nn.Module:
    """A copy with weights of its own, of which all is known that is known of the model."""
    twin = _copied(model)
    if hasattr(model, "config"):
        _KNOWN[twin] = structure_of(model)
    return twin


def private_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy with weights of its own in eval mode, as the first forward pass leaves them."""
    twin = _precise(_copied(model).to(dtype).eval(), dtype)
    if changes_itself(model):
        _run(twin)
    return twin


def changes_itself(model: nn.Module) -> bool:
    """Whether the first forward pass changes the weights."""
    return hasattr(model, "config") and structure_of(model).settles


def settled_model(model: nn.Module) -> nn.Module:
    """The model itself, or of one that changes its weights when it is first run, a copy that has been."""
    return private_copy(model, next(model.parameters()).dtype) if changes_itself(model) else model


def shared_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copies a model's structure and buffers; parameters share the original's memory where the dtype is the same.

    None of them needs a gradient. The original may be used by other threads meanwhile. Of a model that changes its
    weights when it is run, nothing is shared.
    """
    if changes_itself(model):
        return private_copy(model, dtype).requires_grad_(False)
    shared = {
        id(parameter): nn.Parameter(parameter.detach().to(dtype), requires_grad=False)
        for parameter in model.parameters()
    }
    twin = _copied(model, shared)
    for module in twin.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_floating_point():
                setattr(module, name, buffer.to(dtype))
    return _precise(twin.eval(), dtype)


def _copied(model: nn.Module, copies: dict[int, nn.Parameter] | None = None) -> nn.Module:
    """A deep copy, of which some parameters may be there already, by the original's identity.

    A module has a dozen collections of hooks and names, nearly all of them empty. Copying those takes most of the time
    of a small model's copy, so they are made anew.
    """
    memo: dict[int, Any] = dict(copies or {})
    for module in model.modules():
        for value in vars(module).values():
            if type(value) in (OrderedDict, dict, set) and not value:
                memo[id(value)] = type(value)()
    return copy.deepcopy(model, memo)


def _precise(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Fused products over experts know no float64, so there each expert is multiplied by itself."""
    whole: Any = model
    if dtype == torch.float64 and hasattr(whole, "_can_set_experts_implementation"):
        if whole._can_set_experts_implementation():
            whole.set_experts_implementation("eager")
    return model


@torch.no_grad()
def _run(model: nn.Module) -> tuple[frozenset[str], frozenset[str]]:
    """Runs a few tokens; returns the names of the modules that were called, and of those that gave several tensors.

    All were called where it cannot be run so.
    """
    called: set[str] = set()
    several: set[str] = set()

    def note(name: str, *_: Any) -> None:
        called.add(name)

    def gave(name: str, _module: nn.Module, _args: Any, out: Any) -> None:
        if not isinstance(out, Tensor):
            several.add(name)

    hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in model.named_modules()]
    hooks += [module.register_forward_hook(partial(gave, name)) for name, module in model.named_modules()]
    try:
        words = cast("Any", model).get_input_embeddings().weight.shape[0]
        ids = torch.arange(4, device=next(model.parameters()).device)[None] % words
        cast("Any", model)(input_ids=ids, use_cache=False)
    except Exception:  # whoever measures with it meets the reason; here it only means that nothing is known
        return frozenset(name for name, _ in model.named_modules()), frozenset()
    finally:
        for hook in hooks:
            hook.remove()
    # A wrapper may hand on to what is in it without being called itself.
    outer = {name[:at] for name in called for at, letter in enumerate(name) if letter == "."}
    return frozenset(called | outer), frozenset(several)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    """Whether parameters and saved buffers are bit for bit the same."""
    left, right = one.state_dict(), other.state_dict()
    return all(_bits(left[name]).equal(_bits(value)) for name, value in right.items() if isinstance(value, Tensor))


def _bits(value: Tensor) -> Tensor:
    return value.detach().contiguous().reshape(-1).view(torch.uint8)


def _blocks(model: nn.Module, called: frozenset[str]) -> tuple[dict[str, int], int]:
    """The list of modules that holds most of what text passes; one beside it that is as long belongs to it."""
    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in lists)
        if isinstance(module, nn.ModuleList) and not inside and _ran(name, module, called):
            lists[name] = module
    if not lists:
        return {}, 0
    wanted = getattr(cast("Any", model).config.get_text_config(), "num_hidden_layers", None)
    first = max(lists, key=lambda name: (len(lists[name]) == wanted, _numel(lists[name])))
    count, beside = len(lists[first]), first.rpartition(".")[0]
    same = [
        name
        for name, module in lists.items()
        if len(module) == count and name.rpartition(".")[0] == beside and not isinstance(module[0], nn.Linear)
    ]
    return {f"{name}.{index}": index for name in {first, *same} for index in range(count)}, count


def _ran(name: str, module: nn.ModuleList, called: frozenset[str]) -> bool:
    return any(f"{name}.{index}" in called for index in range(len(module)))


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _idle(model: nn.Module, called: frozenset[str], blocks: dict[str, int]) -> frozenset[str]:
    idle: set[str] = set()
    lists: set[str] = set()
    for name, module in model.named_modules():
        parent = name.rpartition(".")[0]
        if parent in idle:
            idle.add(name)
        elif isinstance(module, _CONTAINERS):
            lists.add(name)
        elif name and name not in called and (parent not in lists or not _within(parent, blocks)):
            idle.add(name)
    return frozenset(idle)


def _within(name: str, blocks: dict[str, int]) -> bool:
    return any(name == block or name.startswith(f"{block}.") for block in blocks)
