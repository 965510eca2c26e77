"""What a run leaves in Prefect's UI: the plan, how far it is, the scorecard, and where the report lies."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from einfluence.plan import Plan
from einfluence.score import Result
from einfluence.store.store import Store


def show_plan(todo: Plan) -> None:
    """Wanted, present and missing cells, and the blocks of missing ones."""
    lines = [f"- {job.label}" for job in todo.jobs[:50]] + (["- …"] if len(todo.jobs) > 50 else [])
    missing = todo.wanted - todo.present
    text = (
        f"| cells wanted | present | missing |\n|---|---|---|\n| {todo.wanted:,} | {todo.present:,} | {missing:,} |\n\n"
    )
    create_markdown_artifact(text + "\n".join(lines), key="plan", description="What is missing, in blocks")


class ProgressBar:
    """A progress artifact over the blocks of a run."""

    def __init__(self, blocks: int) -> None:
        self._blocks, self._done = blocks, 0
        self._artifact: Any = create_progress_artifact(0.0, description="Blocks measured") if blocks else None

    def advance(self, blocks: int) -> None:
        """So many blocks more are done."""
        self._done += blocks
        if isinstance(self._artifact, UUID):
            update_progress_artifact(self._artifact, 100.0 * self._done / self._blocks)


def show_result(result: Result, store: Store) -> None:
    """The scorecard as a table and the report as a link."""
    columns = [
        "estimator",
        "domain",
        "desideratum",
        "variant",
        "value",
        "ci_low",
        "ci_high",
        "ideal",
        "null_value",
        "n",
        "verdict",
    ]
    with store.connect() as connection:
        rows = connection.view("desiderata").filter("domain = 'all'").to_arrow_table().select(columns).to_pylist()
    table = [{name: _short(value) for name, value in row.items()} for row in rows]
    create_table_artifact(table, key="scorecard", description=f"{result.wanted:,} cells, {result.failed} probes failed")
    if result.report:
        create_link_artifact(f"file://{result.report}", key="report", link_text="report.html")


def _short(value: object) -> object:
    return round(value, 4) if isinstance(value, float) else value
