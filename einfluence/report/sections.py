"""The page's further sections: what each one shows, worked out from the tables; the template only lays it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np

from einfluence.curate.images.corrupt import UNITS
from einfluence.metrics import estimate
from einfluence.metrics.resample import Summary
from einfluence.report import charts, tiled
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows, of_arm, rows
from einfluence.report.words import level_name, noise_name

KINDS = {
    "paraphrase": "paraphrase",
    "negation": "negation",
    "entailed": "conclusion",
    "contrapositive": "contrapositive (follows)",
    "reversed": "reversal (does not follow)",
    "sibling": "sibling (does not follow)",
}
LINES = 200  # probes drawn one by one in the slopes


def _estimated(mine: Rows, name: str, summary: Summary, digits: int = 2) -> dict[str, Any]:
    """The summary of a column over probes, with the interval that the scorecard has, as a mark of a chart."""
    value = np.array([row[name] for row in mine], dtype=float)
    found = estimate(value, np.array([row["cluster"] for row in mine]), summary)
    known = bool(np.isfinite(found.low))
    ends = (found.low, found.high) if known else (found.value, found.value)
    shown = interval(*ends, digits) if known else "too few probes for an interval"
    return {"value": found.value, "low": ends[0], "high": ends[1], "interval": shown, "n": len(mine)}


def slopes(connection: duckdb.DuckDBPyConnection, part: Part) -> Figure | None:
    """Each probe's influence on its paraphrases, negations and so on, by arm."""
    known = [(arm, row) for arm, row in of_arm(rows(connection, "pairs"), part) if row["relative"] is not None]
    kinds = [kind for kind in KINDS if any(row["kind"] == kind for _, row in known)]
    if not kinds or len(part.arms) < 2:
        return None
    lines: Rows = []
    middles: Rows = []
    for kind in kinds:
        mine = [(arm, row) for arm, row in known if row["kind"] == kind]
        few = set(sorted({row["probe_id"] for _, row in mine})[:LINES])
        lines += [
            {"kind": KINDS[kind], "probe": row["probe_id"], "arm": arm.short, "value": row["relative"]}
            for arm, row in mine
            if row["probe_id"] in few
        ]
        for arm in part.arms:
            own = [row for other, row in mine if other is arm]
            if own:
                middles.append(_middle(KINDS[kind], arm, own))
    return Figure(
        name=f"arms-{part.modality}",
        caption=caption("slopes"),
        alt="Median influence relative to self: " + "; ".join(row["description"] for row in middles),
        draw=lambda theme, narrow: charts.slopes(
            lines, middles, part.arms, theme, 300 if narrow else 310, 1 if narrow else 3
        ),
        head=("kind", "arm", "median", "95% interval", "probes"),
        numbers=[(row["kind"], row["arm"], number(row["value"]), row["interval"], row["n"]) for row in middles],
    )


def _middle(kind: str, arm: Arm, mine: Rows) -> dict[str, Any]:
    found = _estimated(mine, "relative", "median")
    text = f"{kind}, {arm.short}: {number(found['value'])} ({found['interval']}), {found['n']} probes"
    return {**found, "kind": kind, "arm": arm.short, "description": text}


def distance(connection: duckdb.DuckDBPyConnection, part: Part) -> Figure | None:
    """Mean |influence| in tenths of the distance."""
    groups: dict[tuple[Arm, int], Rows] = {}
    for arm, row in of_arm(rows(connection, "distance_bins"), part):
        groups.setdefault((arm, row["bin"]), []).append(row)
    drawn: Rows = []
    for (arm, _), mine in groups.items():
        found = _estimated(mine, "size", "mean", 3)
        at, cells = float(np.mean([row["distance"] for row in mine])), sum(row["cells"] for row in mine)
        text = f"{arm.short}: distance {at:.2f}, {number(found['value'], 3)} nats ({found['interval']}), {cells} cells"
        drawn.append({**found, "arm": arm.short, "x": at, "cells": cells, "description": text})
    if not drawn:
        return None
    return Figure(
        name=f"distance-{part.modality}",
        caption=caption("distance"),
        alt="Influence by distance: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.curves(
            drawn,
            part.arms,
            ("semantic distance", "mean |influence|, nats"),
            theme,
            size=(290 if narrow else 860, 240),
        ),
        head=("arm", "distance", "mean |I|, nats", "95% interval", "cells"),
        numbers=[
            (row["arm"], number(row["x"]), number(row["value"], 3), row["interval"], row["cells"]) for row in drawn
        ],
    )


def noise(part: Part, lines: Rows) -> list[Figure]:
    """What noise does to a lesson, by family and level: quality and invariance, as the scorecard's lines have them."""
    levels = [line for line in lines if line["level"] is not None and line["value"] is not None]
    figures = [
        _noise_figure(levels, part, "quality", "share of the clean lesson"),
        _noise_figure(levels, part, "invariance", "cosine with the clean row"),
    ]
    return [figure for figure in figures if figure]


def _noise_figure(levels: Rows, part: Part, measure: str, y_title: str) -> Figure | None:
    mine = [line for line in levels if line["desideratum"] == f"noise_{measure}"]
    drawn: Rows = []
    for line in mine:
        name, level = noise_name(line["kind"]), level_name(line["kind"], line["level"])
        arm, value = line["arm"].short, line["value"]
        drawn.append(
            {
                "family": name,
                "arm": arm,
                "x": line["level"],
                "level": level,
                "value": value,
                "low": value if line["ci_low"] is None else line["ci_low"],
                "high": value if line["ci_high"] is None else line["ci_high"],
                "n": line["n"],
                "description": f"{name}, {level}, {arm}: {number(value)} ({line['interval']}), {line['n']} probes",
            }
        )
    if not drawn:
        return None
    decibel = all(UNITS.get(line["kind"]) == "dB" for line in mine)
    return Figure(
        name=f"noise-{measure}-{part.modality}",
        caption=caption(f"noise_{measure}"),
        alt=f"Noise {measure}: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.curves(
            drawn,
            part.arms,
            ("noise-to-signal ratio, dB" if decibel else "level in the family's own unit", y_title),
            theme,
            size=(285 if narrow else 300, 160),
            columns=1 if narrow else 3,
            rules=(0.0, 1.0),
        ),
        head=("family", "level", "arm", y_title, "95% interval", "probes"),
        numbers=[
            (
                row["family"],
                row["level"],
                row["arm"],
                number(row["value"]),
                interval(row["low"], row["high"]),
                row["n"],
            )
            for row in drawn
        ],
    )


def layers(connection: duckdb.DuckDBPyConnection, part: Part, lines: Rows) -> list[tuple[Arm, list[Figure]]]:
    """Where the updates went, and which of them mattered where that was measured, arm by arm."""
    found = of_arm(rows(connection, "layers"), part)
    figures = [
        (arm, [_layers_figure(arm, [row for other, row in found if other is arm]), restored(lines, arm)])
        for arm in part.arms
    ]
    return [(arm, kept) for arm, made in figures if (kept := [figure for figure in made if figure])]


def _layers_figure(arm: Arm, mine: Rows) -> Figure | None:
    if not mine:
        return None
    drawn: Rows = []
    inside = _short_names([row["part"] for row in mine if row["layer"] is not None])
    names = {**_short_names([row["part"] for row in mine if row["layer"] is None]), **inside}
    for row in mine:
        layer = "outside" if row["layer"] is None else str(row["layer"])
        size = f"{row['relative_update']:.3g} of its norm, {row['probes']} probes"
        text = f"{row['part']}, layer {layer}: {size}"
        drawn.append({"layer": layer, "part": names[row["part"]], "size": row["relative_update"], "description": text})
    most = max(row["relative_update"] for row in mine)
    return Figure(
        name=f"layers-{arm.modality}-{arm.index}",
        caption=f"{arm.label}. " + caption("layers", most=f"{most:.2g}"),
        alt=f"Relative update by layer, {arm.short}: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: tiled.strips(drawn, theme, 190 if narrow else 360),
        head=("weights", "layer", "‖ΔW‖ / ‖W‖", "probes"),
        numbers=[(row["part"], row["layer"], f"{row['relative_update']:.3g}", row["probes"]) for row in mine],
    )


CLAIMS = {
    "self": "lost of itself",
    "paraphrase": "of its paraphrases",
    "negation": "of its negation",
    "conclusion": "of its conclusions",
}


def restored(lines: Rows, arm: Arm) -> Figure | None:
    """Which layers mattered: what an arm's probes lose when one layer's change is undone, by claim."""
    mine = [line for line in lines if line["desideratum"] == "layer_restoration" and line["formula"] == "share"]
    mine = [line for line in mine if line["arm"] == arm and line["kind"] in CLAIMS]
    if not mine:
        return None
    found = {(_layer(line), line["kind"]): line for line in mine}
    layers = list(dict.fromkeys(_layer(line) for line in mine))  # as the lines are sorted: outside the layers last
    drawn: Rows = []
    for layer in layers:
        null = next((found[key]["null_value"] for key in found if key[0] == layer), None)
        if null is not None:
            drawn.append(_tile(layer, "share of the update", null, f"layer {layer}: {number(null)} of the update"))
    for claim, name in CLAIMS.items():
        for layer in layers:
            line = found.get((layer, claim))
            if line and line["value"] is not None:
                text = f"{name} without layer {layer}: {line['shown']} ({line['interval']}), {line['n']} probes"
                drawn.append({**_tile(layer, name, line["value"], text), "interval": line["interval"], "n": line["n"]})
    return Figure(
        name=f"restored-{arm.modality}-{arm.index}",
        caption=caption("restored"),
        alt=f"What is lost without a layer, {arm.short}: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: tiled.tiles(drawn, theme, 190 if narrow else 360),
        head=("layer", "", "value", "95% interval", "probes"),
        numbers=[(row["layer"], row["claim"], row["text"], row["interval"], row["n"]) for row in drawn],
    )


def _layer(line: Mapping[str, Any]) -> str:
    return "outside" if line["layer"] is None else str(line["layer"])


def _tile(layer: str, claim: str, value: float, text: str) -> dict[str, Any]:
    shown = {"layer": layer, "claim": claim, "value": value, "text": number(value), "description": text}
    return {**shown, "interval": None, "n": None}


def _short_names(parts: Sequence[str]) -> dict[str, str]:
    """Names of weights without the words that all begin with, and without a final ``weight``."""
    words = {part: part.split(".") for part in parts}
    start = 0
    while (
        words
        and len({tuple(word[: start + 1]) for word in words.values()}) == 1
        and min(map(len, words.values())) > start + 2
    ):
        start += 1
    return {part: ".".join(word[start:]).removesuffix(".weight") for part, word in words.items()}
