"""`einfluence saliency`: which words of a query speak for its target, beside the samples that do."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands.options import (
    DEFAULT_STORE,
    AsJson,
    Device,
    Limit,
    OfPart,
    OfSeed,
    Rows,
    SpecFile,
    StoreRoot,
    WayOfTraining,
    default_spec,
    existing,
    form,
    quiet_libraries,
)
from flows.commands.printing import print_rows, terminal


def saliency(
    query: Annotated[str, typer.Argument(help="A query's name or id.")],
    spec: SpecFile = None,
    part: OfPart = None,
    arm: WayOfTraining = None,
    seed: OfSeed = None,
    store: StoreRoot = DEFAULT_STORE,
    limit: Limit = 5,
    rows: Rows = "table",
    as_json: AsJson = False,
    device: Device = "auto",
) -> None:
    """Print how much each word of a query, or patch of a picture, speaks for its target, and which samples do."""
    quiet_libraries()
    from einfluence.report.blame import blamed, query_called, show_blamed
    from einfluence.report.salient import show_salient
    from einfluence.salient import salient
    from einfluence.session import Session
    from einfluence.spec import load_spec

    opened = existing(store)
    with opened.connect() as connection:
        sample = query_called(connection, query)
    wanted, chosen = load_spec(spec or default_spec()), {"part": part, "arm": arm, "seed": seed}
    found = salient(wanted, opened, sample["sample_id"], Session(device), **chosen)  # pyright: ignore[reportArgumentType]
    if (output := form(rows, as_json)) != "table":
        print_rows(found, output)
    else:
        terminal().print(show_salient(found))
        with opened.connect() as connection:
            samples = blamed(connection, sample["sample_id"], limit)
        terminal().print(show_blamed(sample, samples))
