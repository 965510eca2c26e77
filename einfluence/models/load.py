"""Finding and loading bases: hub ids, local folders, and the ones that are embedded."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from einfluence.embedded import cache_folder, data_folder
from einfluence.errors import InputError
from einfluence.keys import content_hash, file_digest
from einfluence.models.base import Base, BaseInfo

if TYPE_CHECKING:
    import torch

LAYERS = (
    "Conv2d", "Linear", "BatchNorm2d", "GroupNorm", "LayerNorm", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d",
    "ReLU", "GELU", "SiLU", "Tanh", "Sigmoid", "Identity", "Dropout", "Flatten",
)  # fmt: skip
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "chat_template.jinja",
)
# Keys of config.json that say who wrote the file, not what the model computes.
VOLATILE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")


def find_base(name: str, where: str, *, relative_to: Path = Path("."), trust_remote_code: bool = False) -> BaseInfo:
    """Finds a base's files and names them by their content, without building the model.

    Args:
        name: ``embedded:NAME``, a folder (relative to ``relative_to``), or a hub id with an optional ``@revision``.
        where: What error messages call the place where the name was written.
        relative_to: Folder of the spec.
        trust_remote_code: Whether the model's own Python files may be fetched and run.

    Raises:
        InputError: When there is no such model, or its folder lacks config or weights (safetensors).
    """
    folder = _folder(name, where, relative_to, trust_remote_code)
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise InputError(
            where, f"{folder}, which has no config.json", "a model folder with config.json and *.safetensors"
        )
    try:
        config: dict[str, Any] = json.loads(config_file.read_text())
    except ValueError as error:
        raise InputError(
            str(config_file), f"JSON that cannot be read ({error})", "the model's configuration"
        ) from error
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        fix = "save it with `model.save_pretrained(folder)`; pickled weights (.bin, .pt) are never loaded"
        raise InputError(where, f"{folder}, which has no weights", "a model folder with *.safetensors", fix)
    tokenizer = [folder / file for file in TOKENIZER_FILES if (folder / file).is_file()]
    kept = {key: value for key, value in config.items() if key not in VOLATILE}
    files = {file.name: _digest(file) for file in (*weights, *tokenizer)}
    modality = "image" if config.get("modality") == "image" else "text"
    return BaseInfo(content_hash((json.dumps(kept, sort_keys=True), files)), name, modality, str(folder), config)


def load_base(info: BaseInfo, *, trust_remote_code: bool = False) -> Base:
    """Loads a base that :func:`find_base` found, in float32, in eval mode, on the GPU where there is one.

    Raises:
        InputError: When the files do not hold a causal language model or a documented image classifier.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    load = _load_image if info.modality == "image" else _load_text
    base = load(info, trust_remote_code)
    base.model.to(device).eval().requires_grad_(False)
    return base


def build_classifier(config: dict[str, Any], where: str) -> torch.nn.Sequential:
    """Builds an image classifier from its documented configuration: a list of [torch.nn class, arguments].

    Raises:
        InputError: For a layer that is not in :data:`LAYERS` or arguments that it does not take.
    """
    import torch

    modules: list[torch.nn.Module] = []
    for index, layer in enumerate(cast("list[Any]", config.get("layers") or [])):
        kind, arguments = (layer + [{}])[:2] if isinstance(layer, list) else (layer, {})
        if kind not in LAYERS:
            raise InputError(f"{where} layers.{index}", f"{kind!r}", f"one of {', '.join(LAYERS)}")
        try:
            modules.append(getattr(torch.nn, kind)(**arguments))
        except (TypeError, ValueError) as error:
            raise InputError(
                f"{where} layers.{index}", f"{kind} with {arguments}", f"arguments of torch.nn.{kind} ({error})"
            ) from error
    if not modules:
        raise InputError(where, "no `layers`", "a list of [torch.nn class, arguments], from pixels to class logits")
    return torch.nn.Sequential(*modules)


def _folder(name: str, where: str, relative_to: Path, trust_remote_code: bool) -> Path:
    if name.startswith("embedded:"):
        return _embedded(name.removeprefix("embedded:"), where)
    local = relative_to / Path(name).expanduser()
    if local.is_dir():
        return local.resolve()
    if local.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(where, f"{name!r}, which is no folder", "a model folder, a hub id, or embedded:NAME")
    return _from_hub(name, where, trust_remote_code)


def _embedded(name: str, where: str) -> Path:
    if name == "digits":
        return digits_folder()
    folder = data_folder() / "models" / name
    if not folder.is_dir():
        known = sorted(["digits", *(path.parent.name for path in folder.parent.glob("*/config.json"))])
        raise InputError(where, f"embedded:{name}", f"one of {', '.join('embedded:' + item for item in known)}")
    return folder


def digits_folder() -> Path:
    """The folder of the digits base, trained on first use and cached by the content hash of its recipe."""
    from einfluence.models import digits

    folder = cache_folder() / "models" / f"digits-{digits.key()}"
    if not (folder / "config.json").is_file():  # config.json is written last
        digits.train_digits(folder)
    return folder


def _from_hub(name: str, where: str, trust_remote_code: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    repo, _, revision = name.partition("@")
    patterns = ["*.json", "*.safetensors", *TOKENIZER_FILES, *(["*.py"] if trust_remote_code else [])]
    fix = "check the spelling, or download it where there is a network and give the folder"
    try:
        return Path(snapshot_download(repo, revision=revision or None, allow_patterns=patterns))
    except HFValidationError as error:
        raise InputError(
            where, f"{name!r}", "a model folder that exists, a hub id such as org/name, or embedded:NAME"
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(where, f"{name!r}, which the hub does not have", "a hub id that exists", fix) from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            where,
            f"{name!r}, while the hub cannot be reached and it is not in the local cache",
            "a network, or a model folder",
            fix,
        ) from error


def _load_text(info: BaseInfo, trust_remote_code: bool) -> Base:
    import torch
    import transformers.utils.logging
    from transformers import AutoModelForCausalLM, AutoTokenizer

    transformers.utils.logging.disable_progress_bar()  # a bar for each small file would bury what the run says
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(info.folder, **options)
        model: Any = AutoModelForCausalLM.from_pretrained(
            info.folder, dtype=torch.float32, use_safetensors=True, **options
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            info.label, f"files that do not load ({reason})", "a causal language model with its tokenizer"
        ) from error
    length = getattr(model.config, "max_position_embeddings", None)
    join = str(getattr(model.config, "einfluence_join", "\n"))
    return Base(info, model, tokenizer, max_length=length, join=join)


def _load_image(info: BaseInfo, _trust_remote_code: bool) -> Base:
    from safetensors.torch import load_file

    where = os.path.join(info.folder, "config.json")
    shape, classes = info.config.get("input_shape"), info.config.get("classes")
    if not (_positive_integers(shape) and len(cast("list[int]", shape)) == 3):
        raise InputError(f"{where} input_shape", f"{shape!r}", "[channels, height, width]")
    if not _positive_integers([classes]):
        raise InputError(f"{where} classes", f"{classes!r}", "the number of classes")
    model = build_classifier(info.config, where)
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(Path(info.folder).glob("*.safetensors")):
        weights |= load_file(file)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            info.folder,
            f"weights that do not fit the layers ({reason})",
            "the state dict of the network in config.json",
        ) from error
    return Base(info, model, n_classes=cast("int", classes), input_shape=cast("Any", tuple(cast("list[int]", shape))))


def _positive_integers(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        type(item) is int and item > 0 for item in cast("Sequence[object]", value)
    )


def _digest(file: Path) -> str:
    """A file's digest; that of a big file is remembered by its path, size and time."""
    stat = file.stat()
    if stat.st_size < 1 << 26:
        return file_digest(file)
    key = content_hash((str(file.resolve()), stat.st_size, stat.st_mtime_ns))
    note = cache_folder() / "digests" / key
    if note.is_file():
        return note.read_text()
    digest = file_digest(file)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(digest)
    return digest
