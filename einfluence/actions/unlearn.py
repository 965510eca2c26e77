"""Unlearning: the model of the whole set is trained on, to come near the one trained without the forget set.

Beside every method is the retraining without the forget set. Nothing here says that nothing of it is left in the model.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from einfluence.action import Unlearn
from einfluence.actions.attempt import Attempt, Rehearsed, Scene
from einfluence.actions.choice import check_estimator
from einfluence.curate.records import lines_of
from einfluence.curate.versions import LABEL_FLIP
from einfluence.errors import InputError
from einfluence.estimators.within import TrainedSet
from einfluence.keys import content_hash
from einfluence.models.base import Base
from einfluence.prepare import Prepared
from einfluence.recipe import changed
from einfluence.session import Session
from einfluence.spec import Spec
from einfluence.store.curations import sample_names, set_members, set_queries
from einfluence.store.store import ArmKey
from einfluence.training_set import More, Schedule, Variant, shuffled
from einfluence.unlearning import InfluenceStep, Method, Stepping, rest_of, steps_of, thirds

STEP_VERSION = "1"  # of how an influence step is computed
NATS = (Path(__file__).parent / "self_influence.sql").read_text(encoding="utf-8")


class Forget(NamedTuple):
    """A forget set.

    Args:
        places: Positions of its samples: ascending, or from the least memorised to the most where that is known.
        about: What it is, in words.
        chosen_by: Recipe of the arm that says what is memorised; None where none does.
        drawn: Of one that has only as many samples as the action's, whether that forgets the most memorised or the
            least; None of one that is the action's.
    """

    places: tuple[int, ...]
    about: str
    chosen_by: str | None = None
    drawn: Literal["most", "least"] | None = None


def check(action: Unlearn, item: Prepared, spec: Spec, folder: Path) -> None:
    """See :class:`einfluence.actions.attempt.Acting`."""
    where, members = f"parts.{item.part.name}.actions.unlearn", set_members(folder)
    places = _named(action, spec, folder)
    size = action.most or action.least or len(places)
    if size >= len(members.sample_ids):
        found = f"{size} samples to forget of a set of {len(members.sample_ids)}"
        raise InputError(where, found, "a rest that the retraining trains on", "forget fewer")
    if action.refine and size < 3:
        raise InputError(f"{where}.refine", f"a forget set of {size}", "3 samples or more: they are split in three")
    if action.by is not None:
        check_estimator(f"{where}.by", action.by, item)
        _check_own(action, places, size, where, folder)
    check_methods(action.method, where, item.schedule)


def _check_own(action: Unlearn, places: Sequence[int], size: int, where: str, folder: Path) -> None:
    """Raises InputError where fewer samples have an influence on themselves than it is asked of.

    Such a sample is a probe by itself, and a query.
    """
    members, queries = set_members(folder), set(set_queries(folder))
    alone = {own[0] for own in members.probes.values() if len(own) == 1}
    known = {place for place in alone if members.sample_ids[place] in queries}
    found = len(known & set(places)) if action.samples is not None else len(known)
    if found < size:
        what = f"{found} of {size} samples that are probes by themselves and queries"
        fix = "leave out single samples, not groups, and name them in `queries`"
        raise InputError(f"{where}.by", what, "all of them: their influence on themselves says what is memorised", fix)


def check_methods(methods: Sequence[Method], where: str, schedule: Schedule) -> None:
    """Raises InputError where a method cannot be used with a schedule."""
    if schedule.then is not None and any(isinstance(method, InfluenceStep) for method in methods):
        found = "`influence_step` beside a second stage, whose samples the curvature would leave out"
        raise InputError(f"{where}.method", found, "a method that trains on, or a `training_set` without `then`")


def attempts(action: Unlearn, scene: Scene) -> list[Attempt]:
    """See :class:`einfluence.actions.attempt.Acting`."""
    n, schedule, found = len(scene.members.sample_ids), scene.item.schedule, list[Attempt]()
    for forget in _forget_sets(action, scene):
        rest = rest_of(forget.places, n)
        retrained = schedule.epochs * len(rest)
        retrained += 0 if schedule.then is None else schedule.then.epochs * len(scene.members.later)
        for method in action.method:
            made = _made(method, forget, rest, action, scene)
            if made is None:
                continue
            found.append(
                Attempt(
                    made.variant,
                    f"{method.label}, refined" if action.refine else method.label,
                    _retraining(forget),
                    chosen_by=forget.chosen_by,
                    share=len(forget.places) / n,
                    about=forget.about,
                    cost=made.read / retrained,
                    note=made.note,
                )
            )
    return found


@dataclass(frozen=True)
class Step:
    """The parameters of an influence step, which are computed: see :class:`einfluence.actions.attempt.Lesson`."""

    scene: Scene
    method: InfluenceStep
    forget: Forget
    parts: tuple[tuple[int, ...], ...]

    @property
    def state(self) -> str:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        return step_id(self.method, self.parts, self.scene.key, self.scene.members.set_id(self.scene.item.schedule))

    @property
    def label(self) -> str:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        return f"{self.scene.label}, unlearn: {self.method.label} of {self.forget.about}"

    @property
    def alike(self) -> Hashable:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        return self.method, tuple(map(len, self.parts)), self.forget.about

    @property
    def variants(self) -> dict[str, Variant]:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        set_id = self.scene.members.set_id(self.scene.item.schedule)
        each = Variant("unlearned", computed=self.state), _retraining(self.forget)
        return {variant.training_id(set_id): variant for variant in each}

    def learn(self, session: Session) -> None:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        from einfluence.actions.influence_step import influence_step

        scene, (base, within) = self.scene, self._set(session)
        with session.computing(base):
            found = influence_step(base, scene.trained.recipe, scene.key.seed, within, self.parts, self.method)
        about = {"action": "unlearn", **self.method.model_dump(), **vars(scene.key), "samples": len(within.samples)}
        about |= {"products": found.products, "residual": found.residual}
        scene.store.add_state(self.state, found.parameters, about)

    def rehearsed(self, session: Session) -> Rehearsed:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        from einfluence.actions.rehearsal import like_memorised, of_step

        scene, (base, within) = self.scene, self._set(session)
        with session.computing(base):
            parts, recipe, which = self.parts, scene.trained.recipe, self.forget.drawn
            if which is not None:
                parts = like_memorised(base, recipe, within, tuple(map(len, parts)), which)
            return of_step(base, recipe, scene.key.seed, within, parts, self.method)

    def _set(self, session: Session) -> tuple[Base, TrainedSet]:
        samples, _ = session.curation(self.scene.folder)
        own = [samples[name] for name in self.scene.members.sample_ids]
        base = session.base(self.scene.item.measured, self.scene.item.part.trust_remote_code)
        return base, TrainedSet(own, self.scene.item.schedule)


def lessons(action: Unlearn, scene: Scene, *, foreseen: bool = False) -> list[Step]:
    """See :class:`einfluence.actions.attempt.Learning`: the influence steps."""
    methods = [method for method in action.method if isinstance(method, InfluenceStep)]
    forgotten = (_foreseen if foreseen else _forget_sets)(action, scene) if methods else ()
    return [Step(scene, method, forget, _parts(forget, action)) for forget in forgotten for method in methods]


def expected(action: Unlearn, scene: Scene) -> list[Variant]:
    """See :class:`einfluence.actions.attempt.Acting`."""
    found: list[Variant] = []
    for forget in _foreseen(action, scene):
        rest = rest_of(forget.places, len(scene.members.sample_ids))
        each = (_made(method, forget, rest, action, scene) for method in action.method)
        found += [*(made.variant for made in each if made is not None), _retraining(forget)]
    return found


def step_id(method: InfluenceStep, parts: Sequence[tuple[int, ...]], key: ArmKey, set_id: str) -> str:
    """The state that has the parameters of an influence step: content hash of all that they depend on.

    Args:
        method: It.
        parts: Positions of what is forgotten, one part after the other.
        key: The arm of the training.
        set_id: Of the training set.
    """
    return content_hash(("influence step", STEP_VERSION, changed(method), tuple(parts), vars(key), set_id))


def step_cost(forget: int, rest: int, parts: int, products: int) -> int:
    """The samples that an influence step goes through.

    Each of the forget set once, and each of the rest once a part for the damping and twice for a product, which is the
    derivative of a derivative.
    """
    return forget + rest * (parts + 2 * products)


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
    names = sample_names(folder)
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


def _foreseen(action: Unlearn, scene: Scene) -> list[Forget]:
    """Forget sets as large as the action's: where cells decide which samples they have, some that are drawn."""
    named = _named(action, scene.spec, scene.folder)
    if action.by is None:
        return [Forget(named, Path(action.samples or "").name)]
    which, n = "most" if action.most is not None else "least", len(scene.members.sample_ids)
    found: list[Forget] = []
    for key in scene.arms_of(action.by):
        order = shuffled(len(named) or n, "foreseen", which, key.recipe)
        if named:
            found.append(Forget(tuple(named[place] for place in order), f"{len(named)} samples by {action.by}"))
        else:
            places = tuple(order[: action.most or action.least])
            found.append(Forget(places, f"{len(places)} {which} memorised by {action.by}", None, which))
    return found


def _retraining(forget: Forget) -> Variant:
    return Variant("removed", left_out=tuple(sorted(forget.places)))


def _by_memorisation(key: ArmKey, scene: Scene) -> tuple[int, ...]:
    """Positions of the samples whose influence on themselves an arm has, from the least to the most."""
    nats = dict(scene.connection.execute(NATS, vars(key)).fetchall())
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


class _Made(NamedTuple):
    """What a method makes of a training: a variant of it, samples gone through, and what else to know."""

    variant: Variant
    read: int
    note: str | None = None


def _made(method: Method, forget: Forget, rest: Sequence[int], action: Unlearn, scene: Scene) -> _Made | None:
    """None where it has to be computed before it is a training, and is not."""
    if not isinstance(method, InfluenceStep):
        more = _steps(method, forget, rest, action, scene)
        return _Made(Variant("unlearned", more=more), sum(len(step.batch) for step in more))
    state = Step(scene, method, forget, _parts(forget, action)).state
    if scene.store.state(state) is None:
        return None
    about, parts = scene.store.state_about(state), len(_parts(forget, action))
    read = step_cost(len(forget.places), len(rest), parts, about["products"])
    note = f"{about['products']} products with the curvature, residual {about['residual']:.1e}"
    return _Made(Variant("unlearned", computed=state), read, note)


def _steps(method: Stepping, forget: Forget, rest: Sequence[int], action: Unlearn, scene: Scene) -> tuple[More, ...]:
    size, seed, parts = scene.item.schedule.batch_size, scene.key.seed, _parts(forget, action)
    return tuple(step for at, part in enumerate(parts) for step in steps_of(method, part, rest, size, seed, at))


def _parts(forget: Forget, action: Unlearn) -> tuple[tuple[int, ...], ...]:
    """What is unlearned one after the other."""
    parts = thirds(forget.places) if action.refine else [forget.places]
    return tuple(tuple(sorted(part)) for part in parts)
