"""How much each word of a query, or patch of a picture, speaks for its target in the model that a part trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from einfluence.actions.attempt import Rehearsed, Scene
from einfluence.actions.planning import scenes
from einfluence.errors import InputError, first_line
from einfluence.inputs import ended, full_training
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.prepare import Prepared, find_part
from einfluence.samples import Sample
from einfluence.session import Session
from einfluence.spec import Part, Spec, TrainedBase
from einfluence.store.curations import set_queries
from einfluence.store.schema import TABLES
from einfluence.store.store import Store
from einfluence.training_set import FULL

if TYPE_CHECKING:
    from einfluence.engine.saliency import Salient

VERSION = "1"  # of the definition of the numbers
MOST = 8  # patches a side of a picture
REHEARSED = 8  # queries
OF_TRAINING = ("base", "recipe", "seed", "training_set")  # the columns that name the training of a whole set
OF_QUERY = ("position", "token", "patch_row", "patch_column", "nats")  # those about one query's words


@dataclass(frozen=True)
class ToExplain:
    """Queries whose words have no saliency yet in what one way of training, with one seed, makes of a base."""

    scene: Scene
    query_ids: tuple[str, ...]

    @property
    def key(self) -> tuple[str, str, int, str]:
        """The training, by :data:`OF_TRAINING`."""
        arm, members = self.scene.key, self.scene.members
        return arm.base, arm.recipe, arm.seed, members.set_id(self.scene.item.schedule)

    @property
    def label(self) -> str:
        """What is explained, for run names and logs."""
        scene = self.scene
        return f"{scene.item.base.label}: words {scene.trained.label} seed {scene.key.seed}"


def to_explain(spec: Spec, prepared: Sequence[Prepared], store: Store, home: Store | None = None) -> list[ToExplain]:
    """The queries that a spec wants explained and the store has nothing of, by way of training and seed.

    Args:
        spec: The spec.
        prepared: Its parts.
        store: The store.
        home: The store that the curations are in, where that is another.
    """
    wanted = [item for item in prepared if item.part.training_set and item.part.training_set.saliency]
    every = [ToExplain(scene, _queries(scene)) for item in wanted for scene in scenes(spec, item, home or store)]
    if not every:
        return []
    with store.connect() as connection:
        rows = connection.view("saliency").project(", ".join((*OF_TRAINING, "query_id", "engine_version")))
        there = set(rows.distinct().fetchall())
    left = [
        ToExplain(one.scene, tuple(name for name in one.query_ids if (*one.key, name, VERSION) not in there))
        for one in every
    ]
    return [one for one in left if one.query_ids]


def explain(missing: ToExplain, session: Session) -> None:
    """Asks what the whole set trains, which is done again unless the store kept it, and keeps what its words say.

    Raises:
        RuntimeError: When it fails; says which, and of what.
    """
    from einfluence.estimators.training import trained_base

    scene, rows = missing.scene, list[dict[str, Any]]()
    about = {**dict(zip(OF_TRAINING, missing.key, strict=True)), "engine_version": VERSION}
    try:
        base, samples, own, later = _read(scene, session)
        how = (scene.trained.recipe, scene.key.seed, own, scene.item.schedule)
        with session.computing(base):
            tuned = trained_base(base, *how, later=later, kept=_kept(missing))
            for name in missing.query_ids:
                rows += [{**about, "query_id": name, **row} for row in _explained(tuned, samples[name])]
    except Exception as error:
        raise RuntimeError(f"{missing.label} failed: {first_line(error)}") from error
    scene.store.add_definitions({"saliency": pa.Table.from_pylist(rows, TABLES["saliency"])})


def rehearsed(missing: ToExplain, session: Session) -> Rehearsed:
    """What :func:`explain` would take: the first steps of the training are taken, and the base is asked of a few words.

    Raises:
        RuntimeError: When the base cannot be asked.
    """
    from einfluence import engine
    from einfluence.engine.forecast import STEPS, peak, shortened, spread, timed
    from einfluence.engine.sharing import reads
    from einfluence.estimators.training import trainings_of, with_steps

    scene, seconds = missing.scene, 0.0
    base, samples, own, later = _read(scene, session)
    some = [samples[name] for name in spread(missing.query_ids, REHEARSED)]
    with session.computing(base):
        if _kept(missing) is None:
            recipe = with_steps(scene.trained.recipe, scene.item.schedule, len(own), len(later))
            [whole] = trainings_of(base, own, scene.item.schedule, scene.key.seed, [FULL], later)
            few = shortened(whole, STEPS)
            once = timed(lambda: engine.train(base, recipe, [few], scene.key.seed))
            seconds = once * reads([whole], 1) / reads([few], 1)
        try:
            _explained(base, some[0])  # what only the first takes is no part of what each does
            each = timed(lambda: [_explained(base, sample) for sample in some]) / len(some)
        except InputError as error:
            raise RuntimeError(str(error)) from error
    n = len(missing.query_ids)
    how = f"gradients of {n} queries" + (" behind one training" if seconds else "")
    return Rehearsed(seconds + n * each, peak(), 0, how)


def salient(
    spec: Spec,
    store: Store,
    query_id: str,
    session: Session,
    *,
    part: str | None = None,
    arm: int | None = None,
    seed: int | None = None,
) -> pa.Table:
    """The saliency of each token of a query, or of each square patch of a picture, for its target.

    The model is that which the part's whole training set makes of its base; of a part without one, the base itself.

    Args:
        spec: A spec that was run.
        store: Where.
        query_id: The query.
        session: Of this process.
        part: Which part, where several have the query.
        arm: As :attr:`einfluence.trained_base.TrainedBase.arm`.
        seed: As :attr:`einfluence.trained_base.TrainedBase.seed`.

    Returns:
        Rows of :data:`OF_QUERY`, in the order of reading, as in the table ``saliency``.

    Raises:
        InputError: When no part has the query or several have it, or the training fails.
    """
    from einfluence.estimators.training import trained_base

    own, item = _part_of(spec, store, query_id, part, session)
    samples, _ = session.curation(store.root / "curations" / item.curation)
    alone = own.training_set is None  # a trained base is never in bfloat16, where products would be rounded
    base = session.base(item.base if alone else item.measured, own.trust_remote_code)
    which = TrainedBase(training=own.name, arm=arm, seed=seed)
    training = None if alone else full_training(spec, own, which, session)
    with session.computing(base):
        if training is not None:
            kept = store.kept_deltas(training.key, [training.training_id]).get(training.training_id)
            how = (training.recipe, training.seed, list(training.samples.values()), training.schedule)
            with ended(training.where):
                base = trained_base(base, *how, later=training.later, kept=kept)
        rows = _explained(base, samples[query_id])
    return pa.Table.from_pylist(rows, pa.schema([TABLES["saliency"].field(name) for name in OF_QUERY]))


def _read(scene: Scene, session: Session) -> tuple[Base, Mapping[str, Sample], list[Sample], list[Sample]]:
    """The base of a scene, all samples, those of the set, and those of its second stage."""
    samples, _ = session.curation(scene.folder)
    own, later = ([samples[name] for name in names] for names in (scene.members.sample_ids, scene.members.later))
    return session.base(scene.item.measured, scene.item.part.trust_remote_code), samples, own, later


def _kept(missing: ToExplain) -> Path | None:
    """What the store kept of the training."""
    training = FULL.training_id(missing.key[-1])
    return missing.scene.store.kept_deltas(missing.scene.key, [training]).get(training)


def _queries(scene: Scene) -> tuple[str, ...]:
    """As many queries as are wanted, those held out first, by content."""
    wanted, own = scene.item.part.training_set, {*scene.members.sample_ids, *scene.members.later}
    every = sorted(set_queries(scene.folder), key=lambda name: (name in own, name))
    return tuple(every[: wanted.saliency if wanted else None])


def _explained(base: Base, sample: Sample) -> list[dict[str, Any]]:
    """Rows of :data:`OF_QUERY`."""
    from einfluence.engine.saliency import saliency

    [encoded] = encode_all(base, [sample])
    found = saliency(base, encoded)
    return _tokens(base, found) if found.ids else _patches(found)


def _tokens(base: Base, found: Salient) -> list[dict[str, Any]]:
    objective: Any = base.objective
    tokenizer = getattr(objective, "tokenizer", None) or objective.encoder.tokenizer
    pairs = zip(found.ids, found.nats.tolist(), strict=True)
    return [
        {"position": at, "token": tokenizer.decode([index]), "nats": nats} for at, (index, nats) in enumerate(pairs)
    ]


def _patches(found: Salient) -> list[dict[str, Any]]:
    from einfluence.engine.saliency import patches

    each = patches(found.nats, -(-max(found.nats.shape) // MOST))
    columns = each.shape[1]
    return [
        {"position": at, "patch_row": at // columns, "patch_column": at % columns, "nats": nats}
        for at, nats in enumerate(each.flatten().tolist())
    ]


def _part_of(spec: Spec, store: Store, query_id: str, name: str | None, session: Session) -> tuple[Part, Prepared]:
    """The part that has a query, of those of a name where one is given."""
    found: list[tuple[Part, Prepared]] = []
    for part in spec.parts:
        if name in (None, part.name):
            item = find_part(spec, part, session)
            folder = store.curation(item.curation)
            if folder is not None and query_id in session.curation(folder)[0]:
                found.append((part, item))
    if len(found) == 1:
        return found[0]
    names = ", ".join(part.name for part, _ in found)
    where = f"query {query_id}" if name is None else f"query {query_id} of part {name}"
    if found:
        raise InputError(where, f"it in the parts {names}", "--part, one of them")
    raise InputError(where, f"it in no part of {spec.name}", "a query of the spec, which was run into this store")
