"""The page's sections: what each one shows, worked out from the tables; the template only lays it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np

from einfluence.report import charts
from einfluence.report.figure import Figure, interval, number
from einfluence.report.query import Arm, Part, rows
from einfluence.report.words import SYMBOLS, Verdict, decide, direction, is_headline, position, sentence, words_of

Rows = list[dict[str, Any]]
KINDS = {
    "paraphrase": "paraphrase",
    "negation": "negation",
    "entailed": "conclusion",
    "contrapositive": "contrapositive",
    "reversed": "reversed",
    "sibling": "sibling",
    "unrelated": "unrelated",
}
LINES = 200  # probes drawn one by one in the slopes


def of_arm(found: Rows, part: Part, key: str = "arm") -> list[tuple[Arm, dict[str, Any]]]:
    """The rows that belong to a part, each with its arm."""
    arms = {arm.key: arm for arm in part.arms}
    pairs = [(arms.get((row["base"], row["estimator"], row["recipe"])), row) for row in found]
    return [(arm, row) for arm, row in pairs if arm is not None]


def scorecard(connection: duckdb.DuckDBPyConnection, part: Part) -> dict[str, Any]:
    """The verdicts of a part: headline lines by desideratum, the chart, and every line there is."""
    found = of_arm(rows(connection, "scorecard"), part)
    lines = [_line(arm, row, part) for arm, row in found if row["domain"] == "all"]
    lines.sort(key=lambda line: (line["order"], line["desideratum"], line["variant"], line["arm"].index))
    heads = headline(lines)
    desiderata: list[dict[str, Any]] = []
    for name, variant in dict.fromkeys((line["desideratum"], line["variant"]) for line in heads):
        mine = [line for line in heads if (line["desideratum"], line["variant"]) == (name, variant)]
        words = words_of(name, variant)
        desiderata.append({"name": name, "title": words.title, "question": words.question, "lines": mine})
    asked = {line["title"] for line in lines if is_headline(line["desideratum"], line["variant"])}
    return {
        "desiderata": desiderata,
        "figure": _scorecard_figure(heads, part),
        "lines": lines,
        "domains": [_line(arm, row, part) for arm, row in found if row["domain"] != "all"],
        "missing": sorted(asked - {line["title"] for line in heads}),
        "counts": {verdict: sum(line["verdict"] == verdict for line in heads) for verdict in SYMBOLS},
    }


def _line(arm: Arm, row: dict[str, Any], part: Part) -> dict[str, Any]:
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


def headline(lines: Rows) -> Rows:
    """The lines that stand on the scorecard: those that the words choose, without desiderata that no arm has pairs for."""
    chosen = [line for line in lines if is_headline(line["desideratum"], line["variant"])]
    measured = {(line["desideratum"], line["variant"]) for line in chosen if line["value"] is not None or line["n"]}
    places = {
        name: place
        for place, name in enumerate(dict.fromkeys((line["desideratum"], line["variant"]) for line in chosen))
    }
    kept = [line for line in chosen if (line["desideratum"], line["variant"]) in measured]
    return sorted(
        kept,
        key=lambda line: (line["order"], _rank(line), places[line["desideratum"], line["variant"]], line["arm"].index),
    )


def _rank(line: dict[str, Any]) -> int:
    chosen = words_of(line["desideratum"]).headline or ()
    return chosen.index(line["variant"]) if line["variant"] in chosen else 0


def _scorecard_figure(heads: Rows, part: Part) -> Figure | None:
    drawn: Rows = []
    for line in heads:
        at = position(line, line["value"])
        low, high = position(line, line["ci_low"]), position(line, line["ci_high"])
        if at is None or direction(line) == 0:
            continue
        low, high = sorted((at if low is None else low, at if high is None else high))
        first, last = charts.ENDS
        text = f"{line['symbol']} {line['shown']}"
        drawn.append(
            {
                "title": line["title"],
                "arm": line["arm"].short,
                "at": min(max(at, first), last),
                "low": min(max(low, first), last),
                "high": min(max(high, first), last),
                "text": text,
                "description": f"{line['title']}, {line['arm'].short}: {line['shown']} ({line['interval']}), {line['verdict']}",
            }
        )
    if not drawn:
        return None
    return Figure(
        name=f"scorecard-{part.modality}",
        caption="Each mark is one way of teaching, its line the 95% interval over probes. All desiderata share one axis, from the null "
        "(what no learning of the kind would give) to the ideal; one without a stated ideal is drawn in its own unit from its null. "
        "Values at the right are in each desideratum’s own unit.",
        alt=f"Scorecard of {part.label}: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.scorecard(drawn, part.arms, theme, 300 if narrow else 640, narrow),
    )


def _median(values: Sequence[float], draws: int = 1000) -> tuple[float, float, float]:
    """Median and its 95% bootstrap interval (seeded)."""
    given = np.asarray(values, dtype=float)
    picks = np.random.default_rng(0).integers(0, len(given), (draws, len(given)))
    low, high = np.quantile(np.median(given[picks], axis=1), [0.025, 0.975])
    return float(np.median(given)), float(low), float(high)


def slopes(connection: duckdb.DuckDBPyConnection, part: Part) -> Figure | None:
    """Each probe's influence on its paraphrases, negations and so on, by arm."""
    found = [(arm, row) for arm, row in of_arm(rows(connection, "pairs"), part) if row["relative"] is not None]
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for _, row in found)]
    if not kinds or len(part.arms) < 2:
        return None
    lines: Rows = []
    middles: Rows = []
    for kind in kinds:
        mine = [(arm, row) for arm, row in found if row["kind"] == kind]
        drawn = set(sorted({row["probe_id"] for _, row in mine})[:LINES])
        lines += [
            {"kind": KINDS[kind], "probe": row["probe_id"], "arm": arm.short, "value": row["relative"]}
            for arm, row in mine
            if row["probe_id"] in drawn
        ]
        for arm in part.arms:
            values = [row["relative"] for other, row in mine if other is arm]
            if values:
                middle, low, high = _median(values)
                text = f"{KINDS[kind]}, {arm.short}: {number(middle)} ({interval(low, high)}), {len(values)} probes"
                middles.append(
                    {
                        "kind": KINDS[kind],
                        "arm": arm.short,
                        "value": middle,
                        "low": low,
                        "high": high,
                        "n": len(values),
                        "description": text,
                    }
                )
    return Figure(
        name=f"arms-{part.modality}",
        caption="A thin line is one probe; its height is how much it helped texts of that kind, as a share of how much it helped itself "
        "(1: as much as itself; below 0: made less likely). Marks are medians with their 95% interval over probes.",
        alt="Median influence relative to self: " + "; ".join(row["description"] for row in middles),
        draw=lambda theme, narrow: charts.slopes(
            lines, middles, part.arms, theme, 300 if narrow else 310, 1 if narrow else 3
        ),
        head=("kind", "arm", "median", "95% interval", "probes"),
        numbers=[
            (row["kind"], row["arm"], number(row["value"]), interval(row["low"], row["high"]), row["n"])
            for row in middles
        ],
    )


def distance(connection: duckdb.DuckDBPyConnection, part: Part) -> Figure | None:
    """Mean |influence| in tenths of the distance."""
    drawn: Rows = []
    for arm, row in of_arm(rows(connection, "distance_bins"), part):
        half = 1.96 * row["standard_error"]
        text = f"{arm.short}: distance {row['distance']:.2f}, {number(row['size'], 3)} nats ± {half:.3f}, {row['cells']} cells"
        drawn.append(
            {
                "arm": arm.short,
                "x": row["distance"],
                "value": row["size"],
                "low": max(0, row["size"] - half),
                "high": row["size"] + half,
                "cells": row["cells"],
                "probes": row["probes"],
                "description": text,
            }
        )
    if not drawn:
        return None
    return Figure(
        name=f"distance-{part.modality}",
        caption="Mean size of influence, |I| in nats, on queries near and far in meaning (each probe itself left out), in ten steps of distance; "
        "bands are 95% intervals over probes.",
        alt="Influence by distance: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.curves(
            drawn, part.arms, "semantic distance", "mean |influence|, nats", theme, 290 if narrow else 860
        ),
        head=("arm", "distance", "mean |I|, nats", "95% interval", "cells"),
        numbers=[
            (row["arm"], number(row["x"]), number(row["value"], 3), interval(row["low"], row["high"], 3), row["cells"])
            for row in drawn
        ],
    )


def noise(connection: duckdb.DuckDBPyConnection, part: Part) -> list[Figure]:
    """What noise does to a lesson: quality and invariance by family and level."""
    found = of_arm(rows(connection, "noise_levels"), part)
    figures: list[Figure] = []
    for measure, y_title, caption in (
        (
            "quality",
            "share of the clean lesson",
            "How much training on a damaged version helps the clean one, as a share of training on the clean "
            "one itself. Flat at 1 would mean that bad data teach as well as good; below 0, that they teach the opposite.",
        ),
        (
            "invariance",
            "cosine with the clean row",
            "How alike the effects of the damaged and the clean version are over all queries "
            "(cosine of the two rows of the matrix): 1 is the same lesson, 0 an unrelated one.",
        ),
    ):
        drawn: Rows = []
        for arm, row in found:
            if row[measure] is None:
                continue
            half = 1.96 * row[f"{measure}_error"]
            text = f"{row['noise']} {row['level']:g}, {arm.short}: {number(row[measure])} ± {half:.2f}, {row['probes']} probes"
            drawn.append(
                {
                    "family": row["noise"],
                    "arm": arm.short,
                    "x": row["level"],
                    "value": row[measure],
                    "low": row[measure] - half,
                    "high": row[measure] + half,
                    "n": row["probes"],
                    "description": text,
                }
            )
        if drawn:
            figures.append(_noise_figure(drawn, part, measure, y_title, caption))
    return figures


def _noise_figure(drawn: Rows, part: Part, measure: str, y_title: str, caption: str) -> Figure:
    return Figure(
        name=f"noise-{measure}-{part.modality}",
        caption=caption + " Intervals are 95% over probes.",
        alt=f"Noise {measure}: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.curves(
            drawn,
            part.arms,
            "level",
            y_title,
            theme,
            285 if narrow else 215,
            150,
            "family",
            1 if narrow else 3,
            (0.0, 1.0),
        ),
        head=("family", "level", "arm", y_title, "95% interval", "probes"),
        numbers=[
            (
                row["family"],
                f"{row['x']:g}",
                row["arm"],
                number(row["value"]),
                interval(row["low"], row["high"]),
                row["n"],
            )
            for row in drawn
        ],
    )


def layers(connection: duckdb.DuckDBPyConnection, part: Part) -> list[tuple[Arm, Figure]]:
    """Where the updates went, one figure an arm."""
    found = of_arm(rows(connection, "layers"), part)
    return [
        (arm, figure)
        for arm in part.arms
        if (figure := _layers_figure(arm, [row for other, row in found if other is arm]))
    ]


def _layers_figure(arm: Arm, mine: Rows) -> Figure | None:
    if not mine:
        return None
    drawn = [
        {
            "layer": "outside" if row["layer"] is None else str(row["layer"]),
            "part": row["part"],
            "size": row["relative_update"],
            "description": f"{row['part']}, layer {row['layer']}: {row['relative_update']:.3g} of its norm, {row['probes']} probes",
        }
        for row in mine
    ]
    return Figure(
        name=f"layers-{arm.modality}-{arm.index}",
        caption=f"{arm.label}. Size of a probe’s update relative to the weights it changed, mean over probes; the fullest tile is "
        f"{max(row['relative_update'] for row in mine):.2g}.",
        alt=f"Relative update by layer, {arm.short}: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.strips(drawn, theme, 190 if narrow else 480),
        head=("weights", "layer", "‖ΔW‖ / ‖W‖", "probes"),
        numbers=[(row["part"], row["layer"], f"{row['relative_update']:.3g}", row["probes"]) for row in mine],
    )


def self_influence(connection: duckdb.DuckDBPyConnection, part: Part) -> dict[tuple[str, str, str], float]:
    """Mean influence of a probe on itself, in nats, by arm."""
    found = [(arm, row["influence"]) for arm, row in of_arm(rows(connection, "pairs"), part) if row["kind"] == "self"]
    return {
        arm.key: float(np.mean([value for other, value in found if other is arm]))
        for arm in part.arms
        if any(other is arm for other, _ in found)
    }


def recipes(lines: Rows, own: dict[tuple[str, str, str], float], part: Part) -> Figure | None:
    """Headline desiderata against how strongly the probes were learned, where there are three recipes or more."""
    tuned = [arm for arm in part.arms if arm.estimator == "finetune" and arm.key in own]
    if len(tuned) < 3:
        return None
    drawn: Rows = [
        {
            "family": line["title"],
            "arm": line["arm"].short,
            "x": own[line["arm"].key],
            "value": line["value"],
            "low": line["value"] if line["ci_low"] is None else line["ci_low"],
            "high": line["value"] if line["ci_high"] is None else line["ci_high"],
            "description": f"{line['title']}, {line['arm'].label}: {line['shown']} at {own[line['arm'].key]:.2f} nats on itself",
        }
        for line in headline(lines)
        if line["arm"] in tuned and line["value"] is not None
    ]
    if not drawn:
        return None
    return Figure(
        name=f"recipes-{part.modality}",
        caption="Each desideratum against how much a probe raised itself (mean, nats): recipes that taught alike strongly stand above each other, "
        "so that a difference between them is not merely a matter of dose.",
        alt="Desiderata by recipe: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.curves(
            drawn,
            tuned,
            "influence on itself, nats",
            "value",
            theme,
            285 if narrow else 215,
            150,
            "family",
            1 if narrow else 3,
            (),
        ),
        head=("desideratum", "arm", "on itself, nats", "value", "95% interval"),
        numbers=[
            (row["family"], row["arm"], number(row["x"]), number(row["value"]), interval(row["low"], row["high"]))
            for row in drawn
        ],
    )
