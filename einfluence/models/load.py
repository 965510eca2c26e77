"""Loading bases: a model that holds just what its files hold, or a refusal that says what they lack."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo
from einfluence.models.find import describe, digits_folder, find_base
from einfluence.models.kinds import CAUSAL
from einfluence.models.weights import Tensor, read_tensors, some, weight_files

if TYPE_CHECKING:
    import torch

__all__ = ["LAYERS", "build_classifier", "digits_folder", "find_base", "load_base"]

LAYERS = (
    "Conv2d", "Linear", "BatchNorm2d", "GroupNorm", "LayerNorm", "MaxPool2d", "AvgPool2d", "AdaptiveAvgPool2d",
    "ReLU", "GELU", "SiLU", "Tanh", "Sigmoid", "Identity", "Dropout", "Flatten",
)  # fmt: skip
# Ordinary texts, by which a tokenizer is held against its file.
SPELLED = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "It's a naïve café, isn't it? (Yes: 1999!)",
    "the town is red",
)


def load_base(info: BaseInfo, *, trust_remote_code: bool = False) -> Base:
    """Loads a base that :func:`find_base` found, in float32, in eval mode, on the GPU where there is one.

    Raises:
        InputError: When the files do not hold all of a causal language model or of a documented image classifier, hold
            more than that, or are no longer those that were found.
    """
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = False  # which rounds float32 to ten bits in convolutions, unlike in products
    load = _load_image if info.modality == "image" else _load_text
    base = load(info, trust_remote_code, device)
    now = describe(Path(info.folder), info.label, info.label, trust_remote_code).beginning(info.bos)
    if now.base_id != info.base_id:
        raise InputError(info.folder, "files that changed since they were found", "files that stay", "run it again")
    return base


def build_classifier(config: dict[str, Any], where: str) -> torch.nn.Sequential:
    """Builds an image classifier from its documented configuration: a list of [torch.nn class, arguments].

    Raises:
        InputError: For a layer that is not in :data:`LAYERS` or arguments that it does not take.
    """
    import torch

    modules: list[torch.nn.Module] = []
    layers = config.get("layers")
    for index, layer in enumerate(cast("list[Any]", layers if isinstance(layers, list) else [])):
        kind, arguments = (layer + [{}])[:2] if isinstance(layer, list) and layer else (layer, {})
        if kind not in LAYERS:
            raise InputError(f"{where} layers.{index}", f"{kind!r}", f"one of {', '.join(LAYERS)}")
        try:
            modules.append(getattr(torch.nn, kind)(**arguments))
        except Exception as error:  # torch raises many kinds for sizes that cannot be
            raise InputError(
                f"{where} layers.{index}", f"{kind} with {arguments}", f"arguments of torch.nn.{kind} ({error})"
            ) from error
    if not modules:
        raise InputError(where, "no `layers`", "a list of [torch.nn class, arguments], from pixels to class logits")
    return torch.nn.Sequential(*modules)


def _load_text(info: BaseInfo, trust_remote_code: bool, device: str) -> Base:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from einfluence.models import loaded

    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "local_files_only": True}
    weights: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "ignore_mismatched_sizes": True}
    stored = read_tensors(weight_files(Path(info.folder), info.config, info.label))
    with _quiet():
        with _refusing(info, "a causal language model"):
            _check_causal(info, stored, options)
        with _refusing(info, "the files of its tokenizer, as `tokenizer.save_pretrained(folder)` writes them"):
            tokenizer: Any = AutoTokenizer.from_pretrained(info.folder, **options)
        with _refusing(info, "a causal language model"):
            both: Any = AutoModelForCausalLM.from_pretrained(
                info.folder, output_loading_info=True, **weights, **options
            )
        model, report = both
        loaded.check_filled(model, report, stored, info.folder)
        loaded.check_finite(model.named_parameters(), info.folder)
        loaded.recompute_buffers(model)
        with _refusing(info, "a tokenizer that reads ordinary texts"):
            _check_tokenizer(tokenizer, info)
        model = model.float().to(device).eval().requires_grad_(False)
        loaded.try_text(model, info.label)
    length, join = loaded.context_length(model), str(getattr(model.config, "einfluence_join", "\n"))
    return Base(info, model, tokenizer, max_length=length, join=join, vocabulary=loaded.vocabulary(model))


def _load_image(info: BaseInfo, _trust_remote_code: bool, device: str) -> Base:
    import torch
    from safetensors.torch import load_file

    from einfluence.models import loaded

    where = os.path.join(info.folder, "config.json")
    shape, classes = info.config.get("input_shape"), info.config.get("classes")
    if not (_positive_integers(shape) and len(cast("list[int]", shape)) == 3):
        raise InputError(f"{where} input_shape", f"{shape!r}", "[channels, height, width]")
    if not _positive_integers([classes]):
        raise InputError(f"{where} classes", f"{classes!r}", "the number of classes")
    files = weight_files(Path(info.folder), info.config, info.folder)
    read_tensors(files)
    with torch.device("meta"):  # no memory is filled that no file fills
        model = build_classifier(info.config, where)
    weights: dict[str, torch.Tensor] = {}
    for file in files:
        weights |= {name: value.clone() for name, value in load_file(file).items()}  # where memory is aligned
    try:
        model.load_state_dict(weights, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            info.folder,
            f"weights that do not fit the layers ({reason})",
            "the state dict of the network in config.json",
        ) from error
    loaded.check_finite(model.state_dict().items(), info.folder)
    model = model.float().to(device).eval().requires_grad_(False)
    size = cast("tuple[int, int, int]", tuple(cast("list[int]", shape)))
    loaded.try_classifier(model, size, cast("int", classes), where)
    return Base(info, model, n_classes=cast("int", classes), input_shape=size)


def _check_causal(info: BaseInfo, stored: Mapping[str, Tensor], options: dict[str, Any]) -> None:
    """Refuses what is no language model, or asks for far more than the files hold, before memory is taken for it."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    file = os.path.join(info.folder, "config.json")
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        for part in (info.config, info.config.get("text_config")):
            blocks = cast("dict[str, Any]", part).get(key) if isinstance(part, dict) else None
            if isinstance(blocks, int | float) and blocks > len(stored):  # building them would take for ever
                fewer = f"no more blocks than the {len(stored)} tensors of the weights can fill"
                raise InputError(f"{file} {key}", f"{blocks:g}", fewer)
    config = AutoConfig.from_pretrained(info.folder, **options)
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not own_code:
        named = (info.config.get("architectures") or [f"model_type {config.model_type}"])[0]
        raise InputError(file, f"{named}, which transformers does not take for a language model", CAUSAL)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=options["trust_remote_code"])
    wanted = sum(parameter.numel() for parameter in model.parameters())
    held = sum(math.prod(shape) for _, shape, _ in stored.values())
    if wanted > 2 * held:
        shapes = {shape for _, shape, _ in stored.values()}
        absent = [name for name, parameter in model.named_parameters() if tuple(parameter.shape) not in shapes]
        found = f"a configuration of {wanted:,} parameters" + (f" ({some(absent)})" if absent else "")
        raise InputError(file, found, f"that of the {held:,} numbers in the weights")


def _check_tokenizer(tokenizer: Any, info: BaseInfo) -> None:
    """Refuses what transformers makes of tokenizers that it does not understand.

    It makes an empty one where files are missing, and one of the model's usual kind, whatever tokenizer.json holds,
    where tokenizer_config.json names no class or another.
    """
    kind = type(tokenizer)
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        fix = "save it beside the weights with `tokenizer.save_pretrained(folder)`"
        expected = "tokenizer.json or the files that its kind is made of"
        raise InputError(info.folder, f"a tokenizer without a vocabulary ({kind.__name__})", expected, fix)
    file = Path(info.folder) / "tokenizer.json"
    if not tokenizer.is_fast or not file.is_file() or kind.__module__.startswith("transformers_modules"):
        return
    from tokenizers import Tokenizer

    written: Any = Tokenizer.from_file(str(file))
    written.no_truncation()  # what was set when the file was saved; transformers cuts and fills up only when asked
    written.no_padding()
    words = [str(written.id_to_token(index)).strip("Ġ▁#") for index in range(0, written.get_vocab_size(), 97)]
    plain = " ".join(word for word in words[:40] if word.isascii() and word.isalpha())
    for text in (*SPELLED, plain):
        try:
            ids = written.encode(text, add_special_tokens=False).ids
        except Exception:  # it knows neither this word nor a token for unknown ones
            continue
        if tokenizer(text, add_special_tokens=False)["input_ids"] != ids:
            found = f"a {kind.__name__}, which turns {text[:40]!r} into other tokens than tokenizer.json does"
            fix = 'write `"tokenizer_class": "PreTrainedTokenizerFast"` into tokenizer_config.json'
            raise InputError(info.folder, found, "a class that reads texts as tokenizer.json says", fix)


@contextmanager
def _refusing(info: BaseInfo, expected: str) -> Generator[None]:
    """Whatever goes wrong is the files' fault: they may break transformers, or code of the model's own, anywhere."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")[:300]
        if "trust_remote_code" in str(error) or "custom code" in reason:
            found = "a model that brings Python code of its own"
            fix = "read that code; then write `trust_remote_code: true` into this part of the spec"
            raise InputError(
                info.label, found, "a model that transformers knows, or code that you trust", fix
            ) from error
        raise InputError(info.label, f"files that do not load ({type(error).__name__}: {reason})", expected) from error


@contextmanager
def _quiet() -> Generator[None]:
    """Silences transformers: a bar for each file and a table of tensors would bury the one message that counts."""
    from transformers.utils import logging as told

    level = told.get_verbosity()
    told.disable_progress_bar()
    told.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        told.set_verbosity(level)


def _positive_integers(value: object) -> bool:
    return isinstance(value, Sequence) and all(
        type(item) is int and item > 0 for item in cast("Sequence[object]", value)
    )
