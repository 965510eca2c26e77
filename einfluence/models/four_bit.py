"""Weights that bitsandbytes packed into 4 bits (nf4 or fp4), read as the numbers that they stand for.

Two codes lie in a byte, the first in its upper half. Each is one of 16 values, and every block of a weight has a scale
that these are multiplied by, in float32. The scales may be codes themselves, of 256 values, with scales of their own
and an offset that is added (double quantisation).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from einfluence.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor, nn

_STATE = re.compile(r"(.+)\.quant_state\.bitsandbytes__(?:nf4|fp4)")
_PARTS = ("absmax", "quant_map", "nested_absmax", "nested_quant_map")

_PACKED: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()


def states_of(names: Iterable[str]) -> dict[str, str]:
    """The packed weights among tensors, and for each the tensor that says how it is packed."""
    return {found[1]: name for name in names if (found := _STATE.fullmatch(name))}


@dataclass(frozen=True)
class Packed:
    """A weight in 4 bits.

    Args:
        codes: uint8, two in each.
        values: float32 (16,), what the codes stand for.
        scales: float32, one for each block.
        block: How many numbers have a scale in common; the last may have fewer.
        shape: Of the weight.
    """

    codes: Tensor
    values: Tensor
    scales: Tensor
    block: int
    shape: tuple[int, ...]

    def numbers(self) -> Tensor:
        """What it stands for, in float32."""
        import torch

        both = torch.arange(256, device=self.codes.device)
        pairs = self.values[torch.stack((both >> 4, both & 15), 1)].view(torch.int64)[:, 0]  # two numbers at a time
        values = pairs.index_select(0, self.codes.int()).view(torch.float32)[: math.prod(self.shape)]
        return _scaled(values, self.scales, self.block).view(self.shape)


def read_packed(files: Sequence[Path]) -> tuple[dict[str, Tensor], dict[str, Packed]]:
    """The tensors in files of weights, and apart from them the packed ones.

    Raises:
        InputError: When a packed weight lacks a part, or its parts do not fit together.
    """
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= load_file(file)
    packed: dict[str, Packed] = {}
    for name, state in states_of(tensors).items():
        parts = {part: tensors.pop(f"{name}.{part}") for part in _PARTS if f"{name}.{part}" in tensors}
        try:
            how: dict[str, Any] = json.loads(bytes(tensors.pop(state).tolist()))
            packed[name] = _packed(tensors.pop(name), parts, how)
        except (ValueError, KeyError, TypeError, IndexError, RuntimeError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            found = f"{name!r}, packed into 4 bits, which cannot be unpacked ({reason})"
            expected = "its codes, scales and state, as bitsandbytes saves them"
            raise InputError(str(files[0].parent), found, expected, "download or save the model again") from error
    return tensors, packed


def note_packed(model: nn.Module, names: Iterable[str]) -> None:
    """Keeps in mind which parameters of a base's model are packed in its files."""
    _PACKED[model] = frozenset(names)


def packed_parameters(model: nn.Module) -> frozenset[str]:
    """The parameters of a base's model that are packed in its files."""
    return _PACKED.get(model, frozenset())


def _packed(codes: Tensor, parts: Mapping[str, Tensor], how: Mapping[str, Any]) -> Packed:
    """A weight, from its codes, the parts that are named as bitsandbytes does, and what else it says of them."""
    import torch

    scales, values = parts["absmax"], parts["quant_map"].float()
    if "nested_absmax" in parts:
        known = parts["nested_quant_map"].float()[scales.long()]
        scales = _scaled(known, parts["nested_absmax"].float(), int(how["nested_blocksize"]))
        scales = scales + float(how["nested_offset"])
    codes = codes.contiguous().view(torch.uint8).flatten()
    shape, block = tuple(int(size) for size in how["shape"]), int(how["blocksize"])
    count = math.prod(shape)
    if len(shape) != 2 or values.numel() != 16 or 2 * codes.numel() - count not in (0, 1):
        raise ValueError(f"{2 * codes.numel()} codes of {values.numel()} values for {shape}")
    if -(-count // block) != scales.numel():
        raise ValueError(f"{scales.numel()} scales for {count} values in blocks of {block}")
    return Packed(codes, values, scales.float(), block, shape)


def _scaled(values: Tensor, scales: Tensor, block: int) -> Tensor:
    """Values, written over, times the scale of their block, of which the last may be shorter."""
    if values.numel() % block == 0:
        return values.view(-1, block).mul_(scales[:, None]).flatten()
    if -(-values.numel() // block) != scales.numel():
        raise ValueError(f"{scales.numel()} scales for {values.numel()} values in blocks of {block}")
    return values * scales.repeat_interleave(block)[: values.numel()]
