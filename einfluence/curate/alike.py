"""Texts that are nearly the same: all pairs whose shingles have a Jaccard similarity of at least a threshold.

Lee et al. 2022, *Deduplicating training data makes language models better*, look for such pairs by MinHash, which
misses some. Here they are found exactly, by prefix filtering (Bayardo et al. 2007; Xiao et al. 2008): with the
shingles of all texts in one order, the rarest first, two texts whose similarity is ``t`` or more have one in common
among the first ``n - ceil(t * n) + 1`` of the ``n`` shingles of each. Only texts that do are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
SHINGLE = 5
"""Characters of a shingle; a text of fewer is one by itself."""
SIGNS = 50_000_000  # characters of all texts; about 2 GB
CHUNK = 1_000_000  # pairs looked at together
MOST = 50_000_000  # pairs that share a rare shingle; about a minute
MOST_ALIKE = 1_000_000  # pairs that are nearly the same
SLACK = 1e-9  # for rounding in products with the threshold; it only lets more texts be compared
_FEWER = "; a higher `near_duplicates` makes it fewer"


class TooMuchError(ValueError):
    """There is more to compare than can be."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of texts by their places, ``left`` before ``right`` and sorted, and how similar they are, in (0, 1]."""

    left: Ints
    right: Ints
    similarity: npt.NDArray[np.float64]


def alike(texts: Sequence[str], threshold: float) -> Pairs:
    """All pairs of texts whose sets of shingles have a Jaccard similarity of at least ``threshold``.

    Args:
        texts: As they are to be compared; equal texts are pairs too.
        threshold: Above 0, up to 1.

    Raises:
        TooMuchError: When there are more than SIGNS characters, more than MOST pairs share a rare shingle, or more than
            MOST_ALIKE are nearly the same.
    """
    if len(texts) < 2:
        return Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))
    if (signs := sum(map(len, texts))) > SIGNS:
        raise TooMuchError(f"{signs:,} characters, and at most {SIGNS:,} can be compared")
    owner, shingle = _shingles(texts)
    sizes = np.bincount(owner, minlength=len(texts))
    left, right = _candidates(owner, shingle, sizes, threshold)
    shared = _shared(owner, shingle, len(texts), left, right)
    similarity = shared / (sizes[left] + sizes[right] - shared)
    kept = similarity >= threshold
    if int(kept.sum()) > MOST_ALIKE:
        raise TooMuchError(f"{int(kept.sum()):,} pairs that are nearly the same{_FEWER}")
    return Pairs(left[kept], right[kept], similarity[kept])


def _shingles(texts: Sequence[str]) -> tuple[Ints, Ints]:
    """Each text's different shingles, as (place of the text, rank by rarity), sorted."""
    owner, codes = _coded(texts)
    keys = _different(_fitting(codes, len(texts)) * len(texts) + owner)
    del owner, codes
    codes = keys // len(texts)
    keys -= codes * len(texts)  # which leaves the places of the texts
    codes = np.cumsum(np.diff(codes, prepend=codes[0]) > 0)
    having = np.bincount(codes)
    rarity = np.empty(len(having), np.int64)
    rarity[np.argsort(having, kind="stable")] = np.arange(len(having))
    keys *= len(having)
    keys += rarity[codes]
    del codes
    keys.sort()
    owner = keys // len(having)
    keys -= owner * len(having)
    return owner, keys


def _coded(texts: Sequence[str]) -> tuple[npt.NDArray[np.int32], Ints]:
    """Every shingle, as (place of its text, a number for what it says)."""
    padded = [text.ljust(SHINGLE, "\0") for text in texts]
    owner = np.repeat(np.arange(len(texts), dtype=np.int32), [len(text) for text in padded])
    signs = _ranks(np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32))
    n_signs, codes = int(signs.max()) + 1, signs.astype(np.int64)
    for more in range(1, SHINGLE):
        codes = _fitting(codes, n_signs)[:-1] * n_signs
        codes += signs[more:]
    whole = owner[: len(codes)] == owner[SHINGLE - 1 :]
    return owner[: len(codes)][whole], codes[whole]


def _fitting(codes: Ints, factor: int) -> Ints:
    """Codes that can be multiplied by a factor: as they are, or their ranks where they are too large."""
    return codes if int(codes.max()) + 1 <= (1 << 62) // factor else np.unique(codes, return_inverse=True)[1]


def _different(keys: Ints) -> Ints:
    """The different numbers among some that are at least 0, sorted in place; ``np.unique`` takes longer."""
    keys.sort()
    return keys[np.diff(keys, prepend=-1) > 0]


def _ranks(signs: npt.NDArray[np.uint32]) -> npt.NDArray[np.int32]:
    """Each character's rank among the different ones."""
    return (np.cumsum(np.bincount(signs.astype(np.int64)) > 0) - 1).astype(np.int32)[signs]


def _candidates(owner: Ints, shingle: Ints, sizes: Ints, threshold: float) -> tuple[Ints, Ints]:
    """Pairs that share one of their first shingles and may be similar enough by their sizes and its place in each.

    A text of ``m`` shingles shares ``t m`` of them at least with a text that is similar, and ``2 t / (1 + t) m`` if
    that one is no smaller, so fewer of its first shingles count there.
    """
    place = _counted(sizes)
    size = sizes[owner]
    first = place < _prefix(size, threshold)
    owner, shingle, place, size = owner[first], shingle[first], place[first], size[first]
    order = np.lexsort((owner, size, shingle))
    owner, shingle, place, size = owner[order], shingle[order], place[order], size[order]
    smaller = place < _prefix(size, 2 * threshold / (1 + threshold))  # entries of a text as the smaller of two
    widest = int(sizes.max()) + 1
    least = np.ceil(threshold * size - SLACK).astype(np.int64)  # shingles of a smaller text
    begin = np.searchsorted((shingle * widest + size)[smaller], shingle * widest + least)
    counts = np.maximum(np.cumsum(smaller) - smaller - begin, 0)
    if int(counts.sum()) > MOST:
        raise TooMuchError(f"{int(counts.sum()):,} pairs that share a rare piece{_FEWER}")
    n, rest, entries = len(sizes), size - place, np.flatnonzero(smaller)
    found: list[Ints] = []
    for one, other in _chunks(begin, counts):
        one = entries[one]
        needed = threshold / (1 + threshold) * (size[one] + size[other]) - SLACK
        near = np.minimum(rest[one], rest[other]) >= needed
        one, other = owner[one[near]], owner[other[near]]
        found.append(_different(np.minimum(one, other) * n + np.maximum(one, other)))
    keys = _different(np.concatenate(found)) if found else np.zeros(0, np.int64)
    return keys // n, keys % n


def _prefix(size: Ints, share: float) -> Ints:
    """How many of the first shingles count where a share of them has to be in common."""
    return size - np.ceil(share * size - SLACK).astype(np.int64) + 1


def _counted(sizes: Ints) -> Ints:
    """0, 1, 2 and so on of each of some runs, one run after the other."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _chunks(begin: Ints, counts: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Places (one, other) with ``begin[other] <= one < begin[other] + counts[other]``, so many at a time."""
    ends = np.cumsum(counts)
    at = 0
    while at < len(counts):
        stop = max(int(np.searchsorted(ends, (ends[at - 1] if at else 0) + CHUNK, "right")), at + 1)
        some = counts[at:stop]
        other = np.repeat(np.arange(at, stop), some)
        one = _counted(some) + begin[other]
        if len(one):
            yield one, other
        at = stop


def _shared(owner: Ints, shingle: Ints, n: int, left: Ints, right: Ints) -> Ints:
    """How many shingles the texts of each pair share."""
    from scipy.sparse import csr_matrix

    ends = np.searchsorted(owner, np.arange(n + 1))
    shape = (n, int(shingle.max()) + 1)
    has: Any = csr_matrix((np.ones(len(owner), np.int32), shingle.astype(np.int32), ends), shape=shape)
    step = max(10 * CHUNK // int(np.diff(ends).max()), 1)
    parts = (slice(at, at + step) for at in range(0, len(left), step))
    shared = [np.asarray(has[left[at]].multiply(has[right[at]]).sum(1)).ravel() for at in parts]
    return np.concatenate(shared).astype(np.int64) if shared else np.zeros(0, np.int64)
