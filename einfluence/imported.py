"""Scores of other tools as cells of the same tables, so that the same SQL holds them against what was measured."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from einfluence.arms import estimators
from einfluence.errors import InputError, first_line
from einfluence.keys import content_hash
from einfluence.store.parts import columns_of
from einfluence.store.schema import TRAINING
from einfluence.store.store import ArmKey, Store

COLUMNS = {"probe": ("train_id", "probe", "probe_id"), "query": ("query_id", "query"), "score": ("score", "influence")}
"""What the columns of a file of scores may be called."""
UNITLESS = "none"
NAMES, INTERVENTIONS = (
    (Path(__file__).parent / f"imported_{name}.sql").read_text(encoding="utf-8") for name in ("names", "interventions")
)


@dataclass(frozen=True)
class Imported:
    """What was imported: as which recipe, how many scores of how many probes and queries, how many of them new."""

    recipe: str
    stands_for: str
    scores: int
    probes: int
    queries: int
    added: int


def import_scores(
    store: Store, file: Path, *, estimator: str, stands_for: str, base: str | None = None, nats: bool = False
) -> Imported:
    """Writes a file of scores into a store, as cells of an estimator that predicts an intervention.

    The recipe of the cells is named by the scores themselves: the same ones again, in another order or format, add
    nothing, and others are another recipe of the estimator.

    Args:
        store: The store.
        file: Parquet or CSV, a row for each pair of probe and query, with columns of :data:`COLUMNS`. Probes and
            queries are named by name or id; higher scores mean that the probe helps the query more.
        estimator: What to call the tool.
        stands_for: The intervention: its estimator's name, its recipe's label, or the beginning of its recipe's id.
        base: Its base, by label or the beginning of its id, where the store has that intervention of several.
        nats: Whether scores are changes of a log-prob in nats; else they are only ranked.

    Raises:
        InputError: When the file cannot be read, names what was not measured, or says something twice, or the
            intervention is not one that the store has.
    """
    if not re.fullmatch(r"[A-Za-z_]\w*", estimator) or estimator == TRAINING or estimator in estimators():
        known = ", ".join(estimators())
        raise InputError("--estimator", repr(estimator), f"a name of letters, digits and _ that is none of {known}")
    with store.connect() as connection:
        found = connection.sql(INTERVENTIONS).to_arrow_table().to_pylist()
        chosen = _intervention(found, stands_for, base)
        given = {"base": chosen["base"], "recipe": chosen["recipe"]}
        names = connection.sql(NAMES, params=given).to_arrow_table().to_pylist()
    table = _cells(file, names)
    size = {name: len(table[name].unique()) for name in ("probe_id", "query_id")}
    recipe = content_hash(("imported", estimator, chosen["recipe"], nats, _digest(table)))
    label = f"{file.stem}, {size['probe_id']} × {size['query_id']}{', nats' if nats else ''}"
    about = {"imported": {"scores": table.num_rows, "unit": "nats" if nats else UNITLESS}}
    row = {"recipe": recipe, "estimator": estimator, "label": label, "json": json.dumps(about, sort_keys=True),
           "stands_for": chosen["recipe"], "unit": None if nats else UNITLESS}  # fmt: skip
    store.open_for_writing()
    store.add_rows("recipes", [row])
    added = store.add_part(ArmKey(chosen["base"], estimator, recipe, 0, "1"), {"influence": table})
    return Imported(recipe, chosen["recipe"], table.num_rows, size["probe_id"], size["query_id"], added)


def _intervention(found: Sequence[Mapping[str, str]], stands_for: str, base: str | None) -> Mapping[str, str]:
    """The one intervention that is meant."""

    def named(row: Mapping[str, str]) -> bool:
        return stands_for in (row["estimator"], row["label"]) or row["recipe"].startswith(stands_for)

    def on(row: Mapping[str, str]) -> bool:
        return base is None or base == row["base_label"] or row["base"].startswith(base)

    wanted = [row for row in found if named(row) and on(row)]
    if len(wanted) != 1:
        several = [row for row in found if named(row)] or found
        listed = "; ".join(
            f"{row['recipe'][:8]} ({row['estimator']}, {row['label']}) on {row['base_label']}" for row in several
        )
        what = f"{stands_for!r}{'' if base is None else f' on {base!r}'}, which names {len(wanted)} interventions"
        raise InputError("--stands-for", what, f"one of: {listed or 'none, since nothing is measured'}",
                         "name one by the beginning of its recipe's id, and its base by --base")  # fmt: skip
    return wanted[0]


def _cells(file: Path, names: Sequence[Mapping[str, str]]) -> pa.Table:
    """The scores of a file as rows of ``influence`` without the arm's columns, in order of their ids."""
    read = _columns(file)
    ids: dict[str, list[str]] = {}
    for side in ("probe", "query"):
        known = {(row["name"], row["id"]) for row in names if row["side"] == side}
        ids[side] = _ids(file, side, read[side].to_pylist(), known)
    score = read["score"].to_numpy()
    if not np.isfinite(score).all():
        raise InputError(str(file), f"{int((~np.isfinite(score)).sum()):,} scores that are not finite", "numbers",
                         "leave out the pairs that have none")  # fmt: skip
    pairs = list(zip(ids["probe"], ids["query"], strict=True))
    twice, times = Counter(pairs).most_common(1)[0] if pairs else (("", ""), 1)
    if times > 1:
        raise InputError(str(file), f"{times} scores of probe {twice[0]} on query {twice[1]}", "one score a pair")
    order = sorted(range(len(pairs)), key=pairs.__getitem__)
    there = {
        "probe_id": [pairs[i][0] for i in order],
        "query_id": [pairs[i][1] for i in order],
        "influence": score[order],
    }
    schema = columns_of("influence")
    columns = [pa.array(there[f.name], f.type) if f.name in there else pa.nulls(len(pairs), f.type) for f in schema]
    return pa.table(columns, schema=schema)


def _columns(file: Path) -> dict[str, Any]:
    """The three columns of a file of scores."""
    read = {".parquet": pyarrow.parquet.read_table, ".csv": pyarrow.csv.read_csv}.get(file.suffix.lower())
    if read is None:
        raise InputError(str(file), f"a name that ends in {file.suffix!r}", ".parquet or .csv")
    if not file.is_file():
        raise InputError(str(file), "no file", "a file of scores")
    try:
        table = read(file)
        found: dict[str, Any] = {}
        for what, called in COLUMNS.items():
            name = next((name for name in called if name in table.column_names), None)
            if name is None:
                have = ", ".join(table.column_names)
                raise InputError(str(file), f"the columns {have}", f"one of {', '.join(called)} for the {what}")
            found[what] = table[name].cast(pa.float64() if what == "score" else pa.string()).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise InputError(str(file), first_line(error), "Parquet or CSV with ids and numbers") from error
    if lacking := [what for what, column in found.items() if column.null_count]:
        raise InputError(str(file), f"rows without a {lacking[0]}", "a probe, a query and a score in each")
    if not len(found["score"]):
        raise InputError(str(file), "no rows", "a score for each pair of probe and query")
    return found


def _ids(file: Path, side: str, given: Sequence[str], known: set[tuple[str, str]]) -> list[str]:
    """The ids of what a file names."""
    meant: dict[str, set[str]] = {}
    for name, one in known:
        meant.setdefault(name, set()).add(one)
    every = dict.fromkeys(given)
    several = [name for name in every if len(meant.get(name, ())) > 1]
    unknown = [name for name in every if name not in meant]
    what = "probes" if side == "probe" else "queries"
    if unknown:
        shown = ", ".join(repr(name) for name in unknown[:5]) + (", …" if len(unknown) > 5 else "")
        some = ", ".join(repr(name) for name, _ in sorted(known)[:3])
        found = f"{len(unknown):,} of {len(every):,} {what} that the intervention has no cells of: {shown}"
        raise InputError(str(file), found, f"names or ids of measured {what}, such as {some}",
                         "`einfluence sql \"select name, sample_id from samples\"` lists them")  # fmt: skip
    if several:
        raise InputError(str(file), f"{several[0]!r}, the name of {len(meant[several[0]])} {what}", "their ids")
    return [next(iter(meant[name])) for name in given]


def _digest(table: pa.Table) -> str:
    """Content hash of scores in order of their ids."""
    ids = ["\n".join(table[name].to_pylist()) for name in ("probe_id", "query_id")]
    return content_hash((*ids, table["influence"].to_numpy()))
