"""From a part of a spec to its rows in the store: its base, its curated data, its recipes."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from einfluence.arms import Arm, FineTune, InContext, OfASet, estimators
from einfluence.bases.load import narrowed
from einfluence.curate.key import data_key
from einfluence.errors import InputError
from einfluence.inputs import curated_part, part_base
from einfluence.keys import content_hash
from einfluence.models.base import BaseInfo
from einfluence.objectives import objectives
from einfluence.predictors import resolved
from einfluence.samples import Curated
from einfluence.sampling import LEAST, with_controls
from einfluence.session import BASES, Session
from einfluence.spec import Part, Spec, TrainedBase
from einfluence.store.curations import NotedArm, sample_rows, set_members, set_queries
from einfluence.store.store import Store
from einfluence.training_set import Schedule
from einfluence.trainings import Watch, set_rows

TWICE = "samples of equal content"  # the gate of curation that counts them


@dataclass(frozen=True)
class Prepared:
    """A part of the spec with its base and the key of its curated data."""

    part: Part
    base: BaseInfo
    curation: str

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Those of the part, each estimate once for every intervention that it stands for, and its controls."""
        return with_controls(resolved(self.part.arms), self.part.measure)

    def groups(self, arm: Arm) -> int | None:
        """How many groups of queries each probe meets beside its claims, of an arm that does not meet all of them."""
        return self.part.measure.groups if self.part.measure and isinstance(arm, FineTune) else None

    @property
    def measured(self) -> BaseInfo:
        """The base as its cells are computed: in bfloat16 where all arms are, which changes no number."""
        return narrowed(self.base, (arm.recipe.reads_in for arm in self.arms))

    @property
    def schedule(self) -> Schedule:
        """How the training set is gone through."""
        return (self.part.training_set or Schedule()).only(Schedule)

    @property
    def watches(self) -> int | None:
        """After every how many steps the training on the whole set is watched; None where it is not."""
        return self.part.training_set.watch if self.part.training_set else None

    def watch(self, folder: Path) -> Watch | None:
        """That, and what it is queried with: all that a probe of the set is.

        Args:
            folder: Of the curation.
        """
        return Watch(self.watches, set_queries(folder)) if self.watches else None

    def known(self, arm: Arm, folder: Path) -> str:
        """What an arm's cells know of beside their probe, as :meth:`.Arm.recipe_for` takes it.

        Args:
            arm: The arm.
            folder: Of the curation.
        """
        if arm.in_a_set:
            return set_members(folder).set_id(self.schedule)
        return self.curation if arm.made_by.fits else ""

    def draws(self, arm: Arm) -> bool:
        """Whether a seed changes anything: start values, the order of a training set, or which of it are drawn."""
        return arm.draws or (arm.in_a_set and self.schedule.draws)


def prepare(spec: Spec, part: Part, store: Store, session: Session) -> Prepared:
    """Finds a part's base and curates its data, unless that very curation is in the store.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    study = f"{spec.name}/{part.name}"
    found = find_part(spec, part, session)
    for arm in found.arms:
        arm.check(f"parts.{part.name}.arms", objectives()[found.base.objective].can, found.schedule.then is not None)
    _check_chat(found, session)
    if part.gradient_checkpointing:
        from einfluence.engine.checkpointing import blocks_in

        base = session.base(found.base, part.trust_remote_code)
        blocks_in(base, f"parts.{part.name}.gradient_checkpointing")
    store.open_for_writing()
    if store.curation(found.curation) is None:
        curated = curated_part(spec, part, session)
        store.add_curation(found.curation, curated, _noted(study, part, curated))
    store.add_rows("bases", [_base_row(found.base)])
    folder = store.root / "curations" / found.curation
    if part.training_set is not None:
        _add_set(found, folder, store)
    _check_measured(found, folder)
    recipes = [_recipe_row(found, arm, folder) for arm in found.arms]
    store.add_rows("recipes", recipes)
    arms = [_noted_arm(found, arm, row["recipe"]) for arm, row in zip(found.arms, recipes, strict=True)]
    store.point_study(study, found.curation, time.time_ns(), arms)
    return found


def _noted(study: str, part: Part, curated: Curated) -> dict[str, Any]:
    """What a curation's ``done.json`` says of it."""
    about = {"origin": study, "part": json.loads(part.model_dump_json())}
    return {**about, "later": list(curated.later)} if curated.later else about


def _noted_arm(item: Prepared, arm: Arm, recipe: str) -> NotedArm:
    groups, measure = item.groups(arm), item.part.measure
    if groups is None or measure is None or not isinstance(arm, FineTune):
        return item.base.base_id, recipe
    return item.base.base_id, recipe, groups, measure.control_of(arm).recipe_for("")


def _check_measured(item: Prepared, folder: Path) -> None:
    """Raises InputError where so few cells would be measured that the others cannot be inferred from them."""
    measure = item.part.measure
    if measure is None or measure.groups is None:
        return
    pairs, probes = (pq.read_metadata(folder / f"{name}.parquet").num_rows for name in ("relations", "probes"))
    each = measure.rest * pairs / max(probes, 1)
    if each < LEAST:
        found = f"{measure.rest:g} of {pairs / max(probes, 1):.0f} queries a probe, about {each:.0f} of them"
        fix = "raise `rest`, name more queries, or leave `measure` out"
        raise InputError(f"parts.{item.part.name}.measure", found, f"at least {LEAST} that are measured", fix)


def _add_set(item: Prepared, folder: Path, store: Store) -> None:
    """Writes what the training set is, and the recipes of its trainings.

    Raises:
        InputError: When it cannot be trained on as it is.
    """
    members, schedule = set_members(folder), item.schedule
    where, n = f"parts.{item.part.name}.training_set", len(members.sample_ids)
    gates = {row["gate"]: row for row in pq.read_table(folder / "report.parquet").to_pylist()}
    twice = gates.get(TWICE, {"count": 0})
    if twice["count"]:
        found = f"a sample twice ({twice['example']}; {twice['count']} in all)"
        raise InputError(where, found, "each sample once", "leave the others out, or raise `epochs`")
    if schedule.batch_size > n:
        raise InputError(f"{where}.batch_size", f"{schedule.batch_size} for a set of {n} samples", f"at most {n}")
    if schedule.then is not None and schedule.then.batch_size > len(members.later):
        found = f"{schedule.then.batch_size} for {len(members.later)} samples"
        raise InputError(f"{where}.then.batch_size", found, f"at most {len(members.later)}")
    of_one = (arm.made_by for arm in item.arms if arm.in_a_set and not arm.made_by.within)
    blind = next((made_by.name for made_by in of_one if not made_by.two_stages), None)
    if schedule.then is not None and blind:
        found = f"`{blind}`, which does not know what a second stage leaves of the first"
        expected = ", ".join(f"`{name}`" for name, made_by in estimators().items() if made_by.two_stages)
        raise InputError(f"{where}.then", found, f"of estimates {expected}", f"leave `{blind}` out")
    steps = schedule.all_steps(n, len(members.later))
    if item.watches and item.watches >= steps:
        found = f"{item.watches} for a training of {steps} steps"
        raise InputError(f"{where}.watch", found, "fewer steps than it has", "its end is scored in any case")
    unreadable = next((s for s in sample_rows(pq.read_table(folder / "samples.parquet")) if s.unreadable), None)
    if unreadable is not None and unreadable.sample_id in members.sample_ids:
        raise InputError(unreadable.source, "an image that cannot be read", "an image", "leave it out of the set")
    store.add_definitions(set_rows(members, schedule))
    store.add_rows("recipes", [OfASet.of(arm).row() for arm in item.arms if arm.made_by.within])


def _recipe_row(item: Prepared, arm: Arm, folder: Path) -> dict[str, Any]:
    known = item.known(arm, folder)
    row = arm.row(known, _about(item, arm))
    if arm.made_by.fits:
        return {**row, "fit": arm.fit_for(known)}
    return {**row, "training_set": known, "trainings": OfASet.of(arm).recipe_id} if arm.made_by.within else row


def _about(item: Prepared, arm: Arm) -> str:
    """What an arm's cells know of beside their probe, in words."""
    if arm.in_a_set:
        return item.schedule.label
    return f"fitted to {item.curation[:6]}" if arm.made_by.fits else ""


def find_part(spec: Spec, part: Part, session: Session | None = None) -> Prepared:
    """A part's base, and the key that its curation has or will have.

    Args:
        spec: The spec.
        part: Its part.
        session: See :func:`einfluence.inputs.part_base`.
    """
    base = part_base(spec, part, session)
    return Prepared(part, base, content_hash((data_key(part, spec), base.base_id)))


def load_ahead(spec: Spec, store: Store, session: Session, *, computes: bool = True) -> None:
    """Loads the bases that this process will need, so that it can be done while something else is waited for.

    Args:
        spec: The spec.
        store: The store.
        session: Of this process.
        computes: Whether cells are computed in this process; else a base is needed only to curate.
    """
    for part in spec.parts[:BASES]:
        if isinstance(part.base, TrainedBase):
            continue
        found = find_part(spec, part)
        if store.curation(found.curation) is None:
            session.base(found.base, part.trust_remote_code)
        elif computes:
            session.base(found.measured, part.trust_remote_code)


def _check_chat(item: Prepared, session: Session) -> None:
    """Raises InputError before anything is computed if an arm asks for a chat template that cannot be used."""
    chats = [arm.recipe for arm in item.part.arms if isinstance(arm, InContext) and arm.recipe.chat]
    if chats and "prompt" in objectives()[item.base.objective].can:
        from einfluence.estimators.in_context import beginning

        base = session.base(item.base, item.part.trust_remote_code)
        beginning(base, chats[0], f"parts.{item.part.name}: arms recipe.chat")


def _base_row(base: BaseInfo) -> dict[str, Any]:
    modality = objectives()[base.objective].modality
    about = {"label": base.label, "config": base.config, "modality": modality, "objective": base.objective}
    return {
        "base": base.base_id,
        "label": base.label,
        "modality": modality,
        "json": json.dumps(about, sort_keys=True),
    }
