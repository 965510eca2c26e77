"""Writes the pages that are made from the code: the tables of docs/data-model.md and the JSON schema of a spec.

`make docs` runs it; a test holds what is committed equal to what it writes.
"""

from __future__ import annotations

import json
from pathlib import Path

from einfluence.spec import Spec
from einfluence.store.schema import TABLES

DOCS = Path(__file__).parent
BEGIN, END = "<!-- tables: made by docs/build.py -->", "<!-- end of tables -->"


def tables() -> str:
    """The tables as Markdown, from the Arrow schemas."""
    lines: list[str] = []
    for name, schema in TABLES.items():
        lines += [f"### {name}", "", schema.metadata[b"doc"].decode(), ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{field.name}` | {field.type} | {field.metadata[b'doc'].decode()} |" for field in schema]
        lines.append("")
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every made page with its text."""
    model = DOCS / "data-model.md"
    head, _, rest = model.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    schema = json.dumps(Spec.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {model: f"{head}{BEGIN}\n\n{tables()}\n{END}{tail}", DOCS / "schema" / "spec.json": schema}


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
