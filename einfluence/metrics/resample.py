"""Summaries over probes with their uncertainty: a cluster bootstrap and sign-flip permutation tests.

Probes are what is resampled, never cells: the cells of one probe share its training run. Probes of one cluster (an
entity, a template family) are drawn together; a probe's training seeds are averaged before (they stay nested in it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Summary = Literal["mean", "median", "ratio", "quotient", "closed", "agreement"]
Interval = Literal["percentile", "bca"]

GAPS = ("closed", "agreement")  # summaries of how near one model comes to another
PARTS = (1, 2, 3)  # of an agreement

LEAST_CLUSTERS = 5  # below this, an interval by resampling says next to nothing
ENOUGH_FOR_MID_P = 30  # clusters; a share comes in steps, and with fewer the mid-p is under 0.05 too often
_BLOCK = 4_000_000  # numbers of a weights matrix looked at at a time


@dataclass(frozen=True)
class Column:
    """Per-probe values of one desideratum.

    Args:
        value: The probes' values, finite.
        cluster: The cluster of each, any integers.
        weight: Denominators for a ``ratio`` or ``quotient``; of ``closed`` the gap that there was, of ``agreement``
            which of three parts (1, 2, 3) it belongs to; ignored otherwise.
        null: What the probe's value would be under the null; NaN where unknown.
    """

    value: Floats
    cluster: Ints
    weight: Floats
    null: Floats


@dataclass(frozen=True)
class Estimate:
    """A summary with its 95% interval, the null's value and its two-sided p (NaN where there is none)."""

    value: float
    low: float
    high: float
    null: float
    p: float


@dataclass(frozen=True)
class Resampling:
    """How to resample: the number of draws, the generator's seed and the kind of interval."""

    draws: int = 2000
    seed: int = 0
    interval: Interval = "percentile"

    def estimate(self, column: Column, summary: Summary) -> Estimate:
        """Summarises a column of at least one probe."""
        value = point(column.value, column.weight, summary)
        clusters, index = np.unique(column.cluster, return_inverse=True)
        weights = bootstrap_weights(self.draws, len(clusters), self.seed)
        draws = _resampled(column, index, weights, summary, value)
        if summary in GAPS and np.isfinite(draws).any():
            draws = draws[np.isfinite(draws)]  # one may have drawn none of a part
        if self.interval == "bca" and summary not in ("median", *GAPS) and not _yes_or_no(column):
            low, high = _bca(column, index, len(clusters), draws, summary, value)
        else:
            low, high = (float(x) for x in np.quantile(draws, tails(len(clusters))))
        if summary == "mean" and (column.null == 0.5).all():
            low, high = _share_at_its_end(column.value, len(clusters), low, high)
        if summary == "ratio" and ((column.value >= 0) & (column.value <= column.weight)).all():
            low, high = max(low, 0.0), min(high, 1.0)  # of parts of a whole; the draws are linear and may leave it
        known = np.isfinite(column.null)
        if not known.any():
            return Estimate(value, low, high, float("nan"), float("nan"))
        null = (
            float(column.null[known].mean())
            if summary in ("ratio", "quotient", "closed")
            else point(column.null[known], column.weight, summary)
        )
        return Estimate(value, low, high, null, self._p_value(column, index, known, summary))

    def difference(self, one: Column, other: Column, summary: Summary) -> Estimate:
        """Summarises ``other`` minus ``one``, columns of the same probes in the same order, paired by probe.

        The value is the difference of the two summaries; both are drawn with the same weights.
        """
        clusters, index = np.unique(one.cluster, return_inverse=True)
        weights = bootstrap_weights(self.draws, len(clusters), self.seed)
        values = [point(column.value, column.weight, summary) for column in (one, other)]
        draws = [
            _resampled(column, index, weights, summary, value)
            for column, value in zip((one, other), values, strict=True)
        ]
        moved, value = draws[1] - draws[0], values[1] - values[0]
        low, high = (float(x) for x in np.quantile(moved, tails(len(clusters))))
        if summary in ("ratio", "quotient", *GAPS):  # of sums, whose parts cannot be flipped probe by probe
            spread = float(moved.std())
            p = 2 * NormalDist().cdf(-abs(value) / spread) if spread > 0 else float(value == 0)
            return Estimate(value, low, high, 0.0, p)
        zeros = np.zeros(len(one.value))
        paired = Column(other.value - one.value, one.cluster, zeros, zeros)
        return Estimate(value, low, high, 0.0, self._p_value(paired, index, zeros == 0, summary))

    def _p_value(self, column: Column, index: Ints, known: npt.NDArray[np.bool_], summary: Summary) -> float:
        if summary == "agreement":
            return float("nan")  # three differences in one number: no signs to flip
        if summary == "closed":
            difference = _signed_ranks((column.weight - column.value)[known])
        elif summary in ("ratio", "quotient"):
            difference = (column.value - column.null * column.weight)[known]
        else:
            difference = (column.value - column.null)[known]
            # Medians are tested by signed ranks, which outliers do not move either.
            difference = _signed_ranks(difference) if summary == "median" else difference
        sums = np.bincount(index[known], difference)
        # In a ratio a pair stands in two probes' sums, so flipping probe by probe shows half of the variance.
        observed = abs(sums.sum()) / (np.sqrt(2) if summary == "ratio" else 1.0)
        flipped = np.abs(flip_signs(self.draws, len(sums), self.seed) @ sums)
        rounding = 1e-12 * np.abs(sums).sum()
        reached = float((flipped >= observed - rounding).sum())
        if len(sums) >= ENOUGH_FOR_MID_P and _yes_or_no(column):
            reached -= 0.5 * float((np.abs(flipped - observed) <= rounding).sum())
        return (1 + reached) / (1 + self.draws)


def estimate(value: Floats, cluster: Ints, summary: Summary) -> Estimate:
    """A summary with the interval that the scorecard has; no ends (NaN) under :data:`LEAST_CLUSTERS` clusters.

    Args:
        value: Of at least one probe, finite.
        cluster: The cluster of each, any integers.
        summary: ``mean`` or ``median``.
    """
    nothing = np.full(len(value), np.nan)
    if len(np.unique(cluster)) < LEAST_CLUSTERS:
        return Estimate(point(value, nothing, summary), *[float("nan")] * 4)
    return Resampling().estimate(Column(value, cluster, nothing, nothing), summary)


@lru_cache(maxsize=1024)
def tails(clusters: int) -> tuple[float, float]:
    """The quantiles of the draws that an interval of 95% runs between.

    With n clusters, draws vary by (n − 1)/n of the variance that is estimated, and what is estimated from so few is
    Student's rather than normal: plain 2.5% tails would hold the truth too seldom (the expanded percentile interval,
    Hesterberg 2015).
    """
    reach = math.sqrt(clusters / (clusters - 1)) * student(clusters - 1)
    low = NormalDist().cdf(-reach)
    return low, 1 - low


def student(freedom: float) -> float:
    """Student's t that 2.5% are above, with so many degrees of freedom."""
    from scipy.special import stdtrit  # half a second that only scoring has to wait for

    return float(stdtrit(freedom, 0.975))


@lru_cache(maxsize=64)
def bootstrap_weights(draws: int, clusters: int, seed: int) -> Floats:
    """How often each cluster is drawn: shape (draws, clusters), rows summing to ``clusters``."""
    generator = np.random.default_rng([seed, clusters, 0])
    result = np.empty((draws, clusters))
    step = max(1, _BLOCK // clusters)
    for start in range(0, draws, step):
        block = result[start : start + step]
        drawn = generator.integers(0, clusters, block.shape) + np.arange(len(block))[:, None] * clusters
        block[:] = np.bincount(drawn.reshape(-1), minlength=block.size).reshape(block.shape)
    return result


@lru_cache(maxsize=64)
def flip_signs(draws: int, clusters: int, seed: int) -> Floats:
    """Random signs, shape (draws, clusters)."""
    return np.random.default_rng([seed, clusters, 1]).choice(np.array([-1.0, 1.0]), (draws, clusters))


def point(value: Floats, weight: Floats, summary: Summary) -> float:
    """The summary of the probes' values.

    A ``ratio`` is one of sums over pairs, each of which is in the sums of both of its probes; a ``quotient`` one of
    sums over probes. ``closed`` is 1 - the median gap over the median of those that there were; ``agreement`` the
    product over three parts of 1 - |mean difference|.
    """
    if summary == "closed":
        before = float(np.median(weight))
        return 1 - float(np.median(value)) / before if before > 0 else float("nan")
    if summary == "agreement":
        means = [value[weight == part].mean() if (weight == part).any() else np.nan for part in PARTS]
        return float(np.prod(1 - np.abs(means)))
    if summary in ("ratio", "quotient"):
        total = float(weight.sum())
        return float(value.sum()) / total if total > 0 else float("nan")
    return float(np.median(value) if summary == "median" else value.mean())


def _resampled(column: Column, index: Ints, weights: Floats, summary: Summary, value: float) -> Floats:
    """The summary in each draw of clusters, shape (draws,)."""
    if summary == "median":
        return _weighted_medians(column.value, index, weights)
    if summary == "closed":
        before = _weighted_medians(column.weight, index, weights)
        gap = _weighted_medians(column.value, index, weights)
        return 1 - np.divide(gap, before, out=np.full_like(gap, np.nan), where=before > 0)
    if summary == "agreement":
        return np.prod([1 - np.abs(_mean_of(column, index, weights, part)) for part in PARTS], axis=0)
    sums = np.bincount(index, column.value)
    if summary == "mean":
        return (weights @ sums) / (weights @ np.bincount(index).astype(np.float64))
    if summary == "quotient":
        return (weights @ sums) / (weights @ np.bincount(index, column.weight))
    # A ratio of sums over pairs: each probe stands on both sides of its pairs, hence the 2 (the first order of drawing
    # pairs with the product of both probes' weights).
    total = float(column.weight.sum())
    pull = (sums - value * np.bincount(index, column.weight)) / total
    return value + 2 * ((weights - 1) @ pull)


def _mean_of(column: Column, index: Ints, weights: Floats, part: int) -> Floats:
    """The mean of one part of a column in each draw; NaN where a draw has none of it."""
    own = (column.weight == part).astype(np.float64)
    total = weights @ np.bincount(index, own)
    sums = weights @ np.bincount(index, own * column.value)
    return np.divide(sums, total, out=np.full_like(total, np.nan), where=total > 0)


def _weighted_medians(value: Floats, index: Ints, weights: Floats) -> Floats:
    """``np.median`` of each draw's probes, without writing the probes out.

    Only values near the middle can be a draw's median; the few draws whose is further out take a second, full pass.
    """
    order = np.argsort(value, kind="stable")
    ranked, columns = value[order], index[order]
    sizes = np.bincount(index)
    total = weights @ sizes.astype(np.float64)
    places = np.stack([np.floor((total + 1) / 2), np.ceil((total + 1) / 2)], axis=1)
    reach = int(2 * np.sqrt(len(value) * sizes.max())) + 1  # four standard deviations of where a draw's median stands
    low, high = max(0, len(value) // 2 - reach), min(len(value), len(value) // 2 + reach)
    start = weights @ np.bincount(columns[:low], minlength=len(sizes)).astype(np.float64)
    end = start + weights @ np.bincount(columns[low:high], minlength=len(sizes)).astype(np.float64)
    inside = (start < places[:, 0]) & (end >= places[:, 1])
    result = np.empty(len(weights))
    for rows, (first, last) in ((np.flatnonzero(inside), (low, high)), (np.flatnonzero(~inside), (0, len(value)))):
        step = max(1, _BLOCK // (last - first))
        for block in (rows[i : i + step] for i in range(0, len(rows), step)):
            reached = np.cumsum(weights[block[:, None], columns[None, first:last]], axis=1)
            reached += start[block, None] if first else 0.0
            found = [(reached < places[block, side, None]).sum(axis=1) + first for side in (0, 1)]
            result[block] = (ranked[found[0]] + ranked[found[1]]) / 2
    return result


def _bca(
    column: Column, index: Ints, clusters: int, draws: Floats, summary: Summary, value: float
) -> tuple[float, float]:
    """Bias-corrected and accelerated 95% interval (Efron 1987); acceleration by leaving out one cluster at a time."""
    normal = NormalDist()
    below = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
    if below in (0.0, 1.0) or draws.min() == draws.max():
        low, high = np.quantile(draws, tails(clusters))
        return float(low), float(high)
    shift = normal.inv_cdf(float(below))
    without = _resampled(column, index, 1.0 - np.eye(clusters), summary, value)
    spread = without.mean() - without
    scale = float(np.sum(spread**2)) ** 1.5
    bend = float(np.sum(spread**3)) / (6 * scale) if scale > 0 else 0.0
    ends: list[float] = []
    for share in tails(clusters):
        z = shift + normal.inv_cdf(share)
        ends.append(float(np.quantile(draws, normal.cdf(shift + z / (1 - bend * z)))))
    return ends[0], ends[1]


def _yes_or_no(column: Column) -> bool:
    """Whether every value is 0 or 1 and the null one half.

    Then draws come in steps. Bias correction, which reads a hundredth of a step out of them, makes the interval too
    wide; and an exact p, which counts all draws of the very size that was seen, is too large: the mid-p counts half.
    """
    return bool(np.isin(column.value, (0.0, 1.0)).all() and (column.null == 0.5).all())


def _share_at_its_end(value: Floats, clusters: int, low: float, high: float) -> tuple[float, float]:
    """The interval of a share (its null is one half), which draws cannot give when all probes agree.

    Then it is the exact one of as many agreeing clusters (Clopper and Pearson 1934): 100 of 100 may be 96.4%.
    """
    if (value == 1).all():
        return 0.025 ** (1 / clusters), high
    if (value == 0).all():
        return low, 1 - 0.025 ** (1 / clusters)
    return low, high


def _signed_ranks(difference: Floats) -> Floats:
    """Mean ranks of the sizes, with the sign of each."""
    _, place, counts = np.unique(np.abs(difference), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - (counts - 1) / 2)[place]) * np.sign(difference)
