"""Learning by ignoring: samples get weights that held-out queries gain by, and the set is trained on with them.

After Zhao et al. 2020 and betty's example of it. Beside it the same weights are shuffled over the samples: what is
left of the gain then has nothing to do with which samples are ignored.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from einfluence.action import Ignore
from einfluence.actions.attempt import Attempt, Scene
from einfluence.actions.choice import check_halves, chosen_on
from einfluence.arms import OfASet
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.prepare import Prepared
from einfluence.recipe import changed
from einfluence.session import Session
from einfluence.spec import Spec
from einfluence.training_set import FULL, Variant, shuffled

VERSION = "1"  # of how weights are learned


def check(action: Ignore, item: Prepared, spec: Spec, folder: Path) -> None:
    """See :class:`einfluence.actions.attempt.Acting`."""
    where = f"parts.{item.part.name}.actions.ignore"
    check_halves(where, folder)
    trained = [OfASet.of(arm) for arm in item.arms if arm.in_a_set]
    if any(way.recipe.dtype == "bfloat16" for way in trained):
        found = "a training in bfloat16, whose steps cannot be differentiated"
        raise InputError(where, found, "`dtype: float32` or `float64` in the recipe of the arms within the set")


def states(action: Ignore, scene: Scene) -> dict[str, str]:
    """See :class:`einfluence.actions.attempt.Learning`."""
    return {_state_id(action, scene): "learn weights"}


def _state_id(action: Ignore, scene: Scene) -> str:
    how, set_id = changed(action, but=("draws", "draw")), scene.members.set_id(scene.item.schedule)
    return content_hash(("ignore", VERSION, how, vars(scene.key), set_id, _queries(scene)))


def learn(action: Ignore, scene: Scene, state: str, session: Session) -> None:
    """See :class:`einfluence.actions.attempt.Learning`."""
    from einfluence.actions.weights import learn as learned
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
        path = Trajectory(base, recipe, whole, seed)
        queries = list(encode_all(base, [samples[name] for name in _queries(scene)]))
        found = learned(path, queries, len(own), steps=action.steps, lr=action.lr)
    about = {"action": "ignore", **action.model_dump(), **vars(scene.key), "samples": len(own)}
    scene.store.add_state(state, found._asdict(), about)


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
    """See :class:`einfluence.actions.attempt.Acting`; learning the weights is not among them."""
    return [Variant("reweighted", weights=((0, 0.5 + draw),)) for draw in range(1 + action.draws)]


def _queries(scene: Scene) -> tuple[str, ...]:
    return tuple(sorted(chosen_on(scene.members, scene.folder)))


def _reweighted(weights: Sequence[float]) -> Variant:
    other = tuple((place, weight) for place, weight in enumerate(weights) if weight not in (0.0, 1.0))
    gone = tuple(place for place, weight in enumerate(weights) if weight == 0)
    return Variant("reweighted", left_out=gone, weights=other) if other or gone else FULL
