"""Makes the embedded models anew: corpus → ladder of training → exported folder → marks and card."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer
from prefect import flow

from einfluence.embedded import cache_folder, data_folder

app = typer.Typer(add_completion=False, help="Train the embedded models anew.")


@flow(name="pretrain language", flow_run_name="pretrain {name}", persist_result=False)
def pretrain_language(name: str = "world", folder: str | None = None, work: str | None = None) -> dict[str, float]:
    """Trains the language model of a shipped world and writes its folder.

    Args:
        name: Of the facts file in ``data/facts``.
        folder: Where the model goes; by default its place in ``data/models``.
        work: Where checkpoints are kept; a stopped run goes on from there. By default a folder of the cache.

    Returns:
        The marks, as in evaluation.json.
    """
    from einfluence.models.language.ladder import world_plan
    from einfluence.models.language.pretrain import pretrain

    facts = data_folder() / "facts" / f"{name}.yaml"
    target = Path(folder) if folder else data_folder() / "models" / name
    checkpoints = Path(work) if work else cache_folder() / "pretrain" / name
    return pretrain(facts, world_plan(), target, checkpoints)


@flow(name="pretrain digits", persist_result=False)
def pretrain_digits() -> dict[str, float]:
    """Trains the image model on scikit-learn's digits, unless the cache holds it under the content hash of its recipe.

    Returns:
        ``accuracy`` (a fraction) and ``loss`` (nats) on the held-out scans.
    """
    from einfluence.bases.load import digits_folder

    marks = json.loads((digits_folder() / "evaluation.json").read_text(encoding="utf-8"))
    return {name: marks[name] for name in ("accuracy", "loss")}


@app.callback(invoke_without_command=True)
def _quiet() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")


@app.command()
def digits() -> None:
    """The image model (seconds); a run does this by itself when it needs it."""
    typer.echo("\n".join(f"{mark:24} {value:.3f}" for mark, value in pretrain_digits().items()))


@app.command()
def language(
    name: Annotated[str, typer.Argument(help="Facts file in data/facts.")] = "world",
    folder: Annotated[str | None, typer.Option(help="Where the model goes.")] = None,
    work: Annotated[str | None, typer.Option(help="Where checkpoints are kept.")] = None,
) -> None:
    """The language model of a world (half an hour on a CPU core with bfloat16 matrix units, else over an hour)."""
    marks = pretrain_language(name, folder, work)
    typer.echo("\n".join(f"{mark:24} {value:.3f}" for mark, value in marks.items()))


if __name__ == "__main__":
    app()
