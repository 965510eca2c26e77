"""The verdict on a row of the scorecard: decided here, once, on the interval alone (docs/desiderata.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

Verdict = Literal["met", "violated", "cannot tell", "described", "better", "worse", "alike"]

SHARE = 0.25  # of the way from the start to the ideal: what an interval must reach
LEAST = 0.1  # what it must differ from the start by where no ideal is stated, in its own unit; of a way, for prompts


def decided(low: float | None, high: float | None, bar: float, better: str) -> Verdict:
    """Whether a whole interval lies on the right side of a bar (the bar included), the wrong side, or neither.

    Args:
        low: Lower end of the interval; None where there is none.
        high: Upper end.
        bar: What it must reach.
        better: ``higher`` or ``lower``.
    """
    if low is None or high is None:
        return "cannot tell"
    if better == "lower":
        low, high, bar = -high, -low, -bar
    return "met" if low >= bar else "violated" if high < bar else "cannot tell"


def judged(row: Mapping[str, Any]) -> dict[str, Any]:
    """``start``, ``better``, ``bar`` and ``verdict`` of a row that has value, interval, null and ideal.

    What its model says of ``start``, ``better`` and ``bar`` is taken; otherwise the way starts at the null, the ideal
    says which direction is better, and the bar is :data:`SHARE` of the way to it or, without an ideal, :data:`LEAST`
    beyond the start. Where no direction is better, the row is ``described``.
    """
    ideal, null, start, bar = (_finite(row.get(name)) for name in ("ideal", "null_value", "start", "bar"))
    start, better = null if start is None else start, row.get("better") or "neither"
    if start is not None and ideal is not None and ideal != start:
        if row.get("better") != "neither":
            better = "higher" if ideal > start else "lower"
        least = SHARE * (ideal - start)
    else:
        least = -LEAST if better == "lower" else LEAST
    if bar is None and start is not None:
        bar = start + least
    if better == "neither" or bar is None:
        better, bar = "neither", None
    if row.get("value") is None:
        verdict: Verdict = "cannot tell"
    else:
        verdict = "described" if bar is None else decided(row.get("ci_low"), row.get("ci_high"), bar, better)
    return {"start": start, "better": better, "bar": bar, "verdict": verdict}


def compared(row: Mapping[str, Any], about: Mapping[str, Any] | None) -> dict[str, Any]:
    """The same of a difference: whether the prompt is ``better`` than training, ``worse`` or ``alike``.

    Args:
        row: A row of ``prompt_rescue``.
        about: The judged row of the trained arm that it is about. A tenth of the way from its start to its ideal (of
            its unit, where no ideal is stated) is the least difference that counts.
    """
    start, low, high = (row.get(name) for name in ("null_value", "ci_low", "ci_high"))
    if row.get("value") is None or about is None or about["better"] == "neither":
        verdict: Verdict = "cannot tell" if row.get("value") is None else "described"
        return {"start": start, "better": "neither", "bar": None, "verdict": verdict}
    bar = LEAST * way(about)
    found: dict[str, Any] = {"start": start, "better": about["better"], "bar": bar}
    if low is None or high is None:
        return {**found, "verdict": "cannot tell"}
    if bar < 0:
        low, high = -high, -low
    least = abs(bar)
    if low >= least:
        return {**found, "verdict": "better"}
    if high <= -least:
        return {**found, "verdict": "worse"}
    return {**found, "verdict": "alike" if -least < low and high < least else "cannot tell"}


def way(row: Mapping[str, Any]) -> float:
    """From a judged row's start to its ideal; without an ideal, one unit in the better direction."""
    start, ideal = row["start"], _finite(row.get("ideal"))
    if start is None or ideal is None or ideal == start:
        return -1.0 if row["better"] == "lower" else 1.0
    return ideal - start


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None


def with_verdicts(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a scorecard with their verdicts; differences are judged by the rows that they are about."""
    done = [row if row.get("about") else {**row, **judged(row)} for row in rows]
    by_key = {_key(row, row["desideratum"]): row for row in done if not row.get("about")}
    return [{**row, **compared(row, by_key.get(_key(row, row["about"])))} if row.get("about") else row for row in done]


def _key(row: Mapping[str, Any], desideratum: str) -> tuple[Any, ...]:
    names = ("estimator", "base", "recipe", "domain", "formula", "kind", "level", "place")
    return desideratum, *(row.get(name) for name in names)
