"""The page's further sections: what each one shows, worked out from the tables; the template only lays it out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np

from einfluence.curate.noise import UNITS
from einfluence.report import charts
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
NORMAL = 1.96  # standard errors to each side of a 95% interval


def median(values: Sequence[float], draws: int = 1000) -> tuple[float, float, float]:
    """Median and its 95% bootstrap interval (seeded)."""
    given = np.asarray(values, dtype=float)
    picks = np.random.default_rng(0).integers(0, len(given), (draws, len(given)))
    low, high = np.quantile(np.median(given[picks], axis=1), [0.025, 0.975])
    return float(np.median(given)), float(low), float(high)


def pairs(connection: duckdb.DuckDBPyConnection) -> Rows:
    """Influence by probe, arm and kind of relation, for :func:`slopes` and the section on recipes."""
    return rows(connection, "pairs")


def slopes(found: Rows, part: Part) -> Figure | None:
    """Each probe's influence on its paraphrases, negations and so on, by arm."""
    known = [(arm, row) for arm, row in of_arm(found, part) if row["relative"] is not None]
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
            values = [row["relative"] for other, row in mine if other is arm]
            if values:
                middles.append(_middle(KINDS[kind], arm, values))
    return Figure(
        name=f"arms-{part.modality}",
        caption=caption("slopes"),
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


def _middle(kind: str, arm: Arm, values: Sequence[float]) -> dict[str, Any]:
    middle, low, high = median(values)
    text = f"{kind}, {arm.short}: {number(middle)} ({interval(low, high)}), {len(values)} probes"
    return {
        "kind": kind,
        "arm": arm.short,
        "value": middle,
        "low": low,
        "high": high,
        "n": len(values),
        "description": text,
    }


def distance(connection: duckdb.DuckDBPyConnection, part: Part) -> Figure | None:
    """Mean |influence| in tenths of the distance."""
    drawn: Rows = []
    for arm, row in of_arm(rows(connection, "distance_bins"), part):
        half, size = NORMAL * row["standard_error"], row["size"]
        text = f"{arm.short}: distance {row['distance']:.2f}, {number(size, 3)} nats ± {half:.3f}"
        drawn.append(
            {
                "arm": arm.short,
                "x": row["distance"],
                "value": size,
                "low": max(0, size - half),
                "high": size + half,
                "cells": row["cells"],
                "description": f"{text}, {row['cells']} cells",
            }
        )
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
            (row["arm"], number(row["x"]), number(row["value"], 3), interval(row["low"], row["high"], 3), row["cells"])
            for row in drawn
        ],
    )


def noise(connection: duckdb.DuckDBPyConnection, part: Part, lines: Rows) -> list[Figure]:
    """What noise does to a lesson, by family and level: quality and invariance, as the scorecard's lines have them."""
    levels = of_arm(rows(connection, "noise_levels"), part)
    found = [(arm, row) for arm, row in levels if row["noise"] != "label_flip" and row["level"] is not None]
    scored = {(line["desideratum"], line["variant"], line["arm"].key): line for line in lines}
    figures = [
        _noise_figure(found, scored, part, "quality", "share of the clean lesson"),
        _noise_figure(found, scored, part, "invariance", "cosine with the clean row"),
    ]
    return [figure for figure in figures if figure]


def _noise_figure(
    found: Sequence[tuple[Arm, dict[str, Any]]],
    scored: Mapping[tuple[str, str, tuple[str, str, str]], dict[str, Any]],
    part: Part,
    measure: str,
    y_title: str,
) -> Figure | None:
    drawn: Rows = []
    for arm, row in found:
        value, half = row[measure], NORMAL * (row[f"{measure}_error"] or 0)
        if value is None:
            continue
        ends = (value - half, value + half)
        line = scored.get((f"noise_{measure}", f"{row['noise']}@{row['level']:g}", arm.key))
        if line and line["value"] is not None and line["ci_low"] is not None:
            value, ends = line["value"], (line["ci_low"], line["ci_high"])
        name, level = noise_name(row["noise"]), level_name(row["noise"], row["level"])
        shown = f"{number(value)} ({interval(*ends)}), {row['probes']} probes"
        drawn.append(
            {
                "family": name,
                "arm": arm.short,
                "x": row["level"],
                "level": level,
                "value": value,
                "low": ends[0],
                "high": ends[1],
                "n": row["probes"],
                "description": f"{name}, {level}, {arm.short}: {shown}",
            }
        )
    if not drawn:
        return None
    decibel = all(UNITS.get(row["noise"]) == "dB" for _, row in found)
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
    """Where the updates went, and which of them mattered where that was asked, arm by arm."""
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
        draw=lambda theme, narrow: charts.strips(drawn, theme, 190 if narrow else 360),
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
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        place, _, claim = line["variant"].partition(": ")
        if line["desideratum"] == "layer_restoration" and line["arm"] == arm and claim in CLAIMS:
            found[place.removeprefix("layer ").removesuffix(" the layers"), claim] = line
    if not found:
        return None
    layers = sorted({layer for layer, _ in found}, key=lambda name: (not name.isdigit(), name.zfill(4)))
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
        draw=lambda theme, narrow: charts.tiles(drawn, theme, 190 if narrow else 360),
        head=("layer", "", "value", "95% interval", "probes"),
        numbers=[(row["layer"], row["claim"], row["text"], row["interval"], row["n"]) for row in drawn],
    )


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
