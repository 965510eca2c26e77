"""What the page shows of removals: the change of held-out queries by the share that was removed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from einfluence.report.actions.section import Section
from einfluence.report.actions.shares import shares
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows

NAMES = {"lowest": "most harmful", "highest": "most helpful", "nearest zero": "least effect"}
ALONE = ", single decisions"
HEAD = (
    "removed", "share", "chosen by", "nats", "95% interval", "at random", "p", "predicted", "order of queries",
    "queries",
)  # fmt: skip
Found = dict[tuple[Arm, str, float, str], dict[str, Any]]  # by arm, kind, share and formula


def removal(connection: duckdb.DuckDBPyConnection, part: Part, lines: Rows) -> Section | None:
    """The sub-section of a part; None where nothing was removed. See :func:`einfluence.report.actions.actions`."""
    found: Found = {
        (line["arm"], line["kind"], line["level"], line["formula"]): line
        for line in lines
        if line["desideratum"] == "removal" and line["value"] is not None
    }
    measured = [line for (_, kind, _, formula), line in found.items() if formula == "nats" and not _random(kind)]
    if not measured:
        return None
    measured.sort(key=lambda line: (_place(line["kind"]), line["level"], line["arm"].index))
    arms = [arm for arm in part.arms if any(line["arm"] is arm for line in measured)]
    return Section(
        title="Removed samples",
        about="The set was trained on again without a share of its samples, chosen by their influence on one half of "
        "the held-out queries, and without as many drawn at random; the other half says what that did.",
        sentences=[_sentence(line, found) for line in _to_tell(measured)],
        arms=arms,
        figure=_figure(measured, found, arms, part),
        head=HEAD,
        rows=[_row(line, found) for line in measured],
        note="Change of a held-out query’s log-probability, mean over queries. The interval of random removals holds "
        "other draws, too; p is that of no difference from those that were drawn. Predicted is minus the summed "
        "influence of what was removed; the order of queries is Kendall’s τ between the two.",
    )


def _random(kind: str) -> bool:
    return kind.startswith("random")


def _place(kind: str) -> tuple[bool, int, str]:
    """All queries before single decisions, the most harmful first."""
    order = next((place for place, name in enumerate(NAMES) if kind.startswith(name)), len(NAMES))
    return kind.endswith(ALONE), order, kind


def _called(kind: str) -> str:
    """A kind in words: whose samples, and who or what says so where it is no arm."""
    name = next((name for name in NAMES if kind.startswith(name)), "")
    return NAMES.get(name, "") + kind.removeprefix(name)


def _beside(line: dict[str, Any], found: Found) -> dict[str, Any] | None:
    kind = "random" + (ALONE if line["kind"].endswith(ALONE) else "")
    return found.get((line["arm"], kind, line["level"], "nats"))


def _to_tell(measured: Rows) -> Rows:
    """Of each arm and kind the share nearest to a tenth."""
    nearest: dict[tuple[Arm, str], dict[str, Any]] = {}
    for line in sorted(measured, key=lambda line: abs(line["level"] - 0.1)):
        if not line["kind"].startswith("nearest"):
            nearest.setdefault((line["arm"], line["kind"]), line)
    return [line for line in measured if nearest.get((line["arm"], line["kind"])) is line]


def _sentence(line: dict[str, Any], found: Found) -> str:
    random, share = _beside(line, found), f"{100 * line['level']:g}%"
    by = "" if " by " in line["kind"] else f" by {line['arm'].short}"
    if line["kind"].endswith(ALONE):
        where = ", chosen at another seed" if ", chosen at another seed" in line["kind"] else ""
        text = f"Without the {share} of the set that support it most{by}{where}, a single held-out query "
    else:
        text = f"Without the {share} of the set that are {_called(line['kind'])}{by}, a held-out query "
    text += f"{'gained' if line['value'] >= 0 else 'lost'} {number(abs(line['value']), 3)} nats on average"
    if line["ci_low"] is not None:
        text += f" (its change: {interval(line['ci_low'], line['ci_high'], 3)})"
    return text + (f"; without as many at random it changed by {_with_interval(random)}." if random else ".")


def _with_interval(line: dict[str, Any]) -> str:
    ends = "" if line["ci_low"] is None else f" ({interval(line['ci_low'], line['ci_high'], 3)})"
    return number(line["value"], 3) + ends


def _row(line: dict[str, Any], found: Found) -> tuple[str, ...]:
    at = (line["arm"], line["kind"], line["level"])
    predicted, order = (found.get((*at, formula)) for formula in ("predicted", "kendall"))
    return (
        _called(line["kind"]),
        f"{100 * line['level']:g}%",
        "a query" if " by " in line["kind"] else line["arm"].short,
        number(line["value"], 3),
        interval(line["ci_low"], line["ci_high"], 3) if line["ci_low"] is not None else "–",
        _with_interval(random) if (random := _beside(line, found)) else "–",
        "–" if line["p_value"] is None else number(line["p_value"], 3) if line["p_value"] >= 0.001 else "< 0.001",
        number(predicted["value"], 3) if predicted else "–",
        f"{number(order['value'])} ({order['interval']})" if order else "–",
        str(line["n"]),
    )


def _figure(measured: Rows, found: Found, arms: Sequence[Arm], part: Part) -> Figure:
    drawn = [mark for line in measured for mark in _marks(line, found)]
    return Figure(
        name=f"removal-{part.modality}",
        caption=caption("removal"),
        alt="What removing samples did: "
        + "; ".join(mark["description"] for mark in drawn if mark["what"] == "measured"),
        draw=lambda theme, narrow: shares(drawn, arms, theme, (285 if narrow else 300, 190), 1 if narrow else 3),
    )


def _marks(line: dict[str, Any], found: Found) -> Rows:
    """Measured, predicted and at random, as marks of the panel of their kind."""
    predicted, random = found.get((line["arm"], line["kind"], line["level"], "predicted")), _beside(line, found)
    marks: Rows = []
    for what, one in (("measured", line), ("predicted", predicted), ("random", random)):
        if one is not None:
            value = one["value"]
            low, high = (value if one[end] is None else one[end] for end in ("ci_low", "ci_high"))
            text = f"{_called(line['kind'])}, {100 * line['level']:g}%, {line['arm'].short}, {what}: {number(value, 3)}"
            text += f" ({interval(low, high, 3)})" if one["ci_low"] is not None else ""
            marks.append({
                "family": _called(line["kind"]), "group": line["kind"].endswith(ALONE), "x": 100 * line["level"],
                "arm": line["arm"].short, "what": what, "value": value, "low": low, "high": high, "description": text,
            })  # fmt: skip
    return marks
