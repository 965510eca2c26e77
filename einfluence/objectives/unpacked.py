"""Loading what bitsandbytes packed into 4 bits: the model of transformers that its weights stand for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from einfluence.errors import InputError
from einfluence.models.base import BaseInfo
from einfluence.models.four_bit import note_packed, read_unpacked
from einfluence.models.weights import Tensor, weight_files


def load_unpacked(
    info: BaseInfo, skeleton: Any, classes: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], dict[str, Tensor]]:
    """A base's model in float32, and which of its parameters are packed in its files kept in mind.

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

    from einfluence.models.loaded import plain_name

    if info.config.get("auto_map"):
        found = "weights in 4 bits of a model that brings Python code of its own"
        raise InputError(info.label, found, "a model that transformers knows", "take the unquantised weights")
    state = read_unpacked(weight_files(Path(info.folder), info.config, info.label))
    kinds = {plain_name(skeleton, f"{name}.weight"): type(module) for name, module in skeleton.named_modules()}
    for name in info.packed:  # a Conv1D is packed the other way round, as the Linear that bitsandbytes makes of it
        if kinds.get(plain_name(skeleton, name)) is Conv1D:
            state[name] = state[name].T.contiguous()
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
    floats = {plain_name(model, str(name)) for name in {*stored, *report["missing_keys"]} - {*info.packed}}
    note_packed(model, (name for name, _ in model.named_parameters() if plain_name(model, name) not in floats))
    return model, report, stored
