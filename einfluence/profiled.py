"""What a spec would take on devices of a profile: its own texts counted, nothing of it rehearsed.

Probes that are fine-tuned with adapters or put into the prompt, trainings of a set, also those of actions, and
gradients of `grad_dot` are counted, of causal language models. All else is named with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from einfluence.arms import FineTune, InContext, OfASet
from einfluence.engine.adapters import adapted
from einfluence.engine.schedule import Training
from einfluence.engine.structure import shared_copy
from einfluence.errors import InputError
from einfluence.estimate import curated, of_actions, scratch_store
from einfluence.estimators.finetune import encode_probe
from einfluence.estimators.in_context import beginning, context, prompted
from einfluence.estimators.training import trainings_of
from einfluence.large import Large, Profile, Read, Work, shape, taken
from einfluence.models.base import Base, Item
from einfluence.objectives import encode_all
from einfluence.objectives.causal_lm import causal
from einfluence.plan import arm_keys, wanted_blocks
from einfluence.predictors import GradDot
from einfluence.prepare import Prepared
from einfluence.recipe import Lora, Prompting, Tuning
from einfluence.session import Session, session_here
from einfluence.shards import BLOCK
from einfluence.spec import Spec
from einfluence.store.curations import Curation, set_members
from einfluence.store.sampling import SampledBlock
from einfluence.store.store import AblationBlock, CellBlock, Store
from einfluence.trainings import Attribution, TrainingBlock, by_trainings, missing_trainings

IN_COMMON = "at most so much: steps that trainings have in common are taken once"
Takes = Callable[[Work, Tuning | Prompting], Large]


@dataclass(frozen=True)
class Foreseen:
    """What one arm of a part would take.

    Args:
        part: Name of the part.
        arm: Its estimator, the label of its recipe, and the seed.
        wanted: Cells that the spec wants.
        missing: Cells that the store lacks.
        taken: What these take; None where that is not counted, or nothing is to do.
        note: What is not in the numbers, or why there are none.
        counted: Whether nothing but what ``note`` names is left out.
    """

    part: str
    arm: str
    wanted: int
    missing: int
    taken: Large | None = None
    note: str = ""
    counted: bool = True


def foresee(spec: Spec, store: Store, profile: Profile, workers: int, *, device: str = "auto") -> list[Foreseen]:
    """Counts what a spec would take on so many of one device; data that the store lacks are curated and thrown away.

    Args:
        spec: The spec.
        store: The store.
        profile: The device.
        workers: How many of it.
        device: Of this machine, where data are curated.

    Raises:
        InputError: When the spec or what it names cannot be used, or nothing of what is missing can be counted.
    """
    session, rows = session_here(device, None), list[Foreseen]()
    with scratch_store() as scratch:
        for part in spec.parts:
            item, folder, home = curated(spec, part, store, scratch, session)
            takes = partial(_taken, session.base(item.measured, part.trust_remote_code), profile, workers, spec)
            own = list(_rows(spec, item, folder, store, session, takes))
            rows += own
            if part.training_set and part.training_set.saliency:
                note = "one more training, unless it was kept, and a gradient for each query"
                rows.append(Foreseen(part.name, "words (saliency)", 0, 0, note=note, counted=False))
            if part.actions:
                done = not any(row.missing for row in own)
                rows += _of_actions(spec, item, home, store, session, takes, done)
    unknown = [row for row in rows if row.missing and not row.counted]
    if unknown and not any(row.taken for row in rows):
        expected = "an arm that can be counted: `finetune` or trainings of a set with LoRA, or prompts, of a causal LM"
        fix = "without --device-profile a few probes are tried on this machine"
        raise InputError("plan", f"{unknown[0].arm}: {unknown[0].note}", expected, fix)
    return rows


def _taken(base: Base, profile: Profile, workers: int, spec: Spec, work: Work, recipe: Tuning | Prompting) -> Large:
    """What work on a base takes.

    Raises:
        InputError: When it cannot be counted.
    """
    _check(base)
    of = shape(base.model, base.info.label)
    adapter = recipe.adapter if isinstance(recipe, Tuning) else None
    low = _adapters(base, adapter) if isinstance(adapter, Lora) else 0
    again, fixed = base.info.gradient_checkpointing, spec.shard is not None
    return taken(work, recipe, of, low, profile, workers, again=again, fixed=fixed)


def _check(base: Base) -> None:
    if "causal text" not in base.objective.can:
        raise InputError(base.info.label, base.info.objective, "a causal language model")


def _adapters(base: Base, adapter: Lora) -> int:
    """How many parameters adapters on a base have.

    Raises:
        InputError: When they are not on all blocks, or beside embeddings or the output layer.
    """
    copied = shared_copy(base.model, next(base.model.parameters()).dtype)
    output = base.objective.head(copied)
    head = next(name for name, module in copied.named_modules() if module is output)
    model, names = adapted(base, copied, adapter)
    outside = [name for name in names if f".{head}." in name or "lora_embedding" in name]
    if adapter.layers is not None or outside:
        expected = "adapters in all blocks, and none beside embeddings or the output layer"
        raise InputError("recipe.adapter", adapter.label, expected)
    return sum(model.get_parameter(name).numel() for name in names)


def _rows(spec: Spec, item: Prepared, folder: Path, store: Store, session: Session, takes: Takes) -> Iterator[Foreseen]:
    base, within = session.base(item.measured, item.part.trust_remote_code), list[Attribution]()
    for arm, key in arm_keys(item, folder):
        wanted, blocks = wanted_blocks(spec, folder, arm, key, store, item.groups(arm))
        missing = sum(block.cells for block in blocks)
        row = Foreseen(item.part.name, f"{key.estimator}: {arm.label}, seed {key.seed}", wanted, missing)
        if arm.made_by.within:
            within.append(Attribution(store.url, item.curation, arm, key, item.schedule, tuple(blocks)))
            yield replace(row, note="compares trainings of the set" if blocks else "nothing to do")
        elif not blocks:
            yield replace(row, note="nothing to do")
        elif isinstance(arm, FineTune):
            plain = [block for block in blocks if not isinstance(block, AblationBlock)]
            undone = "layers that are undone one at a time are not counted" if len(plain) < len(blocks) else ""
            work = partial(_of_probes, base, arm, plain, session.curation(folder))
            yield _counted(row, work, takes, arm.recipe, undone)
        elif isinstance(arm, InContext):
            work = partial(_of_prompts, base, arm, blocks, session.curation(folder))
            note = "at most so much: what texts begin with alike is read once"
            yield _counted(row, work, takes, arm.recipe, note)
        elif isinstance(arm, GradDot) and isinstance(arm.of, FineTune):
            work = partial(_of_gradients, base, blocks, session.curation(folder))
            yield _counted(row, work, takes, arm.of.recipe, "")
        else:
            tried = "" if arm.made_by.fits or arm.in_a_set else "; without --device-profile a few are tried here"
            yield replace(row, note=f"no count of FLOPs for {arm.estimator}{tried}", counted=False)
    for some in by_trainings(within).values():
        yield _of_trainings(spec, item, folder, some, store, session, takes)


def _counted(row: Foreseen, work: Callable[[], Work], takes: Takes, recipe: Tuning | Prompting, note: str) -> Foreseen:
    """A row with what its work takes, or with why that cannot be counted."""
    try:
        return replace(row, taken=takes(work(), recipe), note=note)
    except InputError as error:
        return replace(row, note=str(error), counted=False)


def _of_probes(base: Base, arm: FineTune, blocks: Sequence[CellBlock], curation: Curation) -> Work:
    texts, probes = dict(_texts(base, blocks, curation)), curation[1]
    each = [encode_probe(base, arm.recipe, probes[name]) for block in blocks for name in block.probe_ids]
    return Work(
        [len(block.probe_ids) for block in blocks],
        _sum(map(_trained, each)),
        sum(block.cells for block in blocks),
        _sum(_queried(block, texts) for block in blocks),
    )


def _of_prompts(base: Base, arm: InContext, blocks: Sequence[CellBlock], curation: Curation) -> Work:
    """Each query behind each probe; of a probe that does not fit before the longest, none."""
    _check(base)
    (samples, probes), bos, limit = curation, beginning(base, arm.recipe), causal(base).max_length
    read = list[Read]()
    for block in blocks:
        queries = [samples[name] for name in block.query_ids]
        alone = list(map(_read, prompted(base, queries, bos=bos)))
        whole, longest = _sum(alone), max(each.tokens for each in alone)
        for name in block.probe_ids:
            probe = probes[name].samples
            try:
                [first] = prompted(base, queries[:1], context(base, arm.recipe, probe), probe, bos)
            except InputError:  # it fails by itself
                continue
            more = first.size - alone[0].tokens
            if limit is None or longest + more <= limit:
                read.append(whole + Read(more * len(queries)))
    cells = sum(block.cells for block in blocks)
    return Work([len(block.probe_ids) for block in blocks], cells=cells, queried=_sum(read))


def _of_gradients(base: Base, blocks: Sequence[CellBlock], curation: Curation) -> Work:
    texts, probes = dict(_texts(base, blocks, curation)), curation[1]
    members = [sample for block in blocks for name in block.probe_ids for sample in probes[name].samples]
    graded = _sum([*map(_read, encode_all(base, members)), *texts.values()])
    return Work(graded=graded, estimated=sum(block.cells for block in blocks))


def _of_trainings(
    spec: Spec, item: Prepared, folder: Path, some: list[Attribution], store: Store, session: Session, takes: Takes
) -> Foreseen:
    """What the trainings of a set would take that some arms compare."""
    trained, seed = OfASet.of(some[0].arm), some[0].trainings.seed
    wanted, blocks = missing_trainings(some, folder, store, spec.shard or BLOCK, item.watch(folder))
    label = f"trainings of the set, {trained.recipe.label}, seed {seed}"
    row = Foreseen(item.part.name, label, wanted, sum(block.cells for block in blocks))
    if not blocks:
        return replace(row, note="nothing to do")
    base = session.base(item.measured, item.part.trust_remote_code)
    work = partial(_of_a_set, base, item, blocks, session.curation(folder), folder, seed)
    return _counted(row, work, takes, trained.recipe, IN_COMMON)


def _of_actions(
    spec: Spec, item: Prepared, home: Store, store: Store, session: Session, takes: Takes, done: bool
) -> Iterator[Foreseen]:
    """What the trainings of a part's actions would take; what has to be learned before is named."""
    base, name = session.base(item.measured, item.part.trust_remote_code), item.part.name
    for one in of_actions(spec, item, home, store, done):
        if one.lessons:
            left = f"{len(one.lessons)} of {one.states} states to learn: no count of FLOPs"
            yield Foreseen(name, f"learning {one.label}", 0, 0, note=left, counted=False)
        row = Foreseen(name, f"actions {one.label}", one.wanted, sum(block.cells for block in one.blocks))
        if one.blocks:
            scene = one.scene
            curation = session.curation(scene.folder)
            work = partial(_of_a_set, base, item, one.blocks, curation, scene.folder, scene.key.seed)
            note = IN_COMMON if done else f"{IN_COMMON}, and which of them are the same follows from cells"
            yield _counted(row, work, takes, scene.trained.recipe, note)
        else:
            yield replace(row, note="nothing to do")


def _of_a_set(
    base: Base, item: Prepared, blocks: Sequence[TrainingBlock], curation: Curation, folder: Path, seed: int
) -> Work:
    members, texts = set_members(folder), dict(_texts(base, blocks, curation))
    own, later = ([curation[0][name] for name in names] for names in (members.sample_ids, members.later))
    variants = [each for block in blocks for each in block.variants if not each.computed]
    watched = sorted((each for each in variants if each.steps is not None), key=lambda each: each.steps or 0)
    some = [each for each in variants if each.steps is None] + watched[-1:]  # one training is watched, to its last stop
    trainings = trainings_of(base, own, item.schedule, seed, some, later)
    return Work(
        [len(block.variants) for block in blocks],
        _sum(map(_trained, trainings)),
        sum(block.cells for block in blocks),
        _sum(_queried(block, texts) for block in blocks),
    )


def _texts(base: Base, blocks: Iterable[CellBlock], curation: Curation) -> Iterator[tuple[str, Read]]:
    """What is read of each query of some blocks."""
    names = list(dict.fromkeys(name for queries in {block.query_ids for block in blocks} for name in queries))
    return zip(names, map(_read, encode_all(base, (curation[0][name] for name in names))), strict=True)


def _queried(block: CellBlock, texts: Mapping[str, Read]) -> Read:
    if isinstance(block, SampledBlock):
        names = block.query_ids
        return _sum(_sum(texts[names[q]] for q in queries).times(len(probes)) for probes, queries in block.pieces)
    return _sum(texts[name] for name in block.query_ids).times(len(block.probe_ids))


def _trained(training: Training[Item]) -> Read:
    """What all steps of a training read."""
    tokens = targets = 0
    for step in training.steps:
        for place, weight in zip(step.batch, step.weights or (1.0,) * len(step.batch), strict=True):
            if weight:
                tokens += training.items[place].size
                targets += training.items[place].n_target
    return Read(tokens, targets)


def _read(item: Item) -> Read:
    return Read(item.size, item.n_target)


def _sum(reads: Iterable[Read]) -> Read:
    tokens = targets = 0.0
    for read in reads:
        tokens += read.tokens
        targets += read.targets
    return Read(tokens, targets)
