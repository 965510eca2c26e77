"""`einfluence import`: scores of other tools, to be held against what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import DEFAULT_STORE, StoreRoot, existing
from flows.commands.printing import terminal


def import_scores(
    scores: Annotated[Path, typer.Argument(help="Parquet or CSV with columns train_id, query_id and score.")],
    estimator: Annotated[str, typer.Option(help="What to call the tool, e.g. kronfluence.")],
    stands_for: Annotated[
        str, typer.Option(help="The intervention: finetune, leave_one_out …, a recipe's label or the start of its id.")
    ],
    store: StoreRoot = DEFAULT_STORE,
    base: Annotated[str | None, typer.Option(help="Its base (label or id), where there are several.")] = None,
    nats: Annotated[bool, typer.Option("--nats", help="Scores are in nats; by default they are only ranked.")] = False,
) -> None:
    """Import scores of another tool as an estimate, and score the store anew."""
    from einfluence.imported import import_scores as imported
    from einfluence.report.leaderboard import show_leaderboard
    from einfluence.score import score_store

    opened = existing(store)
    found = imported(opened, scores, estimator=estimator, stands_for=stands_for, base=base, nats=nats)
    typer.echo(f"{found.scores:,} scores of {found.probes:,} probes on {found.queries:,} queries, {found.added:,} new")
    runs = opened.runs()
    if runs and runs[-1].get("spec", {}).get("metrics"):
        typer.echo("the next `einfluence run` scores them, with the spec's own metrics")
        return
    score_store(opened)
    with opened.connect() as connection:
        terminal().print(show_leaderboard(connection))
