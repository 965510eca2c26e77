"""Writes what is made from the code: tables, shapes of rows, the list of examples, the schema of a spec.

`make docs` runs it; a test holds what is committed equal to what it writes.
"""

from __future__ import annotations

import json
from itertools import takewhile
from pathlib import Path

from einfluence.curate.rows.shapes import shapes_table
from einfluence.spec import Spec
from einfluence.store.schema import TABLES

DOCS = Path(__file__).parent


def tables() -> str:
    """The tables as Markdown, from the Arrow schemas."""
    lines: list[str] = []
    for name, schema in TABLES.items():
        lines += [f"### {name}", "", schema.metadata[b"doc"].decode(), ""]
        lines += ["| column | type | meaning |", "|---|---|---|"]
        lines += [f"| `{field.name}` | {field.type} | {field.metadata[b'doc'].decode()} |" for field in schema]
        lines.append("")
    return "\n".join(lines)


def filled(page: Path, what: str, text: str) -> str:
    """A page with a text between the marks of what is made there."""
    begin, end = f"<!-- {what}: made by docs/build.py -->", f"<!-- end of {what} -->"
    head, _, rest = page.read_text(encoding="utf-8").partition(begin)
    return f"{head}{begin}\n\n{text}\n{end}{rest.partition(end)[2]}"


def examples() -> str:
    """A page of the examples, each with the comment that it begins with."""
    lines = ["# Examples", "", "Specs that run without a network: `einfluence run examples/NAME.yaml`.", ""]
    for spec in sorted((DOCS.parent / "examples").glob("*.yaml")):
        comment = takewhile(lambda line: line.startswith("#"), spec.read_text(encoding="utf-8").splitlines())
        lines += [f"**[{spec.name}]({spec.name})**: " + " ".join(line.strip("# ") for line in comment), ""]
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every made page with its text."""
    model, curation = DOCS / "data-model.md", DOCS / "curation.md"
    schema = json.dumps(Spec.model_json_schema(), indent=2, ensure_ascii=False) + "\n"
    return {
        model: filled(model, "tables", tables()),
        curation: filled(curation, "shapes", f"{shapes_table()}\n"),
        DOCS / "schema" / "spec.json": schema,
        DOCS.parent / "examples" / "README.md": examples(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
