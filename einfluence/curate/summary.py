"""What a curation made, for people: counts by domain and kind, what the gates found, ten examples."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from einfluence.curate.builder import KINDS
from einfluence.keys import content_hash
from einfluence.samples import Curated


def counts(curated: Curated) -> pa.Table:
    """Pairs by domain of the probe and kind of relation: (domain, kind, pairs, probes), kind null for no claim."""
    domains = _domain_of_probe(curated)
    probes = curated.relations["probe_id"].to_numpy(zero_copy_only=False)
    kinds = curated.relations["kind"].to_numpy(zero_copy_only=False)
    names, rows = np.unique(probes, return_inverse=True)
    order = (*KINDS, None)
    lookup = {kind: index for index, kind in enumerate(order)}
    code = np.fromiter((lookup[kind] for kind in kinds), np.int64, len(kinds))
    pairs, number = np.unique(rows * len(order) + code, return_counts=True)
    found: Counter[tuple[str, int]] = Counter()
    having: Counter[tuple[str, int]] = Counter()
    for pair, count in zip(pairs, number, strict=True):
        key = (domains[str(names[pair // len(order)])], int(pair % len(order)))
        found[key] += int(count)
        having[key] += 1
    listed = sorted(found)
    return pa.table(
        {
            "domain": pa.array([domain for domain, _ in listed], pa.string()),
            "kind": pa.array([order[kind] for _, kind in listed], pa.string()),
            "pairs": pa.array([found[key] for key in listed], pa.int64()),
            "probes": pa.array([having[key] for key in listed], pa.int64()),
        }
    )


def summary(curated: Curated, examples: int = 10) -> Group:
    """A rich renderable: what was made, counts by domain and kind, the gates, and examples.

    Args:
        curated: From :func:`einfluence.curate.curate`.
        examples: How many pairs to show; the same ones every time.
    """
    return Group(_made(curated), _counted(curated), _gates(curated), _examples(curated, examples))


def _made(curated: Curated) -> str:
    kinds = Counter(curated.probes["kind"].to_pylist())
    shown = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common())
    queries = len(curated.relations["query_id"].unique())
    return (
        f"{curated.samples.num_rows:,} samples, {curated.probes.num_rows:,} probes ({shown}), "
        f"{queries:,} queries, {curated.relations.num_rows:,} pairs"
    )


def _counted(curated: Curated) -> Table:
    table = counts(curated)
    rows = {(row["domain"], row["kind"]): row for row in table.to_pylist()}
    kinds = [kind for kind in (*KINDS, None) if any(key[1] == kind for key in rows)]
    shown = Table("domain", title="pairs by domain and kind")
    for kind in kinds:
        shown.add_column((kind or "(none)").replace("_", " "), justify="right")
    domains = sorted({domain for domain, _ in rows})
    for domain in domains[:40]:
        cells = [rows.get((domain, kind)) for kind in kinds]
        shown.add_row(escape(domain) or "-", *(f"{cell['pairs']:,}" if cell else "" for cell in cells))
    if len(domains) > 40:
        shown.add_row(f"({len(domains) - 40} more)")
    totals = [sum(row["pairs"] for key, row in rows.items() if key[1] == kind) for kind in kinds]
    shown.add_section()
    shown.add_row("all", *(f"{total:,}" for total in totals))
    return shown


def _gates(curated: Curated) -> Table:
    shown = Table("gate", "count", "example", title="quality gates")
    shown.columns[1].justify = "right"
    for row in curated.report.to_pylist():
        shown.add_row(row["gate"], f"{row['count']:,}", escape(row["example"] or ""))
    return shown


def _examples(curated: Curated, number: int) -> Table:
    """Claimed pairs, one of each kind in turn, drawn by the hash of their ids."""
    counted = _counts(curated)
    table = curated.relations.filter(curated.relations["kind"].is_valid())
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for kind in [kind for kind in KINDS if kind in set(table["kind"].unique().to_pylist())]:
        part: list[dict[str, Any]] = table.filter(pc.field("kind") == kind).slice(0, 5000).to_pylist()
        ranked = sorted(range(len(part)), key=lambda at: content_hash((part[at]["probe_id"], part[at]["query_id"])))
        by_kind[kind] = [part[at] for at in ranked[:number]]
    shown = Table("probe", "kind", "query", "distance", title="examples")
    turns = [rows[turn] for turn in range(number) for rows in by_kind.values() if turn < len(rows)]
    for row in turns[:number]:
        kind = row["kind"] + (f" {row['level']:g}" if row["level"] is not None else "")
        distance = "" if row["distance"] is None else f"{row['distance']:.2f}"
        shown.add_row(escape(counted(row["probe_id"])), kind, escape(counted(row["query_id"])), distance)
    return shown


def _counts(curated: Curated) -> Any:
    members: dict[str, list[str]] = {}
    for row in curated.probe_members.to_pylist():
        members.setdefault(row["probe_id"], []).append(row["sample_id"])
    rows = curated.samples.select(["sample_id", "name", "prompt", "target", "label", "label_name"]).to_pylist()
    text = {
        row["sample_id"]: f"{row['prompt']} [{row['target']}]"
        if row["target"]
        else f"{row['name']} = {row['label_name'] or row['label']}"
        for row in rows
    }

    def counted(key: str) -> str:
        shown = " + ".join(text[member] for member in members.get(key, [key]))
        return shown if len(shown) <= 120 else f"{shown[:117]}..."

    return counted


def _domain_of_probe(curated: Curated) -> dict[str, str]:
    domain = dict(zip(curated.samples["sample_id"].to_pylist(), curated.samples["domain"].to_pylist(), strict=True))
    found: dict[str, str] = {}
    for probe, sample in zip(
        curated.probe_members["probe_id"].to_pylist(), curated.probe_members["sample_id"].to_pylist(), strict=True
    ):
        found.setdefault(probe, domain[sample] or "")
    return found
