"""Loading what transformers saved: a model that holds just what its files hold, or a refusal."""

from __future__ import annotations

import logging
import math
import os
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from einfluence.errors import InputError
from einfluence.models.base import BaseInfo
from einfluence.models.weights import Tensor, read_tensors, some, weight_files
from einfluence.objectives.heads import draw_head
from einfluence.objectives.unpacked import load_unpacked

# Ordinary texts, by which a tokenizer is held against its file.
SPELLED = (
    "The quick brown fox jumps over 13 lazy dogs.",
    "It's a naïve café, isn't it? (Yes: 1999!)",
    "the town is red",
)


def stored_tensors(info: BaseInfo) -> dict[str, Tensor]:
    """What a base's weight files hold.

    Raises:
        InputError: For a file that is no whole safetensors file.
    """
    return read_tensors(weight_files(Path(info.folder), info.config, info.label))


def load_tokenizer(info: BaseInfo, trust_remote_code: bool) -> Any:
    """A base's tokenizer.

    Raises:
        InputError: When there is none, or transformers makes another of its files than they say.
    """
    from transformers import AutoTokenizer

    with refusing(info, "the files of its tokenizer, as `tokenizer.save_pretrained(folder)` writes them"):
        tokenizer: Any = AutoTokenizer.from_pretrained(info.folder, **_options(trust_remote_code))
    with refusing(info, "a tokenizer that reads ordinary texts"):
        _check_tokenizer(tokenizer, info)
    return tokenizer


def load_model(
    info: BaseInfo, auto: str, stored: Mapping[str, Tensor], trust_remote_code: bool, *, what: str, expected: str
) -> Any:
    """A base's model, in eval mode, without gradients, filled by its files alone.

    Its parameters are of the base's dtype and its buffers of float32. Buffers are computed when a model is built: one
    that computes any of them in less is held in float32 as a whole, and so is one with code of its own.

    Args:
        info: The base.
        auto: The class of transformers that builds it, such as ``AutoModelForCausalLM``.
        stored: What its files hold.
        trust_remote_code: Whether the model's own Python files may be run.
        what: What a person calls such a model.
        expected: The same, with the name of its classes in transformers.

    Raises:
        InputError: When transformers has no such model of this kind, or the files do not hold all of it, or more.
    """
    import torch
    import transformers

    from einfluence.models import loaded

    dtype = torch.float32 if trust_remote_code or info.packed else getattr(torch, info.dtype)
    classes = {**info.head.classes} if info.head else {}
    if "id2label" in classes:  # a configuration of timm counts its classes apart from their names
        classes["num_labels"] = len(classes["id2label"])
    options = _options(trust_remote_code)
    with refusing(info, expected):
        skeleton = _check_config(info, auto, stored, options, what, expected)
        if info.packed:
            model, report, stored = load_unpacked(info, skeleton, classes)
        else:
            model, report = getattr(transformers, auto).from_pretrained(
                info.folder,
                output_loading_info=True,
                dtype=dtype,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                **classes,
                **options,
            )
    floats = {one.dtype for one in model.buffers() if one.is_floating_point()}
    if dtype != torch.float32 and floats - {torch.float32}:
        wide = replace(info, dtype="float32")
        return load_model(wide, auto, stored, trust_remote_code, what=what, expected=expected)
    if info.head is not None:
        report = draw_head(model, report, info.head.seed)
    loaded.check_filled(model, report, stored, info.folder)
    loaded.check_finite(model.named_parameters(), info.folder)
    loaded.recompute_buffers(model)
    return (model.float() if dtype == torch.float32 else model).eval().requires_grad_(False)


def load_texts(
    info: BaseInfo, auto: str, trust_remote_code: bool, device: str, *, what: str, expected: str
) -> tuple[Any, Any]:
    """A base's model of texts, on a device, and its tokenizer; as :func:`load_model` and :func:`load_tokenizer`."""
    model = load_model(info, auto, stored_tensors(info), trust_remote_code, what=what, expected=expected)
    return model.to(device), load_tokenizer(info, trust_remote_code)


def label_names(model: Any, info: BaseInfo, what: str) -> tuple[str, ...]:
    """The names of a model's classes, in order (``id2label``); ``what`` a person calls them.

    Raises:
        InputError: When there are fewer than two, two have one name, or `label2id` says otherwise.
    """
    check_names(model.config, info, what)
    labels = tuple(str(model.config.id2label[index]) for index in range(model.config.num_labels))
    if len(labels) < 2 or len(set(labels)) < len(labels):
        found = f"the {what} {', '.join(labels)}"
        raise InputError(f"{info.folder}/config.json id2label", found, "two or more, each with its own name")
    return labels


def check_names(config: Any, info: BaseInfo, what: str) -> None:
    """Refuses a configuration that leaves a class without a name, or names it twice and not alike.

    Args:
        config: As transformers reads it.
        info: The base.
        what: What a person calls its classes.

    Raises:
        InputError: For `id2label` with gaps, and `label2id` that is not its reverse.
    """
    names: Mapping[int, str] = config.id2label
    reverse: Mapping[str, Any] = config.label2id or {}
    file, count = f"{info.folder}/config.json", int(config.num_labels)
    if any(index not in names for index in range(count)):
        found = f"{what} at {', '.join(map(str, sorted(names)))}"
        raise InputError(f"{file} id2label", found, f"one at each index from 0 to {count - 1}")
    shared = Counter(names.values())
    for index, name in names.items():
        if shared[name] == 1 and str(reverse.get(name, index)) != str(index):
            found = f"{reverse[name]} for {name!r}, which is {index} in `id2label`"
            raise InputError(f"{file} label2id", found, "the reverse of `id2label`", "mend the one that is wrong")


def _options(trust_remote_code: bool) -> dict[str, Any]:
    return {"trust_remote_code": trust_remote_code, "local_files_only": True}


def _check_config(
    info: BaseInfo, auto: str, stored: Mapping[str, Tensor], options: dict[str, Any], what: str, expected: str
) -> Any:
    """Refuses what is no such model, or asks for far more than the files hold, before memory is taken for it.

    Returns:
        The model, without memory.
    """
    import torch
    import transformers

    kind: Any = getattr(transformers, auto)
    file = os.path.join(info.folder, "config.json")
    for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
        for part in (info.config, info.config.get("text_config")):
            blocks = cast("dict[str, Any]", part).get(key) if isinstance(part, dict) else None
            if isinstance(blocks, int | float) and blocks > len(stored):  # building them would take for ever
                fewer = f"no more blocks than the {len(stored)} tensors of the weights can fill"
                raise InputError(f"{file} {key}", f"{blocks:g}", fewer)
    config: Any = transformers.AutoConfig.from_pretrained(info.folder, **options)
    if info.packed:
        del config.quantization_config  # once they are read, the weights are no longer in 4 bits
    own_code = auto in (getattr(config, "auto_map", None) or {})
    if config.model_type not in kind._model_mapping._model_mapping and not own_code:
        named = (info.config.get("architectures") or [f"model_type {config.model_type}"])[0]
        raise InputError(file, f"{named}, which transformers does not take for {what}", expected)
    with torch.device("meta"):
        model: Any = kind.from_config(config, trust_remote_code=options["trust_remote_code"])
    wanted = sum(parameter.numel() for parameter in model.parameters())
    held = sum(math.prod(shape) * (8 if name in info.packed else 1) for name, (_, shape, _) in stored.items())
    if wanted > 2 * held:
        shapes = {shape for _, shape, _ in stored.values()}
        absent = [name for name, parameter in model.named_parameters() if tuple(parameter.shape) not in shapes]
        found = f"a configuration of {wanted:,} parameters" + (f" ({some(absent)})" if absent else "")
        raise InputError(file, found, f"that of the {held:,} numbers in the weights")
    return model


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
def refusing(info: BaseInfo, expected: str) -> Generator[None]:
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
def quiet() -> Generator[None]:
    """Silences transformers: a bar for each file and a table of tensors would bury the one message that counts."""
    from transformers.utils import logging as hf_logging

    level = hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
