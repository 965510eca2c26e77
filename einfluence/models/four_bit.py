"""Weights that bitsandbytes packed into 4 bits (nf4 or fp4), read as the numbers that they stand for.

Two codes lie in a byte, the first in its upper half. Each is one of 16 values, and every block of a weight has a scale
that these are multiplied by, in float32. The scales may be codes themselves, of 256 values, with scales of their own
and an offset that is added (double quantisation). So nothing behind this module meets a packed weight.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
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


def read_unpacked(files: Sequence[Path]) -> dict[str, Tensor]:
    """Every tensor in files of weights; of a packed one the numbers that it stands for, in float32.

    Raises:
        InputError: When a packed weight lacks a part, or its parts do not fit together.
    """
    from safetensors.torch import load_file

    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= load_file(file)
    for name, state in states_of(tensors).items():
        parts = {part: tensors.pop(f"{name}.{part}") for part in _PARTS if f"{name}.{part}" in tensors}
        try:
            how: dict[str, Any] = json.loads(bytes(tensors.pop(state).tolist()))
            tensors[name] = _unpacked(tensors[name], parts, how)
        except (ValueError, KeyError, TypeError, IndexError, RuntimeError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            found = f"{name!r}, packed into 4 bits, which cannot be unpacked ({reason})"
            expected = "its codes, scales and state, as bitsandbytes saves them"
            raise InputError(str(files[0].parent), found, expected, "download or save the model again") from error
    return tensors


def note_packed(model: nn.Module, names: Iterable[str]) -> None:
    """Keeps in mind which parameters of a base's model are packed in its files."""
    _PACKED[model] = frozenset(names)


def packed_parameters(model: nn.Module) -> frozenset[str]:
    """The parameters of a base's model that are packed in its files."""
    return _PACKED.get(model, frozenset())


def _unpacked(codes: Tensor, parts: Mapping[str, Tensor], how: Mapping[str, Any]) -> Tensor:
    """A weight, from its codes, the parts that are named as bitsandbytes does, and what else it says of them."""
    import torch

    scales = parts["absmax"]
    if "nested_absmax" in parts:
        values = parts["nested_quant_map"].float()[scales.long()]
        scales = _scaled(values, parts["nested_absmax"].float(), int(how["nested_blocksize"]))
        scales = scales + float(how["nested_offset"])
    bytes_of = codes.contiguous().view(torch.uint8).flatten()
    both = torch.stack((bytes_of >> 4, bytes_of & 15), 1).flatten()
    shape = torch.Size(how["shape"])
    if parts["quant_map"].numel() != 16 or both.numel() - shape.numel() not in (0, 1):
        raise ValueError(f"{both.numel()} codes of {parts['quant_map'].numel()} values for {tuple(shape)}")
    values = parts["quant_map"].float()[both[: shape.numel()].long()]
    return _scaled(values, scales.float(), int(how["blocksize"])).view(shape)


def _scaled(values: Tensor, scales: Tensor, size: int) -> Tensor:
    """Values times the scale of their block, of which the last may be shorter."""
    if -(-values.numel() // size) != scales.numel():
        raise ValueError(f"{scales.numel()} scales for {values.numel()} values in blocks of {size}")
    return values * scales.repeat_interleave(size)[: values.numel()]
