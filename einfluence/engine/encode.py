"""From samples to what the model sees: token ids with the target's length, or pixels with a label."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from einfluence.engine.items import ImageItem, TextItem
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.samples import Sample


def joined(prompt: str, target: str) -> tuple[str, int]:
    """Puts prompt and target together, with a space where neither side of the joint has whitespace.

    Returns:
        The text, and the index of the first character that belongs to the target.
    """
    gap = " " if prompt and target and not prompt[-1].isspace() and not target[0].isspace() else ""
    return prompt + gap + target, len(prompt) + len(gap)


def encode_text(base: Base, prompt: str, target: str, where: str) -> TextItem:
    """Tokenizes prompt and target as one text; the target's tokens are those that reach into its characters.

    The tokenizer's own beginning-of-text tokens are kept and its closing ones dropped. An empty prompt with a
    tokenizer that adds none is given the model's bos (else eos) token, so that the first target token has something
    to be predicted from.

    Args:
        base: A text base with its tokenizer.
        prompt: May be empty.
        target: The text that is scored.
        where: What error messages call this sample.

    Raises:
        InputError: When the target has no token, the text is longer than the model's context, or the tokenizer makes
            tokens that the model does not have.
    """
    text, start = joined(prompt, target)
    body, n_target = _body(base.tokenizer, text, start, prompt)
    opening = _opening(base.tokenizer)
    if not opening and n_target == len(body):
        opening = _first_token(base, where)
    if n_target == 0:
        raise InputError(
            where,
            f"the target {target!r:.60}, which the tokenizer turns into nothing",
            "a target of at least one token",
        )
    ids = (*opening, *body)
    if base.max_length is not None and len(ids) > base.max_length:
        found = f"a text of {len(ids)} tokens"
        raise InputError(
            where,
            found,
            f"at most {base.max_length}, the model's context",
            "shorten the prompt or take a base with a longer context",
        )
    _check_known(base, ids, where)
    return TextItem(ids, n_target)


def check_modality(base: Base, sample: Sample) -> str:
    """Checks that a sample is of the kind that the base takes.

    Returns:
        What error messages call the sample.

    Raises:
        InputError: For an image with a text base, or the reverse.
    """
    where = f"{sample.source} (sample {sample.name})" if sample.source else f"sample {sample.name}"
    if sample.modality != base.info.modality:
        fix = "take another base for this part"
        raise InputError(
            where, f"{sample.modality} data", f"{base.info.modality} data, which {base.info.label} takes", fix
        )
    return where


def encode_image(base: Base, pixels: npt.NDArray[np.float32], label: int, where: str) -> ImageItem:
    """Checks an image against the base's input shape and classes.

    Raises:
        InputError: When the shape differs or the label is no class of the model.
    """
    if pixels.shape != base.input_shape:
        raise InputError(
            where,
            f"an image of shape {tuple(pixels.shape)}",
            f"{base.input_shape} (channels, height, width), what the model takes",
        )
    if not 0 <= label < base.n_classes:
        raise InputError(where, f"the label {label}", f"a class from 0 to {base.n_classes - 1}")
    return ImageItem(np.ascontiguousarray(pixels, dtype=np.float32), label)


def _check_known(base: Base, ids: tuple[int, ...], where: str) -> None:
    """Refuses tokens beyond the model's embedding: their rows are not there, whatever the tokenizer holds."""
    unknown = sorted({index for index in ids if base.vocabulary is not None and index >= base.vocabulary})
    if unknown:
        names = ", ".join(f"{base.tokenizer.convert_ids_to_tokens(index)!r} ({index})" for index in unknown[:4])
        expected = f"tokens below {base.vocabulary}, the size of {base.info.label}'s embedding"
        fix = "take the tokenizer that the model was trained with, or leave these tokens out"
        raise InputError(where, f"tokens that the model does not have: {names}", expected, fix)


def _body(tokenizer: Any, text: str, start: int, prompt: str) -> tuple[list[int], int]:
    if tokenizer.is_fast:
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        offsets = cast("list[tuple[int, int]]", encoded["offset_mapping"])
        # Targets stand at the end, so the first token that reaches into the target opens it.
        first = next((index for index, (_, end) in enumerate(offsets) if end > start), len(offsets))
        return cast("list[int]", encoded["input_ids"]), len(offsets) - first
    whole = cast("list[int]", tokenizer(text, add_special_tokens=False)["input_ids"])
    alone = cast("list[int]", tokenizer(prompt, add_special_tokens=False)["input_ids"])
    shared = next(
        (index for index, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), min(len(whole), len(alone))
    )
    return whole, len(whole) - shared


@lru_cache(maxsize=8)
def _opening(tokenizer: Any) -> tuple[int, ...]:
    plain = cast("list[int]", tokenizer("a", add_special_tokens=False)["input_ids"])
    special = cast("list[int]", tokenizer("a", add_special_tokens=True)["input_ids"])
    for index in range(len(special) - len(plain) + 1):
        if special[index : index + len(plain)] == plain:
            return tuple(special[:index])
    return ()


def _first_token(base: Base, where: str) -> tuple[int, ...]:
    for name in ("bos_token_id", "eos_token_id"):
        token = getattr(base.tokenizer, name, None)
        if token is not None:
            return (int(token),)
    raise InputError(
        where, "an empty prompt", "a prompt, since this tokenizer has neither a bos nor an eos token to start from"
    )
