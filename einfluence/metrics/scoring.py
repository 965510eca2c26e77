"""Runs the SQL models over a connection and summarises their per-probe values into the scorecard."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.errors import InputError
from einfluence.metrics.resample import LEAST_CLUSTERS, Column, Interval, Resampling, Summary
from einfluence.store.schema import DESIDERATA

STAGING = (
    "stg_runs", "stg_probes", "stg_queries", "stg_samples", "stg_kinds", "stg_levels", "stg_cells", "stg_relations",
)  # fmt: skip
BY_BLOCK = ("mart_decay", "mart_bins", "mart_probes", "mart_controls", "mart_seeds", "mart_claims", "mart_noise")
CELLS_AT_A_TIME = 8_000_000

_VALUES = pa.schema(
    [
        ("run", pa.int64()),
        ("probe", pa.int64()),
        ("desideratum", pa.string()),
        ("variant", pa.string()),
        ("value", pa.float64()),
        ("weight", pa.float64()),
        ("null_value", pa.float64()),
        ("ideal", pa.float64()),
        ("summary", pa.string()),
    ]
)


def desiderata() -> list[str]:
    """Names of the shipped desiderata, in the order that they run: prompt rescue needs the others."""
    names = sorted(_stems("desiderata"))
    return [name for name in names if name != "prompt_rescue"] + ["prompt_rescue"]


def sql(folder: str, name: str) -> str:
    """Text of a shipped model."""
    return resources.files("einfluence.metrics").joinpath(folder, f"{name}.sql").read_text(encoding="utf-8")


def _stems(folder: str) -> list[str]:
    files = resources.files("einfluence.metrics").joinpath(folder).iterdir()
    return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))


def score(
    connection: duckdb.DuckDBPyConnection,
    *,
    draws: int = 2000,
    seed: int = 0,
    user_sql: Path | None = None,
    interval: Interval = "percentile",
) -> pa.Table:
    """Computes the scorecard of a store.

    Args:
        connection: Has the views of :mod:`einfluence.store.schema`; is left without anything new in it.
        draws: Bootstrap draws and permutations.
        seed: Of the generator of draws.
        user_sql: A folder of the user's own models (see docs/desiderata.md), run after the shipped ones.
        interval: ``percentile``, or ``bca`` (medians keep percentiles: their jackknife is inconsistent).

    Returns:
        A table of schema :data:`einfluence.store.schema.DESIDERATA`, one row for each desideratum, variant, arm and
        domain; rows of desideratum ``checks`` count cells that could not be used.

    Raises:
        InputError: When a model of the user's cannot be run or gives something else than per-probe values.
    """
    resampling = Resampling(draws=draws, seed=seed, interval=interval)
    with _scored(connection, user_sql) as models:
        rows = [*summarised(models.scores(), models.arms(), resampling), *models.check_rows()]
    return pa.Table.from_pylist(rows, schema=DESIDERATA)


def per_probe(connection: duckdb.DuckDBPyConnection, *, user_sql: Path | None = None) -> pa.Table:
    """What the scorecard summarises: one row for each desideratum, variant, arm, seed and probe.

    A null ``value`` is a probe that the desideratum leaves out. Sorted, so that equal stores give equal tables.
    """
    with _scored(connection, user_sql) as models:
        return models.select("marts", "mart_values_by_probe")


@contextmanager
def _scored(connection: duckdb.DuckDBPyConnection, user_sql: Path | None) -> Generator[_Models]:
    models = _Models(connection)
    try:
        models.prepare()
        for name in desiderata():
            if name == "prompt_rescue":
                for path in _user_files(user_sql):
                    models.add_values(path.stem, _user_values(connection, path))
            models.add_values(name, models.select("desiderata", name))
        yield models
    finally:
        models.clear()


class _Models:
    """The models of one scoring run and what they leave in the connection meanwhile."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.values: list[pa.Table] = []
        self.registered: set[str] = set()

    def select(self, folder: str, name: str, **parameters: int) -> pa.Table:
        """Runs a model; a select gives its rows, a `create table` none."""
        # A statement that is no select gives None (the stubs do not say so).
        relation = cast("Any", self.connection.sql(sql(folder, name), params=parameters or None))
        return relation.to_arrow_table() if relation is not None else _VALUES.empty_table()

    def register(self, name: str, rows: pa.Table) -> None:
        self.connection.register(name, rows)
        self.registered.add(name)

    def prepare(self) -> None:
        """Stages the cells and reduces them to marts of a few rows a probe, a block of probes at a time."""
        for name in STAGING:
            self.select("staging", name)
        blocks = self._blocks()
        self._remove_duplicates(blocks)
        marts: dict[str, list[pa.Table]] = {name: [] for name in BY_BLOCK}
        for low, high in blocks:
            self.select("marts", "mart_cells", low=low, high=high)
            self.select("marts", "mart_ranks")
            for name, parts in marts.items():
                limits = {"low": low, "high": high} if name == "mart_noise" else {}
                parts.append(self.select("marts", name, **limits))
        for name, parts in marts.items():
            self.register(name, pa.concat_tables(parts))
        pairs = [self.select("marts", "mart_pairs", low=low, high=high) for low, high in blocks]
        self.register("mart_pairs", pa.concat_tables(pairs))
        for name in ("mart_samples", "mart_arms"):
            self.select("marts", name)

    def _remove_duplicates(self, blocks: list[tuple[int, int]]) -> None:
        queries = len(self.connection.table("stg_queries"))
        copies = [self.select("staging", "stg_duplicates", low=low, high=high, queries=queries) for low, high in blocks]
        self.register("stg_duplicates", pa.concat_tables(copies))
        if any(len(part) for part in copies):
            self.select("staging", "stg_cells_without_duplicates")
        pairs = self.select("staging", "stg_duplicated_relations", queries=queries)
        self.register("stg_duplicated_relations", pairs)
        if len(pairs):
            self.select("staging", "stg_relations_without_duplicates")

    def _blocks(self) -> list[tuple[int, int]]:
        """Cuts the probes into ranges of about CELLS_AT_A_TIME cells that split no family of noisy versions."""
        rows = self.select("staging", "families").to_pydict()
        cells = int(sum(rows["n_cells"]))
        ends, taken = [0], 0
        for first, count, n_cells in zip(rows["first_probe"], rows["n_probes"], rows["n_cells"], strict=True):
            taken += n_cells
            if taken >= CELLS_AT_A_TIME:
                ends.append(first + count)
                taken = 0
        last = max((f + c for f, c in zip(rows["first_probe"], rows["n_probes"], strict=True)), default=0)
        if ends[-1] < last or cells == 0:
            ends.append(max(last, 1))
        return list(zip(ends[:-1], ends[1:], strict=True))

    def add_values(self, name: str, rows: pa.Table) -> None:
        """Adds a desideratum's per-probe values to those that prompt rescue and the scorecard read."""
        missing = {"desideratum": name, "weight": None}
        columns = [
            rows.column(field.name).cast(field.type)
            if field.name in rows.column_names
            else pa.array([missing[field.name]] * len(rows), field.type)
            for field in _VALUES
        ]
        self.values.append(pa.Table.from_arrays(columns, schema=_VALUES))
        self.register("mart_values", pa.concat_tables(self.values))

    def scores(self) -> pa.Table:
        return self.select("marts", "mart_scores")

    def arms(self) -> dict[int, dict[str, Any]]:
        return {row["arm"]: row for row in self.connection.table("mart_arms").to_arrow_table().to_pylist()}

    def check_rows(self) -> Iterator[dict[str, Any]]:
        """What could not be used, as rows of the scorecard: a count without an interval, since it is no estimate."""
        arms = self.arms()
        for name in _stems("checks"):
            for row in self.select("checks", name).to_pylist():
                arm = {key: arms[row["arm"]][key] for key in ("estimator", "base", "recipe")}
                yield {**arm, "domain": "all", "desideratum": "checks", "variant": row["variant"], "ideal": 0.0,
                       "value": float(row["amount"]), "n": int(row["amount"]), "note": row["note"]}  # fmt: skip

    def clear(self) -> None:
        for name in self.registered:
            self.connection.unregister(name)
        self.connection.execute(sql("staging", "drop"))


def _user_files(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise InputError(f"metrics: {folder}", "no such folder", "a folder of *.sql files")
    files = sorted(folder.glob("*.sql"))
    if not files:
        raise InputError(f"metrics: {folder}", "no *.sql file", "one file for each desideratum of your own")
    for path in files:
        if path.stem in desiderata() or path.stem == "checks":
            raise InputError(str(path), "the name of a shipped desideratum", "another file name")
    return files


def _user_values(connection: duckdb.DuckDBPyConnection, path: Path) -> pa.Table:
    """Runs a user's model and gives its rows the columns of ours."""
    needed = "a select with the columns run, probe and value (and perhaps variant, weight, null_value, ideal, summary)"
    try:
        relation = cast("Any", connection.sql(path.read_text(encoding="utf-8")))
        if relation is None:
            raise InputError(str(path), "a statement that gives no rows", needed)
        rows = relation.to_arrow_table()
    except (duckdb.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(str(path), str(error).splitlines()[0], needed) from error
    absent = {"run", "probe", "value"} - set(rows.column_names)
    if absent:
        raise InputError(str(path), f"no column {', '.join(sorted(absent))}", needed)
    defaults = {"variant": path.stem, "weight": None, "null_value": None, "ideal": None, "summary": "mean"}
    for field in _VALUES:
        if field.name == "desideratum":
            continue
        if field.name not in rows.column_names:
            rows = rows.append_column(field.name, pa.array([defaults[field.name]] * len(rows), field.type))
        try:
            position = rows.column_names.index(field.name)
            rows = rows.set_column(position, field.name, rows.column(field.name).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{path} column {field.name}", str(error), str(field.type)) from error
    rows = rows.select([field.name for field in _VALUES if field.name != "desideratum"])
    unknown = set(rows.column("summary").unique().to_pylist()) - {"mean", "median", "ratio"}
    if unknown:
        raise InputError(f"{path} column summary", repr(unknown.pop()), "mean, median or ratio")
    keys = rows.group_by(["run", "probe", "variant"]).aggregate([([], "count_all")])
    if len(keys) < len(rows):
        raise InputError(
            str(path), "several rows for one run, probe and variant", "one row each: aggregate over queries"
        )
    return rows


@dataclass(frozen=True)
class _Scores:
    """The per-probe scores as arrays, sorted by arm, desideratum and variant."""

    starts: npt.NDArray[np.int64]
    keys: list[dict[str, Any]]
    value: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    null: npt.NDArray[np.float64]
    cluster: npt.NDArray[np.int64]
    domain: npt.NDArray[np.object_]
    learned: npt.NDArray[np.bool_]


def _arrays(table: pa.Table) -> _Scores:
    def floats(name: str) -> npt.NDArray[np.float64]:
        return cast("npt.NDArray[np.float64]", table.column(name).cast(pa.float64()).to_numpy()).astype(np.float64)

    codes = [table.column(name).combine_chunks().dictionary_encode().indices.to_numpy()
             for name in ("arm", "desideratum", "variant")]  # fmt: skip
    changed = np.zeros(len(table), dtype=bool)
    if len(table):
        changed[0] = True
    for code in codes:
        changed[1:] |= code[1:] != code[:-1]
    starts = np.append(np.flatnonzero(changed), len(table))
    names = ["arm", "desideratum", "variant", "summary", "ideal"]
    keys = cast("list[dict[str, Any]]", table.select(names).take(pa.array(starts[:-1])).to_pylist())
    return _Scores(
        starts, keys, floats("value"), floats("weight"), floats("null_value"),
        table.column("cluster").to_numpy().astype(np.int64), np.array(table.column("domain").to_pylist(), dtype=object),
        table.column("learned").to_numpy().astype(bool),
    )  # fmt: skip


def summarised(table: pa.Table, arms: dict[int, dict[str, Any]], resampling: Resampling) -> Iterator[dict[str, Any]]:
    """Rows of the scorecard from per-probe scores.

    Args:
        table: One row an arm, desideratum, variant and probe (the columns of marts/mart_scores.sql), sorted by these.
        arms: ``estimator``, ``base`` and ``recipe`` by arm.
        resampling: How to draw.
    """
    scores = _arrays(table)
    for position, key in enumerate(scores.keys):
        rows = np.arange(scores.starts[position], scores.starts[position + 1])
        arm = {name: arms[key["arm"]][name] for name in ("estimator", "base", "recipe")}
        common = {**arm, "desideratum": key["desideratum"], "variant": key["variant"], "ideal": key["ideal"]}
        yield {**common, "domain": "all", **_row(scores, rows, key, resampling)}
        domains = sorted({name for name in scores.domain[rows] if name})
        for domain in domains if len(domains) > 1 else []:
            inside = rows[scores.domain[rows] == domain]
            if np.isfinite(scores.value[inside]).any():
                yield {**common, "domain": domain, **_row(scores, inside, key, resampling)}


def _row(scores: _Scores, rows: npt.NDArray[np.int64], key: dict[str, Any], resampling: Resampling) -> dict[str, Any]:
    """Value, interval, null, counts and note of the probes in ``rows``."""
    kept = rows[np.isfinite(scores.value[rows])]
    left_out = rows[~np.isfinite(scores.value[rows])]
    clusters = len(np.unique(scores.cluster[kept]))
    counts = {"n": len(kept), "excluded": len(left_out)}
    unlearned = int((~scores.learned[left_out]).sum())
    if clusters < LEAST_CLUSTERS:
        return {**counts, "note": _shortage(key["desideratum"], len(kept), clusters, unlearned, len(left_out))}
    column = Column(scores.value[kept], scores.cluster[kept], scores.weight[kept], scores.null[kept])
    found = resampling.estimate(column, cast("Summary", key["summary"]))
    numbers = {"value": found.value, "ci_low": found.low, "ci_high": found.high, "null_value": found.null,
               "p_value": found.p}  # fmt: skip
    finite = {name: number if np.isfinite(number) else None for name, number in numbers.items()}
    return {**finite, **counts, "note": _excluded(unlearned, len(left_out))}


def _shortage(name: str, n: int, clusters: int, unlearned: int, left_out: int) -> str:
    if n == 0 and unlearned < left_out:
        return f"no {name.replace('_', ' ')} pairs" + (f"; {unlearned} not learned" if unlearned else "")
    if n == 0:
        return f"no probe learned itself ({left_out} excluded)"
    independent = f" in {clusters} clusters" if clusters < n else ""
    return f"not enough probes (n={n}{independent})"


def _excluded(unlearned: int, left_out: int) -> str | None:
    words: list[str] = []
    if unlearned:
        words.append(f"{unlearned} not learned")
    if left_out > unlearned:
        words.append(f"{left_out - unlearned} without the pairs it needs")
    return ", ".join(words) or None
