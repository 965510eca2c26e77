"""Which modules of a model a recipe's LoRA adapts: peft's rules, checked against the model's modules."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from typing import Any, cast

import torch
from jaxtyping import Float, Float64
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from einfluence.engine.precise import doubled
from einfluence.engine.structure import layer_of, structure_of
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.spec import Lora

PREFIX = "base_model.model."
# Layers that peft refuses to adapt, since these models read their weights past the layer's own forward pass.
_FORBIDDEN = ("out_proj", "conv1d")
_FORBIDDEN_IN = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")


def adapted(base: Base, model: torch.nn.Module, adapter: Lora) -> tuple[torch.nn.Module, set[str]]:
    """Puts fresh adapters into a copy of the base.

    Args:
        base: The base.
        model: A copy of its model; it is changed.
        adapter: Which modules it goes beside, its rank and its scale.

    Returns:
        The model with adapters, and the names of what they train.

    Raises:
        InputError: For layers or targets that the model does not have, or that no text passes.
    """
    config = lora_config(base, adapter)
    with warnings.catch_warnings():
        # peft turns GPT-2's Conv1D around by itself, which is what is wanted, and asks transformers by an old name.
        warnings.filterwarnings("ignore", message="fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # Experts count as parameters, which this warning forgets.
        warnings.filterwarnings("ignore", message="The following (rank|alpha)_pattern keys did not match")
        # An adapter on a tied output layer leaves the embedding alone, which is what is meant.
        warnings.filterwarnings("ignore", message="Model has `tie_word_embeddings=True`")
        try:
            model = cast("torch.nn.Module", get_peft_model(cast("Any", model), config))
        except ValueError as error:
            found = f"targets {adapter.targets!r}, layers {adapter.layers}, which cannot be adapted ({error})"
            raise InputError("recipe.adapter.targets", found, f"modules of {base.info.label}") from error
    for module in model.modules():  # MobileNets read these of a convolution before they call it
        if isinstance(module, LoraLayer) and isinstance(inner := module.get_base_layer(), nn.Conv2d):
            for name in ("kernel_size", "stride", "padding", "dilation"):
                setattr(module, name, getattr(inner, name))
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    # Experts are parameters, which peft chooses in all blocks at once.
    for name in [name for name in names if adapter.layers and layer_of(base.model, name) not in adapter.layers]:
        names.remove(name)
        model.get_parameter(name).requires_grad_(False)
    return model, names


def adapted_parameter(name: str, module: LoraLayer) -> str:
    """The base's name of the parameter that an adapter changes."""
    which = getattr(module, "parameter_name", "weight")
    return f"{name.removeprefix(PREFIX).replace('.base_layer', '')}.{which}"


def product_norms(down: Float[Tensor, "N r in"], up: Float[Tensor, "N out r"]) -> Float64[Tensor, " N"]:
    """The Frobenius norms of N products B A, which are not written out: their squares follow from the factors' own."""
    down, up = doubled(down.detach()), doubled(up.detach())
    return ((up.mT @ up) * (down @ down.mT)).sum((1, 2)).clamp(min=0).sqrt()


def lora_config(base: Base, adapter: Lora) -> LoraConfig:
    """The adapter in peft's words.

    Raises:
        InputError: For layers or targets that the model does not have, or that no text passes.
    """
    names = [name for name, _ in base.model.named_modules() if name]
    everything = adapter.targets == "all-linear"
    linear = _all_linear(base)
    chosen = linear if everything else _chosen(base, adapter, names)
    idle: frozenset[str] = frozenset()
    if hasattr(base.model, "config"):
        idle = structure_of(base.model).idle
        kind = getattr(cast("Any", base.model).config, "model_type", None)
        if everything:
            idle |= {name for name in linear if name in structure_of(base.model).several}
        if everything and kind in _FORBIDDEN_IN:
            idle |= {name for name in linear if name.rpartition(".")[2] in _FORBIDDEN}
    if chosen and set(chosen) <= idle:
        found = f"targets {adapter.targets!r}, which stand where no text passes ({_few(chosen)})"
        raise InputError("recipe.adapter.targets", found, f"modules that {base.info.label} reads text with")
    _check_layers(base, adapter, [name for name in chosen if name not in idle])
    out = [
        name
        for name in chosen
        if name in idle or (adapter.layers is not None and layer_of(base.model, name) not in adapter.layers)
    ]
    targets: Any = adapter.targets if isinstance(adapter.targets, str) else list(adapter.targets)
    return LoraConfig(
        r=adapter.r,
        lora_alpha=cast("Any", adapter.alpha),
        # Only of language models does peft know which layers "all-linear" means.
        target_modules=_exactly(linear) if everything and "causal text" not in base.objective.can else targets,
        exclude_modules=_exactly(out) if out else None,
        lora_dropout=0.0,
    )


def _all_linear(base: Base) -> list[str]:
    """Every product with a weight but the output layer's, as peft understands "all-linear".

    Of a model of transformers a convolution in groups is none: peft adapts it for some ranks only.
    """
    model, grouped = base.model, hasattr(base.model, "config")
    kinds = (nn.Linear, Conv1D) if "causal text" in base.objective.can else (nn.Linear, Conv1D, nn.Conv2d)
    head = base.objective.head(model)
    found = [(name, module) for name, module in model.named_modules() if isinstance(module, kinds)]
    return [
        name
        for name, module in found
        if module is not head and not (grouped and isinstance(module, nn.Conv2d) and module.groups > 1)
    ]


def _chosen(base: Base, adapter: Lora, names: Sequence[str]) -> list[str]:
    """The modules that ``targets`` choose.

    Raises:
        InputError: For a target that the model does not have.
    """
    if isinstance(adapter.targets, str):
        try:
            chosen = [name for name in names if re.fullmatch(adapter.targets, name)]
        except re.error as error:
            found = f"{adapter.targets!r}, which is no regular expression ({error})"
            raise InputError("recipe.adapter.targets", found, "a list of module names, or a pattern of one") from error
        missing = [] if chosen or _experts(base, adapter.targets) else [adapter.targets]
    else:
        chosen = [name for name in names if any(f".{name}".endswith(f".{target}") for target in adapter.targets)]
        missing = [
            target
            for target in adapter.targets
            if not any(f".{name}".endswith(f".{target}") for name in names) and not _experts(base, [target])
        ]
    if missing or not adapter.targets:
        known = list(dict.fromkeys(name.rpartition(".")[2] for name in _all_linear(base)))
        fix = f"take some of {_few(known, 12)}, or `targets: all-linear`"
        found = f"{', '.join(map(repr, missing)) or 'no target'}, which names no module of {base.info.label}"
        raise InputError("recipe.adapter.targets", found, "names of modules that the model has", fix)
    return chosen


def _experts(base: Base, targets: str | list[str]) -> bool:
    """Whether targets name experts by what they were called before they were fused into one parameter."""
    config = LoraConfig(target_modules=targets)
    try:
        convert_peft_config_for_transformers(config, cast("Any", base.model), None)
    except ValueError:  # one of two that are fused
        return True
    return bool(config.target_parameters)


def _check_layers(base: Base, adapter: Lora, chosen: Sequence[str]) -> None:
    if adapter.layers is None:
        return
    if not hasattr(base.model, "config"):
        there = {layer_of(base.model, name) for name, _ in base.model.named_modules()} - {None}
        known = f"a layer of {base.info.label}: {', '.join(map(str, sorted(cast('set[int]', there))))}"
    else:
        count = structure_of(base.model).count
        there = set(range(count))
        known = f"indices of blocks; {base.info.label} has {count}, from 0 to {count - 1}"
    missing = [layer for layer in adapter.layers if layer not in there]
    if missing or not adapter.layers:
        found = f"no block {', '.join(map(str, missing))}" if missing else "an empty list"
        raise InputError("recipe.adapter.layers", found, known, "leave `layers` out to adapt all of them")
    none = [layer for layer in adapter.layers if not any(layer_of(base.model, name) == layer for name in chosen)]
    if none and chosen:
        found = f"block {', '.join(map(str, none))}, where targets {adapter.targets!r} choose no module"
        raise InputError("recipe.adapter.layers", found, "blocks that hold one of the targets")


def _exactly(names: Sequence[str]) -> str:
    return "|".join(map(re.escape, names))


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
