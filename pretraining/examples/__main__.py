"""``python -m pretraining.examples``: makes the small models and the data of `examples/` anew, in minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from transformers.utils import logging

from einfluence.embedded import data_folder
from pretraining.examples.rows import Row
from pretraining.examples.tasks import TASKS
from pretraining.examples.train import make
from pretraining.language import Language


def examples(
    names: Annotated[list[str] | None, typer.Argument(help="Which models; all without one.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where the models go; by default data/models.")] = None,
    rows: Annotated[Path, typer.Option(help="Where the data goes.")] = Path("examples"),
) -> None:
    """Train the small models, and write the rows that they were trained on and those that teach something new."""
    logging.disable_progress_bar()
    language = Language(data_folder() / "facts" / "world.yaml")
    for name in names or TASKS:
        task = TASKS[name]
        marks = make(task, language, (folder or data_folder() / "models") / name)
        found = task.rows(language, task.seed)
        if found.new:
            probes = dict.fromkeys(relation["probe"] for relation in found.relations)
            _write(rows / name / "rows.jsonl", [*found.train, *found.held_out])
            _write(rows / name / "new.jsonl", found.new)
            _write(rows / name / "probes.jsonl", [{"id": probe, "samples": [probe]} for probe in probes])
            _write(rows / name / "relations.jsonl", found.relations)
        typer.echo(f"{name:10} accuracy {marks['accuracy']:.3f}, {marks['parameters']:,} parameters")


def _write(file: Path, rows: list[Row]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    typer.run(examples)
