"""Gradients of n samples at one parameter, held as what they are products of wherever that is less."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SLICE = 64_000_000  # numbers of gradients that are laid out at once
LOT = 4_000_000  # numbers of gradients that are laid out at once where one lot follows another in the same memory
LOTS = 4  # of that size, from which on they do
PASSES = 2.0  # what an element of two factors' products costs over one of laid-out gradients: it is made, then used


@dataclass(frozen=True)
class Factors:
    """Gradients of some samples: of each the sum over T places of the outer product of two vectors.

    Args:
        index: Which samples of the features these are.
        left: (n, T, rows) of vectors, or int64 (n, T) of rows that each have a one: an embedding's ids.
        right: (n, T, columns).
    """

    index: Int[Tensor, " n"]
    left: Float[Tensor, "n T rows"] | Int[Tensor, "n T"]
    right: Float[Tensor, "n T columns"]

    def rows(self, begin: int, end: int) -> Float[Tensor, "n k columns"]:
        """Some rows of the gradients."""
        if self.left.dim() == 3:
            return self.left[..., begin:end].mT @ self.right
        n, places = self.left.shape
        found = self.right.new_zeros(n, end - begin, self.right.shape[2])
        inside = (self.left >= begin) & (self.left < end)
        who = torch.arange(n, device=self.left.device)[:, None].expand(n, places)[inside]
        return found.index_put_((who, self.left[inside] - begin), self.right[inside], accumulate=True)

    def products(self, other: Factors) -> Float[Tensor, "n m"]:
        """Dot products of the gradients with those of m others, without laying them out."""
        n, places = self.right.shape[:2]
        m, others = other.right.shape[:2]
        if self.left.dim() == 3 and other.left.dim() == 3:
            left = self.left.flatten(0, 1) @ other.left.flatten(0, 1).T
        elif self.left.dim() == 3:  # of a tied output layer, with an embedding
            left = self.left.flatten(0, 1)[:, other.left.flatten()]
        elif other.left.dim() == 3:
            left = other.left.flatten(0, 1)[:, self.left.flatten()].T
        else:
            left = (self.left.flatten()[:, None] == other.left.flatten()).to(self.right)
        both = left * (self.right.flatten(0, 1) @ other.right.flatten(0, 1).T)
        return both.view(n, places, m, others).sum((1, 3))

    def effort(self, other: Factors, size: int) -> float:
        """Multiplications that :meth:`products` takes."""
        columns = self.right.shape[2]
        vectors = size // columns if self.left.dim() == 3 and other.left.dim() == 3 else 0
        return self.left.shape[:2].numel() * other.left.shape[:2].numel() * (columns + vectors)


@dataclass(frozen=True)
class Features:
    """Gradients of n samples at one parameter.

    Args:
        shape: Of the parameter.
        n: How many samples.
        parts: Factors; what several say of one sample is added up, as of a parameter that is used twice.
        whole: (n, rows, columns), added to them; None where there is nothing else.
    """

    shape: tuple[int, ...]
    n: int
    parts: tuple[Factors, ...] = ()
    whole: Float[Tensor, "n rows columns"] | None = None

    @property
    def matrix(self) -> tuple[int, int]:
        """Rows and columns; what is no matrix is one row, and a convolution has all but its outputs as columns."""
        return (self.shape[0], prod(self.shape[1:])) if len(self.shape) > 1 else (1, prod(self.shape))

    @property
    def like(self) -> Tensor:
        """A tensor of the dtype and on the device of the gradients."""
        return self.parts[0].right if self.whole is None else self.whole

    @property
    def apart(self) -> bool:
        """Whether each sample's gradient is in one part alone."""
        index = [part.index for part in self.parts]
        return self.whole is None and sum(map(len, index)) == self.n == len(torch.cat(index).unique())

    @property
    def bytes(self) -> int:
        """What they take."""
        held = [t for part in self.parts for t in (part.left, part.right)] + [t for t in [self.whole] if t is not None]
        return sum(tensor.numel() * tensor.element_size() for tensor in held)

    @property
    def finite(self) -> Bool[Tensor, " n"]:
        """Which of the gradients are numbers throughout."""
        found = torch.ones(self.n, dtype=torch.bool, device=self.like.device)
        for part in self.parts:
            for vectors in (part.left, part.right):
                found[part.index[~vectors.flatten(1).isfinite().all(1)]] = False
        return found if self.whole is None else found & self.whole.flatten(1).isfinite().all(1)

    def rows(self, begin: int, end: int) -> Float[Tensor, "n k columns"]:
        """Some rows of all gradients."""
        if not self.parts and self.whole is not None:
            return self.whole[:, begin:end]
        found = self.like.new_zeros(self.n, end - begin, self.matrix[1])
        if self.whole is not None:
            found += self.whole[:, begin:end]
        for part in self.parts:
            found.index_add_(0, part.index, part.rows(begin, end))
        return found

    def some(self, begin: int, end: int) -> Features:
        """Those of the samples ``begin`` to ``end - 1``."""
        inside = [(part.index >= begin) & (part.index < end) for part in self.parts]
        parts = tuple(
            Factors(part.index[own] - begin, part.left[own], part.right[own])
            for part, own in zip(self.parts, inside, strict=True)
        )
        return Features(self.shape, end - begin, parts, None if self.whole is None else self.whole[begin:end])

    def grouped(self, weight: Float[Tensor, " n"], group: Int[Tensor, " n"], count: int) -> Features:
        """Weighted sums of the gradients of groups of samples.

        Args:
            weight: Of each sample.
            group: Which group it is in.
            count: How many groups there are.
        """
        parts = tuple(
            Factors(group[part.index], part.left, part.right * weight[part.index][:, None, None]) for part in self.parts
        )
        whole = None
        if self.whole is not None:
            blank = self.whole.new_zeros(count, *self.whole.shape[1:])
            whole = blank.index_add_(0, group, self.whole * weight[:, None, None])
        return Features(self.shape, count, parts, whole)

    def turned(self, left: Tensor | None, right: Tensor | None) -> Features:
        """The gradients G of each sample as leftᵀ G right.

        Args:
            left: (rows, k); None leaves the rows as they are.
            right: (columns, l); None leaves the columns as they are.
        """
        parts, whole, (rows, columns) = self.parts, self.whole, self.matrix
        if left is not None:
            parts = tuple(
                replace(part, left=part.left @ left if part.left.dim() == 3 else left[part.left]) for part in parts
            )
            whole, rows = None if whole is None else left.T @ whole, left.shape[1]
        if right is not None:
            parts = tuple(replace(part, right=part.right @ right) for part in parts)
            whole, columns = None if whole is None else whole @ right, right.shape[1]
        return Features((rows, columns), self.n, parts, whole)


def slices(one: Features, *others: Features) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose gradients may be laid out at once."""
    rows, columns = one.matrix
    step = max(SLICE // (sum(each.n for each in (one, *others)) * columns), 1)
    for begin in range(0, rows, step):
        yield begin, min(begin + step, rows)


def dot_products(one: Features, other: Features) -> Float[Tensor, "n m"]:
    """Dot products of all gradients of two, laid out or by their factors, whichever takes less."""
    size = prod(one.shape)
    laid_out = one.n * other.n * size + sum(
        part.left.shape[:2].numel() * size for each in (one, other) for part in each.parts
    )
    factored = one.whole is None and other.whole is None
    effort = sum(a.effort(b, size) for a in one.parts for b in other.parts)
    if factored and PASSES * effort < laid_out:
        found = one.parts[0].right.new_zeros(one.n, other.n)
        for a in one.parts:
            for b in other.parts:
                found.index_put_((a.index[:, None], b.index), a.products(b), accumulate=True)
        return found
    return paired(one, other)


def paired(
    one: Features, other: Features, change: Callable[[Tensor, slice], Tensor] | None = None
) -> Float[Tensor, "n m"]:
    """Dot products of the gradients of one with those of another that are changed before, element by element.

    Args:
        one: n gradients.
        other: m gradients.
        change: Given some rows (m, k, columns) of the other's, and which.
    """
    found: Tensor | None = None
    for begin, end in slices(one, other):
        right = other.rows(begin, end)
        right = right if change is None else change(right, slice(begin, end))
        part = _with_rows(one, begin, end, right.flatten(1).T)
        found = part if found is None else found + part
    if found is None:
        raise ValueError(f"a parameter of shape {one.shape}")
    return found


def _with_rows(one: Features, begin: int, end: int, right: Float[Tensor, "k m"]) -> Float[Tensor, "n m"]:
    """Products of some rows of n gradients with others; of many in lots, one after the other in the same memory."""
    lot = max(LOT // ((end - begin) * one.matrix[1]), 1)
    if right.device.type != "cpu" or one.n <= LOTS * lot or not one.apart:
        return one.rows(begin, end).flatten(1) @ right
    found = right.new_empty(one.n, right.shape[1])
    for part in one.parts:
        for some in zip(*(each.split(lot) for each in (part.index, part.left, part.right)), strict=True):
            found[some[0]] = Factors(*some).rows(begin, end).flatten(1) @ right
    return found


def second_moments(features: Features) -> Float[Tensor, "rows columns"]:
    """The mean over samples of each element's square."""
    return torch.cat([features.rows(*some).square().mean(0) for some in slices(features)])


def squared_norms(features: Features) -> Float[Tensor, " n"]:
    """Of each sample's gradient."""
    return torch.stack([features.rows(*some).double().square().sum((1, 2)) for some in slices(features)]).sum(0)


def joined(parts: Sequence[tuple[Tensor, Features]], n: int) -> Features:
    """Features of several lots of samples as one.

    Args:
        parts: Which of all n samples each lot is, and its features.
        n: How many there are in all.
    """
    shape = parts[0][1].shape
    factors = [replace(part, index=index[part.index]) for index, lot in parts for part in lot.parts]
    wholes = [(index, lot.whole) for index, lot in parts if lot.whole is not None]
    whole = None
    if wholes:
        whole = wholes[0][1].new_zeros(n, *wholes[0][1].shape[1:])
        for index, value in wholes:
            whole[index] = value
    return Features(shape, n, tuple(factors), whole)
