"""Loading what bitsandbytes packed into 4 bits: the model of transformers that its weights stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einfluence.errors import InputError
from einfluence.models.base import BaseInfo
from einfluence.models.four_bit import Packed, note_packed, read_packed
from einfluence.models.weights import Tensor, weight_files


def load_unpacked(
    info: BaseInfo, skeleton: Any, classes: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """A base's model in float32, and which of its parameters are packed in its files kept in mind.

    Of one that keeps its weights packed they are so in memory.

    Args:
        info: The base.
        skeleton: Its model, without memory.
        classes: Changes of its configuration, for a new head.

    Returns:
        The model, what transformers reports of missing, unexpected and mismatched tensors, and the unpacked tensors.

    Raises:
        InputError: When the files are damaged, or the model has code of its own.
    """
    import torch
    from transformers.pytorch_utils import Conv1D

    from einfluence.models.loaded import check_finite, plain_name

    if info.config.get("auto_map"):
        found = "weights in 4 bits of a model that brings Python code of its own"
        raise InputError(info.label, found, "a model that transformers knows", "take the unquantised weights")
    state, packed = read_packed(weight_files(Path(info.folder), info.config, info.label))
    check_finite(((name, each.scales) for name, each in packed.items()), info.folder)
    blank = torch.zeros(1)  # in the place of what stays packed, without memory of its own
    kinds = {plain_name(skeleton, f"{name}.weight"): type(module) for name, module in skeleton.named_modules()}
    for name, each in packed.items():
        state[name] = blank.expand(each.shape) if info.keep_packed else each.numbers()
        if kinds.get(plain_name(skeleton, name)) is Conv1D:  # packed as the Linear that bitsandbytes makes of it
            state[name] = state[name].T if info.keep_packed else state[name].T.contiguous()
    stored: dict[str, Tensor] = {name: ("F32", tuple(value.shape), "") for name, value in state.items()}
    skeleton.config.update(classes)
    model, report = type(skeleton).from_pretrained(
        None,
        config=skeleton.config,
        state_dict=state,
        output_loading_info=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
    )
    plain = {plain_name(model, str(name)) for name in {*stored, *report["missing_keys"]} - {*info.packed}}
    floats = [value for name, value in state.items() if name not in packed]

    def unpacked(name: str, parameter: torch.Tensor) -> bool:
        """Whether it is none of the packed ones, if under another name than in the files."""
        alike = (value.to(parameter.dtype) for value in floats if value.shape == parameter.shape)
        return plain_name(model, name) in plain or any(torch.equal(value, parameter) for value in alike)

    note_packed(model, (name for name, value in model.named_parameters() if not unpacked(name, value)))
    if info.keep_packed:
        _keep_packed(model, packed, info)
    return model, report, stored


def _keep_packed(model: Any, packed: Mapping[str, Packed], info: BaseInfo) -> None:
    """Puts layers whose weights stay in 4 bits in the place of those that are blank.

    Raises:
        InputError: When a packed weight is not that of one layer, as experts are that transformers puts together.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    from einfluence.models.loaded import plain_name
    from einfluence.models.packed_linear import PackedLinear

    layers: dict[str, Any] = {
        plain_name(model, f"{name}.weight"): (name, module)
        for name, module in model.named_modules()
        if type(module) in (nn.Linear, Conv1D)
    }
    for name, weight in packed.items():
        if plain_name(model, name) not in layers:
            found = f"`keep_packed` of {info.label}, where {name!r} is not the weight of one layer"
            raise InputError(
                "keep_packed", found, "a model whose packed weights are each that of a Linear", "leave it out"
            )
        place, module = layers[plain_name(model, name)]
        home, _, last = place.rpartition(".")
        setattr(model.get_submodule(home), last, PackedLinear(weight, module.bias))
