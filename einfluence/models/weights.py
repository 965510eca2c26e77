"""The weights of a base: which files they are, whether these are whole, and what each tensor holds."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from einfluence.digests import remembered
from einfluence.errors import InputError
from einfluence.keys import DIGEST_BYTES
from einfluence.models.four_bit import states_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
POINTER = b"version https://git-lfs"
FETCH = "fetch it with `git lfs install` and `git lfs pull`, or download the model again"
# What transformers takes for a checkpoint of several machines, and then prefers to everything else in the folder.
_DISTRIBUTED = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
_QUANTISED = re.compile(r"F[468]_|F[468]$|I4|U4")
_SAVE = "save it with `model.save_pretrained(folder)`; pickled weights (.bin, .pt) are never loaded"
FLOATS = ("F64", "F32", "F16", "BF16")

Tensor = tuple[str, tuple[int, ...], str]  # data type, shape, digest of the bytes


def weight_files(folder: Path, config: Mapping[str, Any], where: str) -> list[Path]:
    """The files that a folder's weights are loaded from, in order; other *.safetensors in it are not looked at.

    The file that config.json names as ``transformers_weights``, else model.safetensors, else the shards that
    model.safetensors.index.json lists.

    Raises:
        InputError: When there are none, or the index is damaged or lists a file that is not there.
    """
    odd = sorted(path.name for path in folder.iterdir() if _DISTRIBUTED.fullmatch(path.name))
    if odd:
        found = f"{folder}, which holds {odd[0]}, one machine's share of a distributed checkpoint"
        raise InputError(where, found, f"{SINGLE} or {INDEX}", "save it whole with `model.save_pretrained(folder)`")
    chosen = config.get("transformers_weights")
    names = [chosen] if isinstance(chosen, str) else [SINGLE, INDEX]
    name = next((name for name in names if (folder / name).is_file()), None)
    if name is None:
        raise InputError(where, *_without_weights(folder, names))
    return _shards(folder, name) if name.endswith(".index.json") else [folder / name]


def read_tensors(files: Sequence[Path]) -> dict[str, Tensor]:
    """Data type, shape and digest of each tensor in the files that hold a base's weights.

    Raises:
        InputError: For a file that is no whole safetensors file, holds quantised weights that are not
            :mod:`einfluence.models.four_bit`, or repeats a tensor.
    """
    found: dict[str, Tensor] = {}
    homes: dict[str, Path] = {}
    for file in files:
        check_pointer(file)
        for name, tensor in _tensors(file).items():
            if name in found:
                raise InputError(str(file), f"{name!r} a second time", "each tensor in one file", "save the model anew")
            found[name] = tensor
            homes[name] = file
    packed = states_of(found)
    for name, (kind, _, _) in found.items():
        if _QUANTISED.match(kind) or (name.endswith("weight") and kind not in FLOATS and name not in packed):
            fix = "take the unquantised weights of this model"
            raise InputError(str(homes[name]), f"{name!r} as {kind}: quantised weights", "floating-point weights", fix)
    if not found:
        raise InputError(", ".join(map(str, files)), "no tensor", "a model's weights", "save the model anew")
    return found


def check_pointer(file: Path) -> None:
    """Refuses the few lines that Git leaves in place of a big file until it is fetched.

    Raises:
        InputError: When the file is such a pointer.
    """
    with file.open("rb") as opened:
        if opened.read(len(POINTER)) == POINTER:
            raise InputError(str(file), "a Git LFS pointer in place of the file", "the file itself", FETCH)


def _tensors(file: Path) -> dict[str, Tensor]:
    found = remembered(file, "tensors", lambda: _read(file))
    return {name: (kind, tuple(shape), hashed) for name, (kind, shape, hashed) in found.items()}


def _read(file: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="np"):  # it checks what is read below
            pass
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(str(file), *_damaged(file, str(error))) from error
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header: dict[str, Any] = json.loads(opened.read(length))
    header.pop("__metadata__", None)
    start, found = 8 + length, dict[str, Any]()
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        found[name] = entry["dtype"], entry["shape"], _hashed(file, start + first, last - first)
    return found


def _hashed(file: Path, start: int, length: int) -> str:
    hashed = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with file.open("rb") as opened:
        opened.seek(start)
        while length > 0 and (block := opened.read(min(length, 1 << 20))):
            hashed.update(block)
            length -= len(block)
    return hashed.hexdigest()


def _shards(folder: Path, name: str) -> list[Path]:
    file = folder / name
    check_pointer(file)
    try:
        index = json.loads(file.read_text(encoding="utf-8"))
        listed: dict[Any, Any] = index["weight_map"]
        names = sorted(set(listed.values()))
        whole = bool(names) and isinstance(index["metadata"], dict) and all(type(item) is str for item in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole, names, listed = False, list[str](), dict[Any, Any]()
    if not whole:
        expected = "`metadata` and `weight_map`: the file in which each tensor lies"
        raise InputError(str(file), "no index of weights", expected, "save the model anew")
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        found = f"{some(absent)}, which {'is' if len(absent) == 1 else 'are'} not in the folder"
        raise InputError(str(file), found, "every file that it lists", "download the model again")
    shards = [folder / name for name in names]
    lost = set(listed) - {tensor for shard in shards for tensor in _listed(shard)}
    if lost:
        raise InputError(str(file), f"{some(lost)}, in none of the files", "each tensor in the file listed", FETCH)
    return shards


def _listed(file: Path) -> Iterable[str]:
    check_pointer(file)
    return _tensors(file)


def _without_weights(folder: Path, names: Sequence[str]) -> tuple[str, str, str]:
    expected = " or ".join(names)
    others = sorted(path.name for path in folder.iterdir() if path.is_file())
    stray = [name for name in others if name.endswith(".safetensors")]
    if stray:
        return f"{folder}, which has {some(stray)} but no {expected}", expected, f"rename it to {SINGLE} if it is whole"
    if any(name.endswith(".gguf") for name in others):
        fix = "take the safetensors that the GGUF file was made from; those are not quantised"
        return f"{folder}, which has weights for llama.cpp only (GGUF)", expected, fix
    if any(name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")) for name in others):
        return f"{folder}, which has pickled weights only", expected, _SAVE
    return f"{folder}, which has no weights", expected, _SAVE


def _damaged(file: Path, reason: str) -> tuple[str, str, str]:
    expected, again = "a whole safetensors file", "download or save the model again"
    with file.open("rb") as opened:
        first = opened.read(16).lstrip()
    if not file.stat().st_size:
        return "a file of 0 bytes", expected, again
    if first.startswith((b"PK\x03\x04", b"\x80\x02", b"GGUF")):
        kind = "a GGUF file" if first.startswith(b"GGUF") else "pickled weights"
        return f"{kind} under this name", expected, "save it with `model.save_pretrained(folder)`"
    if first.startswith((b"<", b"{")):
        return "text in place of the weights, such as a page of a web site", expected, again
    return f"a file that is cut short or damaged (safetensors: {reason})", expected, again


def some(names: Iterable[str], most: int = 4) -> str:
    """The first few of many names, and how many there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more
