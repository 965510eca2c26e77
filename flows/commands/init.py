"""`einfluence init`: files to start from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from einfluence.errors import InputError


def init(folder: Annotated[Path, typer.Argument(help="Where to put the files.")] = Path(".")) -> None:
    """Write a commented spec.yaml, samples.jsonl and relations.csv to start from."""
    from einfluence.embedded import data_folder

    templates = sorted((data_folder() / "init").iterdir())
    there = [folder / file.name for file in templates if (folder / file.name).exists()]
    if there:
        raise InputError(str(there[0]), "a file that is there already", "a folder without one", "name another")
    folder.mkdir(parents=True, exist_ok=True)
    for file in templates:
        shutil.copyfile(file, folder / file.name)
        typer.echo(folder / file.name)
    typer.echo(f"now: einfluence run {folder / 'spec.yaml'}", err=True)
