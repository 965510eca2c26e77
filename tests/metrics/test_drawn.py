"""Intervals of controls by random draws: by hand, and how often they hold what is true."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from einfluence.metrics.drawn import drawn_means, with_draws
from einfluence.metrics.models import DRAWS
from einfluence.metrics.resample import Column, Estimate, Resampling

SIMULATIONS = 600


def test_means_are_those_of_the_queries_that_count_seed_by_seed() -> None:
    rows = [
        {"arm": 0, "desideratum": "removal", "variant": "random", "run": run, "draw": draw, "query": query, "value": at}
        for run, draw, query, at in [
            (0, "x", 1, 1.0), (0, "x", 2, 3.0), (0, "y", 1, 5.0), (1, "x", 1, 7.0), (1, "z", 9, 100.0),
        ]
    ]  # fmt: skip
    [(kind, means)] = drawn_means(pa.Table.from_pylist(rows, DRAWS)).items()
    assert kind == (0, "removal", "random")
    assert [each.tolist() for each in means(np.array([1, 2]))] == [[2.0, 5.0], [7.0]]  # draw z has none of them


def test_both_spreads_are_combined_side_by_side() -> None:
    over_queries = Estimate(10.0, 7.0, 11.0, 0.0, 0.01)
    found = with_draws(over_queries, [np.array([9.0, 11.0, 10.0, 10.0])])
    student = stats.ttest_1samp([9.0, 11.0, 10.0, 10.0], 0).confidence_interval(0.95)
    reach = (student.high - student.low) / 2
    assert found.low == pytest.approx(10 - (9 + reach**2) ** 0.5)
    assert found.high == pytest.approx(10 + (1 + reach**2) ** 0.5)
    assert np.isnan(found.p) and found.null == 0.0


def test_of_two_seeds_it_is_the_interval_of_welch() -> None:
    one, two = np.array([1.0, 2.0, 4.0]), np.array([5.0, 5.5, 9.0, 7.0])
    found = with_draws(
        Estimate((one.mean() + two.mean()) / 2, *[(one.mean() + two.mean()) / 2] * 2, 0.0, 0.5), [one, two]
    )
    welch = stats.ttest_ind(one, -two, equal_var=False).confidence_interval(0.95)  # of the sum, which is twice the mean
    assert (found.low, found.high) == pytest.approx((welch.low / 2, welch.high / 2))


def test_equal_draws_add_nothing_and_one_draw_has_no_interval() -> None:
    over_queries = Estimate(1.0, 0.0, 2.0, 0.0, 0.5)
    same, single = with_draws(over_queries, [np.ones(3)]), with_draws(over_queries, [np.ones(3), np.ones(1)])
    assert (same.low, same.high) == (0.0, 2.0)
    assert np.isnan([single.low, single.high]).all() and single.value == 1.0


@pytest.mark.parametrize(("draws", "seeds"), [(3, 1), (10, 1), (3, 2)])
@pytest.mark.parametrize(("of_draws", "of_queries"), [(1.0, 0.3), (0.1, 1.0), (0.3, 1.0)])
def test_nineteen_of_twenty_hold_the_truth(draws: int, seeds: int, of_draws: float, of_queries: float) -> None:
    random, held, narrow, n = np.random.default_rng(0), 0, 0, 40
    resampling, nothing = Resampling(draws=500), np.full(n, np.nan)
    for _ in range(SIMULATIONS):  # every value is 0 on average
        effects = [of_draws * random.standard_normal((draws, 1)) for _ in range(seeds)]
        queries = of_queries * random.standard_normal(n)
        said = [each + queries + 0.5 * random.standard_normal((draws, n)) for each in effects]
        value = np.mean([each.mean(0) for each in said], 0)
        over_queries = resampling.estimate(Column(value, np.arange(n), nothing, nothing), "mean")
        found = with_draws(over_queries, [each.mean(1) for each in said])
        held += found.low <= 0 <= found.high
        narrow += over_queries.low <= 0 <= over_queries.high
    assert 0.93 <= held / SIMULATIONS <= 0.985
    if of_draws == 1.0:
        assert narrow / SIMULATIONS < 0.5  # queries alone would not do
