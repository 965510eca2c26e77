"""The scorecard and single probes for a terminal, as rich renderables; texts of samples are never read as markup."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from einfluence.errors import InputError
from einfluence.metrics.verdicts import rules_of
from einfluence.report.figure import number, short
from einfluence.report.images import class_of
from einfluence.report.query import Arm, Part, failures, parts_of, parts_uncounted, prepared, rows, the_one
from einfluence.report.recipes import doses, few_arms, grids_of
from einfluence.report.rescue import rescue
from einfluence.report.rules import rules_in_words
from einfluence.report.scorecard import position, scorecard

ARMS = 3  # side by side in a terminal of 80 columns
MOST_NATS = math.log(1e6)  # beyond, nobody asks how many times
BAR = 8  # characters from the null to the ideal
_BLOCKS = " ▏▎▍▌▋▊▉█"
_STYLES = {"met": "green", "violated": "red"}


def show_scorecard(connection: duckdb.DuckDBPyConnection) -> RenderableType:
    """The verdicts of all parts; a bar runs from the null to the ideal."""
    rules = rules_of(connection)
    cards = (_card(connection, part, rules.apart) for part in parts_uncounted(connection))
    return Group(*cards, _KEY, Text(rules_in_words(rules), style="dim"))


_KEY = Text(
    "✓ met  ✗ violated  ? cannot tell, by the 95% interval; · described. Bars run from the null to the ideal.",
    style="dim",
)


def _card(connection: duckdb.DuckDBPyConnection, part: Part, apart: float) -> RenderableType:
    card = scorecard(connection, part, domains=False)
    tables = [_table(card, part, part.arms[start : start + ARMS]) for start in range(0, len(part.arms), ARMS)]
    few = few_arms(part, doses(card["lines"]), grids_of(connection, part))
    rescued = rescue(card["lines"], few, apart)
    prompted = [_rescued(arm, verdicts) for arm, verdicts in (rescued.by_arm if rescued else [])]
    turns = [Text(card["turns"], style="dim"), Text("")] if card["turns"] else []
    return Group(*tables, *turns, *prompted, *_failed(failures(connection, part.arms)))


def _failed(lines: Sequence[str]) -> list[RenderableType]:
    return [Text("Probes that failed", "bold"), *(Text(line) for line in lines), Text("")] if lines else []


def _table(card: dict[str, Any], part: Part, arms: Sequence[Arm]) -> RenderableType:
    table = Table(title=Text(part.label), title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for arm in arms:
        table.add_column(Text(arm.short), min_width=16, max_width=17)
    for item in card["desiderata"]:
        cells = [next((_verdict(line) for line in item["lines"] if line["arm"] is arm), Text("")) for arm in arms]
        table.add_row(Text(item["title"]), *cells)
    return Group(table, Text(""))


def _rescued(arm: Arm, verdicts: Sequence[tuple[str, str, list[str]]]) -> RenderableType:
    lines = [f"{symbol} {answer}: {', '.join(titles)}" for answer, symbol, titles in verdicts]
    return Group(Text(f"In the prompt rather than {arm.short}", "bold"), *map(Text, lines), Text(""))


def _verdict(line: dict[str, Any]) -> Text:
    at = position(line, line["value"])
    bar = " " * BAR if at is None or line["verdict"] == "described" else bar_of(at)
    return Text.assemble(
        (f"{line['symbol']} ", _STYLES.get(line["verdict"], "dim")), (bar, "blue"), f" {line['shown']}"
    )


def bar_of(share: float, width: int = BAR) -> str:
    """A bar of eighths of a character for a share between 0 and 1."""
    eighths = round(min(max(share, 0.0), 1.0) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(width, "·")


def show_probe(connection: duckdb.DuckDBPyConnection, name: str, most: int = 8) -> RenderableType:
    """What one probe helped and hurt most, arm by arm.

    Args:
        connection: Has the store's views.
        name: The probe's name or id, or the start of its id.
        most: How many queries to name on each side.

    Raises:
        InputError: When no probe is called that, or several are.
    """
    found = rows(connection, "find_probe", name=name)
    probe = the_one(found, name, "probe_id")
    if probe is None:
        near = ", ".join(repr(row["name"]) for row in found[:5]) or "no probe"
        raise InputError(f"probe {name!r}", near, "the name or id of one probe", "`einfluence sql` lists the probes")
    pieces: list[RenderableType] = [Text.assemble((probe["name"], "bold"), f"  {probe['kind']}  {probe['probe_id']}")]
    cells = rows(connection, "show_probe", probe_id=probe["probe_id"], most=most)
    with prepared(connection):
        parts = parts_of(connection)
    for part in parts:
        for arm in part.arms:
            mine = [row for row in cells if (row["base"], row["estimator"], row["recipe"]) == arm.key]
            if mine:
                pieces += [Text(""), _cells(f"{part.label} · {arm.label}", mine)]
    return Group(*pieces)


def _cells(title: str, mine: list[dict[str, Any]]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in ("nats", "", "as likely", "relation", "query"):
        right = column in ("nats", "as likely")
        table.add_column(column, justify="right" if right else "left", no_wrap=column != "query")
    largest = max(abs(row["influence"]) for row in mine) or 1.0
    for row in mine:
        value = row["influence"]
        gauge = Text(bar_of(abs(value) / largest, 6).replace("·", " "), style_of(value))
        text = Text(short(in_words(row), 80))
        table.add_row(Text(signed(value)), gauge, Text(times(value)), Text(row["kind"] or ""), text)
    return table


def in_words(sample: Mapping[str, Any]) -> str:
    """A sample on one line: its text or its name, and its class where it has one."""
    text = sample["name"] if sample["modality"] == "image" else f"{sample['prompt']} {sample['target']}"
    return text if sample["label"] is None else f"{text}, class {class_of(sample)}"


def signed(nats: float) -> str:
    """Nats with their sign."""
    return ("+" if nats > 0 else "") + number(nats, 3)


def style_of(nats: float) -> str:
    """The colour of what helped, and of what hurt."""
    return "blue" if nats > 0 else "yellow"


def times(nats: float) -> str:
    """How many times as likely something became that gained so many nats: ``8.2 ×``, ``1/3.0 ×``."""
    factor = math.exp(min(abs(nats), MOST_NATS))
    shown = f"{factor:.1f}" if factor < 100 else f"{factor:,.0f}" if abs(nats) < MOST_NATS else "over 1,000,000"
    return f"{shown} ×" if nats >= 0 or shown == "1.0" else f"1/{shown} ×"
