"""`einfluence unlearn`: a model that was made to forget some of its training set, for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.options import (
    DEFAULT_STORE,
    Device,
    Merged,
    OfPart,
    OfSeed,
    SpecFile,
    StoreRoot,
    WayOfTraining,
    default_spec,
    quiet_libraries,
)
from flows.commands.printing import terminal

METHODS = "gradient_ascent, fine_tune, neg_grad_plus, influence_approximation or influence_step."


def unlearn(
    samples: Annotated[Path, typer.Option(help="Text file of ids of the samples to forget, one a line.")],
    method: Annotated[str, typer.Option(help=METHODS)],
    out: Annotated[Path, typer.Option(help="The folder to write, which must not be there yet.")],
    spec: SpecFile = None,
    epochs: Annotated[int | None, typer.Option(help="As in the action.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="As in the action.")] = None,
    rate: Annotated[float | None, typer.Option(help="As in the action: share of the learning rate.")] = None,
    alpha: Annotated[float | None, typer.Option(help="As in the action: weight of the rest.")] = None,
    scale: Annotated[float | None, typer.Option(help="As in the action: what the step is multiplied by.")] = None,
    damping: Annotated[float | None, typer.Option(help="As in the action: of the curvature.")] = None,
    curvature: Annotated[str | None, typer.Option(help="As in the action: gauss_newton or hessian.")] = None,
    part: OfPart = None,
    arm: WayOfTraining = None,
    seed: OfSeed = None,
    merged: Merged = False,
    store: StoreRoot = DEFAULT_STORE,
    device: Device = "auto",
) -> None:
    """Write the model trained on a whole set after unlearning some samples, and how far it is from the retraining."""
    quiet_libraries()
    from einfluence.export import unlearn as write
    from einfluence.report.unlearned import CLAIM, show_unlearned, unlearned
    from einfluence.session import Session
    from einfluence.spec import load_spec
    from einfluence.store.store import Store

    given = {"kind": method, "epochs": epochs, "batch_size": batch_size, "rate": rate, "alpha": alpha}
    given |= {"scale": scale, "damping": damping, "curvature": curvature}
    chosen, opened = _method({name: value for name, value in given.items() if value is not None}), Store(store)
    kept = opened if opened.exists else None
    about: dict[str, Any] = {"part": part, "arm": arm, "seed": seed, "merged": merged}
    made = write(load_spec(spec or default_spec()), samples, chosen, out, Session(device), kept, **about)
    typer.echo(f"{out}: {made.written}")
    typer.echo(f"{chosen.label}: {made.forgotten} samples forgotten, {made.read} gone through. {CLAIM}")
    found: list[dict[str, Any]] = []
    if kept is not None:
        with kept.connect() as connection:
            found = unlearned(connection, made.key, made.training, made.reference)
    if found:
        terminal().print(show_unlearned(found))
    else:
        fix = "`actions: [{unlearn: …}]` in the spec, and `einfluence run`, make one"
        typer.echo(f"{store} has no retraining without them to hold it against: {fix}")


def _method(given: dict[str, Any]) -> Any:
    """The method of some options.

    Raises:
        InputError: Where there is no such method, or it has no such option.
    """
    from pydantic import TypeAdapter, ValidationError

    from einfluence.errors import InputError
    from einfluence.unlearning import AnyMethod

    try:
        return TypeAdapter[Any](AnyMethod).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--method" if first["type"].startswith("union_tag") else f"--{first['loc'][-1]}".replace("_", "-")
        found = repr(first["input"]["kind"]) if name == "--method" else f"{first['input']!r} with {given['kind']}"
        raise InputError(name, found, _expected(first)) from error


def _expected(first: Any) -> str:
    if first["type"] == "extra_forbidden":
        return "an option that the method has"
    return first["ctx"]["expected_tags"] if first["type"].startswith("union_tag") else first["msg"]
