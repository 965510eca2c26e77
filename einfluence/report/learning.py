"""Learning curves of a training set that was watched: what it and some of its samples were known at, step by step."""

from __future__ import annotations

import duckdb

from einfluence.report import charts
from einfluence.report.figure import Figure, caption, number, short
from einfluence.report.query import Part, Rows, rows

MOST = 7  # samples that have a panel, those that the training moved most; with the two means three rows of three


def learning(connection: duckdb.DuckDBPyConnection, part: Part) -> Figure | None:
    """The curves of a part's trainings; None where none was watched."""
    named = {arm.key: arm for arm in part.arms}
    drawn: Rows = []
    for row in rows(connection, "learning_curves", most=MOST):
        arm = named.get((row["base"], row["estimator"], row["recipe"]))
        if arm is not None:
            value, panel = row["logprob"], short(row["panel"], 40)
            text = f"{panel}, step {row['step']}, {arm.short}: {number(value)} nats"
            ends = {"value": value, "low": value, "high": value}
            drawn.append({**ends, "family": panel, "arm": arm.short, "x": row["step"], "description": text})
    if not drawn:
        return None
    arms = [arm for arm in part.arms if any(row["arm"] == arm.short for row in drawn)]
    return Figure(
        name=f"learning-{part.modality}",
        caption=caption("learning"),
        alt="Learning curves: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.curves(
            drawn,
            arms,
            ("step", "log-probability, nats"),
            theme,
            size=(285 if narrow else 220, 110),
            columns=1 if narrow else 3,
            rules=(),
        ),
        head=("sample", "arm", "step", "log-probability, nats"),
        numbers=[(row["family"], row["arm"], row["x"], number(row["value"])) for row in drawn],
    )
