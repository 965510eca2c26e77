"""What the page's script needs: samples, matrices and probes as plain data, safe inside a script element."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from einfluence.report import images, matrix
from einfluence.report.query import Part, Rows, rows, shown, table
from einfluence.report.words import level_name, noise_name

NAMED = 6  # queries named as most helped and as most hurt of each probe and arm
PROBES = 2000  # probes of a part that can be looked at one by one, ...
DETAILS = 6000  # ... where this many rows of their arms allow it
TEXT = 12_000  # characters of a sample that the page holds, ...
TEXTS = 4_000_000  # ... where this many for all samples allow it
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def script_json(value: object) -> str:
    """JSON that stays data inside ``<script>``: no ``<``, ``>``, ``&`` or line separator stands in it unescaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for letter, escaped in _UNSAFE.items():
        text = text.replace(letter, escaped)
    return text


class Samples:
    """The samples that the page names, each once, by their place in the order of first mention."""

    def __init__(self) -> None:
        self._index: dict[str, int] = {}

    def index(self, sample_id: str) -> int:
        """The sample's place."""
        return self._index.setdefault(sample_id, len(self._index))

    def table(self) -> pa.Table:
        """Places and ids, for the SQL."""
        return pa.table(
            {
                "sample_index": pa.array(range(len(self._index)), pa.int32()),
                "sample_id": pa.array(list(self._index), pa.string()),
            }
        )

    def rows(self, connection: duckdb.DuckDBPyConnection) -> Rows:
        """What the store says of them, in their order."""
        connection.register("report_samples", self.table())
        found = rows(connection, "samples")
        connection.unregister("report_samples")
        return found

    def payload(self, connection: duckdb.DuckDBPyConnection) -> dict[str, object]:
        """Texts and names, and one sprite for all images."""
        found = self.rows(connection)
        listed: list[dict[str, object]] = [{} for _ in self._index]
        total = sum(min(TEXT, len(row[key] or "")) for row in found for key in ("prompt", "target"))
        most = TEXT if total <= TEXTS else max(200, TEXTS // len(listed))
        tiles: list[Any] = []
        for row in found:
            item: dict[str, object] = {"n": row["name"], "d": row["domain"] or ""}
            if row["noise"]:
                level = level_name(row["noise"], row["level"])
                item["z"] = f"{noise_name(row['noise'])}, {level}" if level else noise_name(row["noise"])
            if row["modality"] == "image" and row["pixels"] and row["shape"]:
                item["i"], item["l"] = len(tiles), images.class_of(row)
                tiles.append(images.picture(row["pixels"], row["shape"]))
            else:
                item["p"], item["t"] = _cut(row["prompt"], most), _cut(row["target"], most)
            listed[row["sample_index"]] = item
        return {"samples": listed, "sprite": images.sprite(tiles)}


def pictures(connection: duckdb.DuckDBPyConnection, sample_ids: Iterable[str]) -> dict[str, str]:
    """Of samples that are images, their addresses as PNG."""
    named = Samples()
    for sample_id in sample_ids:
        named.index(sample_id)
    return {
        row["sample_id"]: images.data_uri(images.picture(row["pixels"], row["shape"]))
        for row in named.rows(connection)
        if row["modality"] == "image" and row["pixels"] and row["shape"]
    }


def _cut(text: str | None, most: int) -> str:
    text = text or ""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} more characters)"


def matrices(connection: duckdb.DuckDBPyConnection, part: Part, samples: Samples) -> dict[str, Any] | None:
    """The heat maps of a part: axes, one picture an arm, and asymmetry where samples are both probe and query."""
    lines, columns = matrix.axes(connection, part)
    if not lines or not columns:
        return None
    shape = (len(lines), len(columns))
    most = matrix.most_of(shape, len(part.arms))
    high, wide = (-(-length // most) for length in shape)
    whole = high == wide == 1
    few = None if whole else matrix.sampled(shape)
    both = matrix.both_of([line["sample_id"] for line in lines], [column["sample_id"] for column in columns])
    skew = [both[place] for place in matrix.chosen(len(both))] if len(both) >= 3 else []
    drawn: list[dict[str, object]] = []
    for label, values in _pictured(connection, part, shape):
        small, _, _ = matrix.blocks(values, most)
        entry: dict[str, object] = {"label": label, **_picture("data", small)}
        if skew:
            square = matrix.asymmetry(values, skew)
            entry |= _picture("skew", square) if not whole else {"skew_limit": round(matrix.limit_of(square), 4)}
        if few:
            entry |= _picture("part", values[few[0]][:, few[1]])
        drawn.append(entry)
    needed = [
        _needed(length, step, chosen) for length, step, chosen in zip(shape, (high, wide), few or ([], []), strict=True)
    ]
    needed[0] |= {row for row, _ in skew}
    return {
        "rows": [samples.index(line["sample_id"]) if place in needed[0] else None for place, line in enumerate(lines)],
        "ids": [line["probe_id"] if place in needed[0] else None for place, line in enumerate(lines)],
        "columns": [
            samples.index(item["sample_id"]) if place in needed[1] else None for place, item in enumerate(columns)
        ],
        "row_groups": matrix.groups([matrix.group_of(line) for line in lines]),
        "column_groups": matrix.groups([column["domain"] for column in columns]),
        "kinds": matrix.named_cells(connection) if whole else [],
        "block": [high, wide],
        "sampled": few,
        "both": skew,
        "of_both": len(both),
        "arms": drawn,
    }


def _pictured(
    connection: duckdb.DuckDBPyConnection, part: Part, shape: tuple[int, int]
) -> Iterator[tuple[str, matrix.Floats]]:
    """What each arm measured; behind them, of those that did not measure all, the same with what is inferred."""
    for arm in part.arms:
        yield arm.short, matrix.values(connection, arm, shape)
    for arm in part.arms:
        every = matrix.inferred(connection, arm, shape)
        if every is not None:
            yield f"{arm.short}, with cells that are inferred", every


def _picture(name: str, values: matrix.Floats) -> dict[str, object]:
    return {name: matrix.encode(values), f"{name}_limit": round(matrix.limit_of(values), 4)}


def _needed(length: int, step: int, chosen: Sequence[int]) -> set[int]:
    """The places along an axis that the page can name: where a block begins, and those chosen to be shown singly."""
    return {*range(0, length, step), *chosen}


def probes(connection: duckdb.DuckDBPyConnection, part: Part, place: int, samples: Samples) -> list[dict[str, object]]:
    """The probes of a part for the browser of single probes, with what each arm's training on them did."""
    chosen = table(connection, "probes", base=part.base, most=min(PROBES, DETAILS // len(part.arms)))
    listed = shown(chosen)
    connection.register("report_chosen", chosen)
    arms = {(arm.estimator, arm.recipe): arm.index for arm in part.arms}
    found: dict[str, dict[str, Any]] = {
        row["probe_id"]: {
            "id": row["probe_id"],
            "n": row["name"],
            "k": row["kind"],
            "b": place,
            "m": [samples.index(member) for member in row["members"]],
            "a": {},
        }
        for row in listed
    }
    for row in rows(connection, "probe_cells", base=part.base, most=NAMED):
        entry = found[row["probe_id"]]["a"].setdefault(arms[row["estimator"], row["recipe"]], {"c": []})
        flags = (1 if row["is_helped"] else 0) + (2 if row["is_hurt"] else 0)
        cell: list[object] = [
            samples.index(row["query_id"]),
            *_rounded((row["influence"], row["logprob_before"])),
            flags,
        ]
        entry["c"].append([*cell, row["kind"]] if row["kind"] else cell)
    for row in rows(connection, "probe_outcomes", base=part.base):
        entry = found[row["probe_id"]]["a"].setdefault(arms[row["estimator"], row["recipe"]], {"c": []})
        entry["s"] = _rounded(value for value in _thin(row["losses"] or []))
        entry["u"] = _rounded((row["grad_norm"], row["update_norm"]))
        if row["reason"]:
            entry["x"] = row["reason"]
    connection.unregister("report_chosen")
    return list(found.values())


def _thin(losses: Sequence[float], most: int = 50) -> Sequence[float]:
    return losses if len(losses) <= most else [losses[round(i * (len(losses) - 1) / (most - 1))] for i in range(most)]


def _rounded(values: Iterable[float | None]) -> list[float | None]:
    return [
        None if value is None or value != value or abs(value) == float("inf") else round(value, 3) for value in values
    ]
