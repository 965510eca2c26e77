"""Unlearning: the model of the whole set is trained on, to come near the one trained without the forget set.

Beside every method is the retraining without the forget set. Nothing here says that nothing of it is left in the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq

from einfluence.action import Unlearn
from einfluence.actions.attempt import Attempt, Scene
from einfluence.actions.choice import check_estimator
from einfluence.curate.records import lines_of
from einfluence.curate.versions import LABEL_FLIP
from einfluence.errors import InputError
from einfluence.prepare import Prepared
from einfluence.spec import Spec
from einfluence.store.curations import set_members
from einfluence.store.store import ArmKey
from einfluence.training_set import More, Variant
from einfluence.unlearning import Method, rest_of, steps_of, thirds

NATS = (Path(__file__).parent / "self_influence.sql").read_text(encoding="utf-8")


class Forget(NamedTuple):
    """A forget set.

    Args:
        places: Positions of its samples: ascending, or from the least memorised to the most where that is known.
        about: What it is, in words.
        chosen_by: Recipe of the arm that says what is memorised; None where none does.
    """

    places: tuple[int, ...]
    about: str
    chosen_by: str | None = None


def check(action: Unlearn, item: Prepared, spec: Spec, folder: Path) -> None:
    """See :class:`einfluence.actions.attempt.Acting`."""
    where, members = f"parts.{item.part.name}.actions.unlearn", set_members(folder)
    size = action.most or action.least or len(_named(action, spec, folder))
    if size >= len(members.sample_ids):
        found = f"{size} samples to forget of a set of {len(members.sample_ids)}"
        raise InputError(where, found, "a rest that the retraining trains on", "forget fewer")
    if action.refine and size < 3:
        raise InputError(f"{where}.refine", f"a forget set of {size}", "3 samples or more: they are split in three")
    if action.by is not None:
        check_estimator(f"{where}.by", action.by, item)


def attempts(action: Unlearn, scene: Scene) -> list[Attempt]:
    """See :class:`einfluence.actions.attempt.Acting`."""
    n, schedule, found = len(scene.members.sample_ids), scene.item.schedule, list[Attempt]()
    for forget in _forget_sets(action, scene):
        rest = rest_of(forget.places, n)
        retrained = schedule.epochs * len(rest)
        retrained += 0 if schedule.then is None else schedule.then.epochs * len(scene.members.later)
        for method in action.method:
            more = _steps(method, forget, rest, action, scene)
            found.append(
                Attempt(
                    Variant("unlearned", more=more),
                    f"{method.label}, refined" if action.refine else method.label,
                    Variant("removed", left_out=tuple(sorted(forget.places))),
                    chosen_by=forget.chosen_by,
                    share=len(forget.places) / n,
                    about=forget.about,
                    cost=sum(len(step.batch) for step in more) / retrained,
                )
            )
    return found


def expected(action: Unlearn, scene: Scene) -> list[Variant]:
    """See :class:`einfluence.actions.attempt.Acting`."""
    size = action.most or action.least or 0
    places = _named(action, scene.spec, scene.folder) or tuple(range(size))
    rest = rest_of(places, len(scene.members.sample_ids))
    sets = 1 if action.by is None else len(scene.arms_of(action.by))
    each = [
        Variant("unlearned", more=_steps(method, Forget(places, ""), rest, action, scene)) for method in action.method
    ]
    return [*each, Variant("removed", left_out=places)] * sets


def forget_set(path: Path, names: Sequence[str]) -> tuple[int, ...]:
    """The positions in a training set of the samples that a file names, ascending.

    Args:
        path: Of a text file: ids, one a line.
        names: Those of the set's samples, in order. One with a flipped label has the name of its clean one as well.

    Raises:
        InputError: Where it cannot be read, it names nothing, what it names is not in the set, or nothing is left.
    """
    clean = {name.removesuffix(f"+{LABEL_FLIP}"): place for place, name in enumerate(names)}
    place_of = clean | {name: place for place, name in enumerate(names)}
    found = set[int]()
    for number, line in lines_of(path):
        name = line if line in place_of else line.strip()
        if name and name not in place_of:
            strange = f"{name!r}, which is not in the training set"
            raise InputError(f"{path}:{number}", strange, "the id of a sample that the model is trained on")
        if name:
            found.add(place_of[name])
    if not found:
        raise InputError(str(path), "no ids", "a sample id a line")
    if len(found) == len(names):
        raise InputError(str(path), f"all {len(names)} samples of the set", "a rest that the retraining trains on")
    return tuple(sorted(found))


def _named(action: Unlearn, spec: Spec, folder: Path) -> tuple[int, ...]:
    """The positions of the samples that an action names in a file; none where it names none."""
    if action.samples is None:
        return ()
    rows = pq.read_table(folder / "samples.parquet", columns=["sample_id", "name"]).to_pylist()
    names = {row["sample_id"]: row["name"] for row in rows}
    return forget_set(spec.path(action.samples), [names[sample] for sample in set_members(folder).sample_ids])


def _forget_sets(action: Unlearn, scene: Scene) -> Iterator[Forget]:
    """The forget set; where an estimator says what is memorised, one for each of its arms."""
    places = _named(action, scene.spec, scene.folder)
    name = Path(action.samples or "").name
    if action.by is None:
        yield Forget(places, name)
        return
    keys = scene.arms_of(action.by)
    for key in keys:
        by = action.by if len(keys) == 1 else f"{action.by} {key.recipe[:6]}"
        ranked = _by_memorisation(key, scene)
        if action.samples is not None:
            wanted = set(places)
            own = tuple(place for place in ranked if place in wanted)
            yield Forget(_all_of(own, len(places), scene), f"{name} by {by}", key.recipe)
        elif action.most is not None:
            some = ranked[-action.most :]
            yield Forget(_all_of(some, action.most, scene), f"{action.most} most memorised by {by}", key.recipe)
        else:
            least = action.least or 0
            some = ranked[:least]
            yield Forget(_all_of(some, least, scene), f"{least} least memorised by {by}", key.recipe)


def _by_memorisation(key: ArmKey, scene: Scene) -> tuple[int, ...]:
    """Positions of the samples whose influence on themselves an arm has, from the least to the most."""
    with scene.store.connect() as connection:
        nats = dict(connection.execute(NATS, vars(key)).fetchall())
    known = [place for place, sample in enumerate(scene.members.sample_ids) if sample in nats]
    return tuple(sorted(known, key=lambda place: (nats[scene.members.sample_ids[place]], place)))


def _all_of(places: tuple[int, ...], wanted: int, scene: Scene) -> tuple[int, ...]:
    """The samples, of which as many as are wanted have an influence on themselves.

    Raises:
        InputError: Where fewer have.
    """
    if len(places) < wanted:
        found = f"the influence of {len(places)} of {wanted} samples on themselves"
        fix = "`queries` must name them, and `outcomes` says why probes failed"
        raise InputError(f"{scene.where}.unlearn", found, "that of all of them, which says what is memorised", fix)
    return places


def _steps(method: Method, forget: Forget, rest: Sequence[int], action: Unlearn, scene: Scene) -> tuple[More, ...]:
    parts = thirds(forget.places) if action.refine else [tuple(sorted(forget.places))]
    size, seed = scene.item.schedule.batch_size, scene.key.seed
    return tuple(step for at, part in enumerate(parts) for step in steps_of(method, sorted(part), rest, size, seed, at))
