"""What the tests of users' rows share: a table, curated; and a chat template that is plain to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from einfluence.curate import curate
from einfluence.curate.rows.content import Chat
from einfluence.samples import Curated
from einfluence.spec import Part, Spec


def plainly(chat: Chat, where: str, template: str | None = None) -> Sequence[tuple[str, str]]:
    """Each turn as ``role: content`` on a line of its own."""
    lines = [f"{turn['role']}: {turn['content']}\n" for turn in chat.turns]
    return [("".join(lines[:place]), lines[place]) for place in chat.trained]


def written(folder: Path, *rows: object, name: str = "samples.jsonl") -> str:
    """The name of a file of JSON Lines."""
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return name


def curated(folder: Path, name: str = "samples.jsonl", **more: Any) -> Curated:
    """What curation makes of a table; keys as in a spec, and ``chat_writer``."""
    writer = more.pop("chat_writer", plainly)
    part = Part(base="x", samples=name, **more)
    return curate(part, Spec(parts=(part,), folder=folder), chat=writer)


def texts(made: Curated) -> list[tuple[str, str, str]]:
    """Prompt, what is between, and target of all samples."""
    columns = (made.samples[name].to_pylist() for name in ("prompt", "gap", "target"))
    return list(zip(*columns, strict=True))


def gates(made: Curated) -> dict[str, int]:
    """Counts of the gates."""
    return {row["gate"]: row["count"] for row in made.report.to_pylist()}
