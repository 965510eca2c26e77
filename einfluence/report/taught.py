"""The page's section on training sets: what a set taught, how well influence adds up, and which samples to look at."""

from __future__ import annotations

from typing import Any

import duckdb

from einfluence.report import payload
from einfluence.report.explained import explained
from einfluence.report.figure import number, short
from einfluence.report.learning import learning
from einfluence.report.query import Arm, Part, Rows, rows
from einfluence.report.suspects import REASONS

FEW = 5  # samples for each reason
WANTED = ("lds", "mislabelled", "memorisation", "duplicates", "proxies", "pre_memorisation", "timing", "saliency")


def taught(connection: duckdb.DuckDBPyConnection, part: Part, lines: Rows) -> dict[str, Any] | None:
    """What the page says of a part's training sets.

    ``sets`` in sentences, learning ``curves``, ``lines`` of the scorecard, ``suspects``, and decisions that are
    ``explained``; None where the part was not trained on any.

    Args:
        connection: Has the store's views.
        part: The part.
        lines: Of its scorecard.
    """
    bases = {arm.base for arm in part.arms}
    sets = [row for row in rows(connection, "training_sets") if row["base"] in bases]
    if not sets:
        return None
    mine = [line for line in lines if line["desideratum"] in WANTED and line["value"] is not None]
    mine.sort(key=lambda line: (WANTED.index(line["desideratum"]), line["variant"], line["arm"].index))
    return {
        "sets": [_sentence(row) for row in sets],
        "curves": learning(connection, part),
        "lines": mine,
        "suspects": _suspects(connection, part),
        "explained": explained(connection, part),
    }


def _sentence(row: dict[str, Any]) -> str:
    heading = f"{row['samples']} samples, {row['schedule']}, {row['way']}:"
    for name, who in (("own", "its own samples"), ("held_out", "what is held out")):
        if row[name] is not None:
            first = f"{row[f'{name}_first']:.0%} of it is the first choice" if name == "held_out" else ""
            first = first or f"{row[f'{name}_first']:.0%} of them are the first choice"
            heading += f" {who} gained {number(row[name])} nats on average, and {first};"
    return heading.rstrip(";") + "."


def _suspects(connection: duckdb.DuckDBPyConnection, part: Part) -> list[tuple[Arm, list[tuple[str, Rows]]]]:
    """Samples to look at by arm and reason, in words and pictures."""
    named = {arm.key: arm for arm in part.arms}
    listed = [
        (named[key], row)
        for row in rows(connection, "suspects", most=FEW)
        if (key := (row["base_id"], row["estimator"], row["recipe_id"])) in named
    ]
    pictures = payload.pictures(connection, [row["sample_id"] for _, row in listed])
    found: dict[Arm, dict[str, Rows]] = {}
    for arm, row in listed:
        shown = {"sample": short(row["text"], 90), "why": row["why"], "how": row["how"]}
        dropped = "–" if row["dropped"] is None else f"{number(row['dropped'], 3)} ({row['how']})"
        picture = pictures.get(row["sample_id"], "")
        found.setdefault(arm, {}).setdefault(row["reason"], []).append(
            {**shown, "dropped": dropped, "picture": picture}
        )
    return [
        (arm, [(REASONS[name], some) for name, some in reasons.items()])
        for arm, reasons in sorted(found.items(), key=lambda pair: pair[0].index)
    ]
