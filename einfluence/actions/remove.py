"""Removal: the set is trained on without the samples that influence names, and without as many drawn at random.

After Han et al. 2020 and Kounavis et al. 2023; what the removal does is predicted by the sum of their influence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np

from einfluence.action import Order, Remove
from einfluence.actions.attempt import Attempt, Scene
from einfluence.arms import Arm
from einfluence.errors import InputError, first_line
from einfluence.prepare import Prepared
from einfluence.spec import Spec
from einfluence.store.curations import set_members, set_queries
from einfluence.store.store import ArmKey
from einfluence.training_set import Members, Variant, shuffled

SCORES = (Path(__file__).parent / "remove.sql").read_text(encoding="utf-8")


def check(action: Remove, item: Prepared, spec: Spec, folder: Path) -> None:
    """See :class:`einfluence.actions.attempt.Acting`."""
    where, members = f"parts.{item.part.name}.actions.remove", set_members(folder)
    if not _chosen_on(members, folder) or len(_chosen_on(members, folder)) == len(_held_out(members, folder)):
        fix = "name more queries in `held_out`"
        found = f"{len(_held_out(members, folder))} queries that are not in the set"
        raise InputError(where, found, "enough for two halves: one to choose on, one to judge by", fix)
    if action.by.endswith(".sql"):
        if not spec.path(action.by).is_file():
            raise InputError(f"{where}.by", f"{action.by!r}, where no file is", "a file with a query")
        return
    known = [arm.estimator for arm in item.arms if arm.in_a_set]
    if action.by not in known:
        raise InputError(f"{where}.by", repr(action.by), f"one of {', '.join(dict.fromkeys(known))}, or a file (*.sql)")


def attempts(action: Remove, scene: Scene) -> list[Attempt]:
    """See :class:`einfluence.actions.attempt.Acting`."""
    found: list[Attempt] = []
    for arm, scores, note in _scored(action, scene):
        for order in action.order:
            ranked = _in_order(scores, order)
            found += [
                Attempt(
                    _without(scene.members, ranked[: _count(share, ranked)]),
                    order,
                    chosen_by=arm,
                    share=share,
                    note=note,
                )
                for share in action.shares
            ]
    n = len(scene.members.units)
    for draw in range(action.draws):
        ranked = shuffled(n, "removed", action.draw, scene.key.seed, draw)
        found += [
            Attempt(_without(scene.members, ranked[: _count(share, ranked)]), "random", share=share, draw=draw)
            for share in action.shares
        ]
    return found


def _without(members: Members, units: Sequence[int]) -> Variant:
    gone = {place for unit in units for place in members.units[unit]}
    return Variant("removed", left_out=tuple(sorted(gone)))


def _count(share: float, ranked: Sequence[int]) -> int:
    """How many of the units that have a score; at least one, and one is kept."""
    return min(max(round(share * len(ranked)), 1), len(ranked) - 1)


def _in_order(scores: Sequence[float], order: Order) -> list[int]:
    """Units by score, equal ones in their order; those without one are left out."""
    values = np.array(scores)
    by = {"lowest": values, "highest": -values, "nearest zero": np.abs(values)}[order]
    return [unit for unit in np.argsort(by, kind="stable").tolist() if np.isfinite(values[unit])]


def _scored(action: Remove, scene: Scene) -> list[tuple[str | None, list[float], str | None]]:
    """A score for each unit of the set: by each arm that ``by`` names, or the user's query; NaN for none."""
    if action.by.endswith(".sql"):
        return [(None, *_of_query(action, scene))]
    arms = [(arm, key) for arm, key in scene.arms if arm.estimator == action.by]
    return [(key.recipe, *_of_arm(arm, key, scene)) for arm, key in arms]


def _of_arm(arm: Arm, key: ArmKey, scene: Scene) -> tuple[list[float], str | None]:
    queries = _chosen_on(scene.members, scene.folder)
    with scene.store.connect() as connection:
        rows = connection.execute(SCORES, {**vars(key), "queries": list(queries)}).fetchall()
    sums = {probe: total for probe, total, n in rows if n == len(queries)}
    probe_of = {places: name for name, places in scene.members.probes.items()}
    scores = [sums.get(probe_of[unit], float("nan")) for unit in scene.members.units]
    return scores, _lacking(scores, scene)


def _of_query(action: Remove, scene: Scene) -> tuple[list[float], str | None]:
    path, where = scene.spec.path(action.by), f"{scene.where}.remove.by"
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
    strange = next((sample for sample in scores if sample not in set(scene.members.sample_ids)), None)
    if strange is not None:
        raise InputError(where, f"the sample_id {strange!r}, which is not in the set", "samples of the training set")
    ids = scene.members.sample_ids
    sums = [float(np.sum([scores.get(ids[place], np.nan) for place in unit])) for unit in scene.members.units]
    return sums, _lacking(sums, scene)


def _lacking(scores: Sequence[float], scene: Scene) -> str | None:
    """A note where some have no score.

    Raises:
        InputError: Where fewer than two have one.
    """
    lacking = int(np.isnan(np.array(scores)).sum())
    if len(scores) - lacking < 2:
        found = f"a score for {len(scores) - lacking} of {len(scores)} samples or groups"
        raise InputError(f"{scene.where}.remove", found, "scores to choose by", "`outcomes` says why probes failed")
    return f"{lacking} of {len(scores)} have no score and stay" if lacking else None


def _held_out(members: Members, folder: Path) -> tuple[str, ...]:
    own = {*members.sample_ids, *members.later}
    return tuple(query for query in set_queries(folder) if query not in own)


def _chosen_on(members: Members, folder: Path) -> tuple[str, ...]:
    """The half of the queries held out, by content, that samples are chosen on; the other half is judged by."""
    return tuple(query for query in _held_out(members, folder) if query[-1] < "8")
