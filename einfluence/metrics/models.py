"""Runs the SQL models over a connection: staging, marts, the desiderata (the user's own included), checks."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from einfluence.errors import InputError
from einfluence.metrics.artifacts import artifacts
from einfluence.metrics.datamodels import predictions
from einfluence.metrics.inferring import REFUSED, Inferring
from einfluence.metrics.needs import NEEDS
from einfluence.metrics.resample import Resampling
from einfluence.store.schema import completed
from einfluence.store.views import create

STAGING = (
    "stg_runs", "stg_probes", "stg_queries", "stg_samples", "stg_kinds", "stg_levels", "stg_cells", "stg_relations",
    "stg_own_relations", "stg_own_probes", "stg_restorations", "stg_estimates",
)  # fmt: skip
BY_BLOCK = (
    "mart_decay", "mart_learners", "mart_bins", "mart_probes", "mart_controls", "mart_seeds", "mart_claims",
    "mart_noise", "mart_classification", "mart_relative", "mart_fidelity", "mart_fidelity_by_kind",
    "mart_fidelity_by_distance",
)  # fmt: skip
CELLS_AT_A_TIME = 8_000_000
OF_RANKS = ("artifact", "fidelity", "fragility", "lds", "mislabelled", "proxies", "reliability", "saliency")
"""The desiderata that ask for ranks alone: all that there is of scores without a unit."""

_VALUES = pa.schema(
    [
        ("run", pa.int64()),
        ("probe", pa.int64()),
        ("query", pa.int64()),  # of a value by query, which has no probe
        ("desideratum", pa.string()),
        ("variant", pa.string()),
        ("value", pa.float64()),
        ("weight", pa.float64()),
        ("null_value", pa.float64()),
        ("learner", pa.float64()),  # what an ideal learner scores on the same queries
        ("ideal", pa.float64()),
        ("summary", pa.string()),
    ]
)
_VARIANTS = pa.schema(
    [
        ("run", pa.int64()),
        ("desideratum", pa.string()),
        ("variant", pa.string()),
        ("formula", pa.string()),
        ("kind", pa.string()),
        ("level", pa.float64()),
        ("place", pa.string()),
        ("layer", pa.int32()),
        ("about", pa.string()),
        ("partner", pa.string()),
        ("better", pa.string()),
        ("start", pa.float64()),
        ("bar", pa.float64()),
        ("rule", pa.string()),
        ("p_value", pa.float64()),
    ]
)
DRAWS = pa.schema(
    [
        ("arm", pa.int64()),
        ("desideratum", pa.string()),
        ("variant", pa.string()),
        ("run", pa.int64()),
        ("draw", pa.string()),
        ("query", pa.int64()),
        ("value", pa.float64()),
    ]
)
"""What one draw of a control by random draws did to a query."""
DESCRIBED = tuple(_VARIANTS.names[3:])
"""What a model may say of a variant beside its name; all of it may be missing."""
_CHOICES = {"summary": ("mean", "median", "ratio", "quotient"), "better": ("higher", "lower", "neither"),
            "rule": ("left", "ladder")}  # fmt: skip


def desiderata() -> list[str]:
    """Names of the shipped desiderata, in the order that they run: prompt rescue needs the others."""
    names = sorted(_stems("desiderata"))
    return [name for name in names if name != "prompt_rescue"] + ["prompt_rescue"]


@cache
def sql(folder: str, name: str) -> str:
    """Text of a shipped model."""
    return resources.files("einfluence.metrics").joinpath(folder, f"{name}.sql").read_text(encoding="utf-8")


def _stems(folder: str) -> list[str]:
    files = resources.files("einfluence.metrics").joinpath(folder).iterdir()
    return sorted(file.name.removesuffix(".sql") for file in files if file.name.endswith(".sql"))


@contextmanager
def modelled(
    connection: duckdb.DuckDBPyConnection,
    user_sql: Path | None = None,
    features: Sequence[str | Path] = (),
    resampling: Resampling | None = None,
) -> Generator[Models]:
    """All models run over a store's views; afterwards the connection is as it was.

    Args:
        connection: Has the store's views.
        user_sql: A folder of the user's own models.
        features: What `artifact` looks at: names that ship and files of the user's.
        resampling: How features are permuted.

    Raises:
        InputError: When a model of the user's cannot be run or gives something else than per-probe values.
    """
    models = Models(connection)
    try:
        models.prepare()
        models.add_features(features, resampling or Resampling())
        for name in desiderata():
            if name == "prompt_rescue":
                for path in _user_files(user_sql):
                    models.add(path.stem, _user_rows(connection, path))
                models.register_values()
            models.add(name, models.select("desiderata", name))
        models.register_values()
        yield models
    finally:
        models.clear()


def clusters(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    """What is drawn together in every interval: a row a probe, ``probe_id`` and ``cluster`` (a number)."""
    create(connection, "is_example")
    connection.execute(sql("staging", "stg_probes"))
    try:
        return connection.sql("select probe_id, cluster_number as cluster from stg_probes").to_arrow_table()
    finally:
        connection.execute("drop table stg_probes")


class Models:
    """The models of one scoring run and what they leave in the connection meanwhile."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.values: list[pa.Table] = []
        self.variants: list[pa.Table] = []
        self.registered: set[str] = set()
        self.unitless: list[int] = []
        self.estimates: frozenset[str] = frozenset()
        self.sampled: list[int] = []
        self.few: set[int] = set()
        self._filled: dict[str, bool] = {}
        self._lacked_sets = False

    def select(self, folder: str, name: str, **parameters: int) -> pa.Table:
        """Runs a model; a select gives its rows, a `create table` none. One that would have no rows is not run."""
        if self.needless(name):
            return _VALUES.empty_table()
        # A statement that is no select gives None (the stubs do not say so).
        relation = cast("Any", self.connection.sql(sql(folder, name), params=parameters or None))
        return relation.to_arrow_table() if relation is not None else _VALUES.empty_table()

    def needless(self, name: str) -> bool:
        """Whether one of the tables that a model needs rows of (:data:`.needs.NEEDS`) has none."""
        return not all(self._has_rows(table) for table in NEEDS.get(name, ()))

    def _has_rows(self, table: str) -> bool:
        if table not in self._filled:
            self._filled[table] = bool(self.connection.table(table).limit(1).fetchall())
        return self._filled[table]

    def register(self, name: str, rows: pa.Table) -> None:
        """Makes rows known to later models under a name."""
        self.connection.register(name, rows)
        self.registered.add(name)

    def prepare(self) -> None:
        """Stages the cells and reduces them to marts of a few rows a probe, a block of probes at a time."""
        create(self.connection, "is_example")
        views = self.connection.execute("select view_name from duckdb_views() where view_name = 'arms_of_sets'")
        self._lacked_sets = not views.fetchall()
        if self._lacked_sets:  # tables without a store's views
            create(self.connection, "arms_of_sets")
        for name in STAGING:
            self.select("staging", name)
        unitless = self.connection.table("stg_runs").filter("unit = 'none'").project("run")
        self.unitless = [run for (run,) in unitless.fetchall()]
        predicted = self.connection.table("stg_runs").filter("stands_for is not null").project("estimator").distinct()
        self.estimates = frozenset(name for (name,) in predicted.fetchall())
        blocks = self._blocks()
        self._remove_duplicates(blocks)
        inferring = Inferring(self.connection, self.select)
        self.sampled, self.few = inferring.runs, inferring.arms
        self.select("marts", "mart_selves")
        marts: dict[str, list[pa.Table]] = {name: [] for name in BY_BLOCK}
        for low, high in blocks:
            self.select("marts", "mart_cells", low=low, high=high)
            self.select("marts", "mart_ranks")
            self.select("marts", "mart_estimates")
            inferring.block(low, high)
            for name, parts in marts.items():
                limits = {"low": low, "high": high} if name == "mart_noise" else {}
                parts.append(inferring.completed(name, self.select("marts", name, **limits)))
        for name, parts in marts.items():
            self.register(name, pa.concat_tables(parts))
        pairs = [self.select("marts", "mart_pairs", low=low, high=high) for low, high in blocks]
        self.register("mart_pairs", pa.concat_tables(pairs))
        columns = [self.select("marts", "mart_fidelity_by_query", low=low, high=high) for low, high in self._queries()]
        self.register("mart_fidelity_by_query", pa.concat_tables(columns))
        for name in (
            "mart_samples", "mart_arms", "mart_ceilings", "mart_memorisation", "mart_ways", "mart_held_out",
            "mart_action_changes", "mart_removal", "mart_ignoring", "mart_control_draws", "mart_unlearning",
        ):  # fmt: skip
            self.select("marts", name)
        if not self.needless("mart_predictions"):
            self.register("mart_predictions", predictions(self.connection, self.select))

    def add_features(self, features: Sequence[str | Path], resampling: Resampling) -> None:
        """What influence may rest on, for the desideratum `artifact`."""
        ranges, draws = self._queries(len(features)), {"draws": resampling.draws, "seed": resampling.seed}
        artifacts(self.connection, self.select, self.register, features, ranges, **draws)

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

    def _queries(self, rows: int = 1) -> list[tuple[int, int]]:
        """Cuts the queries into ranges of about CELLS_AT_A_TIME rows, of so many rows a cell."""
        queries, cells = len(self.connection.table("stg_queries")), rows * len(self.connection.table("stg_cells"))
        step = max(1, queries // (cells // CELLS_AT_A_TIME + 1))
        return [(low, low + step) for low in range(0, max(queries, 1), step)]

    def add(self, name: str, rows: pa.Table) -> None:
        """Adds a desideratum's per-probe values and the columns of its variants.

        Of scores without a unit only ranks mean anything: they have no rows of other desiderata than OF_RANKS.
        """
        if not len(rows):
            return
        if name not in OF_RANKS and self.unitless:
            rows = rows.filter(~pc.field("run").isin(self.unitless))
        if name in REFUSED and self.sampled:
            rows = rows.filter(~pc.field("run").isin(self.sampled))
        rows = rows if "desideratum" in rows.column_names else _with(rows, "desideratum", name)
        rows = _with_formula(rows)
        self.values.append(completed(rows, _VALUES).cast(_VALUES))
        self.variants.append(completed(rows, _VARIANTS).cast(_VARIANTS).group_by(_VARIANTS.names).aggregate([]))

    def register_values(self) -> None:
        """Makes what was added so far known to later models."""
        self.register("mart_values", pa.concat_tables([_VALUES.empty_table(), *self.values]))
        self.register("mart_variants", pa.concat_tables([_VARIANTS.empty_table(), *self.variants]))

    def scores(self) -> pa.Table:
        """The per-probe scores, averaged over training seeds; later models read them as `mart_scores`."""
        if "mart_scores" not in self.registered:
            self.register("mart_scores", self.select("marts", "mart_scores"))
        return self.connection.table("mart_scores").to_arrow_table()

    def draws(self) -> pa.Table:
        """What single draws of controls did to queries (marts/mart_control_draws.sql)."""
        if self.needless("mart_control_draws"):
            return DRAWS.empty_table()
        names = ", ".join(DRAWS.names)
        return self.connection.table("mart_control_draws").project(names).to_arrow_table().cast(DRAWS)

    def arms(self) -> dict[int, dict[str, Any]]:
        """Estimator, base and recipe by number of the arm."""
        return {row.pop("arm"): row for row in self.connection.table("mart_arms").to_arrow_table().to_pylist()}

    def described(self) -> dict[tuple[int, str, str], dict[str, Any]]:
        """What the models say of their variants, by arm, desideratum and variant."""
        rows = cast("list[dict[str, Any]]", self.select("marts", "mart_variants_by_arm").to_pylist())
        return {
            (row["arm"], row["desideratum"], row["variant"]): {name: row[name] for name in DESCRIBED} for row in rows
        }

    def checks(self) -> Iterator[dict[str, Any]]:
        """What could not be used, as rows of the scorecard: a count without an interval, since it is no estimate."""
        arms = self.arms()
        for name in _stems("checks"):
            for row in self.select("checks", name).to_pylist():
                yield {**arms[row["arm"]], "domain": "all", "desideratum": "checks", "variant": row["variant"],
                       "ideal": 0.0, "value": float(row["amount"]), "n": int(row["amount"]),
                       "note": row["note"]}  # fmt: skip

    def clear(self) -> None:
        """Takes out of the connection what was put there."""
        for name in self.registered:
            self.connection.unregister(name)
        self.connection.execute(sql("staging", "drop"))
        if self._lacked_sets:
            self.connection.execute("drop view arms_of_sets")


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


def _user_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> pa.Table:
    """Runs a user's model and gives its rows the columns of ours."""
    needed = "a select with the columns run, probe and value (and perhaps variant, weight, null_value, ideal, summary)"
    try:
        relation = cast("Any", connection.sql(path.read_text(encoding="utf-8")))
        if relation is None:
            raise InputError(str(path), "a statement that gives no rows", needed)
        rows: pa.Table = relation.to_arrow_table()
    except (duckdb.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(str(path), str(error).splitlines()[0], needed) from error
    absent = {"run", "probe", "value"} - set(rows.column_names)
    if absent:
        raise InputError(str(path), f"no column {', '.join(sorted(absent))}", needed)
    kinds = {field.name: field.type for schema in (_VALUES, _VARIANTS) for field in schema}
    rows = rows.select([name for name in rows.column_names if name in kinds.keys() - {"desideratum", "query"}])
    for name, default in {"variant": path.stem, "summary": "mean"}.items():
        rows = rows if name in rows.column_names else _with(rows, name, default)
    for place, name in enumerate(rows.column_names):
        try:
            rows = rows.set_column(place, name, rows.column(name).cast(kinds[name]))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InputError(f"{path} column {name}", str(error), str(kinds[name])) from error
    for name, known in _CHOICES.items():
        found = set(rows.column(name).unique().to_pylist()) if name in rows.column_names else set[Any]()
        if unknown := found - {*known, *([None] if name in DESCRIBED else [])}:
            raise InputError(f"{path} column {name}", repr(unknown.pop()), f"{', '.join(known[:-1])} or {known[-1]}")
    keys = rows.group_by(["run", "probe", "variant"]).aggregate([([], "count_all")])
    if len(keys) < len(rows):
        raise InputError(
            str(path), "several rows for one run, probe and variant", "one row each: aggregate over queries"
        )
    variants = len(rows.group_by(["run", "variant"]).aggregate([]))
    for name in [name for name in DESCRIBED if name in rows.column_names]:
        if len(rows.group_by(["run", "variant", name]).aggregate([])) > variants:
            raise InputError(f"{path} column {name}", "several for one variant", "the same in all rows of a variant")
    return rows


def _with(rows: pa.Table, name: str, value: str) -> pa.Table:
    return rows.append_column(name, pa.array([value] * len(rows), pa.string()))


def _with_formula(rows: pa.Table) -> pa.Table:
    """The rows with a formula each: where their model names none, the variant is one."""
    if "formula" not in rows.column_names:
        return rows.append_column("formula", rows.column("variant"))
    named = cast("Any", pc).coalesce(rows.column("formula"), rows.column("variant"))
    return rows.set_column(rows.column_names.index("formula"), "formula", named)
