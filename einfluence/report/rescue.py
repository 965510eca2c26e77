"""What the prompt does better than training, desideratum by desideratum and paired by probe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from einfluence.metrics.verdicts import way
from einfluence.report import charts
from einfluence.report.figure import Figure, caption, interval, number
from einfluence.report.query import Arm, Part, Rows
from einfluence.report.scorecard import headline
from einfluence.report.words import SYMBOLS

ANSWERS = ("better", "worse", "alike", "cannot tell")


@dataclass(frozen=True)
class Rescue:
    """The figure, and for each trained arm which desiderata the prompt serves better, worse or alike."""

    figure: Figure
    by_arm: list[tuple[Arm, list[tuple[str, str, list[str]]]]]


def rescue(lines: Rows, part: Part, apart: float) -> Rescue | None:
    """Reads the ``prompt_rescue`` lines of a part's scorecard; None where there are none.

    A difference is drawn as a share of the way from null to ideal of the desideratum that it belongs to, so that one
    axis serves all; ``apart`` is the least share that counts (:class:`einfluence.rules.Rules`).
    """
    prompts = {line["partner"] for line in lines if line["about"]}
    names = {arm.recipe: f", {arm.label}" if len(prompts) > 1 else "" for arm in part.arms}
    found: dict[tuple[Any, ...], Rows] = {}
    for line in lines:
        if line["about"]:
            found.setdefault(_key(line, line["about"]), []).append(line)
    drawn: Rows = []
    for line in headline([line for line in lines if line["arm"] in part.arms]):
        for mine in found.get(_key(line, line["desideratum"]), []):
            if mine["verdict"] in ANSWERS and mine["ci_low"] is not None:
                drawn.append(_mark({**line, "title": line["title"] + names.get(mine["partner"], "")}, mine))
    if not drawn:
        return None
    arms = [arm for arm in part.arms if any(row["arm"] == arm.short for row in drawn)]
    figure = Figure(
        name=f"rescue-{part.modality}",
        caption=caption("rescue", least=f"{apart:g}"),
        alt="Prompt minus training: " + "; ".join(row["description"] for row in drawn),
        draw=lambda theme, narrow: charts.scorecard(
            drawn, arms, theme, 300 if narrow else 640, narrow=narrow, scale=charts.RESCUE
        ),
        head=("desideratum", "trained", "the prompt is", "difference, own unit", "95% interval", "probes"),
        numbers=[
            (row["title"], row["arm"], row["answer"], number(row["value"]), row["interval"], row["n"]) for row in drawn
        ],
    )
    return Rescue(figure, [(arm, _answers([row for row in drawn if row["arm"] == arm.short])) for arm in arms])


def _key(line: Mapping[str, Any], desideratum: str) -> tuple[Any, ...]:
    return line["arm"].key, desideratum, *(line[name] for name in ("formula", "kind", "level", "place"))


def _mark(line: Mapping[str, Any], difference: Mapping[str, Any]) -> dict[str, Any]:
    length = way(line)
    at, *ends = (difference[key] / length for key in ("value", "ci_low", "ci_high"))
    low, high = sorted(ends)
    answer = difference["verdict"]
    shown = interval(difference["ci_low"], difference["ci_high"])
    cut = charts.RESCUE.cut
    return {
        "title": line["title"],
        "arm": line["arm"].short,
        "at": cut(at),
        "low": cut(low),
        "high": cut(high),
        "sign": SYMBOLS[answer],
        "text": number(difference["value"]),
        "answer": answer,
        "value": difference["value"],
        "interval": shown,
        "n": difference["n"],
        "description": f"{line['title']}, prompt against {line['arm'].short}: {answer}, by "
        f"{number(difference['value'])} ({shown}), {difference['n']} probes",
    }


def _answers(drawn: Rows) -> list[tuple[str, str, list[str]]]:
    by_arm: list[tuple[str, str, list[str]]] = []
    for answer in ANSWERS:
        titles = [row["title"] for row in drawn if row["answer"] == answer]
        if titles:
            by_arm.append((answer, SYMBOLS[answer], titles))
    return by_arm
