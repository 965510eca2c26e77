"""The scorecard of a part: its lines, which of them stand on the page, and their chart; verdicts are in the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from einfluence.metrics.verdicts import way
from einfluence.report import charts
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows, of_arm, rows
from einfluence.report.rules import ladder_key, ladders, turns_in_words
from einfluence.report.words import SYMBOLS, UNJUDGED, is_headline, sentence, spoken_of, words_of

COUNTED = ("met", "violated", "cannot tell")  # verdicts that the page counts


def scorecard(connection: duckdb.DuckDBPyConnection, part: Part, *, domains: bool = True) -> dict[str, Any]:
    """The verdicts of a part: ``desiderata`` on the page with a line an arm, all ``lines``, and those of ``domains``.

    ``missing`` names what the page has words for and no pairs, ``tally`` counts each arm's verdicts, and ``turns`` says
    how many of those on the page hang on a house rule. Without ``domains`` theirs are not read.
    """
    found = of_arm(rows(connection, "scorecard", base=part.base, domains=domains), part)
    values: dict[tuple[object, ...], float | None] = {
        (arm.key, row["domain"], *_kind(row)): row["value"] for arm, row in found
    }
    rungs = ladders(connection, part.base, domains=domains)
    lines = [line_of(arm, row, part, values, rungs) for arm, row in found if row["domain"] == "all"]
    lines.sort(key=lambda line: (line["order"], line["desideratum"], *_place(line), line["arm"].index))
    heads = headline(lines)
    desiderata: list[dict[str, Any]] = []
    for name, variant in dict.fromkeys(_kind(line) for line in heads):
        mine = [line for line in heads if _kind(line) == (name, variant)]
        words = words_of(mine[0])
        present = any(item["question"] == words.question for item in desiderata)
        question = "" if present else words.question
        desiderata.append({"name": name, "title": words.title, "question": question, "lines": mine, **_ends(mine)})
    wanted = {line["title"] for line in lines if is_headline(line)}
    return {
        "desiderata": desiderata,
        "lines": lines,
        "domains": [line_of(arm, row, part, values, rungs) for arm, row in found if row["domain"] != "all"],
        "missing": sorted(wanted - {line["title"] for line in heads}),
        "turns": turns_in_words(heads),
        "tally": [(arm, _tally([line["verdict"] for line in heads if line["arm"] is arm])) for arm in part.arms],
    }


def _tally(verdicts: list[str]) -> list[tuple[str, str, int]]:
    return [(name, SYMBOLS[name], verdicts.count(name)) for name in COUNTED]


def _place(line: Mapping[str, Any]) -> tuple[Any, ...]:
    """Sorts the lines of a desideratum: by layer, by kind, then the whole before its levels."""
    layer, level = line["layer"], line["level"]
    return (
        layer is None,
        layer or 0,
        line["place"] or "",
        line["kind"] or "",
        level is not None,
        level or 0.0,
        line["variant"],
    )


def _ends(lines: Rows) -> dict[str, str]:
    """Where the way of these lines begins and ends, in words; no ``null`` where it differs from line to line."""
    nulls = {_plain(line["start"]) for line in lines if line["start"] is not None}
    ideals = {_plain(line["ideal"]) for line in lines if line["ideal"] is not None}
    return {
        name: f"{name} {next(iter(found))}" if len(found) == 1 else ""
        for name, found in (("null", nulls), ("ideal", ideals))
    }


def _plain(value: float) -> str:
    return f"{round(value, 2) + 0.0:g}".replace("-", "\N{MINUS SIGN}")


def line_of(
    arm: Arm,
    row: dict[str, Any],
    part: Part,
    values: Mapping[tuple[object, ...], float | None],
    rungs: Mapping[tuple[Any, ...], str],
) -> dict[str, Any]:
    """A row of the scorecard with its words; ``values`` holds those of all rows, ``rungs`` ladders in words."""
    row = {**row, "variant": row["variant"] or "", "verdict": row["verdict"] or UNJUDGED}
    words = words_of(row)
    beside = values.get((arm.key, row["domain"], row["desideratum"], words.beside))
    return {
        **row,
        "arm": arm,
        "title": words.title,
        "order": words.order,
        "symbol": SYMBOLS.get(row["verdict"], "–"),
        "sentence": sentence(row, arm.estimator, part.thing, beside=beside, rungs=rungs.get(ladder_key(row), ""))
        or row["note"]
        or "",
        "shown": number(row["value"], 0 if row["desideratum"] == "checks" else 2),
        "interval": interval(row["ci_low"], row["ci_high"]) if row["ci_low"] is not None else "–",
    }


def _kind(line: Mapping[str, Any]) -> tuple[str, str]:
    return line["desideratum"], line["variant"] or ""


def headline(lines: Rows) -> Rows:
    """The lines that stand on the scorecard: those that the words choose, where an arm has pairs for them."""
    chosen = [line for line in lines if is_headline(line)]
    measured = {_kind(line) for line in chosen if line["value"] is not None or line["n"]}
    places = {kind: place for place, kind in enumerate(dict.fromkeys(_kind(line) for line in chosen))}
    kept = [line for line in chosen if _kind(line) in measured]
    return sorted(kept, key=lambda line: (line["order"], _rank(line), places[_kind(line)], line["arm"].index))


def _rank(line: dict[str, Any]) -> int:
    words = spoken_of(line["desideratum"])
    if words.headline:
        return words.headline.index(line["variant"]) if line["variant"] in words.headline else 0
    return line["variant"] in words.lines  # those with words of their own come last


def scorecard_figure(lines: Rows, part: Part) -> Figure | None:
    """The chart of the lines that stand on the scorecard, for the arms of ``part``."""
    drawn = [mark for line in headline(lines) if line["arm"] in part.arms and (mark := _mark(line))]
    if not drawn:
        return None
    return Figure(
        name=f"scorecard-{part.modality}",
        caption=caption("scorecard"),
        alt=f"Scorecard of {part.label}: " + " ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.scorecard(drawn, part.arms, theme, 300 if narrow else 640, narrow=narrow),
    )


def _mark(line: dict[str, Any]) -> dict[str, Any] | None:
    at = position(line, line["value"])
    low, high = position(line, line["ci_low"]), position(line, line["ci_high"])
    if at is None or line["bar"] is None:
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
        "bar": position(line, line["bar"]),
        "sign": line["symbol"],
        "text": line["shown"],
        "description": f"{name}: {line['shown']} ({line['interval']}), {line['verdict']}. {line['sentence']}",
    }


def position(line: Mapping[str, Any], number: float | None) -> float | None:
    """Where a number stands between start (0) and ideal (1); without an ideal, its distance from the start."""
    return None if number is None or line["start"] is None else (number - line["start"]) / way(line)
