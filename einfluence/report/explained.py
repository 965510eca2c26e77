"""Single decisions on the page: which of their words speak for the target, beside the samples that made it likelier."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import duckdb

from einfluence.report import payload
from einfluence.report.figure import number, short
from einfluence.report.query import Part, Rows, of_arm, rows

FEW = 3  # decisions of each way of training, samples on either side, and words that are held against them
WORD, PATCH = 45, 80  # percent of a colour where most is said: text on it stays readable


def explained(connection: duckdb.DuckDBPyConnection, part: Part) -> Rows:
    """The decisions of a part that single words say most of.

    Each has its ``arm``, ``name`` and ``target``; ``pieces``, the tokens or patches in order, with a ``side`` (helped
    or hurt) and its ``share`` of a colour in percent, and the ``gap`` between them, which some tokenizers leave out;
    the ``columns`` of patches and the ``picture`` behind them, or neither; ``because``, samples with their influence;
    and ``words`` beside what the samples that have them did.

    Args:
        connection: Has the store's views.
        part: The part.
    """
    found = of_arm(rows(connection, "explained", most=FEW), part)
    listed: Rows = []
    for (arm, query), each in groupby(found, key=lambda pair: (pair[0], pair[1]["query_id"])):
        mine = [row for _, row in each]
        blamed = [
            (short(row["text"], 90), number(row["influence"]))
            for row in rows(connection, "blame", query_id=query, most=FEW)
            if (row["base_id"], row["estimator"], row["recipe_id"]) == arm.key
        ]
        pictured = mine[0]["token"] is None
        listed.append(
            {
                "arm": arm,
                "name": mine[0]["name"],
                "target": mine[0]["target"],
                "pieces": [_piece(row) for row in mine],
                "gap": "" if any((row["token"] or "").startswith(" ") for row in mine) else " ",
                "columns": 1 + max(row["patch_column"] for row in mine) if pictured else None,
                "picture": payload.pictures(connection, [query]).get(query, "") if pictured else "",
                "because": blamed,
                "words": [_word(word) for word in (mine[0]["words"] or [])[:FEW]],
            }
        )
    return listed


def _piece(row: dict[str, Any]) -> dict[str, Any]:
    nats = row["nats"] or 0.0
    full = PATCH if row["token"] is None else WORD
    share = round(full * abs(nats) / row["most"]) if row["most"] else 0
    return {
        "text": row["token"] or "",
        "nats": number(nats),
        "side": "helped" if nats > 0 else "hurt",
        "share": share,
    }


def _word(word: dict[str, Any]) -> tuple[str, str, int, str, str]:
    return (word["word"], number(word["nats"]), word["samples"], number(word["has_it"]), number(word["has_it_not"]))
