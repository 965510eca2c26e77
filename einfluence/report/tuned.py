"""What a training changed of what matters: the same arms at a base and at what it was trained to, arm by arm."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any, Literal, cast

import duckdb
import numpy as np

from einfluence.metrics.resample import LEAST_CLUSTERS, Column, Floats, Ints, Resampling
from einfluence.report import charts
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows, in_order, of_arm, rows

SCALE = charts.Scale(
    ends=(-0.3, 1.05),
    ticks=(("0", "unrelated"), ("0.5", "0.5"), ("1", "the same order")),
    rules=((0, (1, 0)), (1, charts.DASHED)),
)


def tuned(connection: duckdb.DuckDBPyConnection, part: Part) -> Figure | None:
    """How alike a trained base's rows of influence are to those of the base that it began as, of every arm of both.

    None where a part's base was not trained from another of the store, or the two share no arm and probe.
    """
    before = rows(connection, "tuned_from", label=part.label)
    found = rows(connection, "tuned", base=part.base, before=before[0]["base"]) if before else []
    by_arm: dict[Arm, Rows] = {}
    for arm, row in of_arm(found, part):
        by_arm.setdefault(arm, []).append(row)
    if not by_arm:
        return None
    names = _names(list(by_arm))
    marks = sorted((_mark(arm, names[arm], mine) for arm, mine in by_arm.items()), key=lambda m: in_order(m["title"]))
    arms = [next(arm for arm in by_arm if arm.short == short) for short in dict.fromkeys(m["arm"] for m in marks)]
    return Figure(
        name=f"tuned-{part.modality}",
        caption=caption("tuned"),
        alt="Before and after the training: " + "; ".join(mark["description"] for mark in marks),
        draw=lambda theme, narrow: charts.scorecard(
            marks, arms, replace(theme, legend=False), 300 if narrow else 520, narrow=narrow, scale=SCALE
        ),
        head=("arm", "probes", "rank correlation", "95%", "size after over before", "95%"),
        numbers=[mark["numbers"] for mark in marks],
    )


def _names(arms: list[Arm]) -> dict[Arm, str]:
    """What an arm is called beside the others: by the parameters that it looks at, and its estimator if need be."""
    several = len({arm.estimator for arm in arms}) > 1
    names = {arm: _adapter(arm) for arm in arms}
    names = {arm: f"{arm.estimator}, {name}" if several else name for arm, name in names.items()}
    twice = {name for name, count in Counter(names.values()).items() if count > 1}
    return {arm: arm.label if name in twice else name for arm, name in names.items()}


def _adapter(arm: Arm) -> str:
    adapter = arm.settings.get("adapter")
    kind = cast("dict[str, object]", adapter) if isinstance(adapter, dict) else {"kind": adapter}
    plain = re.sub(r"\\(.)", r"\1", str(kind.get("pattern") or "")).strip(".^$")
    return plain or str(kind.get("kind") or arm.label)


def _mark(arm: Arm, name: str, mine: Rows) -> dict[str, Any]:
    cluster = np.array([row["cluster"] for row in mine])
    alike = _summary(np.array([row["spearman"] for row in mine]), np.ones(len(mine)), cluster, "mean")
    sizes = [np.array([row[key] for row in mine]) for key in ("other_size", "size")]
    grown = _summary(sizes[0], sizes[1], cluster, "quotient")
    low, high = alike[1:] if alike[1] is not None else (alike[0], alike[0])
    text = f"{number(alike[0])} ({interval(*alike[1:])})", f"{number(grown[0])} ({interval(*grown[1:])})"
    return {
        "title": name,
        "arm": arm.short,
        "at": SCALE.cut(alike[0] or 0.0),
        "low": SCALE.cut(low or 0.0),
        "high": SCALE.cut(high or 0.0),
        "sign": "",
        "text": f"{number(alike[0])}, size × {number(grown[0])}",
        "description": f"{name}: rank correlation {text[0]}, size after over before {text[1]}",
        "numbers": (
            name, len(mine), number(alike[0]), interval(*alike[1:]), number(grown[0]), interval(*grown[1:]),
        ),
    }  # fmt: skip


def _summary(
    value: Floats, weight: Floats, cluster: Ints, summary: Literal["mean", "quotient"]
) -> tuple[float | None, float | None, float | None]:
    """A summary over probes with the ends of its interval; no ends where the probes are too few for one."""
    column = Column(value, cluster, weight, np.full(len(value), np.nan))
    found = Resampling().estimate(column, summary)
    if not np.isfinite(found.value) or len(np.unique(cluster)) < LEAST_CLUSTERS:
        return (found.value if np.isfinite(found.value) else None), None, None
    return found.value, found.low, found.high
