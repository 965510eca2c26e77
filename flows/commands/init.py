"""`einfluence init`: files to start from."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from einfluence.errors import InputError
from flows.commands.loudness import note
from flows.commands.options import quiet_libraries


def init(
    folder: Annotated[Path, typer.Argument(help="Where to put the files.")] = Path("."),
    samples: Annotated[
        str | None, typer.Option("--from", help="Your own file of samples, a folder, or a hub id; with --base.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="The model to measure: a hub id, a folder or embedded:NAME.")] = None,
    chat_template: Annotated[
        Path | None, typer.Option(help="A chat template (Jinja) for a model that has none.")
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option("--field", help="With --from: which column is which, as OURS=THEIRS (text=review); repeatable."),
    ] = None,
) -> None:
    """Write a commented spec.yaml: for your own file and model, or with samples and relations to start from."""
    if samples is not None and base is not None:
        return _for_own(folder, samples, base, chat_template, field or [])
    if samples is not None or base is not None or chat_template is not None or field:
        raise InputError(
            "init", "one of --from and --base", "both", "`einfluence init DIR --from train.jsonl --base MODEL`"
        )
    from einfluence.embedded import data_folder

    templates = sorted((data_folder() / "init").iterdir())
    there = [folder / file.name for file in templates if (folder / file.name).exists()]
    if there:
        raise InputError(str(there[0]), "a file that is there already", "a folder without one", "name another")
    folder.mkdir(parents=True, exist_ok=True)
    for file in templates:
        shutil.copyfile(file, folder / file.name)
        typer.echo(folder / file.name)
    note(f"now: einfluence run {folder / 'spec.yaml'}")


def _for_own(folder: Path, samples: str, base: str, chat_template: Path | None, renamed: list[str]) -> None:
    quiet_libraries()
    from einfluence.first_spec import write_first_spec
    from einfluence.session import Session

    fields = dict(_renaming(text) for text in renamed)
    try:
        written = write_first_spec(folder, samples, base, Session(), chat_template, fields)
    except InputError as error:
        if "fields: {" not in error.fix:
            raise
        fix = f"{error.fix}. For `init`: `--field OURS=THEIRS` for each"
        raise InputError(error.where, error.found, error.expected, fix) from error
    for file in written.files:
        typer.echo(file)
    spec = written.files[0]
    note(f"found: {written.found}; every sample fits {base}")
    note(f"now: einfluence curate {spec} --tokens, einfluence plan {spec}, einfluence run {spec}")


def _renaming(text: str) -> tuple[str, str]:
    ours, sign, theirs = text.partition("=")
    if not (ours and sign and theirs):
        raise InputError("--field", repr(text), "OURS=THEIRS, such as `text=review`")
    return ours, theirs
