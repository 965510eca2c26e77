from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from einfluence.store.schema import TABLES

Connection = duckdb.DuckDBPyConnection
Cells = Mapping[tuple[str, str], float]
MakeStore = Callable[..., Connection]
PerProbe = Callable[..., dict[str, float | None]]


UNMEASURED = dict.fromkeys(("logprob_before", "logprob_after", "n_tokens", "rank_before", "rank_after"))


def make_store(
    cells: Cells | Mapping[str, Cells],
    *,
    kinds: Mapping[tuple[str, str], str | None] | None = None,
    distances: Mapping[tuple[str, str], float] | None = None,
    levels: Mapping[tuple[str, str], float] | None = None,
    bundles: Mapping[str, Sequence[str]] | None = None,
    samples: Mapping[str, Mapping[str, Any]] | None = None,
    probe_kinds: Mapping[str, str] | None = None,
    modality: str = "text",
    seeds: Sequence[int] = (0,),
    extra_rows: Sequence[Mapping[str, Any]] = (),
    restored: Mapping[tuple[str, str, str], float] | None = None,
    updates: Mapping[tuple[str, int | None], float] | None = None,
    stands_for: Mapping[str, str] | None = None,
    unitless: Sequence[str] = (),
) -> Connection:
    """A store in memory from influence by (probe, query); a probe has the name of its sample.

    ``cells`` is one arm's, or arms' by name: ``finetune`` or ``in_context``, perhaps with a recipe: ``finetune sgd``.
    ``restored`` is the influence left of (probe, query, place) of the arm ``finetune``, ``updates`` the norm of the
    change at (probe, layer). Arms in ``stands_for`` are estimates of the arm named there, of which no
    log-probability was measured; those in ``unitless`` have scores that only rank.
    """
    arms: Mapping[str, Cells]
    arms = cells if all(isinstance(key, str) for key in cells) else {"finetune": cells}  # type: ignore[assignment]
    pairs = list(dict.fromkeys(pair for each in arms.values() for pair in each))
    bundles, described, probe_kinds = bundles or {}, samples or {}, probe_kinds or {}
    probes = list(dict.fromkeys(probe for probe, _ in pairs))
    members = {probe: list(bundles.get(probe, [probe])) for probe in probes}
    names = dict.fromkeys(
        [*(s for probe in probes for s in members[probe]), *(query for _, query in pairs), *described]
    )
    kind_of = {probe: probe_kinds.get(probe, "bundle" if probe in bundles else "sample") for probe in probes}
    given, estimates = kinds or {}, stands_for or {}
    tables: dict[str, list[dict[str, Any]]] = {
        "samples": [
            {"sample_id": name, "name": name, "modality": modality, "cluster": name, **described.get(name, {})}
            for name in names
        ],
        "probes": [{"probe_id": f"p:{probe}", "name": probe, "kind": kind_of[probe]} for probe in probes],
        "probe_members": [
            {"probe_id": f"p:{probe}", "position": i, "sample_id": sample}
            for probe in probes
            for i, sample in enumerate(members[probe])
        ],
        "relations": [
            {
                "probe_id": f"p:{probe}",
                "query_id": query,
                "kind": given.get((probe, query), "self" if probe == query else None),
                "level": (levels or {}).get((probe, query)),
                "distance": (distances or {}).get((probe, query)),
            }
            for probe, query in pairs
        ],
        "bases": [{"base": "b", "label": "b", "modality": modality, "json": "{}"}],
        "recipes": [
            {
                "recipe": arm,
                "estimator": arm.split()[0],
                "label": arm,
                "json": "{}",
                "stands_for": estimates.get(arm),
                "unit": "none" if arm in unitless else None,
            }
            for arm in arms
        ],
        "influence": [
            {**cell_row(probe, query, value, arm), **(UNMEASURED if arm in estimates else {}), "seed": seed}
            for arm, each in arms.items()
            for seed in (seeds if arm.startswith("finetune") else (0,))
            for (probe, query), value in each.items()
        ],
    }
    tables["influence"] += [dict(row) for row in extra_rows]
    met = Counter(probe for probe, _ in pairs)
    tables["wanted"] = [{"probe_id": f"p:{probe}", "queries": queries} for probe, queries in met.items()]
    arm = {"base": "b", "estimator": "finetune", "recipe": "finetune", "seed": 0}
    tables["restorations"] = [
        {**arm, "probe_id": f"p:{probe}", "query_id": query, "place": place, "logprob_before": -5.0,
         "logprob_after": -5.0 + arms["finetune"][probe, query], "logprob_restored": -5.0 + left}
        for (probe, query, place), left in (restored or {}).items()
    ]  # fmt: skip
    tables["layer_updates"] = [
        {**arm, "probe_id": f"p:{probe}", "parameter": f"h.{layer}.w", "layer": layer, "update_norm": norm}
        for (probe, layer), norm in (updates or {}).items()
    ]
    connection = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
    for name, schema in TABLES.items():
        rows = pa.Table.from_pylist(tables.get(name, []), schema=schema)
        connection.from_arrow(rows).create(name)
    return connection


def cell_row(probe: str, query: str, value: float, arm: str = "finetune") -> dict[str, Any]:
    return {"base": "b", "estimator": arm.split()[0], "recipe": arm, "probe_id": f"p:{probe}", "query_id": query,
            "seed": 0, "logprob_before": 0.0, "logprob_after": value, "n_tokens": 1, "influence": value}  # fmt: skip


@pytest.fixture
def store() -> MakeStore:
    return make_store


def content(connection: Connection) -> tuple[object, ...]:
    """All rows of all tables, as one number each."""
    names = connection.sql("select table_name from duckdb_tables() where not temporary order by 1").fetchall()
    sums = ", ".join(f'(select sum(hash(rows)) from "{name}" as rows) as "{name}"' for (name,) in names)
    return connection.sql(f"select {sums}").fetchall()[0]


@pytest.fixture
def values() -> PerProbe:
    """Per-probe values of one desideratum's variant, by probe, and the null's under ``null:`` and the probe.

    A store is scored once for all that is asked of the same rows.
    """
    from einfluence.metrics import per_probe

    scored: dict[tuple[object, ...], list[dict[str, Any]]] = {}

    def find(connection: Connection, desideratum: str, variant: str, arm: str = "finetune") -> dict[str, float | None]:
        key = content(connection)
        if key not in scored:
            scored[key] = per_probe(connection).to_pylist()
        found: dict[str, float | None] = {}
        for row in scored[key]:
            if (row["desideratum"], row["variant"], row["recipe"]) == (desideratum, variant, arm):
                found[row["probe"]] = row["value"]
                found[f"null:{row['probe']}"] = row["null_value"]
        return found

    return find
