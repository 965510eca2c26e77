"""Learning by ignoring: samples get weights that held-out queries gain by, and the set is trained on with them.

After Zhao et al. 2020 and betty's example of it. Beside it the same weights are shuffled over the samples: what is
left of the gain then has nothing to do with which samples are ignored.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from einfluence.action import Ignore
from einfluence.actions.attempt import Attempt, Rehearsed, Scene
from einfluence.actions.choice import check_halves, chosen_on
from einfluence.arms import OfASet
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.prepare import Prepared
from einfluence.recipe import changed
from einfluence.session import Session
from einfluence.spec import Spec
from einfluence.training_set import FULL, Variant, shuffled

if TYPE_CHECKING:
    from einfluence.engine.measurement import Item
    from einfluence.engine.unrolling import Trajectory

VERSION = "1"  # of how weights are learned


def check(action: Ignore, item: Prepared, spec: Spec, folder: Path) -> None:
    """See :class:`einfluence.actions.attempt.Acting`."""
    where = f"parts.{item.part.name}.actions.ignore"
    check_halves(where, folder)
    trained = [OfASet.of(arm) for arm in item.arms if arm.in_a_set]
    if any(way.recipe.dtype == "bfloat16" for way in trained):
        found = "a training in bfloat16, whose steps cannot be differentiated"
        raise InputError(where, found, "`dtype: float32` or `float64` in the recipe of the arms within the set")


@dataclass(frozen=True)
class Weights:
    """The weights of a set's samples, which are learned: see :class:`einfluence.actions.attempt.Lesson`."""

    action: Ignore
    scene: Scene
    state: str

    @property
    def label(self) -> str:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        return f"{self.scene.label}, ignore: learn weights"

    @property
    def alike(self) -> Hashable:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        return "ignore", self.action.steps

    @property
    def variants(self) -> dict[str, Variant]:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        places = range(len(self.scene.members.sample_ids))
        each = (tuple((place, 0.5 + draw) for place in places) for draw in range(1 + self.action.draws))
        return {f"{self.state} {i}": Variant("reweighted", weights=weights) for i, weights in enumerate(each)}

    def learn(self, session: Session) -> None:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        from einfluence.actions.weights import learn as learned

        scene, n = self.scene, len(self.scene.members.sample_ids)
        with _training(scene, session) as (path, queries):
            found = learned(path, queries, n, steps=self.action.steps, lr=self.action.lr)
        about = {"action": "ignore", **self.action.model_dump(), **vars(scene.key), "samples": n}
        scene.store.add_state(self.state, found._asdict(), about)

    def rehearsed(self, session: Session) -> Rehearsed:
        """See :class:`einfluence.actions.attempt.Lesson`."""
        from einfluence.actions.rehearsal import of_weights

        with _training(self.scene, session) as (path, queries):
            return of_weights(path, queries, len(self.scene.members.sample_ids), self.action.steps)


def lessons(action: Ignore, scene: Scene, *, foreseen: bool = False) -> list[Weights]:
    """See :class:`einfluence.actions.attempt.Learning`."""
    return [Weights(action, scene, _state_id(action, scene))]


def _state_id(action: Ignore, scene: Scene) -> str:
    how, set_id = changed(action, but=("draws", "draw")), scene.members.set_id(scene.item.schedule)
    return content_hash(("ignore", VERSION, how, vars(scene.key), set_id, _queries(scene)))


@contextmanager
def _training(scene: Scene, session: Session) -> Generator[tuple[Trajectory, list[Item]]]:
    """The training as written, and the queries that weights are learned from, while this thread alone computes."""
    from einfluence.engine.unrolling import Trajectory
    from einfluence.estimators.training import trainings_of, with_steps
    from einfluence.objectives import encode_all

    base = session.base(scene.item.measured, scene.item.part.trust_remote_code)
    samples, _ = session.curation(scene.folder)
    own, later = ([samples[name] for name in names] for names in (scene.members.sample_ids, scene.members.later))
    schedule, seed = scene.item.schedule, scene.key.seed
    with session.computing(base):
        [whole] = trainings_of(base, own, schedule, seed, [FULL], later)
        recipe = with_steps(scene.trained.recipe, schedule, len(own), len(later))
        queries = list(encode_all(base, [samples[name] for name in _queries(scene)]))
        yield Trajectory(base, recipe, whole, seed), queries


def attempts(action: Ignore, scene: Scene) -> list[Attempt]:
    """See :class:`einfluence.actions.attempt.Acting`; none before the weights are learned."""
    from safetensors.numpy import load_file

    path = scene.store.state(_state_id(action, scene))
    if path is None:
        return []
    state = load_file(path)
    weights, means = state["weights"].tolist(), state["means"].tolist()
    note = (
        f"on the {len(_queries(scene))} queries that it learned from, {means[0]:.4f} nats each before and "
        f"{max(means[1:]):.4f} after; metasmoothness {float(state['metasmoothness']):.2f}"
    )
    found = [Attempt(_reweighted(weights), "learned", note=note)]
    for draw in range(action.draws):
        order = shuffled(len(weights), "ignored", action.draw, scene.key.seed, draw)
        found.append(Attempt(_reweighted([weights[place] for place in order]), "shuffled", draw=draw))
    return found


def expected(action: Ignore, scene: Scene) -> list[Variant]:
    """See :class:`einfluence.actions.attempt.Acting`: no cell decides."""
    return [attempt.variant for attempt in attempts(action, scene)]


def _queries(scene: Scene) -> tuple[str, ...]:
    return tuple(sorted(chosen_on(scene.members, scene.folder)))


def _reweighted(weights: Sequence[float]) -> Variant:
    other = tuple((place, weight) for place, weight in enumerate(weights) if weight not in (0.0, 1.0))
    gone = tuple(place for place, weight in enumerate(weights) if weight == 0)
    return Variant("reweighted", left_out=gone, weights=other) if other or gone else FULL
