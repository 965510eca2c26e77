"""Computes the scorecard of a store, at its recipes and at a matched dose, in one pass over the models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from einfluence.errors import InputError
from einfluence.metrics.drawn import drawn_means
from einfluence.metrics.inferring import noted
from einfluence.metrics.matching import matched_rows
from einfluence.metrics.models import modelled
from einfluence.metrics.resample import Interval, Resampling
from einfluence.metrics.summaries import summarised
from einfluence.metrics.verdicts import HOUSE, with_verdicts
from einfluence.rules import Rules
from einfluence.store.schema import DESIDERATA, LADDER, MATCHED, VERDICT_RULES


def score(
    connection: duckdb.DuckDBPyConnection,
    *,
    draws: int = 2000,
    seed: int = 0,
    user_sql: Path | None = None,
    interval: Interval = "percentile",
    features: Sequence[str | Path] = (),
    rules: Rules = HOUSE,
) -> pa.Table:
    """Computes the scorecard of a store.

    Args:
        connection: Has the views of :mod:`einfluence.store.schema`; is left without anything new in it.
        draws: Bootstrap draws and permutations.
        seed: Of the generator of draws.
        user_sql: A folder of the user's own models (see docs/desiderata.md), run after the shipped ones.
        interval: ``percentile``, or ``bca`` (medians keep percentiles: their jackknife is inconsistent).
        features: What `artifact` looks at: names of :data:`einfluence.feature.SHIPPED` and files.
        rules: How far is far enough for a verdict.

    Returns:
        A table of schema :data:`einfluence.store.schema.DESIDERATA`, one row for each desideratum, variant, arm and
        domain; rows of desideratum ``checks`` count cells that could not be used.

    Raises:
        InputError: When a model of the user's cannot be run or gives something else than per-probe values, or a file of
            features cannot be read.
    """
    return scored(
        connection, draws=draws, seed=seed, user_sql=user_sql, interval=interval, features=features, rules=rules
    )["desiderata"]


def matched(
    connection: duckdb.DuckDBPyConnection,
    *,
    nats: float | None = None,
    draws: int = 2000,
    seed: int = 0,
    user_sql: Path | None = None,
    rules: Rules = HOUSE,
) -> pa.Table:
    """Scores each grid of recipes (equal but for ``lr`` and ``steps``) where its probes learned equally well.

    Each probe's values are interpolated over the grid, linearly in the logarithm of its self-influence, at ``nats``;
    a probe whose self-influence does not reach from below to above that is left out and counted, never extrapolated.

    Args:
        connection: As for :func:`score`.
        nats: The self-influence to match at; by default the one that scoring writes to the table ``matched``: of the
            doses of a base's recipes (the median of their probes' self-influence) the one that each grid has a recipe
            nearest to.
        draws: Bootstrap draws and permutations.
        seed: Of the generator of draws.
        user_sql: As for :func:`score`.
        rules: As for :func:`score`.

    Returns:
        A table of schema :data:`einfluence.store.schema.MATCHED`; no rows when no two recipes differ in ``lr`` or
        ``steps`` alone.

    Raises:
        InputError: For ``nats`` that are not above 0, or as :func:`score` does.
    """
    if nats is not None and not nats > 0:
        raise InputError("matched", f"{nats} nats", "a self-influence above 0")
    with modelled(connection, user_sql) as models:
        rows = matched_rows(models, nats, Resampling(draws=draws, seed=seed), rules)
    return pa.Table.from_pylist(rows, schema=MATCHED)


def scored(
    connection: duckdb.DuckDBPyConnection,
    *,
    draws: int = 2000,
    seed: int = 0,
    user_sql: Path | None = None,
    interval: Interval = "percentile",
    features: Sequence[str | Path] = (),
    rules: Rules = HOUSE,
) -> dict[str, pa.Table]:
    """The tables that scoring writes.

    ``desiderata`` as by :func:`score`, ``matched`` as by :func:`matched`, and what verdicts go by: ``ladder`` and
    ``verdict_rules``.
    """
    resampling = Resampling(draws=draws, seed=seed, interval=interval)
    with modelled(connection, user_sql, features, resampling) as models:
        scores, arms, described = models.scores(), models.arms(), models.described()
        drawn = drawn_means(models.draws())
        rows = summarised(scores, arms, described, resampling, rules=rules, estimates=models.estimates, drawn=drawn)
        rows = noted(rows, [arms[arm] for arm in models.few])
        rows += with_verdicts(models.checks(), rules)
        grids = matched_rows(models, None, resampling, rules)
    return {
        "desiderata": pa.Table.from_pylist(rows, schema=DESIDERATA),
        "matched": pa.Table.from_pylist(grids, schema=MATCHED),
        "ladder": pa.Table.from_pylist([{**row, **rung} for row in rows for rung in row.get("rungs", ())], LADDER),
        "verdict_rules": pa.Table.from_pylist(rules.rows(), schema=VERDICT_RULES),
    }


def per_probe(
    connection: duckdb.DuckDBPyConnection, *, user_sql: Path | None = None, features: Sequence[str | Path] = ()
) -> pa.Table:
    """What the scorecard summarises: one row for each desideratum, variant, arm, seed and probe.

    A null ``value`` is a probe that the desideratum leaves out. Sorted, so that equal stores give equal tables.
    """
    with modelled(connection, user_sql, features) as models:
        return models.select("marts", "mart_values_by_probe")
