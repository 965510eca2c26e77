"""Which samples of a set an action is about: by their influence on held-out queries, or by a user's query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from einfluence.action import Order
from einfluence.actions.attempt import Scene
from einfluence.errors import InputError, first_line
from einfluence.prepare import Prepared
from einfluence.store.curations import sample_names, set_members, set_queries
from einfluence.store.store import ArmKey
from einfluence.training_set import Members, shuffled

SCORES = (Path(__file__).parent / "choice.sql").read_text(encoding="utf-8")


class Scored(NamedTuple):
    """Scores to choose by.

    Args:
        scores: Of each unit of the set; NaN where there is none.
        note: How many have none.
    """

    scores: list[float]
    note: str | None


def held_out(members: Members, folder: Path) -> tuple[str, ...]:
    """The queries of a curation that no stage of the training trains on."""
    own = {*members.sample_ids, *members.later}
    return tuple(query for query in set_queries(folder) if query not in own)


def chosen_on(members: Members, folder: Path) -> tuple[str, ...]:
    """The half of the held-out queries, by content, that samples are chosen on."""
    return tuple(query for query in held_out(members, folder) if query[-1] < "8")


def judged_by(members: Members, folder: Path) -> tuple[str, ...]:
    """The other half, that what an action did is read off."""
    return tuple(query for query in held_out(members, folder) if query[-1] >= "8")


def check_halves(where: str, folder: Path) -> None:
    """Raises InputError where a half has no query.

    Args:
        where: The action, for messages.
        folder: Of the curation.
    """
    members = set_members(folder)
    if not chosen_on(members, folder) or not judged_by(members, folder):
        fix = "name more queries in `held_out`"
        found = f"{len(held_out(members, folder))} queries that are not in the set"
        raise InputError(where, found, "enough for two halves: one to choose on, one to judge by", fix)


def check_estimator(where: str, by: str, item: Prepared, also: str = "") -> None:
    """Raises InputError where no arm about the part's set is of an estimator.

    Args:
        where: The key, for messages.
        by: The estimator.
        item: The part.
        also: What else may be named, for messages.
    """
    known = dict.fromkeys(arm.estimator for arm in item.arms if arm.in_a_set)
    if by not in known:
        raise InputError(where, repr(by), f"one of {', '.join(known)}{also}")


def decided(wanted: int | Sequence[str], draw: int, where: str, members: Members, folder: Path) -> list[str]:
    """The queries of single decisions: so many of the judging half, drawn by content, or those of some names.

    More that are drawn only add to fewer.

    Raises:
        InputError: When there are not so many, or a name is not that of one query that is held out.
    """
    if isinstance(wanted, int):
        judging = sorted(judged_by(members, folder))
        if wanted > len(judging):
            found = f"{wanted}, and {len(judging)} queries to judge by"
            raise InputError(where, found, f"at most {len(judging)}", "name more queries in `held_out`")
        return [judging[place] for place in shuffled(len(judging), "decisions", draw)[:wanted]]
    names, outside = sample_names(folder), held_out(members, folder)
    chosen: list[str] = []
    for name in wanted:
        mine = [query for query in outside if name in (query, names[query])]
        if len(mine) != 1:
            what = f"{name!r}, the name of {len(mine)} queries that are held out"
            raise InputError(where, what, "names of one each, or ids", "`samples` has both")
        chosen += mine
    return chosen


def in_order(scores: Sequence[float], order: Order) -> list[int]:
    """Units by score, equal ones in their order; those without one are left out."""
    values = np.array(scores)
    by = {"lowest": values, "highest": -values, "nearest zero": np.abs(values)}[order]
    return [unit for unit in np.argsort(by, kind="stable").tolist() if np.isfinite(values[unit])]


def by_arm(key: ArmKey, queries: Sequence[str], scene: Scene) -> Scored:
    """The sum of each unit's influence on some queries, by an arm; none where it lacks one of them.

    Raises:
        InputError: Where fewer than two units have one.
    """
    rows = scene.connection.execute(SCORES, {**vars(key), "queries": list(queries)}).fetchall()
    sums = {probe: total for probe, total, n in rows if n == len(queries)}
    probe_of = {places: name for name, places in scene.members.probes.items()}
    scores = [sums.get(probe_of[unit], float("nan")) for unit in scene.members.units]
    return Scored(scores, _lacking(scores, scene))


def by_query(file: str, scene: Scene) -> Scored:
    """The sum of each unit's scores by the user's query, which is all that it can see: the store's views.

    Raises:
        InputError: When it cannot be run, or does not give a score for each of at least two units.
    """
    path = scene.spec.path(file)
    with scene.store.connect(sealed=True) as connection:
        try:
            found = connection.sql(path.read_text(encoding="utf-8"))
            columns, rows = found.columns, found.fetchall()
        except duckdb.Error as error:
            raise InputError(
                str(path), first_line(error), "a query over the store's views that DuckDB can run"
            ) from error
    if columns != ["sample_id", "score"]:
        raise InputError(str(path), f"the columns {', '.join(columns)}", "sample_id, score")
    scores = {sample: float("nan") if score is None else float(score) for sample, score in rows}
    if len(scores) < len(rows):
        raise InputError(str(path), f"{len(rows)} rows for {len(scores)} samples", "one row a sample")
    ids = scene.members.sample_ids
    own = set(ids)
    strange = next((sample for sample in scores if sample not in own), None)
    if strange is not None:
        raise InputError(
            str(path), f"the sample_id {strange!r}, which is not in the set", "samples of the training set"
        )
    sums = [float(np.sum([scores.get(ids[place], np.nan) for place in unit])) for unit in scene.members.units]
    return Scored(sums, _lacking(sums, scene))


def _lacking(scores: Sequence[float], scene: Scene) -> str | None:
    lacking = int(np.isnan(np.array(scores)).sum())
    if len(scores) - lacking < 2:
        found = f"a score for {len(scores) - lacking} of {len(scores)} samples or groups"
        raise InputError(f"{scene.where}.remove", found, "scores to choose by", "`outcomes` says why probes failed")
    return f"{lacking} of {len(scores)} have no score and stay" if lacking else None
