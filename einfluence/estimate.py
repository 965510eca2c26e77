"""What a run would take, before it is done: cells, time, memory and disk. Nothing is written to the store."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Generator, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from einfluence import engine
from einfluence.actions.attempt import Lesson, Rehearsed, Scene
from einfluence.actions.learning import lessons
from einfluence.actions.planning import acted, acting, check_actions, scenes
from einfluence.arms import Arm, FineTune, OfASet
from einfluence.engine.definition import evaluate
from einfluence.engine.forecast import spread, timed
from einfluence.engine.structure import layer_of
from einfluence.errors import first_line
from einfluence.estimators.finetune import encode_probe
from einfluence.estimators.measure import Implementation, unreadable
from einfluence.estimators.training import trainings_of, with_steps
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.plan import arm_keys, wanted_blocks
from einfluence.predictors import Estimate as EstimateArm
from einfluence.prepare import Prepared, find_part, prepare
from einfluence.salient import rehearsed, to_explain
from einfluence.samples import ProbeSamples, Sample
from einfluence.session import Session, session_here
from einfluence.shards import BLOCK
from einfluence.spec import Part, Spec
from einfluence.store.curations import Curation, set_members, set_queries
from einfluence.store.store import AblationBlock, CellBlock, Store
from einfluence.training_set import Variant
from einfluence.trainings import Attribution, TrainingBlock, by_trainings, lacking, missing_trainings

BYTES_PER_CELL = 30  # of a Parquet part, as measured on the default run
REHEARSED = 3  # probes that are put into the prompt of ...
REHEARSED_QUERIES = 64  # so many queries


@dataclass(frozen=True)
class Row:
    """What one arm of one part would take.

    Args:
        part: Name of the part.
        arm: Its estimator, the label of its recipe, and the seed.
        wanted: Cells that the spec wants.
        missing: Cells that the store lacks.
        probes: Probes with a missing cell.
        seconds: Estimated computing time on one worker.
        memory: Estimated peak memory in bytes; 0 where nothing is missing.
        how: Which engine and why.
        unit: What is wanted and missing: a cell, a state that actions have to learn before they name trainings, or a
            query's explanation by words.
        disk: New bytes.
    """

    part: str
    arm: str
    wanted: int
    missing: int
    probes: int
    seconds: float
    memory: int
    how: str
    unit: str = "cell"
    disk: int = 0


@dataclass(frozen=True)
class Estimate:
    """What a run would take: one row an arm."""

    rows: tuple[Row, ...]

    @property
    def disk(self) -> int:
        """New bytes in the store."""
        return sum(row.disk + BYTES_PER_CELL * row.missing * (row.unit == "cell") for row in self.rows)

    @property
    def seconds(self) -> float:
        """Computing time of all arms, on one worker."""
        return sum(row.seconds for row in self.rows)

    @property
    def memory(self) -> int:
        """Peak memory in bytes."""
        return max(row.memory for row in self.rows)


def estimate(spec: Spec, store: Store, *, device: str = "auto") -> Estimate:
    """Plans a run without doing it: a few probes are rehearsed, and nothing is written to the store.

    Data that the store has no curation of is curated into a folder that is thrown away.

    Args:
        spec: The spec.
        store: The store.
        device: Where a few probes are rehearsed, as for :func:`einfluence.measure`.

    Raises:
        InputError: When the spec or what it names cannot be used, or the device is not there.
    """
    session, rows = session_here(device, None), list[Row]()
    with scratch_store() as scratch:
        for part in spec.parts:
            found, curation, home = curated(spec, part, store, scratch, session)
            own = _rows(spec, found, curation, store, session)
            done = not any(row.missing for row in own)
            rows += [*own, *(_of_actions(spec, found, home, store, session, done) if part.actions else ())]
            rows += _of_words(spec, found, home, store, session)
    return Estimate(tuple(rows))


@contextmanager
def scratch_store() -> Generator[Store]:
    """A store that is thrown away, for data that are curated to plan with."""
    folder = Path(tempfile.mkdtemp(prefix="einfluence-plan-"))
    try:
        yield Store(folder / "store")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def curated(spec: Spec, part: Part, store: Store, scratch: Store, session: Session) -> tuple[Prepared, Path, Store]:
    """A part, the folder of its curation, and the store that this is in: the one, or where that has none the other.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    found = find_part(spec, part, session)
    folder = store.curation(found.curation)
    if folder is not None:
        return found, folder, store
    prepare(spec, part, scratch, session)
    return found, scratch.root / "curations" / found.curation, scratch


def _rows(spec: Spec, item: Prepared, folder: Path, store: Store, session: Session) -> list[Row]:
    base = session.base(item.base, item.part.trust_remote_code)
    rows: list[Row] = []
    within: list[Attribution] = []
    for arm, key in arm_keys(item, folder):
        wanted, blocks = wanted_blocks(spec, folder, arm, key, store, item.groups(arm))
        missing, probes = sum(block.cells for block in blocks), {probe for block in blocks for probe in block.probe_ids}
        label = f"{key.estimator}: {arm.label}, seed {key.seed}"
        seconds, memory, how = 0.0, 0, "nothing to do"
        if arm.made_by.within:
            within.append(Attribution(store.url, item.curation, arm, key, item.schedule, tuple(blocks)))
            how = "comparing trainings of the set" if blocks else how
        elif blocks:
            with session.computing(base):
                seconds, memory, how = _rehearsal(base, arm, key.seed, session.curation(folder), blocks)
        rows.append(Row(item.part.name, label, wanted, missing, len(probes), seconds, memory, how))
    return rows + [_of_trainings(spec, item, folder, some, store, session) for some in by_trainings(within).values()]


def _of_trainings(
    spec: Spec, item: Prepared, folder: Path, some: list[Attribution], store: Store, session: Session
) -> Row:
    """What the trainings of a set would take that some arms compare."""
    key, trained = some[0].trainings, OfASet.of(some[0].arm)
    wanted, blocks = missing_trainings(some, folder, store, spec.shard or BLOCK, item.watch(folder))
    label = f"trainings of the set, {trained.recipe.label}, seed {key.seed}"
    return _of_blocks(item, folder, trained, key.seed, label, wanted, blocks, session)


@dataclass(frozen=True)
class OfActions:
    """What a part's actions want of one way of training and seed.

    Args:
        scene: What they are about.
        label: The actions, the way and the seed.
        states: How many have to be learned before trainings can be named.
        lessons: Those that the store lacks.
        wanted: Scores of trainings.
        blocks: Those that the store lacks.
    """

    scene: Scene
    label: str
    states: int
    lessons: tuple[Lesson, ...]
    wanted: int
    blocks: tuple[TrainingBlock, ...]


def _of_actions(spec: Spec, item: Prepared, home: Store, store: Store, session: Session, done: bool) -> Iterator[Row]:
    """What that would take."""
    known = dict[Hashable, Rehearsed]()
    for one in of_actions(spec, item, home, store, done):
        scene, label = one.scene, f"actions {one.label}"
        if one.states:
            yield _of_lessons(item.part.name, f"learning {one.label}", one.states, one.lessons, known, session)
        yield _of_blocks(item, scene.folder, scene.trained, scene.key.seed, label, one.wanted, one.blocks, session)


def of_actions(spec: Spec, item: Prepared, home: Store, store: Store, done: bool) -> Iterator[OfActions]:
    """What a part's actions want and a store lacks, for each way of training and seed.

    Args:
        spec: The spec.
        item: The part.
        home: The store that its curation is in.
        store: The store that may have the trainings.
        session: Has the base.
        done: Whether the store has all cells that actions go by; else trainings like theirs are counted.
    """
    check_actions(spec, item, home)
    kinds = ", ".join(dict.fromkeys(action.kind for action in item.part.actions))
    for scene in scenes(spec, item, home):
        set_id, named, missing = scene.members.set_id(item.schedule), dict[str, Variant](), dict[str, Lesson]()
        label, states = f"({kinds}), {scene.trained.recipe.label}, seed {scene.key.seed}", set[str]()
        for action in item.part.actions:
            if done:
                named |= acted(action, scene).variants
            else:  # at most so many: which trainings of one action are the same follows from cells
                times = Counter[str]()
                for variant in acting(action).expected(getattr(action, action.kind), scene):
                    name = variant.training_id(set_id)
                    named[f"{name} {times[name]}" if times[name] else name] = variant
                    times[name] += 1
            for lesson in lessons(action, scene, foreseen=not done):
                states.add(lesson.state)
                if store.state(lesson.state) is None:
                    missing[lesson.state] = lesson
                    named |= lesson.variants
        queries = dict.fromkeys(named, set_queries(scene.folder))
        blocks = lacking(scene.key, item.schedule, named, queries, store, spec.shard or BLOCK)
        wanted = sum(map(len, queries.values()))
        yield OfActions(scene, label, len(states), tuple(missing.values()), wanted, tuple(blocks))


def _of_lessons(
    part: str, label: str, wanted: int, missing: Collection[Lesson], known: dict[Hashable, Rehearsed], session: Session
) -> Row:
    """What learning would take; of lessons that are alike one is rehearsed."""
    for lesson in missing:
        if lesson.alike not in known:
            try:
                known[lesson.alike] = lesson.rehearsed(session)
            except (ArithmeticError, RuntimeError) as error:
                known[lesson.alike] = Rehearsed(0.0, 0, 0, f"nothing: {first_line(error)}")
    each = [known[lesson.alike] for lesson in missing]
    seconds, disk = sum(one.seconds for one in each), sum(one.disk for one in each)
    how = "; ".join(dict.fromkeys(one.how for one in each)) or "nothing to do"
    peak = max((one.memory for one in each), default=0)
    return Row(part, label, wanted, len(missing), 0, seconds, peak, how, "state", disk)


def _of_words(spec: Spec, item: Prepared, home: Store, store: Store, session: Session) -> Iterator[Row]:
    """What it would take to explain queries by words, for each way of training and seed that lacks some."""
    for missing in to_explain(spec, [item], store, home):
        try:
            found = rehearsed(missing, session)
        except (ArithmeticError, RuntimeError) as error:
            found = Rehearsed(0.0, 0, 0, f"nothing: {first_line(error)}")
        scene, n = missing.scene, len(missing.query_ids)
        label, about = f"words, {scene.trained.recipe.label}, seed {scene.key.seed}", (0, found.seconds, found.memory)
        yield Row(item.part.name, label, n, n, *about, found.how, "explanation")


def _of_blocks(
    item: Prepared, folder: Path, trained: OfASet, seed: int, label: str, wanted: int, blocks: Sequence[TrainingBlock],
    session: Session,
) -> Row:  # fmt: skip
    """What trainings of a set would take, of which so many scores are wanted and those of some blocks are missing."""
    missing, variants = sum(block.cells for block in blocks), [each for block in blocks for each in block.variants]
    if not blocks:
        return Row(item.part.name, label, wanted, 0, 0, 0.0, 0, "nothing to do")
    base, members = session.base(item.measured, item.part.trust_remote_code), set_members(folder)
    samples, _ = session.curation(folder)
    own, later = ([samples[name] for name in names] for names in (members.sample_ids, members.later))
    queries = [samples[name] for name in max((block.query_ids for block in blocks), key=len)]
    with session.computing(base):
        trainings = trainings_of(base, own, item.schedule, seed, [v for v in variants if not v.computed], later)
        items_queried = list(encode_all(base, queries))
        whole = with_steps(trained.recipe, item.schedule, len(own), len(later))
        found = engine.forecast(base, whole, trainings, items_queried, seed)
        few = spread(items_queried, REHEARSED_QUERIES)
        each = 0.0 if len(trainings) == len(variants) else timed(lambda: evaluate(base, whole, few)) / len(few)
    seconds = found.seconds + each * len(queries) * (len(variants) - len(trainings))
    how = f"{found.path} ({found.why})"
    return Row(item.part.name, label, wanted, missing, len(variants), seconds, found.bytes, how)


def _rehearsal(base: Base, arm: Arm, seed: int, curation: Curation, blocks: list[CellBlock]) -> tuple[float, int, str]:
    """Seconds, peak bytes and the engine's words for all blocks, from a few probes and queries of theirs.

    A restoration is counted as its queries read once for each place; what retraining adds is not.
    """
    samples, curated = curation
    places = len({layer_of(base.model, name) for name, _ in base.model.named_parameters()})
    cells = sum(block.cells * (places if isinstance(block, AblationBlock) else 1) for block in blocks)
    blocks = [block for block in blocks if not isinstance(block, AblationBlock)] or blocks
    probes = [curated[probe] for block in blocks for probe in block.probe_ids]
    probes = [probe for probe in probes if not unreadable(probe.samples)]
    if not probes:
        return 0.0, 0, "no probe that can be read"
    queries = [samples[name] for name in max(blocks, key=lambda block: len(block.query_ids)).query_ids]
    share = cells / (len(probes) * len(queries))
    if arm.made_by.fits:
        return 0.0, 0, "its time is known once it is fitted"
    if isinstance(arm, EstimateArm):
        if arm.in_a_set:
            return 0.0, 0, "its time is known once the set is trained on"
        few, some = probes[:REHEARSED], queries[:REHEARSED]  # a gradient for each probe and query is what takes time
        each = _timed(base, arm, seed, few, some) / (len(few) + len(some))
        return each * (len(probes) + len(queries)), 0, arm.label
    if not isinstance(arm, FineTune):
        few, some = probes[:: -(-len(probes) // REHEARSED)], queries[:: -(-len(queries) // REHEARSED_QUERIES)]
        return cells * _timed(base, arm, seed, few, some) / (len(few) * len(some)), 0, arm.label
    items = [encode_probe(base, arm.recipe, probe) for probe in probes]
    items_queried = list(encode_all(base, queries))
    found = engine.forecast(base, arm.recipe, items, items_queried, seed, engine=arm.engine)
    return share * found.seconds, found.bytes, f"{found.path} ({found.why})"


def _timed(base: Base, arm: Arm, seed: int, probes: list[ProbeSamples], queries: list[Sample]) -> float:
    """Seconds of all of them together."""
    implementation: Implementation = arm.made_by.implementation
    begun = time.perf_counter()
    for _ in implementation.block(base, arm, seed, probes, queries, kept=lambda _: None, state=None).rows:
        pass
    return time.perf_counter() - begun
