"""A user's own file without the samples that influence calls most harmful, and what the training without them did."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc
import pyarrow.parquet as pq

from einfluence.action import Remove
from einfluence.actions.attempt import Scene
from einfluence.actions.choice import Scored
from einfluence.actions.planning import scenes
from einfluence.actions.remove import by_scores, scored
from einfluence.curate.rows.table import place_of
from einfluence.curate.rows.without import FORMATS, check_writable, number_of, write_without
from einfluence.errors import InputError
from einfluence.inputs import NotTrained
from einfluence.prepare import Prepared, find_part
from einfluence.samples import Sample
from einfluence.spec import Part, Spec
from einfluence.store.curations import sample_rows
from einfluence.store.store import ArmKey, Store

_FOLDER = Path(__file__).parent
DONE, RESULT = ((_FOLDER / f"clean_{name}.sql").read_text(encoding="utf-8") for name in ("done", "result"))


class Number(NamedTuple):
    """A mean over the queries that judge, in nats, with its 95% interval; None where there are too few."""

    value: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Cleaned:
    """What was written, and what the training without the removed samples did.

    Args:
        kept: Rows of the file that are left.
        removed: Rows that are gone.
        reasons: The file that says why.
        measured: What held-out queries gained by the removal; None where the store has no scorecard of it.
        at_random: What they gained by the removal of as many at random.
        predicted: What the removed samples' influence adds up to; None of a user's own query.
    """

    kept: int
    removed: int
    reasons: Path
    measured: Number | None
    at_random: Number | None
    predicted: Number | None


@dataclass(frozen=True)
class _Choice:
    """The samples that were left out of a training.

    Args:
        scene: The way of training.
        action: The spec's action.
        arm: The arm that chose; None where a user's query did.
        scored: What it chose by.
        left_out: Positions of the samples in the set.
    """

    scene: Scene
    action: Remove
    arm: ArmKey | None
    scored: Scored
    left_out: tuple[int, ...]


def clean(
    spec: Spec, store: Store, out: Path, *, by: str, share: float, part: str | None = None, seed: int | None = None
) -> Cleaned:
    """Writes the file of a part's training set without the share of samples that harm most, and why they are gone.

    It is what an action ``remove`` of the spec left out: the store has its training.

    Args:
        spec: The spec.
        store: Where it was run.
        out: The file to write; beside it, with ``.removed.csv`` behind its stem, a row for each that is gone.
        by: The action's ``by``: an estimator, or a file with a query.
        share: One of the action's ``shares``.
        part: Which part, where several have such an action.
        seed: Of which seed; by default the part's first.

    Raises:
        InputError: When the spec has no such action or several, it has not been run, or the file cannot be written.
    """
    chosen, action = _action(spec, by, share, part)
    path = _file(chosen, spec)
    check_writable(path, out)
    reasons = out.with_name(f"{out.stem}.removed.csv")
    if reasons.exists():
        raise InputError("--out", f"{str(reasons)!r}, which is there already", "a name that is not taken")
    item = _found(spec, chosen, store)
    choice = _choice(_scene(item, spec, action, store, seed), action, share, store)
    gone = _samples(choice)
    kept = write_without(path, {number_of(sample.source) for _, sample in gone}, out)
    _write_reasons(reasons, choice, gone, by)
    removed = len({number_of(sample.source) for _, sample in gone})
    return Cleaned(kept, removed, reasons, *_result(choice, share, store))


def _action(spec: Spec, by: str, share: float, part: str | None) -> tuple[Part, Remove]:
    """The action of the spec that removes this share of what is lowest, for all held-out queries."""
    found = [
        (one, action.remove)
        for one in spec.parts
        for action in one.actions
        if action.remove is not None
        and (action.remove.by, action.remove.decisions) == (by, None)
        and "lowest" in action.remove.order
        and share in action.remove.shares
        and part in (None, one.name)
    ]
    parts = dict.fromkeys(one.name for one, _ in found)
    if len(parts) > 1:
        raise InputError("--part", "none, and such an action in several parts", f"one of {', '.join(parts)}")
    if not found:
        where = spec.name if part is None else f"part {part} of {spec.name}"
        wanted = f"remove: {{by: {by}, order: lowest, shares: {share:g}}}"
        raise InputError(
            "--by, --share",
            f"{by} and {share:g}, which no action of {where} has",
            f"`{wanted}` among the `actions` of a part",
            "write it there, `einfluence run` the spec, and ask again: a file is cleaned by what was trained without",
        )
    return found[0]


def _file(part: Part, spec: Spec) -> Path:
    """The user's file that the training set is."""
    if part.samples is None:
        kind = next(name for name in ("facts", "images", "source") if getattr(part, name) is not None)
        raise InputError(f"parts.{part.name}", f"a training set from `{kind}`", f"`samples`: {FORMATS}")
    place = place_of(part.samples, spec.folder)
    if not isinstance(place, Path):
        fix = "save it as a file, with `to_json` or `to_parquet` of datasets, say, and name that in `samples`"
        raise InputError(f"parts.{part.name}.samples", f"{part.samples!r}, a data set elsewhere", FORMATS, fix)
    return place


def _found(spec: Spec, part: Part, store: Store) -> Prepared:
    try:
        item = find_part(spec, part)
    except NotTrained:
        item = None
    if item is None or store.curation(item.curation) is None:
        raise _not_run(part, store)
    return item


def _not_run(part: Part, store: Store) -> InputError:
    found = f"no training without what the action removes, in the store {store.url}"
    return InputError(f"parts.{part.name}", found, "one that was done", "`einfluence run` the spec first")


def _scene(item: Prepared, spec: Spec, action: Remove, store: Store, seed: int | None) -> Scene:
    """The way of training with the arms that choose: of the seed, or the first."""
    of_a_file = action.by.endswith(".sql")
    fitting = [
        scene
        for scene in scenes(spec, item, store)
        if seed in (None, scene.key.seed) and (of_a_file or scene.arms_of(action.by))
    ]
    if not fitting:
        raise InputError("--seed", f"{seed}", f"one of {', '.join(map(str, item.part.seeds))}")
    first = [scene for scene in fitting if scene.key.seed == fitting[0].key.seed]
    arms = [key for scene in first for key in scene.arms_of(action.by)]
    if len(first) > 1 or len(arms) > 1:
        found = f"{max(len(first), len(arms))} ways in which the part's arms train or choose"
        raise InputError(f"parts.{item.part.name}.arms", found, f"one arm `{action.by}`", "give the others a part")
    return first[0]


def _choice(scene: Scene, action: Remove, share: float, store: Store) -> _Choice:
    """What the action left out, if that was trained."""
    set_id = scene.members.set_id(scene.item.schedule)
    arm = next(iter(scene.arms_of(action.by)), None)
    only = action.model_copy(update={"order": ("lowest",), "shares": (share,)})
    about = {"base": scene.key.base, "recipe": scene.key.recipe, "seed": scene.key.seed}
    with store.connect() as connection:
        done = {training for (training,) in connection.execute(DONE, about).fetchall()}
    if not done:
        raise _not_run(scene.item.part, store)
    scores = scored(only, scene, arm)
    [attempt] = by_scores(only, scene, arm, scores)
    if attempt.variant.training_id(set_id) not in done:
        raise _not_run(scene.item.part, store)
    return _Choice(scene, action, arm, scores, attempt.variant.left_out)


def _samples(choice: _Choice) -> list[tuple[int, Sample]]:
    """The removed samples, with their positions in the set."""
    ids = {choice.scene.members.sample_ids[place]: place for place in choice.left_out}
    rows = pq.read_table(choice.scene.folder / "samples.parquet", filters=pc.field("sample_id").isin(list(ids)))
    return sorted(((ids[sample.sample_id], sample) for sample in sample_rows(rows)), key=lambda pair: pair[0])


def _write_reasons(path: Path, choice: _Choice, gone: Sequence[tuple[int, Sample]], by: str) -> None:
    members, scores = choice.scene.members, choice.scored.scores
    score_of = {place: score for unit, score in zip(members.units, scores, strict=True) for place in unit}
    reason = f"one of the {len(gone)} of {len(members.sample_ids)} samples with the lowest score by {by}"
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("row", "id", "score", "reason", "text"))
        for place, sample in sorted(gone, key=lambda pair: score_of[pair[0]]):
            text = f"{sample.prompt} {sample.target}".strip()
            writer.writerow((number_of(sample.source), sample.name, repr(score_of[place]), reason, text))


def _result(choice: _Choice, share: float, store: Store) -> tuple[Number | None, Number | None, Number | None]:
    """What the scorecard has of the removal, of one at random, and of what was predicted."""
    key = choice.scene.key
    kind = "lowest" if choice.arm is not None else f"lowest by {Path(choice.action.by).name}"
    about = {"base": key.base, "kind": kind, "share": share}
    with store.connect() as connection:
        arms = [arm.recipe for _, arm in choice.scene.arms] if choice.arm is None else [choice.arm.recipe]
        rows = [row for arm in arms for row in connection.execute(RESULT, {**about, "arm": arm}).fetchall()]
    found = {(formula, random): Number(*numbers) for formula, random, *numbers in rows}
    return found.get(("nats", False)), found.get(("nats", True)), found.get(("predicted", False))
