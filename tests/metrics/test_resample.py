from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from einfluence.metrics.resample import Column, Resampling, bootstrap_weights, point, tails
from einfluence.metrics.resample import _resampled as resampled  # the heart of every interval


def column(value: np.ndarray, cluster: np.ndarray | None = None, weight: np.ndarray | None = None) -> Column:
    cluster = np.arange(len(value)) if cluster is None else cluster
    weight = np.ones(len(value)) if weight is None else weight
    return Column(np.asarray(value, float), cluster, weight, np.zeros(len(value)))


@pytest.mark.parametrize("summary", ["mean", "median"])
def test_draws_equal_summaries_of_probes_written_out(summary) -> None:
    rng = np.random.default_rng(1)
    value, cluster = rng.normal(size=23).round(1), np.sort(rng.integers(0, 7, 23))
    cluster[:7] = range(7)
    weights = bootstrap_weights(50, 7, 3)
    draws = resampled(column(value), cluster, weights, summary, 0.0)
    for weight, draw in zip(weights, draws, strict=True):
        written_out = np.concatenate([np.repeat(v, int(weight[c])) for v, c in zip(value, cluster, strict=True)])
        assert draw == pytest.approx(getattr(np, summary)(written_out), abs=1e-12)


def test_draws_of_clusters_are_multinomial() -> None:
    weights = bootstrap_weights(4000, 6, 0)
    assert (weights.sum(axis=1) == 6).all()
    assert weights.mean() == 1.0
    assert weights.var() == pytest.approx(5 / 6, abs=0.03)


def test_intervals_of_a_mean_agree_with_scipy() -> None:
    value = np.random.default_rng(0).exponential(size=40)
    for interval, method in (("percentile", "percentile"), ("bca", "BCa")):
        ours = Resampling(20_000, 0, interval).estimate(column(value), "mean")
        level = tails(40)[1] - tails(40)[0]
        drawn = stats.bootstrap(
            (value,), np.mean, n_resamples=20_000, method=method, random_state=0, confidence_level=level
        )
        theirs = drawn.confidence_interval
        assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=0.02), pytest.approx(theirs.high, abs=0.02))


def test_tails_are_those_of_the_t_interval_for_a_mean() -> None:
    value = np.random.default_rng(3).normal(size=40)
    ours = Resampling(50_000).estimate(column(value), "mean")
    theirs = stats.t.interval(0.95, 39, value.mean(), stats.sem(value))
    assert (ours.low, ours.high) == (pytest.approx(theirs[0], abs=0.02), pytest.approx(theirs[1], abs=0.02))


def test_clusters_widen_the_interval() -> None:
    value = np.repeat(np.random.default_rng(0).normal(size=20), 5)
    alone = Resampling().estimate(column(value), "mean")
    together = Resampling().estimate(column(value, np.repeat(np.arange(20), 5)), "mean")
    assert (together.high - together.low) / (alone.high - alone.low) == pytest.approx(5**0.5, rel=0.1)


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_a_share_that_all_probes_agree_on_still_has_an_interval(end) -> None:
    agreed = Column(np.full(20, end), np.arange(20), np.ones(20), np.full(20, 0.5))
    found = Resampling(200).estimate(agreed, "mean")
    exact = stats.binomtest(int(20 * end), 20).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_p_values_of_medians_agree_with_the_signed_rank_test() -> None:
    value = np.random.default_rng(2).normal(0.35, 1, 40)
    ours = Resampling(50_000).estimate(column(value), "median").p
    assert ours == pytest.approx(stats.wilcoxon(value).pvalue, abs=0.01)


def test_p_values_of_means_agree_with_all_sign_flips() -> None:
    value = np.random.default_rng(5).normal(0.5, 1, 10)
    flips = np.array(np.meshgrid(*[[-1, 1]] * 10)).reshape(10, -1)
    exact = (np.abs(value @ flips) >= abs(value.sum()) - 1e-12).mean()
    assert Resampling(50_000).estimate(column(value), "mean").p == pytest.approx(exact, abs=0.01)


def test_a_ratio_over_pairs_is_drawn_as_pairs_of_probes_are() -> None:
    """Against the bootstrap that gives a pair the product of its two probes' weights."""
    rng = np.random.default_rng(0)
    n = 60
    strength = np.exp(0.5 * rng.normal(size=n))
    shared = rng.normal(size=(n, n))
    influence = strength[:, None] * (shared + shared.T + rng.normal(size=(n, n)))
    above, below = (influence - influence.T) ** 2, 2 * (influence**2 + influence.T**2)
    np.fill_diagonal(above, 0)
    np.fill_diagonal(below, 0)
    sums = Column(above.sum(1) / 2, np.arange(n), below.sum(1) / 2, np.full(n, 0.5))
    found = Resampling(4000).estimate(sums, "ratio")
    assert found.value == pytest.approx(above.sum() / below.sum())
    weights = bootstrap_weights(4000, n, 0)
    exact = np.array([(w @ above @ w) / (w @ below @ w) for w in weights])
    low, high = np.quantile(exact, (0.025, 0.975))
    assert (found.high - found.low) == pytest.approx(high - low, rel=0.15)


def test_the_interval_of_parts_of_a_whole_stays_between_none_and_all() -> None:
    whole = np.exp(np.random.default_rng(1).normal(size=12) * 2)
    for part in (0.02 * whole, whole * (1 - 1e-3), np.where(np.arange(12) == 3, whole, 0.0)):
        found = Resampling().estimate(Column(part, np.arange(12), whole, np.full(12, 0.5)), "ratio")
        assert 0 <= found.low <= found.value <= found.high <= 1
    free = Resampling().estimate(Column(whole[::-1] - 3, np.arange(12), whole, np.full(12, np.nan)), "ratio")
    assert free.low < 0 or free.high > 1  # a ratio of other numbers is not cut


def test_draws_do_not_depend_on_the_order_of_probes() -> None:
    value = np.random.default_rng(0).normal(size=30)
    order = np.random.default_rng(1).permutation(30)
    one = Resampling().estimate(column(value), "mean")
    other = Resampling().estimate(column(value[order], order), "mean")
    assert (other.low, other.high, other.p) == pytest.approx((one.low, one.high, one.p), abs=1e-12)


def test_paired_differences_are_sharper_than_the_two_intervals() -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(0, 5, 50)
    one, other = column(base), column(base + 1 + 0.1 * rng.normal(size=50))
    found = Resampling().difference(one, other, "mean")
    assert found.low < 1.0 < found.high
    assert found.high - found.low < 0.1
    assert found.value == pytest.approx(point(other.value, other.weight, "mean") - point(one.value, one.weight, "mean"))


def test_yes_or_no_answers_keep_percentiles_and_count_half_of_the_equal_draws() -> None:
    n = 40
    value = (np.arange(n) < 29).astype(float)
    column = Column(value, np.arange(n), np.zeros(n), np.full(n, 0.5))
    percentile, bca = (Resampling(20_000, interval=kind).estimate(column, "mean") for kind in ("percentile", "bca"))
    assert (percentile.low, percentile.high) == (bca.low, bca.high)
    # 29 of 40 against one half, exactly: P(X ≥ 29) + P(X ≤ 11), less half of P(X = 29) + P(X = 11).
    size = [math.comb(n, k) / 2**n for k in range(n + 1)]
    assert percentile.p == pytest.approx(2 * sum(size[30:]) + size[29], abs=0.002)
    few = Column(value[20:], np.arange(20), np.zeros(20), np.full(20, 0.5))  # 9 of 20: too few for the mid-p
    size = [math.comb(20, k) / 2**20 for k in range(21)]
    assert Resampling(20_000).estimate(few, "mean").p == pytest.approx(2 * sum(size[11:]), abs=0.01)
