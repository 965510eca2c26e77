"""Rows of a scorecard from per-probe scores: value, interval, null, counts, note and verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from einfluence.metrics.drawn import Kind as DrawnKind
from einfluence.metrics.drawn import Means, with_draws
from einfluence.metrics.ladder import Kind, Ladder, Series, series_of
from einfluence.metrics.resample import LEAST_CLUSTERS, Column, Resampling, Summary
from einfluence.metrics.verdicts import HOUSE, with_verdicts
from einfluence.rules import Rules

Rows = list[dict[str, Any]]
Described = Mapping[tuple[int, str, str], Mapping[str, Any]]  # by arm, desideratum and variant


def summarised(
    table: pa.Table,
    arms: Mapping[int, Mapping[str, Any]],
    described: Described,
    resampling: Resampling,
    *,
    rules: Rules = HOUSE,
    estimates: frozenset[str] = frozenset(),
    beside: Sequence[Series] = (),
    drawn: Mapping[DrawnKind, Means] | None = None,
) -> Rows:
    """Rows of the scorecard, judged; those on a ladder with their ``rungs``.

    Args:
        table: One row an arm, desideratum, variant and probe (the columns of marts/mart_scores.sql), sorted by these.
        arms: What names an arm in the result, e.g. ``estimator``, ``base`` and ``recipe``, by arm.
        described: What the models say of a variant beside its name.
        resampling: How to draw.
        rules: How far is far enough.
        estimates: Estimators that predict a training.
        beside: Arms that are in no row here, and that rows may be held against.
        drawn: Of controls by random draws, what single draws did.
    """
    ladder = Ladder([*series_of(table, arms, on_ladder(described)), *beside], estimates, resampling)
    return with_verdicts(_rows(table, arms, described, resampling, ladder, drawn or {}), rules)


def on_ladder(described: Described) -> set[Kind]:
    """The variants whose ideal nothing can reach, as their models say."""
    return {(name, variant) for (_, name, variant), said in described.items() if said.get("rule") == "ladder"}


@dataclass(frozen=True)
class _Scores:
    """The per-probe scores as arrays, sorted by arm, desideratum and variant."""

    starts: npt.NDArray[np.int64]
    keys: list[dict[str, Any]]
    value: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    null: npt.NDArray[np.float64]
    cluster: npt.NDArray[np.int64]
    query: npt.NDArray[np.int64]
    domain: npt.NDArray[np.object_]
    learned: npt.NDArray[np.bool_]


def _arrays(table: pa.Table) -> _Scores:
    def floats(name: str) -> npt.NDArray[np.float64]:
        return cast("npt.NDArray[np.float64]", table.column(name).cast(pa.float64()).to_numpy()).astype(np.float64)

    codes = [table.column(name).combine_chunks().dictionary_encode().indices.to_numpy()
             for name in ("arm", "desideratum", "variant")]  # fmt: skip
    changed = np.zeros(len(table), dtype=bool)
    if len(table):
        changed[0] = True
    for code in codes:
        changed[1:] |= code[1:] != code[:-1]
    starts = np.append(np.flatnonzero(changed), len(table))
    names = ["arm", "desideratum", "variant", "summary", "ideal"]
    keys = cast("list[dict[str, Any]]", table.select(names).take(pa.array(starts[:-1])).to_pylist())
    return _Scores(
        starts, keys, floats("value"), floats("weight"), floats("null_value"),
        table.column("cluster").to_numpy().astype(np.int64),
        _queries(table),
        np.array(table.column("domain").to_pylist(), dtype=object),
        table.column("learned").to_numpy().astype(bool),
    )  # fmt: skip


def _queries(table: pa.Table) -> npt.NDArray[np.int64]:
    """Of values by query; -1 for those by probe, which are all that there are at a matched dose."""
    if "query" not in table.column_names:
        return np.full(len(table), -1)
    return pc.fill_null(table.column("query").cast(pa.int64()), -1).to_numpy().astype(np.int64)


def _rows(
    table: pa.Table,
    arms: Mapping[int, Mapping[str, Any]],
    described: Described,
    resampling: Resampling,
    ladder: Ladder,
    drawn: Mapping[DrawnKind, Means],
) -> Iterator[dict[str, Any]]:
    scores = _arrays(table)
    for position, key in enumerate(scores.keys):
        rows = np.arange(scores.starts[position], scores.starts[position + 1])
        kind = (key["desideratum"], key["variant"])
        means = drawn.get((key["arm"], *kind))
        common = {**arms[key["arm"]], "desideratum": kind[0], "variant": kind[1], **described[key["arm"], *kind],
                  "ideal": key["ideal"]}  # fmt: skip
        own = {} if common.get("p_value") is None else {"p_value": common["p_value"]}  # a null of the model's own
        yield _placed({**common, "domain": "all", **_row(scores, rows, key, resampling, means), **own}, key, ladder)
        domains = sorted({name for name in scores.domain[rows] if name})
        for domain in domains if len(domains) > 1 else []:
            inside = rows[scores.domain[rows] == domain]
            if np.isfinite(scores.value[inside]).any():
                row = _placed({**common, "domain": domain, **_row(scores, inside, key, resampling, means)}, key, ladder)
                yield {**row, "p_value": None} if own else row


def _placed(row: dict[str, Any], key: dict[str, Any], ladder: Ladder) -> dict[str, Any]:
    """A row with its rungs, where it is on a ladder."""
    if row.get("rule") != "ladder":
        return row
    kind = (key["desideratum"], key["variant"])
    return {**row, "rungs": ladder.rungs(key["arm"], kind, row["domain"], cast("Summary", key["summary"]), row)}


def _row(
    scores: _Scores, rows: npt.NDArray[np.int64], key: dict[str, Any], resampling: Resampling, means: Means | None
) -> dict[str, Any]:
    """Value, interval, null, counts and note of the probes in ``rows``."""
    kept = rows[np.isfinite(scores.value[rows])]
    left_out = rows[~np.isfinite(scores.value[rows])]
    clusters = len(np.unique(scores.cluster[kept]))
    counts = {"n": len(kept), "excluded": len(left_out)}
    unlearned = int((~scores.learned[left_out]).sum())
    if clusters < LEAST_CLUSTERS:
        return {**counts, "note": _shortage(key["desideratum"], len(kept), clusters, unlearned, len(left_out))}
    column = Column(scores.value[kept], scores.cluster[kept], scores.weight[kept], scores.null[kept])
    found = resampling.estimate(column, cast("Summary", key["summary"]))
    note = _excluded(unlearned, len(left_out))
    if means is not None:
        found = with_draws(found, means(scores.query[kept]))
        note = note if np.isfinite(found.low) else "one draw, so no interval"
    numbers = {"value": found.value, "ci_low": found.low, "ci_high": found.high, "null_value": found.null,
               "p_value": found.p}  # fmt: skip
    finite = {name: number if np.isfinite(number) else None for name, number in numbers.items()}
    return {**finite, **counts, "note": note}


def _shortage(name: str, n: int, clusters: int, unlearned: int, left_out: int) -> str:
    if n == 0 and unlearned < left_out:
        return f"no {name.replace('_', ' ')} pairs" + (f"; {unlearned} not learned" if unlearned else "")
    if n == 0:
        return f"no probe learned itself ({left_out} excluded)"
    independent = f" in {clusters} clusters" if clusters < n else ""
    return f"not enough probes (n={n}{independent})"


def _excluded(unlearned: int, left_out: int) -> str | None:
    words: list[str] = []
    if unlearned:
        words.append(f"{unlearned} not learned")
    if left_out > unlearned:
        words.append(f"{left_out - unlearned} without the pairs it needs")
    return ", ".join(words) or None
