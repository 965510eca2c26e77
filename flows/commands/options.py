"""Options that several commands share, and what their values name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from einfluence.errors import InputError

if TYPE_CHECKING:
    from einfluence.store.store import Store

StoreRoot = Annotated[str, typer.Option("--store", help="Folder or URL of the store.")]
DEFAULT_STORE = "einfluence-store"
SpecFile = Annotated[Path | None, typer.Argument(help="Spec file (YAML); without one, the shipped default.")]
Runners = Annotated[
    str,
    typer.Option(
        "--runner", help="Where shards are computed: inline, threads, processes, dask, ray, dask://HOST:8786."
    ),
]


def _workers(given: str | int) -> int:
    """A number of workers; ``auto`` is one for each GPU, and two where there is none."""
    if given == "auto":
        from einfluence.devices import devices

        return sum(name.startswith("cuda:") for name in devices()) or 2
    if not str(given).isdecimal() or int(given) < 1:
        raise typer.BadParameter(f"{given!r} is neither a number from 1 on nor auto")
    return int(given)


Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        parser=_workers,
        metavar="N|auto",
        help="How many shards at once (auto: one a GPU); ignored by inline and an address.",
    ),
]
DaskAddress = Annotated[str | None, typer.Option("--dask-address", help="With --runner dask: tcp://HOST:8786.")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 or mps; of several GPUs each worker takes one.")
]
OfPart = Annotated[str | None, typer.Option("--part", help="Which part, where several have a training set.")]
WayOfTraining = Annotated[
    int | None,
    typer.Option("--arm", min=0, help="Which way of training, from 0, where the part's arms have several."),
]
OfSeed = Annotated[int | None, typer.Option("--seed", min=0, help="Which seed; by default the part's first.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="So many samples on either side or for each reason.")]
Merged = Annotated[bool, typer.Option("--merged", help="Merge LoRA's adapters into whole weights.")]
Rows = Annotated[Literal["table", "json", "csv", "parquet"], typer.Option("--format", help="How rows are printed.")]
AsJson = Annotated[bool, typer.Option("--json", help="Short for --format json.")]
AsCsv = Annotated[bool, typer.Option("--csv", hidden=True)]  # what --format csv was once called


def form(rows: str, as_json: bool, as_csv: bool = False) -> str:
    """How rows are printed: what `--format` says, or one of the short options."""
    return "json" if as_json else "csv" if as_csv else rows


def existing(store: str) -> Store:
    """Opens a store that holds something.

    Raises:
        InputError: When there is none.
    """
    from einfluence.store.store import Store

    opened = Store(store)
    if not opened.exists:
        raise InputError("--store", f"{store!r}, which holds no store", "one that `einfluence run` has written to")
    return opened


def usable(runner: str, dask_address: str | None, device: str) -> str:
    """The runner with its address; refuses what is not known or not installed before anything is started.

    Whether something answers at the address is checked by :func:`einfluence.runners.reach` once there is work for it.
    """
    from einfluence.devices import chosen, devices
    from einfluence.runners import addressed, check_runner

    where = addressed(runner, dask_address)
    check_runner(where)
    if device not in ("auto", "cpu"):
        chosen(device, devices(), 0)
    return where


def default_spec() -> Path:
    """The spec that ships: what commands read where none is named."""
    from einfluence.embedded import data_folder

    return data_folder() / "specs" / "default.yaml"


def quiet_libraries() -> None:
    """Transformers and the hub read these when they are imported, so they are set before."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")


def quiet_prefect(verbose: bool) -> None:
    """Prefect reads its settings when it is imported, so they are set before; so do other libraries."""
    quiet_libraries()
    if not verbose:  # the server gets the log all the same, for its UI
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
        os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "CRITICAL")
