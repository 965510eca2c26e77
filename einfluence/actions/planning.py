"""What the actions of a spec want and its store lacks, once its arms have their cells."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from einfluence.action import Action
from einfluence.actions.attempt import Acting, Attempt, Scene
from einfluence.arms import Arm, OfASet
from einfluence.keys import content_hash, file_digest
from einfluence.plan import Plan, arm_keys
from einfluence.prepare import Prepared
from einfluence.shards import BLOCK, Job
from einfluence.spec import Spec, byte_count
from einfluence.store.curations import set_members, set_queries
from einfluence.store.schema import ACTIONS
from einfluence.store.store import ArmKey, Store
from einfluence.training_set import Variant
from einfluence.trainings import key_of, lacking


@dataclass(frozen=True)
class Acted:
    """What one action makes of one way of training on a set.

    Args:
        scene: What it is about.
        action: The action.
        attempts: The trainings that it makes.
    """

    scene: Scene
    action: Action
    attempts: tuple[Attempt, ...]

    @property
    def variants(self) -> dict[str, Variant]:
        """The trainings, those that they are compared with among them, by id."""
        set_id = self.scene.members.set_id(self.scene.item.schedule)
        each = [variant for one in self.attempts for variant in (one.reference, one.variant)]
        return {variant.training_id(set_id): variant for variant in each}

    def rows(self) -> pa.Table:
        """The rows of ``actions``."""
        scene, kind = self.scene, self.action.kind
        set_id, key = scene.members.set_id(scene.item.schedule), scene.key
        written = getattr(self.action, kind).model_dump(mode="json")
        about = {"base": key.base, "recipe": key.recipe, "seed": key.seed, "training_set": set_id}
        read = [file_digest(path) for path in self._files(written)]
        name = content_hash(("action", kind, written, read, *about.values()))
        rows = [
            {
                **about,
                "action": name,
                "kind": kind,
                "method": one.method,
                "training": one.variant.training_id(set_id),
                "reference": one.reference.training_id(set_id),
                "chosen_by": one.chosen_by,
                "share": one.share,
                "draw": one.draw,
                "query_id": one.query_id,
                "about": one.about,
                "cost": one.cost,
                "json": json.dumps(written, sort_keys=True),
                "note": one.note,
            }
            for one in self.attempts
        ]
        return pa.Table.from_pylist(rows, ACTIONS)

    def _files(self, written: dict[str, Any]) -> Iterator[Path]:
        """Those that the action names: their content is a part of what it is."""
        paths = (self.scene.spec.path(value) for value in written.values() if isinstance(value, str))
        return (path for path in paths if path.is_file())


def check_actions(spec: Spec, item: Prepared, store: Store) -> None:
    """Refuses an action that cannot be done, before anything is computed.

    Raises:
        InputError: When there is one.
    """
    for action in item.part.actions:
        acting(action).check(getattr(action, action.kind), item, spec, store.root / "curations" / item.curation)


def plan_actions(spec: Spec, prepared: Sequence[Prepared], store: Store) -> Plan:
    """The trainings that the actions of a spec want minus those that the store has, in jobs; notes what each wants.

    Raises:
        InputError: When an action cannot be done with the cells that there are.
    """
    wanted, jobs, seen = 0, list[Job](), set[tuple[ArmKey, str]]()
    every = (scene for item in prepared if item.part.actions for scene in scenes(spec, item, store))
    for scene in every:
        item, queries, of_arms = scene.item, set_queries(scene.folder), _of_arms(scene)
        about = (store.url, item.measured, item.curation, scene.trained, scene.key)
        keep, remote = byte_count(spec.keep_deltas), item.part.trust_remote_code
        for action in item.part.actions:
            made = acted(action, scene)
            store.add_definitions({"actions": made.rows()})
            variants = {name: each for name, each in made.variants.items() if (scene.key, name) not in seen}
            seen |= {(scene.key, name) for name in variants}
            each = dict.fromkeys(variants, queries)
            blocks = lacking(scene.key, item.schedule, variants, each, store, spec.shard or BLOCK)
            counted = of_arms.difference(*(block.probe_ids for block in blocks))  # by the plan of the arms
            wanted += len(queries) * len(variants.keys() - counted)
            jobs += [Job(*about, (block,), keep, remote) for block in blocks]
    missing = sum(job.cells for job in jobs)
    return Plan(wanted, wanted - missing, tuple(jobs), fixed=spec.shard is not None)


def _of_arms(scene: Scene) -> set[str]:
    """The trainings that arms compare, by id."""
    set_id, probes = scene.members.set_id(scene.item.schedule), list(scene.members.probes)
    arms = [(arm, key) for arm, key in scene.arms if arm.made_by.within]
    each = (arm.made_by.implementation.variants(arm, scene.members, key.seed, probes) for arm, key in arms)
    return {variant.training_id(set_id) for some in each for variant in some}


def acted(action: Action, scene: Scene) -> Acted:
    """What an action makes of a way of training."""
    return Acted(scene, action, tuple(acting(action).attempts(getattr(action, action.kind), scene)))


def scenes(spec: Spec, item: Prepared, store: Store) -> list[Scene]:
    """The ways in which a part trains on its set, each with every seed."""
    folder = store.root / "curations" / item.curation
    members = set_members(folder)
    ways: dict[ArmKey, tuple[OfASet, list[tuple[Arm, ArmKey]]]] = {}
    for arm, key in arm_keys(item, folder):
        if arm.in_a_set:
            trained = OfASet.of(arm)
            ways.setdefault(key_of(key.base, trained, key.seed), (trained, []))[1].append((arm, key))
    return [
        Scene(spec, item, store, folder, members, trained, key, tuple(arms)) for key, (trained, arms) in ways.items()
    ]


def acting(action: Action) -> Acting:
    """The module of an action."""
    module: Any = importlib.import_module(f"einfluence.actions.{action.kind}")
    return module
