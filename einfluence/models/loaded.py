"""What must hold of a model once it is loaded: it is what its files say, and it answers as a model of its kind does."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from einfluence.errors import InputError
from einfluence.models.kinds import CAUSAL
from einfluence.models.weights import FLOATS, some
from einfluence.models.weights import Tensor as Stored

# Tensors that a causal language model may leave aside: no text passes them, or they are computed anew.
_ASIDE = re.compile(
    r"(^|[._])(vision|visual|image|audio|speech|video|mm|multi_?modal|projector|v_head|value_head|score|classifier"
    r"|reward|mtp|eagle|medusa|pooler|seq_relationship)([._]|$)|(inv_freq|position_ids|masked_bias|causal_mask|version)$"
)
_MASK = re.compile(r"(^|\.)(attn|attention)\.bias$")  # of old checkpoints, with three or more axes
# What the longest text is called where it is not `max_position_embeddings`.
_LIMITS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "max_seq_length", "max_sequence_length")
SAME = 1e-5  # of the largest logit: rounding


def check_filled(model: nn.Module, report: Mapping[str, Any], stored: Mapping[str, Stored], where: str) -> None:
    """Refuses a model that holds anything but what stands in its files.

    Args:
        model: As transformers loaded it.
        report: What transformers says of missing, unexpected and mismatched tensors.
        stored: The tensors in the files.
        where: What error messages call the folder.

    Raises:
        InputError: For tensors that are missing, of another shape, too many, or ambiguous.
    """
    missing = {str(name) for name in report["missing_keys"]}
    missing |= {name for name, parameter in model.named_parameters() if parameter.is_meta}
    extra = {str(name) for name in report["unexpected_keys"]}
    if missing:
        found = f"weights in which {some(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        if extra:
            found += f", while {some(extra)} {'is' if len(extra) == 1 else 'are'} not in the model"
        fix = "save the whole model with `model.save_pretrained(folder)`; nothing is drawn at random in its place"
        raise InputError(where, found, f"every tensor of {type(model).__name__} under its name", fix)
    _check_head(model, report["mismatched_keys"], where)
    shapes = [f"{name} {tuple(there)} instead of {tuple(here)}" for name, there, here in report["mismatched_keys"]]
    if shapes:
        raise InputError(where, f"weights of other shapes: {some(shapes)}", "the shapes that config.json asks for")
    extra = {name for name in extra if not _aside(name, stored)}
    if extra:
        found = f"weights that the model of config.json does not have: {some(extra)}"
        fix = (
            "mend config.json, or save the model without them: "
            f"`{type(model).__name__}.from_pretrained(folder).save_pretrained(other)`"
        )
        raise InputError(where, found, f"the tensors of {type(model).__name__} alone", fix)
    _check_unambiguous(model, stored, where)


Mismatch = tuple[str, Sequence[int], Sequence[int]]
"""A tensor's name, its shape in the files, and its shape in the model."""


def _check_head(model: nn.Module, mismatched: Collection[Mismatch], where: str) -> None:
    """Refuses a head of another number of classes than config.json has, where nothing else is of another shape."""
    classes = getattr(getattr(model, "config", None), "num_labels", None)
    held = {there[0] for _, there, here in mismatched if here[0] == classes and tuple(here[1:]) == tuple(there[1:])}
    if len(held) == 1 and all(here[0] == classes for _, _, here in mismatched):
        (head,) = held
        found = f"{classes} class{'es' if classes != 1 else ''}, and weights of a head of {head}"
        fix = f"name the {head} classes of the head there, in their order"
        raise InputError(f"{where}/config.json id2label", found, "a name for each class of the head", fix)


def check_finite(tensors: Iterable[tuple[str, Tensor]], where: str) -> None:
    """Refuses weights that are no numbers.

    Raises:
        InputError: When one is NaN or infinite.
    """
    broken = [name for name, value in tensors if value.is_floating_point() and value.numel() and not _finite(value)]
    if broken:
        found = f"weights that are NaN or infinite: {some(broken)}"
        raise InputError(where, found, "numbers that float32 can hold", "save the model anew, from before it diverged")


@torch.no_grad()
def try_text(model: nn.Module, where: str) -> None:
    """Reads a few tokens, and leaves the model as every later forward pass finds it.

    The first pass of some models divides their weights in place; after it, nothing may change.

    Raises:
        InputError: When the model cannot read a text by itself, reads ahead, draws at random, or changes as it reads.
    """
    texts = _two_texts(model)
    first, ahead = _steady(model, lambda: torch.stack([_logits(model, ids) for ids in texts]), where, CAUSAL)
    if float((first - ahead)[:-1].abs().max()) > SAME * float(first.abs().max()):
        kind = type(model).__name__
        found = f"{kind}, which reads ahead: what it says of a token depends on later ones"
        key = {"XLNetLMHeadModel": '"attn_type": "uni"', "XLMWithLMHeadModel": '"causal": true'}.get(kind)
        key = key or ('"is_decoder": true' if hasattr(model.config, "is_decoder") else "")
        fix = f"if it was trained to continue texts, say so in config.json ({key})" if key else ""
        raise InputError(where, found, CAUSAL, fix)


@torch.no_grad()
def try_classes(model: nn.Module, classes: int, where: str, expected: str) -> None:
    """Reads a few tokens with a classifier of texts, as :func:`try_text` does.

    Raises:
        InputError: When it cannot read a text by itself, gives other than one logit a class, draws at random, or
            changes as it reads.
    """
    ids, _ = _two_texts(model)
    logits = _steady(model, lambda: _logits(model, ids), where, expected)
    if logits.shape != (classes,):
        found = f"a model that turns a text into {tuple(logits.shape)} logits"
        raise InputError(where, found, f"one for each of the {classes} classes in `id2label`")


@torch.no_grad()
def try_tokens(model: nn.Module, classes: int | None, where: str, expected: str) -> None:
    """Reads a few tokens with a model that says something at each, as :func:`try_text` does.

    Raises:
        InputError: When it cannot read a text by itself, gives other than ``classes`` logits a token (its vocabulary,
            without), draws at random, or changes as it reads.
    """
    ids, _ = _two_texts(model)
    logits = _steady(model, lambda: _logits(model, ids), where, expected)
    wanted = classes or vocabulary(model)
    if logits.dim() != 2 or len(logits) != len(ids) or wanted not in (None, logits.shape[1]):
        found = f"a model that turns {len(ids)} tokens into logits of shape {tuple(logits.shape)}"
        raise InputError(where, found, f"{wanted} for each token" if wanted else "some for each token")


@torch.no_grad()
def try_pairs(model: nn.Module, start: int, where: str, expected: str) -> None:
    """Reads a few tokens with an encoder-decoder, as :func:`try_text` does.

    Raises:
        InputError: When it cannot read texts alone, its decoder reads ahead, or it is not :func:`_steady`.
    """
    one, other = _two_texts(model)
    device = next(model.parameters()).device

    def read(ids: list[int]) -> Tensor:
        both = (torch.tensor([side], device=device) for side in (one, [start, *ids]))
        inputs = dict(zip(("input_ids", "decoder_input_ids"), both, strict=True))
        return model(**inputs, use_cache=False).logits[0].float()

    first, ahead = _steady(model, lambda: torch.stack([read(one), read(other)]), where, expected)
    if float((first - ahead)[:-1].abs().max()) > SAME * float(first.abs().max()):
        raise InputError(where, f"{type(model).__name__}, whose decoder reads ahead", expected)


def _steady(model: nn.Module, read: Callable[[], Tensor], where: str, expected: str) -> Tensor:
    """What a model says, once it is sure that it says the same again and changes nothing."""
    try:
        first = read()
        before = _fingerprint(model)
        again = read()
    except Exception as error:  # the model's code may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InputError(where, f"a model that fails on a text alone ({reason})", expected) from error
    if _fingerprint(model) != before:
        raise InputError(
            where, "a model whose weights change whenever it reads a text", "weights that stay as they are"
        )
    if not bool(torch.isfinite(first).all()):
        raise InputError(where, "a model whose logits are not finite", expected)
    if float((first - again).abs().max()) > SAME * float(first.abs().max()):
        raise InputError(where, "a model that gives another answer each time (it draws at random)", expected)
    return first


@torch.no_grad()
def try_classifier(
    model: nn.Module,
    shape: tuple[int, int, int],
    classes: int,
    where: str,
    read: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Reads a blank picture, by ``read`` where the model is called otherwise than with pixels alone.

    Raises:
        InputError: When the layers do not fit the picture or give other than one logit a class.
    """
    try:
        out = (read or model)(torch.zeros((1, *shape), device=next(model.parameters()).device))
    except Exception as error:  # torch raises many kinds
        reason = " ".join(str(error).split())[:300]
        raise InputError(where, f"layers that fail on a picture of {shape} ({reason})", "layers that fit it") from error
    if out.shape != (1, classes):
        found = f"layers that turn a picture into {tuple(out.shape[1:])}"
        raise InputError(where, found, f"logits of the {classes} `classes`")


def recompute_buffers(model: nn.Module) -> None:
    """Gives a model with code of its own, or of timm, the constants that it computes when it is built.

    transformers builds models without memory; it knows how to compute its own models' constants afterwards, and leaves
    those of others as memory happened to be.
    """
    constants = [name for name, _ in cast("Any", model).named_non_persistent_buffers()]
    if not constants or not type(model).__module__.startswith(("transformers_modules", "transformers.models.timm_")):
        return
    built = dict(type(model)(copy.deepcopy(cast("Any", model).config)).named_buffers())
    for name in constants:
        home, _, last = name.rpartition(".")
        value = built[name].to(model.get_buffer(name).dtype)
        model.get_submodule(home).register_buffer(last, value, persistent=False)


def context_length(model: nn.Module) -> int | None:
    """The longest text in tokens that a model can read; None where nothing limits it."""
    config = cast("Any", model).config.get_text_config()
    given = [getattr(config, name, None) for name in _LIMITS]
    named = next((int(value) for value in given if isinstance(value, int | float) and value > 0), None)
    limits = [*([named] if named else []), *_tables(model)]
    return min(limits, default=None)


def vocabulary(model: nn.Module) -> int | None:
    """How many token ids a model can both read and say; None where that is not known."""
    ends: list[Any] = [
        getattr(model, name, lambda: None)() for name in ("get_input_embeddings", "get_output_embeddings")
    ]
    sizes = [len(end.weight) for end in ends if isinstance(getattr(end, "weight", None), Tensor)]
    return min(sizes, default=getattr(cast("Any", model).config.get_text_config(), "vocab_size", None))


def _aside(name: str, stored: Mapping[str, Stored]) -> bool:
    if _MASK.search(name):
        return any(len(shape) > 2 for key, (_, shape, _) in stored.items() if name.endswith(key) or key.endswith(name))
    return _ASIDE.search(name) is not None


def _check_unambiguous(model: nn.Module, stored: Mapping[str, Stored], where: str) -> None:
    names = {plain_name(model, name) for name, _ in model.named_parameters()}
    seen: dict[str, str] = {}
    for name, (kind, _, _) in stored.items():
        key = plain_name(model, name)
        if key in names and kind not in FLOATS:
            raise InputError(where, f"{name!r} as {kind}", "floating-point weights", "take the unquantised weights")
        if key in seen:
            found = f"{seen[key]!r} and {name!r}, two tensors for the same place"
            raise InputError(where, found, "one tensor for each", "save the model anew")
        seen[key] = name


def plain_name(model: nn.Module, name: str) -> str:
    """A tensor's name as transformers reads it: with or without the model's prefix, and by old names of LayerNorm."""
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    while prefix != "." and name.startswith(prefix):
        name = name.removeprefix(prefix)
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _finite(value: Tensor) -> bool:
    low, high = torch.aminmax(value.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _two_texts(model: nn.Module) -> tuple[list[int], list[int]]:
    config = cast("Any", model).config
    special = {value for key, value in _numbers(config.to_dict()) if "token" in key}
    size = vocabulary(model) or 256
    ids = [(size // 3 + step) % size for step in range(size)]
    plain = [index for index in ids if index not in special] or ids
    text = [plain[step % len(plain)] for step in range(5)]
    return text[:4], [*text[:3], text[4]]


def _numbers(value: Any, key: str = "") -> Iterable[tuple[str, int]]:
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield from _numbers(item, str(name))
    elif type(value) is int:
        yield key, value


def _logits(model: nn.Module, ids: list[int]) -> Tensor:
    device = next(model.parameters()).device
    return model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0].float()


def _fingerprint(model: nn.Module) -> dict[str, int]:
    """A sum over the bits of each parameter: whatever rescales, zeroes or replaces one in place changes it."""
    bits = {8: torch.int64, 4: torch.int32, 2: torch.int16, 1: torch.int8}
    values = ((name, value.detach().contiguous()) for name, value in model.named_parameters())
    return {name: int(value.view(bits[value.element_size()]).sum(dtype=torch.int64)) for name, value in values}


def _tables(model: nn.Module) -> Iterable[int]:
    """How many positions the learned tables of positions have left for a text."""
    for name, module in model.named_modules():
        last = name.rpartition(".")[2]
        if not isinstance(module, nn.Embedding) or last not in ("wpe", "embed_positions", "position_embeddings"):
            continue
        offset = getattr(module, "offset", None)
        if not isinstance(offset, int):  # RoBERTa and its kin count from behind the padding token
            offset = 0 if module.padding_idx is None else module.padding_idx + 1
        yield module.num_embeddings - offset
