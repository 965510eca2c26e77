"""The influence matrices: values in the page's order as half floats, and the Vega specification that shows them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.report.query import Arm, Part, rows, shown, table

MOST = 1024  # rows or columns shown cell by cell; longer sides are shown as means of blocks
CELLS = 4_000_000  # of all arms of a part together
SAMPLED = 256  # side of the block of single cells that goes with such means
Floats = npt.NDArray[np.float32]


def axes(connection: duckdb.DuckDBPyConnection, part: Part) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The probes and the queries of a part's heat map, ordered by domain and cluster; registers them for the SQL."""
    lines, columns = (
        table(connection, "matrix_probes", base=part.base),
        table(connection, "matrix_queries", base=part.base),
    )
    connection.register("report_rows", lines)
    connection.register("report_columns", columns)
    return shown(lines), shown(columns)


def values(connection: duckdb.DuckDBPyConnection, arm: Arm, shape: tuple[int, int]) -> Floats:
    """Influence in nats, probes × queries, mean over seeds; nan where nothing was measured. Needs :func:`axes`."""
    return _laid_out(table(connection, "matrix_cells", arm=arm.code), shape)


def inferred(connection: duckdb.DuckDBPyConnection, arm: Arm, shape: tuple[int, int]) -> Floats | None:
    """The same with the cells that are inferred; None where there are none. Needs :func:`axes`."""
    cells = table(connection, "matrix_inferred", base=arm.base, estimator=arm.estimator, recipe=arm.recipe)
    return None if all(cells["measured"].to_pylist()) else _laid_out(cells, shape)


def _laid_out(cells: pa.Table, shape: tuple[int, int]) -> Floats:
    result = np.full(shape, np.nan, dtype=np.float32)
    index = [np.asarray(cells[name].to_numpy()) for name in ("row_index", "column_index")]
    result[index[0], index[1]] = cells["influence"].to_numpy()
    return result


def limit_of(matrix: Floats) -> float:
    """The end of the colour scale: 99% of the cells lie within ± it."""
    finite = np.abs(matrix[np.isfinite(matrix)])
    if not finite.size:
        return 1.0
    limit = float(np.quantile(finite, 0.99))
    return limit or float(finite.max()) or 1.0


def most_of(shape: tuple[int, int], arms: int) -> int:
    """Rows or columns that a picture may have, so that those of all arms keep within the page's share of bytes."""
    most = MOST
    while arms * min(shape[0], most) * min(shape[1], most) > CELLS and most > 64:
        most -= 32
    return most


def encode(matrix: Floats) -> str:
    """The values as little-endian half floats in base64; three digits, enough for a colour and a tooltip."""
    largest = float(np.finfo(np.float16).max)
    return base64.b64encode(np.clip(matrix, -largest, largest).astype("<f2").tobytes()).decode("ascii")


def blocks(matrix: Floats, most: int = MOST) -> tuple[Floats, int, int]:
    """Means over blocks, so that no side is longer than ``most``; with the block's rows and columns."""
    high, wide = (-(-n // most) for n in matrix.shape)
    if high == wide == 1:
        return matrix, 1, 1
    padded = np.pad(matrix, [(0, -matrix.shape[0] % high), (0, -matrix.shape[1] % wide)], constant_values=np.nan)
    tiles = padded.reshape(padded.shape[0] // high, high, padded.shape[1] // wide, wide)
    known = np.isfinite(tiles)
    counts = known.sum(axis=(1, 3))
    sums = np.where(known, tiles, 0).sum(axis=(1, 3), dtype=np.float64)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan).astype(np.float32), high, wide


def group_of(line: dict[str, Any]) -> str:
    """What a row or column of :func:`axes` is filed under along its side."""
    return "control" if line.get("kind") == "control" else line["domain"]


def groups(domains: Sequence[str]) -> list[tuple[int, int, str]]:
    """Runs of one domain along an axis: start, end and name, in cells."""
    found: list[tuple[int, int, str]] = []
    start = 0
    for index in range(1, len(domains) + 1):
        if index == len(domains) or domains[index] != domains[start]:
            found.append((start, index, domains[start]))
            start = index
    return found


def both_of(probe_samples: Sequence[str | None], queries: Sequence[str]) -> list[tuple[int, int]]:
    """The samples that are both probe and query: row and column of each, in the probes' order."""
    column = {query: index for index, query in enumerate(queries)}
    return [(row, column[sample]) for row, sample in enumerate(probe_samples) if sample in column]


def asymmetry(matrix: Floats, both: Sequence[tuple[int, int]]) -> Floats:
    """|I − Iᵀ| over the samples that are both probe and query."""
    square = matrix[np.ix_([row for row, _ in both], [column for _, column in both])]
    return np.abs(square - square.T)


def sampled(shape: tuple[int, int]) -> tuple[list[int], list[int]]:
    """A seeded choice of rows and columns, in order, for the block of single cells."""
    rng = np.random.default_rng(0)
    return _choice(rng, shape[0]), _choice(rng, shape[1])


def chosen(length: int) -> list[int]:
    """The places of an axis that asymmetry is shown for: all, or a seeded choice where they are more than ``MOST``."""
    return list(range(length)) if length <= MOST else _choice(np.random.default_rng(0), length)


def _choice(rng: np.random.Generator, length: int) -> list[int]:
    return sorted(int(place) for place in rng.choice(length, min(length, SAMPLED), replace=False))


def named_cells(connection: duckdb.DuckDBPyConnection) -> list[list[object]]:
    """The cells whose relation is named: [row, column, kind]. Needs :func:`axes`."""
    return [[row["row_index"], row["column_index"], row["kind"]] for row in rows(connection, "matrix_kinds")]
