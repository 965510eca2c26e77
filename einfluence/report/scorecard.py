"""The scorecard of a part: its lines with their verdicts, which of them stand on the page, and their chart."""

from __future__ import annotations

from typing import Any

import duckdb

from einfluence.report import charts
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows, of_arm, rows
from einfluence.report.words import (
    SYMBOLS,
    Verdict,
    decide,
    direction,
    is_headline,
    position,
    sentence,
    words_of,
)


def scorecard(connection: duckdb.DuckDBPyConnection, part: Part) -> dict[str, Any]:
    """The verdicts of a part: ``desiderata`` on the page with a line an arm, ``figure``, all ``lines``, ``domains``."""
    found = of_arm(rows(connection, "scorecard"), part)
    lines = [line_of(arm, row, part) for arm, row in found if row["domain"] == "all"]
    lines.sort(key=lambda line: (line["order"], line["desideratum"], line["variant"], line["arm"].index))
    heads = headline(lines)
    desiderata: list[dict[str, Any]] = []
    for name, variant in dict.fromkeys(_kind(line) for line in heads):
        mine = [line for line in heads if _kind(line) == (name, variant)]
        words = words_of(name, variant)
        desiderata.append({"name": name, "title": words.title, "question": words.question, "lines": mine})
    asked = {line["title"] for line in lines if is_headline(*_kind(line))}
    return {
        "desiderata": desiderata,
        "figure": _figure(heads, part),
        "lines": lines,
        "domains": [line_of(arm, row, part) for arm, row in found if row["domain"] != "all"],
        "missing": sorted(asked - {line["title"] for line in heads}),
    }


def line_of(arm: Arm, row: dict[str, Any], part: Part) -> dict[str, Any]:
    """A row of the scorecard with its verdict and its words."""
    verdict: Verdict = decide(row)
    words = words_of(row["desideratum"], row["variant"] or "")
    return {
        **row,
        "variant": row["variant"] or "",
        "arm": arm,
        "title": words.title,
        "order": words.order,
        "verdict": verdict,
        "symbol": SYMBOLS[verdict],
        "sentence": sentence(row, verdict, arm.estimator, part.modality),
        "shown": number(row["value"]),
        "interval": interval(row["ci_low"], row["ci_high"]) if row["ci_low"] is not None else "–",
    }


def _kind(line: dict[str, Any]) -> tuple[str, str]:
    return line["desideratum"], line["variant"]


def headline(lines: Rows) -> Rows:
    """The lines that stand on the scorecard: those that the words choose, where an arm has pairs for them."""
    chosen = [line for line in lines if is_headline(*_kind(line))]
    measured = {_kind(line) for line in chosen if line["value"] is not None or line["n"]}
    places = {kind: place for place, kind in enumerate(dict.fromkeys(_kind(line) for line in chosen))}
    kept = [line for line in chosen if _kind(line) in measured]
    return sorted(kept, key=lambda line: (line["order"], _rank(line), places[_kind(line)], line["arm"].index))


def _rank(line: dict[str, Any]) -> int:
    chosen = words_of(line["desideratum"]).headline or ()
    return chosen.index(line["variant"]) if line["variant"] in chosen else 0


def _figure(heads: Rows, part: Part) -> Figure | None:
    drawn = [mark for line in heads if (mark := _mark(line))]
    if not drawn:
        return None
    return Figure(
        name=f"scorecard-{part.modality}",
        caption=caption("scorecard"),
        alt=f"Scorecard of {part.label}: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.scorecard(drawn, part.arms, theme, 300 if narrow else 640, narrow=narrow),
    )


def _mark(line: dict[str, Any]) -> dict[str, Any] | None:
    at = position(line, line["value"])
    low, high = position(line, line["ci_low"]), position(line, line["ci_high"])
    if at is None or direction(line) == 0:
        return None
    low, high = sorted((at if low is None else low, at if high is None else high))
    cut = charts.WAY.cut
    name = f"{line['title']}, {line['arm'].short}"
    return {
        "title": line["title"],
        "arm": line["arm"].short,
        "at": cut(at),
        "low": cut(low),
        "high": cut(high),
        "text": f"{line['symbol']} {line['shown']}",
        "description": f"{name}: {line['shown']} ({line['interval']}), {line['verdict']}",
    }
