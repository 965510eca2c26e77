"""What verdicts go by, in words, and how many would be others under other rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb

from einfluence.report.figure import number
from einfluence.report.query import Rows, rows
from einfluence.rules import Rules

_RUNGS = {"null": "null", "prompting": "in the prompt", "best arm": "best other arm", "ideal learner": "ideal learner"}


def rules_in_words(rules: Rules) -> str:
    """One sentence on where ``met`` begins."""
    return (
        f"House rules: met begins {rules.share:g} of the way from null to ideal, or {rules.least:g} beyond the null "
        f"where no ideal is stated; of leakage and cost at most {rules.left:g} may be left; two arms differ if "
        f"they are {rules.apart:g} of the way apart. "
        "Where no arm can reach the ideal, it is compared with the best other arm."
    )


def turns_in_words(lines: Rows) -> str:
    """How many of these lines' verdicts would be others at half and at double of their rules; empty without rules."""
    judged = [line for line in lines if line["rule"] is not None]
    if not judged:
        return ""
    half, double = (
        sum(line[name] != line["verdict"] for line in judged) for name in ("verdict_half", "verdict_double")
    )
    verdicts = f"{len(judged)} verdicts" if len(judged) > 1 else "one verdict"
    return f"Of {verdicts} here, {half or 'none'} would change at half of these rules and {double or 'none'} at double."


def ladders(connection: duckdb.DuckDBPyConnection, base: str, *, domains: bool) -> dict[tuple[Any, ...], str]:
    """The rungs of a base in words, by base, estimator, recipe, domain, desideratum and variant."""
    found: dict[tuple[Any, ...], list[str]] = {}
    for row in rows(connection, "ladder", base=base, domains=domains):
        found.setdefault(ladder_key(row), []).append(f"{_RUNGS[row['rung']]} {number(row['value'])}")
    return {key: f" ({', '.join(rungs)})" for key, rungs in found.items()}


def ladder_key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a row of the scorecard from all others; one of a grid of recipes has no ladder."""
    return tuple(row.get(name) for name in ("base", "estimator", "recipe", "domain", "desideratum", "variant"))
