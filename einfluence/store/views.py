"""DuckDB over a store: one view a table, made anew for each process."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa

from einfluence.errors import InputError
from einfluence.store.curations import Curations
from einfluence.store.database import database
from einfluence.store.parts import Parts
from einfluence.store.schema import DEFINED, PARTED, SCORED, TABLES, TRAINING
from einfluence.store.scores import Scores
from einfluence.store.states import States

KEYS = {
    "samples": ["sample_id"],
    "probes": ["probe_id"],
    "probe_members": ["probe_id", "position"],
    "relations": ["probe_id", "query_id"],
    "distances": ["probe_id", "query_id", "measure"],
    "bases": ["base"],
    "recipes": ["recipe"],
    "training_sets": ["training_set"],
    "training_set_members": ["training_set", "position"],
    "training_weights": ["training", "position"],
    "saliency": ["base", "recipe", "seed", "training_set", "query_id", "position", "engine_version"],
    "actions": ["action", "method", "training", "share", "draw", "query_id", "chosen_by"],
}  # of tables that several files may have the same row of
DERIVED = (
    "single_probes", "arms_of_sets", "trained_on",  # for those behind them
    "subset_trainings", "memorisation", "salient_words", "unlearning", "base_changes",
)  # fmt: skip
"""Views that follow from other tables of :data:`einfluence.store.schema.TABLES` alone."""
OF_SCORES = ("verdict_sensitivity",)
"""Views that follow from the scored tables."""

_PLACED = pa.schema(
    {
        "curation": pa.string(),
        "probe_id": pa.string(),
        "query_id": pa.string(),
        "claimed": pa.bool_(),
        "place": pa.int64(),
    }
)  # the columns that are read of ``placed_relations.sql``


def connect(
    root: Path, parts: Parts, curations: Curations, scores: Scores, states: States, *, sealed: bool = False
) -> duckdb.DuckDBPyConnection:
    """Opens an in-memory database with the views of :data:`einfluence.store.schema.TABLES` over a store.

    Args:
        root: The store's folder.
        parts: Its parts.
        curations: Its curations.
        scores: Its scored tables.
        states: What estimators were fitted to.
        sealed: Only the store's own files can be reached and no setting can be changed; for SQL written by others.
    """
    pairs = [path / "relations.parquet" for path in curations.current()]
    connection = database([*parts.paths("influence"), *pairs])
    if sealed:
        connection.execute("set allowed_directories = $1", [[str(root)]])
        connection.execute("set enable_external_access = false")
    create(connection, "is_example")
    _create_views(connection, root, parts, curations)
    connection.from_arrow(states.table()).create_view("states", replace=True)
    scored = scores.paths()
    for name in SCORED:
        _flat(connection, name, [str(scored[name])] if name in scored else [], TABLES[name])
    for name in OF_SCORES:
        create(connection, name)
    if sealed:
        connection.execute("set lock_configuration = true")
    return connection


def _create_views(connection: duckdb.DuckDBPyConnection, root: Path, parts: Parts, curations: Curations) -> None:
    current = curations.current()
    every = [*current, *(path for path in curations.all() if path not in current)]
    for name in PARTED:
        if name == "outcomes":
            _flat(connection, "outcomes_written", parts.paths(name), TABLES[name])
        else:
            _flat(connection, name, parts.paths(name, but=TRAINING), TABLES[name])
    precedence = {
        "probes": f"turn >= {len(current)}, not is_example(kind), turn",  # one part's noise may be another's sample
        "relations": "kind is null, turn",
    }
    for name in ("samples", "probes", "probe_members", "relations", "distances"):
        folders = current if name in ("relations", "distances") else every
        files = [path / f"{name}.parquet" for path in folders]
        _first_of(connection, name, files, TABLES[name], KEYS[name], precedence.get(name, "turn"))
    _create_wanted(connection, current, curations.arms())
    for name in ("bases", "recipes"):
        files = sorted((root / name).glob("*.parquet"))
        twice = len({path.name.split(".")[0] for path in files}) < len(files)  # a row a file, named by its id
        _first_of(connection, name, files, TABLES[name], KEYS[name] if twice else [])
    for name, schema in DEFINED.items():
        files = sorted((root / name).glob("*.parquet"))
        if name == "trainings":
            _flat(connection, "trainings_written", [str(path) for path in files], schema)
        else:
            _first_of(connection, name, files, schema, KEYS[name])
    _flat(connection, "training_influence", parts.paths("influence", only=TRAINING), TABLES["influence"])
    for name in ("outcomes_once", "outcomes", "trainings_defined", "trainings", "training_scores", *DERIVED):
        create(connection, name)


def _create_wanted(
    connection: duckdb.DuckDBPyConnection,
    current: list[Path],
    arms: list[tuple[str, str | None, str | None, int | None, str | None]],
) -> None:
    """How many queries each arm wants of each probe: what is current, with the arms that its studies have."""
    _of_curations(connection, "relations", current, ["probe_id", "query_id", "kind", "level", "distance"])
    _of_curations(connection, "probes", current, ["probe_id", "kind"])
    columns = {"curation": pa.string(), "base": pa.string(), "recipe": pa.string(), "groups": pa.int32()}
    columns["control"] = pa.string()
    rows = {name: pa.array([arm[i] for arm in arms], kind) for i, (name, kind) in enumerate(columns.items())}
    turns = {path.name: turn for turn, path in enumerate(current)}
    rows["turn"] = pa.array([turns.get(arm[0]) for arm in arms], pa.int32())
    connection.from_arrow(pa.table(rows)).create("study_arms")
    sampled = any(groups is not None for *_, groups, _ in arms)
    if sampled:
        create(connection, "sample_places")
        create(connection, "placed_relations")
    else:  # nothing to read millions of pairs for
        connection.from_arrow(_PLACED.empty_table()).create_view("placed_relations")
    create(connection, "wanted")
    for name in ("arm_relations", "arm_probes"):
        create(connection, name)
    for name in ("sampled", "influence_inferred"):
        if sampled:
            create(connection, name)
        else:
            connection.from_arrow(TABLES[name].empty_table()).create_view(name)


def _of_curations(connection: duckdb.DuckDBPyConnection, name: str, current: list[Path], columns: list[str]) -> None:
    """The view ``curated_<name>``: some columns of a table, beside the curation that each row is of."""
    files = [str(path / f"{name}.parquet") for path in current if (path / f"{name}.parquet").is_file()]
    listed = ", ".join(columns)
    if files:
        place = "split_part(replace(filename, '\\', '/'), '/', -2) as curation"
        rows = connection.read_parquet(files, filename=True, union_by_name=True).project(f"{place}, {listed}")
    else:
        rows = connection.from_arrow(TABLES[name].empty_table()).project(f"'' as curation, {listed}")
    rows.create_view(f"curated_{name}", replace=True)


def create(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """The view or macro of the SQL file of its name."""
    connection.execute((Path(__file__).parent / f"{name}.sql").read_text(encoding="utf-8"))


def read_only(connection: duckdb.DuckDBPyConnection, query: str) -> pa.Table:
    """Runs one query that cannot change anything, and returns all of its rows.

    Raises:
        InputError: When it is not one statement that only reads, or DuckDB cannot run it.
    """
    try:
        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type not in (
            duckdb.StatementType.SELECT,
            duckdb.StatementType.EXPLAIN,
        ):
            found = (
                f"{len(statements)} statements" if len(statements) != 1 else f"a {statements[0].type.name} statement"
            )
            raise InputError("sql", found, "one statement that reads (select, from, with, describe)")
        return connection.sql(query).to_arrow_table()
    except duckdb.Error as error:
        raise InputError("sql", str(error).strip(), "SQL that DuckDB can run over the store's views") from error


def _flat(connection: duckdb.DuckDBPyConnection, view: str, paths: list[str], schema: pa.Schema) -> None:
    if paths:
        files = connection.read_parquet(paths, hive_partitioning=False, union_by_name=True)
    else:
        files = connection.from_arrow(schema.empty_table())
    if files.columns != schema.names:  # every step of a relation is bound anew, which takes longer than to read
        files = files.project(", ".join(_columns(connection, files, schema)))
    files.create_view(view, replace=True)


def _columns(connection: duckdb.DuckDBPyConnection, files: duckdb.DuckDBPyRelation, schema: pa.Schema) -> list[str]:
    """The schema's columns; one that was added to the schema after the files were written is null."""
    empty = connection.from_arrow(schema.empty_table())
    kinds = dict(zip(empty.columns, empty.types, strict=True))
    return [f'"{name}"' if name in files.columns else f'null::{kinds[name]} as "{name}"' for name in schema.names]


def _first_of(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    paths: list[Path],
    schema: pa.Schema,
    key: list[str],
    precedence: str = "turn",
) -> None:
    """The rows of several files; of those of one key the first by ``precedence``, where a file's ``turn`` counts."""
    names = [str(path) for path in paths if path.is_file()]
    if len(names) < 2 or not key:
        return _flat(connection, name, names, schema)
    order = connection.from_arrow(pa.table({"filename": names, "turn": range(len(names))}))
    files = connection.read_parquet(names, union_by_name=True, filename=True)
    columns, rows = ", ".join(_columns(connection, files, schema)), files.join(order, "filename")
    first = rows.project(f"{columns}, row_number() over (partition by {', '.join(key)} order by {precedence}) as place")
    own = ", ".join(f'"{column}"' for column in schema.names)
    first.filter("place = 1").project(own).create_view(name, replace=True)
