"""The verdict on a row of the scorecard: decided here, once, on the interval alone (docs/desiderata.md)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import duckdb

from einfluence.rules import Rules

Verdict = Literal["met", "violated", "cannot tell", "described", "better", "worse", "alike"]
HOUSE = Rules()
TURNS = {"verdict_half": 0.5, "verdict_double": 2.0}
"""The columns that hold what a verdict would be with all rules times a factor; each row goes by one rule."""


def rules_of(connection: duckdb.DuckDBPyConnection) -> Rules:
    """The rules that a store was scored with; those of the house where it was scored before it kept them."""
    return Rules(**dict(connection.table("verdict_rules").project("rule, value").fetchall()))


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


def judged(row: Mapping[str, Any], rules: Rules = HOUSE) -> dict[str, Any]:
    """``start``, ``better``, ``bar``, ``rule`` and ``verdict`` of a row that has value, interval, null and ideal.

    What its model says of ``start``, ``better``, ``bar`` and ``rule`` is taken; otherwise the way starts at the null,
    the ideal says which direction is better, and the bar is ``rules.share`` of the way to it or, without an ideal,
    ``rules.least`` beyond the start. Where no direction is better, the row is ``described``. ``rule`` is the rule that
    the bar follows from; None where the model names the bar, and where nothing is judged.
    """
    ideal, null, start, bar = (_finite(row.get(name)) for name in ("ideal", "null_value", "start", "bar"))
    start, better = null if start is None else start, row.get("better") or "neither"
    rule = None if bar is not None else row.get("rule")
    if start is not None and ideal is not None and ideal != start:
        if row.get("better") != "neither":
            better = "higher" if ideal > start else "lower"
        if rule == "ladder":
            return on_ladder(row, start, ideal, better, rules)
        if bar is None:
            rule = rule or "share"
            bar = ideal + rules.left * (start - ideal) if rule == "left" else start + rules.share * (ideal - start)
    elif start is not None and bar is None:
        rule, bar = "least", start + (-rules.least if better == "lower" else rules.least)
    if better == "neither" or bar is None:
        better, bar, rule = "neither", None, None
    if row.get("value") is None:
        verdict: Verdict = "cannot tell"
    else:
        verdict = "described" if bar is None else decided(row.get("ci_low"), row.get("ci_high"), bar, better)
    return {"start": start, "better": better, "bar": bar, "rule": rule, "verdict": verdict}


def on_ladder(row: Mapping[str, Any], start: float, ideal: float, better: str, rules: Rules) -> dict[str, Any]:
    """The same of a row whose ideal nothing can reach: judged beside the rungs of its ladder.

    It must be clear of the null and not behind the best other arm; what counts is ``rules.apart`` of the way from the
    null to the ideal learner. A row that is clear of the null and has no other arm beside it is ``described``.

    Args:
        row: With its ``rungs`` (:mod:`einfluence.metrics.ladder`); the stated ideal stands in for an ideal learner that
            is not among them.
        start: The null.
        ideal: The stated ideal.
        better: ``higher`` or ``lower``.
        rules: The rules.
    """
    rungs: list[dict[str, Any]] = row.get("rungs") or []
    top = next((rung["value"] for rung in rungs if rung["rung"] == "ideal learner"), ideal)
    reference = next((rung for rung in rungs if rung.get("compared")), None)
    step = rules.apart * (top - start)
    clear = decided(row.get("ci_low"), row.get("ci_high"), start + step, better)
    verdict: Verdict = clear
    bar: float | None = start + step
    if row.get("value") is None or better == "neither":
        verdict = "cannot tell" if row.get("value") is None else "described"
    elif reference is not None:
        near = decided(reference["difference_low"], reference["difference_high"], -step, better)
        verdict = next(each for each in ("violated", "cannot tell", "met") if each in (clear, near))
        bar = (min if better == "lower" else max)(bar, reference["value"] - step)
    elif clear == "met":
        verdict = "described"
    if verdict == "described":
        better, bar = "neither", None
    return {"start": start, "better": better, "bar": bar, "rule": "ladder", "verdict": verdict}


def compared(row: Mapping[str, Any], about: Mapping[str, Any] | None, rules: Rules = HOUSE) -> dict[str, Any]:
    """The same of a difference: whether the prompt is ``better`` than training, ``worse`` or ``alike``.

    Args:
        row: A row of ``prompt_rescue``.
        about: The judged row of the trained arm that it is about. ``rules.apart`` of the way from its start to its
            ideal (of its unit, where no ideal is stated) is the least difference that counts.
        rules: The rules.
    """
    start, low, high = (row.get(name) for name in ("null_value", "ci_low", "ci_high"))
    if row.get("value") is None or about is None or about["better"] == "neither":
        verdict: Verdict = "cannot tell" if row.get("value") is None else "described"
        return {"start": start, "better": "neither", "bar": None, "rule": None, "verdict": verdict}
    bar = rules.apart * way(about)
    found: dict[str, Any] = {"start": start, "better": about["better"], "bar": bar, "rule": "apart"}
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


def with_verdicts(rows: Iterable[dict[str, Any]], rules: Rules = HOUSE) -> list[dict[str, Any]]:
    """The rows of a scorecard with their verdicts, and with those at half and at double of the rule that each goes by.

    Differences are judged by the rows that they are about.
    """
    every = list(rows)
    done = _with_verdicts(every, rules)
    for name, factor in TURNS.items():
        other = _with_verdicts(every, rules.times(factor))
        for row, turned in zip(done, other, strict=True):
            row[name] = turned["verdict"] if row["rule"] else None
    return done


def _with_verdicts(rows: list[dict[str, Any]], rules: Rules) -> list[dict[str, Any]]:
    done = [{**row} if row.get("about") else {**row, **judged(row, rules)} for row in rows]
    by_key = {_key(row, row["desideratum"]): row for row in done if not row.get("about")}
    for row in done:
        if row.get("about"):
            row.update(compared(row, by_key.get(_key(row, row["about"])), rules))
    return done


def _key(row: Mapping[str, Any], desideratum: str) -> tuple[Any, ...]:
    names = ("estimator", "base", "recipe", "domain", "formula", "kind", "level", "place")
    return desideratum, *(row.get(name) for name in names)
