"""What the page shows of unlearning: how much of the gap to the retraining each method closed, and what it cost."""

from __future__ import annotations

from typing import Any

import duckdb

from einfluence.report.actions.section import Section
from einfluence.report.figure import interval, number
from einfluence.report.query import Arm, Part, Rows

PLACES = ("forget", "rest", "held out")
HEAD = (
    "method", "forget set", "gap closed: forget", "rest", "held out", "ToW (before)", "AUC before → after", "retrained",
    "cost", "samples",
)  # fmt: skip
FAR = -10.0  # a gap eleven times as wide as it was
Found = dict[tuple[Arm, str, str, str | None], dict[str, Any]]  # by arm, partner, formula and kind


def unlearning(connection: duckdb.DuckDBPyConnection, part: Part, lines: Rows) -> Section | None:
    """The sub-section of a part; None where nothing was unlearned. See :func:`einfluence.report.actions.actions`."""
    found: Found = {
        (line["arm"], line["partner"], line["formula"], line["kind"]): line
        for line in lines
        if line["desideratum"] == "unlearning" and line["value"] is not None
    }
    names = dict.fromkeys((arm, partner) for arm, partner, formula, _ in found if formula == "cost")
    if not names:
        return None
    return Section(
        title="Unlearned samples",
        about="The model that was trained on the whole set was trained on, so that it comes near the one that never "
        "saw the forget set. Both were trained here.",
        sentences=_sentences(list(names), found),
        arms=(),
        figure=None,
        head=HEAD,
        rows=[_row(arm, partner, found) for arm, partner in names],
        note="Gap closed: 1 − median |log p unlearned − retrained| over the same of the full model, 0 for doing "
        "nothing. ToW: agreement with the retraining in accuracy. AUC: forgotten samples against held-out ones by "
        "log p. Cost: samples gone through, over those of the retraining. This is distance to a retraining, not "
        "privacy.",
    )


def _sentences(names: list[tuple[Arm, str]], found: Found) -> list[str]:
    """Of each forget set the method that closed most of the gap on it."""
    best: dict[tuple[Arm, str], tuple[str, dict[str, Any]]] = {}
    count: dict[tuple[Arm, str], int] = {}
    for arm, partner in names:
        method, _, about = partner.partition(" of ")
        line = found.get((arm, partner, "gap closed", "forget"))
        count[arm, about] = count.get((arm, about), 0) + 1
        if line is not None and line["value"] > best.get((arm, about), ("", {"value": -float("inf")}))[1]["value"]:
            best[arm, about] = (method, line)
    return [_sentence(arm, about, *best[arm, about], count[arm, about], found) for arm, about in best]


def _sentence(arm: Arm, about: str, method: str, line: dict[str, Any], count: int, found: Found) -> str:
    cost = found[arm, line["partner"], "cost", None]["value"]
    best = f"{method} did best of {count} methods: it" if count > 1 else method
    text = (
        f"To forget {about}, {best} closed {_closed(line)} of the gap to the retraining, at {cost:.1%} of its samples"
    )
    ceiling = found.get((arm, about, "ceiling", "forget"))
    return text + (f"; the retraining at another seed closes {_closed(ceiling)}." if ceiling else ".")


def _row(arm: Arm, partner: str, found: Found) -> tuple[str, ...]:
    method, _, about = partner.partition(" of ")
    gaps = [found.get((arm, partner, "gap closed", place)) for place in PLACES]
    tow, auc = found.get((arm, partner, "tow", None)), found.get((arm, partner, "auc", "unlearned"))
    retrained, cost = found.get((arm, about, "auc", "retrained")), found[arm, partner, "cost", None]
    return (
        method,
        about,
        *("–" if gap is None else _closed(gap) for gap in gaps),
        "–" if tow is None else f"{tow['value']:.2f} ({tow['null_value']:.2f})",
        "–" if auc is None else f"{auc['null_value']:.2f} → {auc['value']:.2f}",
        "–" if retrained is None else f"{retrained['value']:.2f}",
        f"{cost['value']:.1%}",
        str(cost["n"]),
    )


def _closed(line: dict[str, Any]) -> str:
    """A share in percent with its interval; what went far away is not written out."""
    if line["value"] < FAR:
        return f"under {number(100 * FAR, 0)}%"
    text = f"{line['value']:.0%}".replace("-", "−")
    if line["ci_low"] is None:
        return text
    return f"{text} ({interval(100 * line['ci_low'], 100 * line['ci_high'], 0)})"
