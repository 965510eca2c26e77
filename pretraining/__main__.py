"""``python -m pretraining``: makes the embedded language model anew, from the corpus to the card."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from einfluence.embedded import cache_folder, data_folder
from pretraining.ladder import world_plan
from pretraining.pretrain import pretrain


def language(
    name: Annotated[str, typer.Argument(help="Facts file in data/facts.")] = "world",
    folder: Annotated[Path | None, typer.Option(help="Where the model goes; by default data/models.")] = None,
    work: Annotated[Path | None, typer.Option(help="Where checkpoints are kept; by default the cache.")] = None,
) -> None:
    """Train the language model of a world (half an hour on a CPU core with bfloat16 matrix units, else over an hour).

    A run that was stopped resumes from its last checkpoint.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    facts = data_folder() / "facts" / f"{name}.yaml"
    target = folder or data_folder() / "models" / name
    marks = pretrain(facts, world_plan(), target, work or cache_folder() / "pretrain" / name)
    typer.echo("\n".join(f"{mark:24} {value:.3f}" for mark, value in marks.items()))


if __name__ == "__main__":
    typer.run(language)
