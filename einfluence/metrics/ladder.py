"""What rows are held against whose ideal nothing can reach: the null, prompting, the best other arm, an ideal learner.

Each rung is summarised over the probes that it shares with the row, where both met the same queries, and the row minus
the rung has an interval from draws that use the same probes on both sides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from einfluence.metrics.resample import LEAST_CLUSTERS, Column, Estimate, Resampling, Summary, point

Kind = tuple[str, str]  # desideratum and variant
PROMPTING = "in_context"
_COLUMNS: dict[str, Any] = {
    "probe": np.int64, "asked": object, "domain": object, "cluster": np.int64, "value": np.float64,
    "learner": np.float64,
}  # fmt: skip


@dataclass(frozen=True)
class Series:
    """One arm's values of one variant. ``asked`` tells which queries a probe met; null values are NaN."""

    arm: int | None
    name: Mapping[str, Any]
    kind: Kind
    probe: npt.NDArray[np.int64]
    asked: npt.NDArray[np.object_]
    domain: npt.NDArray[np.object_]
    cluster: npt.NDArray[np.int64]
    value: npt.NDArray[np.float64]
    learner: npt.NDArray[np.float64]

    def within(self, domain: str) -> Series:
        """Its probes of a domain, those alone that count."""
        kept = np.isfinite(self.value) & ((self.domain == domain) | (domain == "all"))
        return replace(self, **{name: getattr(self, name)[kept] for name in _COLUMNS})

    def ideal(self) -> Series:
        """What an ideal learner scores on the queries of its probes."""
        return replace(self, arm=None, value=self.learner)


class Ladder:
    """The arms that rows may be held against.

    Args:
        series: Of the variants that are on a ladder.
        estimates: Estimators that predict a training: nothing that a model was measured to do, so no rung.
        resampling: How to draw.
    """

    def __init__(self, series: Iterable[Series], estimates: frozenset[str], resampling: Resampling) -> None:
        self._series = list(series)
        self._estimates = estimates
        self._resampling = resampling

    def rungs(
        self, arm: int, kind: Kind, domain: str, summary: Summary, row: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The rungs of a row, from the null up; ``compared`` marks the one that the verdict compares with.

        Args:
            arm: The row's arm.
            kind: Its desideratum and variant.
            domain: Its domain.
            summary: How probes are summarised.
            row: Its ``value``, ``null_value`` and ``ideal``.
        """
        alike = [series.within(domain) for series in self._series if series.kind == kind]
        own = next((series for series in alike if series.arm == arm), None)
        if own is None or row.get("value") is None or row.get("null_value") is None:
            return []
        rungs: list[dict[str, Any]] = [
            {"rung": "null", "value": row["null_value"], "ci_low": None, "ci_high": None, "n": row["n"],
             "difference": row["value"] - row["null_value"], "note": None}
        ]  # fmt: skip
        sign = 1 if (row["ideal"] or 0.0) > row["null_value"] else -1
        others = [each for each in alike if each is not own and self._is_rung(each, own)]
        found: list[dict[str, Any]] = []
        for name, among in (("prompting", True), ("best arm", False)):
            here = [each for each in others if (each.name["estimator"] == PROMPTING) == among]
            pairs = [(each, both) for each in here if (both := _shared(own, each))]
            values = [point(theirs.value, theirs.weight, summary) for _, (_, theirs) in pairs]
            ranked = [(sign * value, place) for place, value in enumerate(values) if np.isfinite(value)]
            if ranked:
                best, both = pairs[max(ranked)[1]]
                found.append(self._rung(name, _identity(best), both, summary))
        for each in found:
            each["compared"] = each["value"] * sign == max(rung["value"] * sign for rung in found)
        both = _shared(own, own.ideal())
        return rungs + found + ([self._rung("ideal learner", None, both, summary)] if both else [])

    def _is_rung(self, other: Series, own: Series) -> bool:
        named = other.name["estimator"] not in self._estimates and other.name["base"] == own.name["base"]
        return named and _identity(other) not in _own_recipes(own)

    def _rung(self, rung: str, of: str | None, both: tuple[Column, Column], summary: Summary) -> dict[str, Any]:
        mine, theirs = both
        alone = self._resampling.estimate(theirs, summary)
        apart: Estimate = self._resampling.difference(theirs, mine, summary)
        return {
            "rung": rung, "of": of, "value": alone.value,
            "ci_low": alone.low, "ci_high": alone.high, "difference": apart.value, "difference_low": apart.low,
            "difference_high": apart.high, "n": len(mine.value), "note": None,
        }  # fmt: skip


def series_of(
    table: pa.Table, arms: Mapping[int, Mapping[str, Any]], kinds: Iterable[Kind], *, own: bool = True
) -> list[Series]:
    """The variants ``kinds`` of a table like marts/mart_scores.sql, arm by arm; without ``own``, as rungs alone."""
    found: list[Series] = []
    for desideratum, variant in sorted(set(kinds)):
        named = (pc.field("desideratum") == desideratum) & (pc.field("variant") == variant)
        rows = table.filter(named)
        for arm in sorted(set(rows.column("arm").to_pylist()) & arms.keys()):
            mine = rows.filter(pc.field("arm") == arm)
            columns = [np.array(mine.column(name).to_pylist(), kind) for name, kind in _COLUMNS.items()]
            found.append(Series(arm if own else None, arms[arm], (desideratum, variant), *columns))
    return found


def _identity(series: Series) -> str:
    return str(series.name.get("recipe") or series.name.get("grid"))


def _own_recipes(series: Series) -> set[str]:
    return {_identity(series), *series.name.get("recipes", ())}


def _shared(own: Series, other: Series) -> tuple[Column, Column] | None:
    """Both over the probes that met the same queries; None where these are too few for an interval."""
    place = {key: i for i, key in enumerate(zip(other.probe, other.asked, strict=True)) if np.isfinite(other.value[i])}
    keys = list(zip(own.probe, own.asked, strict=True))
    mine = np.array([i for i, key in enumerate(keys) if key[1] is not None and key in place], dtype=int)
    if len(np.unique(own.cluster[mine])) < LEAST_CLUSTERS:
        return None
    theirs = np.array([place[keys[i]] for i in mine])
    nothing = np.full(len(mine), np.nan)
    one, two = (Column(value, own.cluster[mine], nothing, nothing) for value in (own.value[mine], other.value[theirs]))
    return one, two
