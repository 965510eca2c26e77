"""From texts to token ids: which of them reach into the target, and what is put before them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, cast

from einfluence.curate.text_noise import Read
from einfluence.errors import InputError
from einfluence.models.base import Bos, Tokens

AT_ONCE = 1024
"""Texts that a tokenizer gets at a time: faster than one by one, and what it makes of them fits into any memory."""


def check_known(tokenizer: Any, vocabulary: int | None, ids: Sequence[int], label: str, where: str) -> None:
    """Refuses tokens beyond a model's embedding: their rows are not there, whatever the tokenizer holds.

    Raises:
        InputError: Naming the first of them.
    """
    unknown = sorted({index for index in ids if vocabulary is not None and index >= vocabulary})
    if unknown:
        names = ", ".join(f"{tokenizer.convert_ids_to_tokens(index)!r} ({index})" for index in unknown[:4])
        expected = f"tokens below {vocabulary}, the size of {label}'s embedding"
        fix = "take the tokenizer that the model was trained with, or leave these tokens out"
        raise InputError(where, f"tokens that the model does not have: {names}", expected, fix)


def check_length(
    most: int | None, ids: Sequence[int], where: str, what: str = "a text", fix: str = "shorten it"
) -> None:
    """Refuses more tokens than a model's context holds, where it has a limit.

    Raises:
        InputError: With how many there are, of ``what``, and how to mend it.
    """
    if most is not None and len(ids) > most:
        raise InputError(where, f"{what} of {len(ids)} tokens", f"at most {most}, the model's context", fix)


def read_of(tokens: Tokens, target: str) -> Read:
    """What a base reads of a sample by its tokens, and how much of its target is unknown.

    The unknown token itself, written in a target, is known: some tokenizers have one token for the end and the unknown.
    """
    tokenizer, ids = tokens.tokenizer, tuple(tokens.ids)
    said = [token for token in (*tokens.marked.values(), *tokens.behind) if isinstance(token, int)]
    if tokenizer.unk_token_id is None:
        return Read(ids, lost=0 if said else None)
    unknown = ids.count(tokenizer.unk_token_id)
    if not said:
        return Read(ids, unknown)
    lost = said.count(tokenizer.unk_token_id) - target.count(tokenizer.unk_token)
    kept = tokenizer.decode(said, skip_special_tokens=True).strip() if lost > 0 else ""
    return Read(ids, unknown, max(lost, 0), kept)


def ids_of(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without special tokens."""
    return cast("list[list[int]]", tokenizer(list(texts), add_special_tokens=False)["input_ids"])


def bodies_of(tokenizer: Any, texts: Sequence[tuple[str, int]]) -> Iterator[tuple[list[int], int]]:
    """Token ids of each text, and how many of the last ones reach into what stands from its second part on."""
    if not tokenizer.is_fast:
        for text, start in texts:
            ids = _ids(tokenizer, text)
            yield ids, len(ids) - _first_without_offsets(tokenizer, ids, text, start)
        return
    for some in (texts[at : at + AT_ONCE] for at in range(0, len(texts), AT_ONCE)):
        encoded = tokenizer([text for text, _ in some], add_special_tokens=False, return_offsets_mapping=True)
        for (text, start), ids, offsets in zip(some, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            yield ids, len(ids) - _first(tokenizer, ids, text, start, offsets)


def _first(tokenizer: Any, ids: list[int], text: str, start: int, offsets: Sequence[tuple[int, int]]) -> int:
    """Index of the first token that reaches into what stands from ``start`` on, by what each of them spans."""
    # Targets stand at the end, so the first token that reaches into the target opens it.
    first = next((index for index, (_, end) in enumerate(offsets) if end > start), len(offsets))
    return first + 1 if first < len(ids) and _swallows(tokenizer, ids[first], text, start, offsets[first]) else first


def _swallows(tokenizer: Any, token: int, text: str, start: int, span: tuple[int, int]) -> bool:
    """Whether a token of the prompt only swallows white space of the target, as added ones may (``rstrip``)."""
    begin, end = span
    return begin < start and text[start:end].isspace() and token in tokenizer.added_tokens_decoder


def _ids(tokenizer: Any, text: str, *, special: bool = False) -> list[int]:
    return cast("list[int]", tokenizer(text, add_special_tokens=special)["input_ids"])


def _first_without_offsets(tokenizer: Any, ids: list[int], text: str, start: int) -> int:
    """Index of the first token that reaches into what stands from ``start`` on, for tokenizers that do not say so."""

    def length_of(count: int) -> str:
        return tokenizer.decode(ids[:count], skip_special_tokens=False, clean_up_tokenization_spaces=False)

    if length_of(len(ids)) == text:  # what the first tokens say can be held against the text
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high) // 2
            length = length_of(middle)
            low, high = (low, middle) if len(length) > start or length == text[:start] else (middle + 1, high)
        return low if length_of(low) == text[:start] else max(low - 1, 0)
    # Else by the tokens that the text shares with its beginning, with or without the blank before the target.
    starts = [_ids(tokenizer, beginning) for beginning in (text[:start], text[:start].rstrip())]
    first = min(max(_shared(ids, each) for each in starts), len(ids) - (ids != starts[0]))
    if text[start - 1 : start].isspace() and not text[start].isspace():
        while first < len(ids) - 1 and tokenizer.decode(ids[first : first + 1]).isspace():
            first += 1
    return first


def _shared(one: list[int], other: list[int]) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def opening_of(tokenizer: Any, text: str, body: list[int], bare: bool, bos: Bos, where: str) -> tuple[int, ...]:
    """The tokens that are put before a text's own; ``bare`` where the target begins it.

    Raises:
        InputError: Where the first target token would have nothing to be predicted from.
    """
    if bos == "never":
        if bare:
            expected = "a prompt, or `bos: auto`, which gives such a text a token to be predicted from"
            raise InputError(where, "an empty prompt under `bos: never`", expected)
        return ()
    opening = _own_opening(tokenizer, text, body)
    if not opening and (bare or bos == "always"):
        opening = _first_token(tokenizer, where)
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


def _first_token(tokenizer: Any, where: str) -> tuple[int, ...]:
    for name in ("bos_token_id", "eos_token_id"):
        token = getattr(tokenizer, name, None)
        if token is not None:
            return (int(token),)
    raise InputError(
        where,
        "a text that needs a token to begin with, and a tokenizer with neither a bos nor an eos token",
        "a prompt for every sample, and `bos: auto`",
    )
