"""Arms of which some cells are measured: what desiderata need of all cells is inferred, the rest is left as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

STEPS = (
    "mart_sampled_cells", "mart_sampled_sides", "mart_sampled_ranks", "mart_sampled_sums", "mart_sampled",
)  # fmt: skip
INFERRED = ("mart_decay", "mart_bins", "mart_probes", "mart_controls")
"""The marts that sum over whole rows of cells; ``<name>_sampled`` has their rows of such arms."""

REFUSED = ("asymmetry",)
"""Desiderata of which such an arm has no rows: pairs that are measured both ways are mostly claimed ones."""

AS_MEASURED = (
    "artifact", "classification", "fidelity", "fragility", "noise_invariance", "reliability",
)  # fmt: skip
"""Desiderata that look at the measured cells alone, of which those with a claim are a larger part than of all."""

NOTE = "of measured cells alone"


class Inferring:
    """Rows of marts that are inferred, block by block.

    Args:
        connection: Has the staged tables.
        select: Runs a model.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, select: Callable[..., pa.Table]) -> None:
        self._connection, self._select = connection, select
        select("staging", "stg_sampled")
        self._keys = connection.table("stg_sampled").project("run, probe").distinct().to_arrow_table()
        self.runs: list[int] = self._keys["run"].unique().to_pylist()
        if self.runs:
            select("marts", "mart_followed")

    @property
    def arms(self) -> set[int]:
        """The arms of these runs, and the estimates that are held against them."""
        arm = dict(self._connection.table("stg_runs").project("run, arm").fetchall())
        pairs = self._connection.table("stg_estimates").project("run, measured_run").fetchall() if self.runs else []
        return {arm[run] for run in self.runs} | {arm[run] for run, of in pairs if of in self.runs}

    def block(self, low: int, high: int) -> None:
        """Infers what is missing of the probes from ``low`` up to ``high`` (exclusive)."""
        if self.runs:
            for name in STEPS:
                self._select("marts", name, **({"low": low, "high": high} if name == STEPS[0] else {}))

    def completed(self, name: str, rows: pa.Table) -> pa.Table:
        """The rows of a mart of the block; those of probes of which some cells are measured are inferred."""
        if not self.runs or name not in INFERRED:
            return rows
        whole = rows.join(self._keys.cast(pa.schema([rows.schema.field(key) for key in ("run", "probe")])),
                          ["run", "probe"], join_type="left anti")  # fmt: skip
        inferred = self._select("marts", f"{name}_sampled")
        return pa.concat_tables([whole.select(rows.column_names), inferred.select(rows.column_names).cast(rows.schema)])


def noted(rows: list[dict[str, Any]], few: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a scorecard; those of :data:`AS_MEASURED` say so, of arms that measure some of their cells.

    Args:
        rows: The rows.
        few: What names such an arm, and the estimates that are held against it.
    """
    names = {tuple(arm[name] for name in ("estimator", "base", "recipe")) for arm in few}

    def of(row: dict[str, Any]) -> dict[str, Any]:
        if row["desideratum"] not in AS_MEASURED or (row["estimator"], row["base"], row["recipe"]) not in names:
            return row
        return {**row, "note": f"{row['note']}; {NOTE}" if row.get("note") else NOTE}

    return [of(row) for row in rows]
