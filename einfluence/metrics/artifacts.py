"""Does influence rest on an artefact: a feature of samples that goes with how much they matter (after Han et al. 2020)?

Features ship (`einfluence.feature`) or are the user's: a file, or a select over the store's views.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from einfluence.curate.records import check_ending
from einfluence.errors import InputError
from einfluence.feature import SHIPPED

LEAST = (
    10  # samples that a query needs with the feature: under that, a curve of three coefficients is of next to nothing
)
IDS = ("sample_id", "id")
NEEDED = "a select with the column sample_id and numbers as features"
NUMBERS = "a number, true or false, or nothing"
GIVEN = pa.schema([("sample_id", pa.string()), ("feature", pa.string()), ("value", pa.float64())])
ARTIFACTS = pa.schema(
    [
        ("run", pa.int64()),
        ("query", pa.int64()),
        ("feature", pa.string()),
        ("formula", pa.string()),
        ("value", pa.float64()),
    ]
)
PERMUTED = pa.schema(
    [("arm", pa.int64()), ("feature", pa.string()), ("formula", pa.string()), ("p_value", pa.float64())]
)
FORMULAS = ("quadratic", "linear")

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Select = Callable[..., pa.Table]
Register = Callable[[str, pa.Table], None]


def artifacts(
    connection: duckdb.DuckDBPyConnection,
    select: Select,
    register: Register,
    features: Sequence[str | Path],
    ranges: Iterable[tuple[int, int]],
    *,
    draws: int,
    seed: int,
) -> None:
    """Registers `mart_artifacts`, a row for each run, query, feature and formula, and `mart_permuted_features`.

    Args:
        connection: Has the staged cells.
        select: Runs a model in it, by folder, name and parameters.
        register: Makes rows known to later models under a name.
        features: Names of :data:`einfluence.feature.SHIPPED`, and the user's files.
        ranges: Queries from, and up to but without, that are looked at together.
        draws: Permutations.
        seed: Of the generator of permutations.

    Raises:
        InputError: When a file of features cannot be read.
    """
    found, weights = [ARTIFACTS.empty_table()], list[pa.Table]()
    if features:
        asked = [name for name in features if name in SHIPPED]
        register("asked_features", pa.table({"feature": pa.array(asked, pa.string())}))
        register("given_features", given(connection, [Path(name) for name in features if name not in SHIPPED]))
        select("marts", "mart_features")
        for low, high in ranges:
            select("marts", "mart_artifact_cells", low=low, high=high, least=LEAST)
            found.append(select("marts", "mart_artifacts").cast(ARTIFACTS))
            weights.append(select("marts", "mart_artifact_weights"))
    register("mart_artifacts", pa.concat_tables(found))
    rows = permuted(pa.concat_tables(weights), draws, seed) if weights else []
    register("mart_permuted_features", pa.Table.from_pylist(rows, schema=PERMUTED))


def permuted(weights: pa.Table, draws: int, seed: int) -> list[dict[str, Any]]:
    """The p of each coefficient, averaged over queries and seeds, when the feature is permuted among samples.

    Args:
        weights: Rows of (arm, feature, probe, cluster, value, quadratic, linear), in several parts perhaps: what a
            probe's feature weighs in the coefficients.
        draws: Permutations; the p is at least 1 / (draws + 1).
        seed: Of their generator.

    Returns:
        Rows of :data:`PERMUTED`.
    """
    keys = ["arm", "feature", "probe", "cluster", "value"]
    whole = weights.group_by(keys).aggregate([(formula, "sum") for formula in FORMULAS])
    rows: list[dict[str, Any]] = []
    groups = whole.group_by(["arm", "feature"]).aggregate([]).sort_by([("arm", "ascending"), ("feature", "ascending")])
    for group in groups.to_pylist():
        here = (pc.field("arm") == group["arm"]) & (pc.field("feature") == group["feature"])
        of = whole.filter(here).sort_by([("cluster", "ascending"), ("probe", "ascending")])
        value, cluster = of["value"].to_numpy(), of["cluster"].to_numpy().astype(np.int64)
        by_formula = np.stack([of[f"{formula}_sum"].to_numpy() for formula in FORMULAS])
        measured = np.abs(by_formula @ value)
        rng = np.random.default_rng(seed)
        reached = np.ones(len(FORMULAS))
        for _ in range(draws):
            reached += np.abs(by_formula @ value[permutation(cluster, rng)]) >= measured * (1 - 1e-12)
        rows += [{**group, "formula": formula, "p_value": float(p)}
                 for formula, p in zip(FORMULAS, reached / (draws + 1), strict=True)]  # fmt: skip
    return rows


def permutation(cluster: Ints, rng: np.random.Generator) -> Ints:
    """A permutation that moves whole clusters to the places of others of their size, since their samples are alike.

    Args:
        cluster: The cluster of each sample, sorted.
        rng: The generator.
    """
    _, starts, sizes = np.unique(cluster, return_index=True, return_counts=True)
    places = np.empty(len(cluster), np.int64)
    for size in np.unique(sizes):
        own = starts[sizes == size]
        places[own[:, None] + np.arange(size)] = rng.permutation(own)[:, None] + np.arange(size)
    return places


def check_features(connection: duckdb.DuckDBPyConnection, features: Sequence[str | Path]) -> None:
    """Refuses the user's features that cannot be used, before there are cells.

    Rows of a select may follow from cells: of one it is checked that it can be run and names samples.

    Args:
        connection: Has the store's views.
        features: As for :func:`artifacts`.

    Raises:
        InputError: As :func:`given`.
    """
    files = [path for path in features if isinstance(path, Path)]
    given(connection, [path for path in files if path.suffix != ".sql"])
    for path in files:
        if path.suffix == ".sql" and not set(IDS) & set(_relation(connection, path).columns):
            raise InputError(str(path), f"no column {' or '.join(IDS)}", "which sample it is, and numbers as features")


def given(connection: duckdb.DuckDBPyConnection, paths: Sequence[Path]) -> pa.Table:
    """The user's features: rows of (sample_id, feature, value).

    Raises:
        InputError: With the file, and where it has them the line and column, of the first fault.
    """
    ids = dict(connection.sql("select sample_id, any_value(name) from samples group by sample_id").fetchall())
    named: dict[str, list[str]] = {}
    for sample_id, name in ids.items():
        named.setdefault(name, []).append(sample_id)
    by_id = {"sample_id": {sample_id: [sample_id] for sample_id in ids}, "id": named}
    rows: list[tuple[str, str, float]] = []
    first: dict[str, Path] = {}
    for path in paths:
        found = list(_of_file(path, _selected(connection, path) if path.suffix == ".sql" else _read(path), by_id))
        for name in dict.fromkeys(feature for _, feature, _ in found):
            if name in SHIPPED or name in first:
                owner = f"one of {first[name]}" if name in first else "one that ships"
                raise InputError(f"{path} column {name}", f"the name of {owner}", "another name")
            first[name] = path
        rows += found
    columns = zip(*rows, strict=True) if rows else ([], [], [])
    return pa.table([pa.array(list(column)) for column in columns], schema=GIVEN)


def _of_file(
    path: Path, rows: Iterable[tuple[str, dict[str, Any]]], by_id: dict[str, dict[str, list[str]]]
) -> Iterable[tuple[str, str, float]]:
    places: dict[str, str] = {}
    key, rest = "", 0
    for where, fields in rows:
        key = next((name for name in IDS if name in fields), "")
        if not key:
            raise InputError(where, f"no column {' or '.join(IDS)}", "which sample it is, and numbers as features")
        name = str(fields.pop(key))
        samples = by_id[key].get(name, [])
        if len(samples) > 1:
            raise InputError(f"{where} {key}", f"{name!r}, which {len(samples)} samples are called", "a sample_id")
        if name in places:
            raise InputError(f"{where} {key}", f"{name!r} again (first at {places[name]})", "one row a sample")
        places[name] = where
        rest += not samples
        for sample_id in samples:
            for feature, value in fields.items():
                yield sample_id, feature, _number(f"{where} {feature}", value)
    if not places or rest == len(places):
        found = f"no {key} of the store" if places else "no rows"
        raise InputError(str(path), found, "samples that were measured, by sample_id or by their id in `samples`")


def _number(where: str, value: object) -> float:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.lower(), value)
    try:
        number = float(cast("Any", value))
    except (TypeError, ValueError) as error:
        raise InputError(where, f"{value!r:.60}", NUMBERS) from error
    if not math.isfinite(number):
        raise InputError(where, f"{number}", NUMBERS)
    return number


def _read(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    for where, fields in check_ending(path)(path):
        yield where, {name: value for name, value in fields.items() if value is not None}


def _selected(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    """The rows of a select, a row a sample."""
    relation = _relation(connection, path)
    try:
        rows = relation.to_arrow_table().to_pylist()
    except duckdb.Error as error:
        raise InputError(str(path), str(error).splitlines()[0], NEEDED) from error
    for number, fields in enumerate(rows, start=1):
        yield f"{path} row {number}", {name: value for name, value in fields.items() if value is not None}


def _relation(connection: duckdb.DuckDBPyConnection, path: Path) -> Any:
    """A select, which is not run yet."""
    try:
        relation = cast("Any", connection.sql(path.read_text(encoding="utf-8")))
    except (duckdb.Error, UnicodeDecodeError, OSError) as error:
        raise InputError(str(path), str(error).splitlines()[0], NEEDED) from error
    if relation is None:
        raise InputError(str(path), "a statement that gives no rows", NEEDED)
    return relation
