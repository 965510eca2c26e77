"""Invented names: they look like words, mean nothing, and are drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence

from einfluence.errors import InputError
from einfluence.keys import content_hash

ONSETS = (
    "b bl br d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sk sl sn st t tr v w z".split()
)  # fmt: skip
VOWELS = "a e i o u".split()
CODAS = "b ck d ft g k l lm lt m mp n nd nt p rk rm rn sk st t x z".split()


def invented_names(
    count: int,
    seed: int,
    *,
    style: str = "short",
    taken: Collection[str] = (),
    spell: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None,
    pieces: int = 6,
) -> list[str]:
    """Draws names; the first n of a longer draw are the draw of n.

    Args:
        count: How many.
        seed: The same seed gives the same names.
        style: ``short`` (one syllable: wug) or ``long`` (two: tulver).
        taken: Words that no name may equal, in any case; a name that is part of one, or has one of four letters or
            more as a part, is passed over as well.
        spell: The base's tokenizer: texts → token ids, to pass over names that it cannot spell.
        pieces: The most tokens that a spelled name may have.

    Raises:
        InputError: If the draw is exhausted.
    """
    words = {word.lower() for word in taken}
    long_words = [word for word in words if len(word) >= 4]
    names: dict[str, None] = {}
    for name in _candidates(seed, style, tries=200 * count + 2000):
        if len(names) == count:
            break
        if name in words or name in names or any(name in word or word in name for word in long_words):
            continue
        if spell is not None and not 1 <= len(spell([f" {name}"])[0]) <= pieces:
            continue
        names[name] = None
    if len(names) < count:
        raise InputError(
            "invent", f"{count} names ({style})", f"at most {len(names)} here", "use `style: long`, or fewer"
        )
    return list(names)


def _candidates(seed: int, style: str, tries: int) -> Iterator[str]:
    for number in range(tries):
        draw = int(content_hash(("name", seed, style, number)), 16)
        name = ""
        for _ in range(2 if style == "long" else 1):
            for parts in (ONSETS, VOWELS, CODAS):
                draw, index = divmod(draw, len(parts))
                name += parts[index]
        yield name
