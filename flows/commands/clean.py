"""`einfluence clean`: a training file without the samples that harm most, as they were removed in a real training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.options import DEFAULT_STORE, OfSeed, SpecFile, StoreRoot, default_spec, existing, quiet_libraries

if TYPE_CHECKING:
    from einfluence.actions.clean import Cleaned, Number


def clean(
    by: Annotated[str, typer.Option(help="What chooses: an action's `by`, an estimator or a file with a query.")],
    share: Annotated[float, typer.Option(help="Which share of the samples goes: one of the action's `shares`.")],
    out: Annotated[Path, typer.Option(help="The file to write, which must not be there yet, in the format of yours.")],
    spec: SpecFile = None,
    part: Annotated[str | None, typer.Option(help="Which part, where several have such an action.")] = None,
    seed: OfSeed = None,
    store: StoreRoot = DEFAULT_STORE,
) -> None:
    """Write your training file without its most harmful samples, say why, and what the training without them did."""
    quiet_libraries()
    from einfluence.actions.clean import clean as cleaned
    from einfluence.spec import load_spec

    found = cleaned(load_spec(spec or default_spec()), existing(store), out, by=by, share=share, part=part, seed=seed)
    typer.echo(f"{out}: {found.kept} rows; {found.reasons}: the {found.removed} that are gone, and why")
    typer.echo(_in_words(found))


def _in_words(found: Cleaned) -> str:
    if found.measured is None or found.measured.value is None:
        return "too few held-out queries judge to say on average what the training without them did"
    text = f"the training without them moved a held-out query by {_nats(found.measured)} on average"
    if found.at_random is not None:
        text += f", one without as many at random by {_nats(found.at_random)}"
    if found.predicted is not None and found.predicted.value is not None:
        text += f"; {found.predicted.value:+.3f} was predicted"
    return f"{text} ({found.measured.n} queries that they were not chosen on)"


def _nats(number: Number) -> str:
    shown = f"{number.value:+.3f} nats"
    return shown if number.low is None else f"{shown} (95% {number.low:+.3f} to {number.high:+.3f})"
