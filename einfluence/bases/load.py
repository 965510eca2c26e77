"""Loading bases: a model that holds just what its files hold, or a refusal that says what they lack."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from einfluence.bases.find import describe, digits_folder, find_base
from einfluence.bases.here import found_here
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo
from einfluence.models.weights import read_tensors, weight_files
from einfluence.objectives import objectives

__all__ = ["describe", "digits_folder", "find_base", "load_base", "narrowed"]


def load_base(info: BaseInfo, *, trust_remote_code: bool = False, device: str = "cpu") -> Base:
    """Loads a base that :func:`find_base` found, here or on another machine, in eval mode.

    Args:
        info: What was found.
        trust_remote_code: Whether the model's own Python files may be run.
        device: Where it goes: a name that torch knows.

    Raises:
        InputError: When the files do not hold all of a model of the base's objective, hold more than that, or are no
            longer those that were found.
    """
    import torch

    torch.backends.cudnn.allow_tf32 = False  # which rounds float32 to ten bits in convolutions, unlike in products
    info = found_here(info, trust_remote_code)
    base = objectives()[info.objective].load(info, trust_remote_code=trust_remote_code, device=device)
    now = describe(Path(info.folder), info.label, info.label, trust_remote_code, info.head).beginning(info.bos)
    if now.base_id != (info.content or info.base_id):
        raise InputError(info.folder, "files that changed since they were found", "files that stay", "run it again")
    return base


def narrowed(info: BaseInfo, dtypes: Iterable[str]) -> BaseInfo:
    """The base held in bfloat16, half the memory, where that changes no number; else as it is.

    What files hold in bfloat16 alone is read exactly either way, and a recipe in bfloat16 casts to it first. Whatever
    is computed in float32 beside it, such as what rounding amounts to, casts back exactly.

    Args:
        info: The base.
        dtypes: Of the recipes that it is measured by.
    """
    if set(dtypes) != {"bfloat16"}:
        return info
    stored = read_tensors(weight_files(Path(info.folder), info.config, info.label))
    kinds = {kind for kind, _, _ in stored.values()}
    return replace(info, dtype="bfloat16") if kinds == {"BF16"} else info
