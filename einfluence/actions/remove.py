"""Removal: the set is trained on without the samples that influence names, and without as many drawn at random.

After Han et al. 2020 and Kounavis et al. 2023; what the removal does is predicted by the sum of their influence.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from einfluence.action import Remove
from einfluence.actions.attempt import Attempt, Scene
from einfluence.actions.choice import (
    Scored,
    by_arm,
    by_query,
    check_estimator,
    check_halves,
    chosen_on,
    decided,
    in_order,
)
from einfluence.errors import InputError
from einfluence.prepare import Prepared
from einfluence.spec import Spec
from einfluence.store.curations import set_members
from einfluence.store.store import ArmKey
from einfluence.training_set import FULL, Members, Variant, shuffled

ELSEWHERE = ", chosen at another seed"


def check(action: Remove, item: Prepared, spec: Spec, folder: Path) -> None:
    """See :class:`einfluence.actions.attempt.Acting`."""
    where, members = f"parts.{item.part.name}.actions.remove", set_members(folder)
    check_halves(where, folder)
    if len(members.units) < 2:
        raise InputError(where, "a set of one sample or group", "at least two, of which one is left")
    if action.decisions is not None:
        decided(action.decisions, action.draw, f"{where}.decisions", members, folder)
    if action.by.endswith(".sql"):
        _check_file(action, spec, where)
        return
    check_estimator(f"{where}.by", action.by, item, ", or a file (*.sql)")


def _check_file(action: Remove, spec: Spec, where: str) -> None:
    if not spec.path(action.by).is_file():
        raise InputError(f"{where}.by", f"{action.by!r}, where no file is", "a file with a query")
    if action.decisions is not None:
        found = f"`decisions` beside the file {action.by}, whose scores are about no query"
        raise InputError(f"{where}.decisions", found, "an estimator in `by`", "leave `decisions` out")


def attempts(action: Remove, scene: Scene) -> list[Attempt]:
    """See :class:`einfluence.actions.attempt.Acting`."""
    if action.decisions is None:
        keys = [None] if action.by.endswith(".sql") else scene.arms_of(action.by)
        chosen = [attempt for key in keys for attempt in by_scores(action, scene, key, scored(action, scene, key))]
    else:
        where = f"{scene.where}.remove.decisions"
        queries = decided(action.decisions, action.draw, where, scene.members, scene.folder)
        chosen = [
            attempt
            for key in scene.arms_of(action.by)
            for query in queries
            for attempt in _of_a_decision(action, scene, key, query)
        ]
    return [*chosen, *_at_random(action, scene)]


def expected(action: Remove, scene: Scene) -> list[Variant]:
    """See :class:`einfluence.actions.attempt.Acting`."""
    choices = len(action.order) * (1 if action.by.endswith(".sql") else len(scene.arms_of(action.by)))
    if action.decisions is not None:
        queries = action.decisions if isinstance(action.decisions, int) else len(action.decisions)
        choices *= queries * (1 if _other_seed(scene) is None else 2)
    n = len(scene.members.units)
    any_choice = [
        _without(scene.members, shuffled(n, "expected", action.by, action.decisions, number)[: _count(share, n)])
        for share in action.shares
        for number in range(choices)
    ]
    drawn = [attempt.variant for attempt in _at_random(action, scene)]
    return [*any_choice, *drawn] if any(arm.made_by.within for arm, _ in scene.arms) else [FULL, *any_choice, *drawn]


def _of_a_decision(action: Remove, scene: Scene, key: ArmKey, query: str) -> Iterator[Attempt]:
    """What a single query owes most to, by the cells of this seed and by those of another.

    Where an arm compares trainings, cells of this seed come from the very course that their removal is judged in; those
    of another seed share nothing with it but the data.
    """
    other = _other_seed(scene)
    seeds = {"": key.seed} if other is None else {"": key.seed, ELSEWHERE: other}
    for how, seed in seeds.items():
        for attempt in by_scores(action, scene, key, by_arm(replace(key, seed=seed), [query], scene)):
            yield replace(attempt, query_id=query, method=attempt.method + how)


def scored(action: Remove, scene: Scene, key: ArmKey | None) -> Scored:
    """What samples are chosen by: an arm's influence on one half of the held-out queries, or the user's query.

    Args:
        action: The action, which is about all held-out queries.
        scene: What it is about.
        key: The arm; None for the user's query.

    Raises:
        InputError: Where fewer than two units have a score.
    """
    if key is None:
        return by_query(action.by, scene)
    return by_arm(key, chosen_on(scene.members, scene.folder), scene)


def by_scores(action: Remove, scene: Scene, key: ArmKey | None, scores: Scored) -> Iterator[Attempt]:
    """The removals of what scores name, in each of the action's orders and shares."""
    arm = None if key is None else key.recipe
    for order in action.order:
        ranked = in_order(scores.scores, order)
        for share in action.shares:
            variant = _without(scene.members, ranked[: _count(share, len(ranked))])
            yield Attempt(variant, order, chosen_by=arm, share=share, note=scores.note)


def _at_random(action: Remove, scene: Scene) -> Iterator[Attempt]:
    n = len(scene.members.units)
    for draw in range(action.draws):
        ranked = shuffled(n, "removed", action.draw, scene.key.seed, draw)
        for share in action.shares:
            yield Attempt(_without(scene.members, ranked[: _count(share, n)]), "random", share=share, draw=draw)


def _other_seed(scene: Scene) -> int | None:
    """The part's next seed, where its trainings have several."""
    seeds = scene.item.part.seeds
    if len(seeds) < 2 or not all(scene.item.draws(arm) for arm, _ in scene.arms):
        return None
    return seeds[(seeds.index(scene.key.seed) + 1) % len(seeds)]


def _without(members: Members, units: Sequence[int]) -> Variant:
    gone = {place for unit in units for place in members.units[unit]}
    return Variant("removed", left_out=tuple(sorted(gone)))


def _count(share: float, n: int) -> int:
    """How many of so many units; at least one, and one is kept."""
    return min(max(round(share * n), 1), n - 1)
