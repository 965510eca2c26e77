"""What the page shows of learned weights: what training with them gained, and which samples they leave out most."""

from __future__ import annotations

from typing import Any

import duckdb

from einfluence.report.actions.section import Section
from einfluence.report.figure import interval, number, short
from einfluence.report.query import Part, Rows, rows

MOST = 10
HEAD = ("weight", "sample", "text or class", "known to be mislabelled")


def ignoring(connection: duckdb.DuckDBPyConnection, part: Part, lines: Rows) -> Section | None:
    """The sub-section of a part; None where no weights were learned. See :func:`einfluence.report.actions.actions`."""
    found = [line for line in lines if line["desideratum"] == "ignoring" and line["value"] is not None]
    if not found:
        return None
    shuffled = {line["kind"]: line for line in found if line["formula"] == "shuffled"}
    least = rows(connection, "ignored", base=part.base, most=MOST)
    return Section(
        title="Learned weights",
        about="Each sample’s weight was learned by the exact derivative of held-out log-probability through the "
        "training, on one half of the held-out queries. The set was trained on again with these weights, and with "
        "the same weights shuffled over the samples.",
        sentences=[_sentence(line, shuffled.get(line["kind"])) for line in found if line["formula"] == "gain"],
        arms=(),
        figure=None,
        head=HEAD,
        rows=[_row(row) for row in least],
        note="The samples that weigh least; 1 is what a sample weighs without learning. A low weight is a reason to "
        "look at a sample, not a verdict on it.",
    )


def _sentence(line: dict[str, Any], shuffled: dict[str, Any] | None) -> str:
    half = "the half that they were learned on" if "learned on" in (line["kind"] or "") else "the other half"
    verb = "gained" if line["value"] >= 0 else "lost"
    text = f"With learned weights a held-out query of {half} {verb} {number(abs(line['value']), 3)} nats on average"
    if line["ci_low"] is not None:
        text += f" (its change: {interval(line['ci_low'], line['ci_high'], 3)})"
    if shuffled is not None:
        text += f"; with shuffled ones it changed by {number(shuffled['value'], 3)}"
        if shuffled["ci_low"] is not None:
            text += f" ({interval(shuffled['ci_low'], shuffled['ci_high'], 3)})"
    setting = (line["kind"] or "").removeprefix("learned on").removeprefix(", ")
    return f"{text} ({setting})." if setting else f"{text}."


def _row(row: dict[str, Any]) -> tuple[str, ...]:
    return number(row["weight"], 2), row["name"], short(row["text"], 70), "yes" if row["is_flipped"] else ""
