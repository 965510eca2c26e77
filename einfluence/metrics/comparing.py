"""Two stores, bases or recipes side by side: differences paired by probe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from einfluence.errors import InputError
from einfluence.metrics.drawn import is_control
from einfluence.metrics.resample import LEAST_CLUSTERS, Column, Resampling, Summary, point
from einfluence.metrics.scoring import per_probe

Arm = tuple[str, str, str]
Scores = dict[tuple[str, str, str], "_Series"]  # by desideratum, variant, summary

COMPARISON = pa.schema(
    [
        pa.field("estimator", pa.string(), metadata={"doc": "the estimator of A"}),
        pa.field(
            "estimator_b", pa.string(), metadata={"doc": "that of B: the same, but where both recipes were chosen"}
        ),
        pa.field("base_a", pa.string(), metadata={"doc": "the base of A"}),
        pa.field("recipe_a", pa.string(), metadata={"doc": "the recipe of A"}),
        pa.field("base_b", pa.string(), metadata={"doc": "the base of B"}),
        pa.field("recipe_b", pa.string(), metadata={"doc": "the recipe of B"}),
        pa.field("desideratum", pa.string(), metadata={"doc": "the property"}),
        pa.field("variant", pa.string(), metadata={"doc": "which of its formulas"}),
        pa.field("value_a", pa.float64(), metadata={"doc": "A's value over the shared probes"}),
        pa.field("value_b", pa.float64(), metadata={"doc": "B's value over the shared probes"}),
        pa.field("difference", pa.float64(), metadata={"doc": "B minus A"}),
        pa.field("ci_low", pa.float64(), metadata={"doc": "lower end of the 95% interval of the difference"}),
        pa.field("ci_high", pa.float64(), metadata={"doc": "upper end of the 95% interval of the difference"}),
        pa.field("p_value", pa.float64(), metadata={"doc": "two-sided p of no difference"}),
        pa.field("n", pa.int32(), metadata={"doc": "probes that both have"}),
        pa.field("verdict_a", pa.string(), metadata={"doc": "the verdict on A's scorecard, over all of its probes"}),
        pa.field("verdict_b", pa.string(), metadata={"doc": "the verdict on B's"}),
        pa.field("note", pa.string(), metadata={"doc": "what else to know"}),
    ]
)


@dataclass(frozen=True)
class _Series:
    """One desideratum's per-probe values, averaged over training seeds, by probe_id."""

    value: dict[str, float]
    weight: dict[str, float]
    cluster: dict[str, str]


def compare(
    connection_a: duckdb.DuckDBPyConnection,
    connection_b: duckdb.DuckDBPyConnection,
    *,
    a: Mapping[str, str] | None = None,
    b: Mapping[str, str] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> pa.Table:
    """Compares the desiderata of two stores (or of two arms of one), paired by probe.

    Arms pair when their estimators agree and they share probes: equal base and recipe first, then equal recipe, then
    equal base, then any; where there are several to choose from, none is. Where a recipe is chosen on either side, and
    each is of one arm, these two are compared whatever their estimators.

    Args:
        connection_a: Views of the store that is compared with.
        connection_b: Views of the store that is compared; may be the same.
        a: Only A's arms with these values of ``estimator``, ``base`` or ``recipe`` (a beginning of the hash is enough).
        b: The same for B.
        draws: Bootstrap draws and permutations.
        seed: Of the generator of draws.

    Returns:
        A table of schema :data:`COMPARISON`; positive differences mean that B has more.

    Raises:
        InputError: When no arm of A has a counterpart in B.
    """
    means_a = _means(connection_a)
    means_b = means_a if connection_b is connection_a else _means(connection_b)
    arms_a, arms_b = _by_arm(means_a, a or {}), _by_arm(means_b, b or {})
    chosen = [dict(each) for each in (a or {}, b or {})]
    across = all("recipe" in each for each in chosen) and len(arms_a) == len(arms_b) == 1
    pairs = _paired(arms_a, arms_b, across=across)
    if not pairs:
        raise InputError(
            "compare",
            f"arms {_names(arms_a)} and {_names(arms_b)}",
            "arms of one estimator that share probes",
            "measure the same probes on both sides, or choose the arms to compare",
        )
    resampling = Resampling(draws=draws, seed=seed)
    known_a, known_b = _verdicts(connection_a), _verdicts(connection_b)
    rows: list[dict[str, Any]] = []
    for one, other in pairs:
        for row in _differences(one, other, arms_a[one], arms_b[other], resampling):
            kind = row["desideratum"], row["variant"]
            rows.append({**row, "verdict_a": known_a.get((*one, *kind)), "verdict_b": known_b.get((*other, *kind))})
    return pa.Table.from_pylist(rows, schema=COMPARISON)


def _verdicts(connection: duckdb.DuckDBPyConnection) -> dict[tuple[str, ...], str | None]:
    """The verdicts that the scorecard has, by arm, desideratum and variant."""
    names = "estimator, base, recipe, desideratum, variant, verdict"
    rows = connection.table("desiderata").filter("domain = 'all'").project(names).fetchall()
    return {tuple(key): verdict for *key, verdict in rows}


def _names(arms: Mapping[Arm, Scores]) -> str:
    return ", ".join(f"{estimator}/{base[:6]}/{recipe[:6]}" for estimator, base, recipe in arms) or "(none)"


def _means(connection: duckdb.DuckDBPyConnection) -> list[dict[str, Any]]:
    """Per-probe values of all arms, averaged over training seeds."""
    table = per_probe(connection)
    keys = ["estimator", "base", "recipe", "desideratum", "variant", "summary", "probe_id", "cluster"]
    finite = table.filter(cast("Any", pc).is_finite(table.column("value")))
    return finite.group_by(keys).aggregate([("value", "mean"), ("weight", "mean")]).to_pylist()


def _by_arm(means: Sequence[Mapping[str, Any]], chosen: Mapping[str, str]) -> dict[Arm, Scores]:
    unknown = set(chosen) - {"estimator", "base", "recipe"}
    if unknown:
        raise InputError("compare", f"a choice by {unknown.pop()!r}", "estimator, base or recipe")
    arms: dict[Arm, Scores] = {}
    for row in means:
        if row["desideratum"] == "prompt_rescue" or not all(row[key].startswith(part) for key, part in chosen.items()):
            continue
        scores = arms.setdefault((row["estimator"], row["base"], row["recipe"]), {})
        series = scores.setdefault((row["desideratum"], row["variant"], row["summary"]), _Series({}, {}, {}))
        series.value[row["probe_id"]] = row["value_mean"]
        series.weight[row["probe_id"]] = row["weight_mean"] if row["weight_mean"] is not None else np.nan
        series.cluster[row["probe_id"]] = row["cluster"]
    return dict(sorted(arms.items()))


def _paired(
    arms_a: Mapping[Arm, Scores], arms_b: Mapping[Arm, Scores], *, across: bool = False
) -> list[tuple[Arm, Arm]]:
    """The arms that are compared; ``across`` estimators too, where the caller has chosen both."""

    def likeness(one: Arm, other: Arm) -> tuple[bool, bool]:
        return (one[2] == other[2], one[1] == other[1])

    candidates = [(one, other) for one in arms_a for other in arms_b
                  if (across or one[0] == other[0]) and _shared(arms_a[one], arms_b[other])]  # fmt: skip
    pairs: list[tuple[Arm, Arm]] = []
    for kind in ((True, True), (True, False), (False, True), (False, False)):
        taken = {arm for pair in pairs for arm in (("a", pair[0]), ("b", pair[1]))}
        left = [
            (one, other)
            for one, other in candidates
            if likeness(one, other) == kind and ("a", one) not in taken and ("b", other) not in taken
        ]
        pairs += [(one, other) for one, other in left if sum(one == a or other == b for a, b in left) == 1]
    return sorted(pairs)


def _shared(one: Scores, other: Scores) -> bool:
    return any(one[key].value.keys() & other[key].value.keys() for key in one.keys() & other.keys())


def _differences(
    arm_a: Arm, arm_b: Arm, scores_a: Scores, scores_b: Scores, resampling: Resampling
) -> Iterator[dict[str, Any]]:
    about = {
        "estimator": arm_a[0],
        "estimator_b": arm_b[0],
        "base_a": arm_a[1],
        "recipe_a": arm_a[2],
        "base_b": arm_b[1],
        "recipe_b": arm_b[2],
    }
    for key in sorted(scores_a.keys() & scores_b.keys()):
        one, other = scores_a[key], scores_b[key]
        shared = sorted(one.value.keys() & other.value.keys())
        row = {**about, "desideratum": key[0], "variant": key[1], "n": len(shared)}
        names = sorted({one.cluster[probe] for probe in shared})
        if len(names) < LEAST_CLUSTERS:
            yield {**row, "note": f"not enough probes (n={len(shared)})"}
            continue
        number = {name: place for place, name in enumerate(names)}
        cluster = np.array([number[one.cluster[probe]] for probe in shared])
        columns = [_column(series, shared, cluster) for series in (one, other)]
        found = resampling.difference(columns[0], columns[1], cast("Summary", key[2]))
        values = [point(column.value, column.weight, cast("Summary", key[2])) for column in columns]
        row |= {"value_a": values[0], "value_b": values[1], "difference": found.value}
        if is_control(key[0], key[1]):  # pairs of queries say nothing of other draws
            yield {**row, "note": "of random draws: each scorecard has its own interval"}
            continue
        yield {**row, "ci_low": found.low, "ci_high": found.high, "p_value": found.p}


def _column(series: _Series, probes: list[str], cluster: npt.NDArray[np.int64]) -> Column:
    value = np.array([series.value[probe] for probe in probes])
    weight = np.array([series.weight[probe] for probe in probes])
    return Column(value, cluster, weight, np.full(len(probes), np.nan))
