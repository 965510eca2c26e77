"""From samples to what the model sees: token ids with the target's length, or pixels with a label."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from einfluence.engine.items import ImageItem, TextItem
from einfluence.errors import InputError
from einfluence.joint import gap
from einfluence.models.base import Base, Bos
from einfluence.samples import Sample


def joined(prompt: str, target: str, join: str | None = None) -> tuple[str, int]:
    """Puts prompt and target together; what stands between them without ``join`` says :mod:`einfluence.joint`.

    Returns:
        The text, and the index of the first character that belongs to the target.
    """
    between = gap(prompt, target, join)
    return prompt + between + target, len(prompt) + len(between)


def encode_text(
    base: Base, prompt: str, target: str, where: str, *, join: str | None = None, bos: Bos | None = None
) -> TextItem:
    """Tokenizes prompt and target as one text; the target's tokens are those that reach into its characters.

    How the text begins: with the tokenizer's own beginning-of-text tokens (its closing ones are dropped), and only
    once, so a text that writes that token itself is given no second. A tokenizer that adds none gives one (its bos,
    else its eos) to texts without a prompt, so that the first target token has something to be predicted from; to
    every text under ``bos: always``. Under ``bos: never`` none is added.

    Args:
        base: A text base with its tokenizer.
        prompt: May be empty.
        target: The text that is scored.
        where: What error messages call this sample.
        join: What stands between prompt and target; None takes the rule.
        bos: How the text begins; None as the base says.

    Raises:
        InputError: When the target has no token, the text is longer than the model's context, there is nothing to
            begin a text without a prompt with, or the tokenizer makes tokens that the model does not have.
    """
    text, start = joined(prompt, target, join)
    body, n_target = _body(base.tokenizer, text, start)
    if n_target == 0:
        raise InputError(
            where,
            f"the target {target!r:.60}, which the tokenizer turns into nothing",
            "a target of at least one token",
        )
    ids = (*_opening(base, text, body, start == 0 or n_target == len(body), bos or base.info.bos, where), *body)
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


def _body(tokenizer: Any, text: str, start: int) -> tuple[list[int], int]:
    """Token ids of a text, and how many of the last ones reach into what stands from ``start`` on."""
    if not tokenizer.is_fast:
        ids = _ids(tokenizer, text)
        return ids, len(ids) - _first_without_offsets(tokenizer, ids, text, start)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    offsets = cast("list[tuple[int, int]]", encoded["offset_mapping"])
    ids = cast("list[int]", encoded["input_ids"])
    # Targets stand at the end, so the first token that reaches into the target opens it.
    first = next((index for index, (_, end) in enumerate(offsets) if end > start), len(offsets))
    if first < len(ids) and _swallows(tokenizer, ids[first], text, start, offsets[first]):
        first += 1
    return ids, len(ids) - first


def _swallows(tokenizer: Any, token: int, text: str, start: int, span: tuple[int, int]) -> bool:
    """Whether a token of the prompt only swallows white space of the target, as added ones may (``rstrip``)."""
    begin, end = span
    return begin < start and text[start:end].isspace() and token in tokenizer.added_tokens_decoder


def _ids(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    return cast("list[int]", tokenizer(text, add_special_tokens=special)["input_ids"])


def _first_without_offsets(tokenizer: Any, ids: list[int], text: str, start: int) -> int:
    """Index of the first token that reaches into what stands from ``start`` on, for tokenizers that do not say so."""

    def said(count: int) -> str:
        return tokenizer.decode(ids[:count], skip_special_tokens=False, clean_up_tokenization_spaces=False)

    if said(len(ids)) == text:  # what the first tokens say can be held against the text
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high) // 2
            told = said(middle)
            low, high = (low, middle) if len(told) > start or told == text[:start] else (middle + 1, high)
        return low if said(low) == text[:start] else max(low - 1, 0)
    # Else by the tokens that the text shares with its beginning, with or without the blank before the target.
    starts = [_ids(tokenizer, beginning) for beginning in (text[:start], text[:start].rstrip())]
    first = min(max(_shared(ids, each) for each in starts), len(ids) - (ids != starts[0]))
    if text[start - 1 : start].isspace() and not text[start].isspace():
        while first < len(ids) - 1 and tokenizer.decode(ids[first : first + 1]).isspace():
            first += 1
    return first


def _shared(one: list[int], other: list[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _opening(base: Base, text: str, body: list[int], bare: bool, bos: Bos, where: str) -> tuple[int, ...]:
    """The tokens that are put before a text's own; ``bare`` where the target begins it."""
    if bos == "never":
        if bare:
            expected = "a prompt, or `bos: auto`, which gives such a text a token to be predicted from"
            raise InputError(where, "an empty prompt under `bos: never`", expected)
        return ()
    opening = _own_opening(base.tokenizer, text, body)
    if not opening and (bare or bos == "always"):
        opening = _first_token(base, where)
    if opening and body[0] == opening[0] and not bare:
        return ()  # the text begins itself, as one that a chat template has written
    return opening


def _own_opening(tokenizer: Any, text: str, body: list[int]) -> tuple[int, ...]:
    """What the tokenizer puts before every text, seen at one that it can spell."""
    known = _openings(tokenizer)
    if not known:
        whole = _ids(tokenizer, text, special=True)
        places = range(len(whole) - len(body) + 1)
        found = [place for place in places if whole[place : place + len(body)] == body]
        if len(found) != 1:  # a text of such a token alone does not show it
            return tuple(whole[: found[0]]) if found else ()
        known.append(tuple(whole[: found[0]]))
    return known[0]


@lru_cache(maxsize=8)
def _openings(_tokenizer: Any) -> list[tuple[int, ...]]:
    """Where what a tokenizer begins with is noted, once it is known."""
    return []


def _first_token(base: Base, where: str) -> tuple[int, ...]:
    for name in ("bos_token_id", "eos_token_id"):
        token = getattr(base.tokenizer, name, None)
        if token is not None:
            return (int(token),)
    raise InputError(
        where,
        "a text that needs a token to begin with, and a tokenizer with neither a bos nor an eos token",
        "a prompt for every sample, and `bos: auto`",
    )
