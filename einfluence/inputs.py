"""What a part of a spec measures: its base, which an earlier part may have trained, and its curated data."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from einfluence.arms import OfASet
from einfluence.bases.load import describe, find_base
from einfluence.curate import curate
from einfluence.curate.key import VERSION as CURATION
from einfluence.curate.key import data_key
from einfluence.curate.text_noise import Reader
from einfluence.embedded import cache_folder
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.models.base import Base, BaseInfo, HasTokens
from einfluence.objectives import encode, encode_all, objectives
from einfluence.objectives.tokenizing import read_of
from einfluence.recipe import Tuning
from einfluence.samples import Curated, Sample
from einfluence.session import Session
from einfluence.spec import Part, Spec, TrainedBase
from einfluence.store.curations import members_of, sample_rows
from einfluence.store.store import ArmKey
from einfluence.training_set import FULL, Members, Schedule
from einfluence.trainings import key_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

NOTE = "training.json"  # beside the weights of a trained base, and no part of its content


class NotTrained(Exception):
    """A base that has yet to be trained, where nothing may be computed."""


@dataclass(frozen=True)
class FullTraining:
    """The training of a part's whole set.

    Args:
        base: What is trained.
        samples: The set, by sample_id in order.
        later: The samples of a second stage.
        schedule: How they are gone through.
        recipe: How it is trained.
        seed: Of the start values and the order.
        trust_remote_code: Whether the base's own Python files may be run.
        where: The part, for messages.
    """

    base: BaseInfo
    samples: Mapping[str, Sample]
    later: Sequence[Sample]
    schedule: Schedule
    recipe: Tuning
    seed: int
    trust_remote_code: bool
    where: str

    @property
    def key(self) -> ArmKey:
        """The arm that it is a training of."""
        return key_of(self.base.base_id, OfASet(recipe=self.recipe), self.seed)

    @property
    def set_id(self) -> str:
        """The name of the set in the store."""
        later = tuple(sample.sample_id for sample in self.later)
        return Members(tuple(self.samples), {}, later).set_id(self.schedule)

    @property
    def training_id(self) -> str:
        """Its own name in the store."""
        return FULL.training_id(self.set_id)


def part_base(spec: Spec, part: Part, session: Session | None = None) -> BaseInfo:
    """Finds the base of a part; one that an earlier part trains is trained on first use, and kept in the cache.

    Args:
        spec: The spec.
        part: Its part.
        session: Where a base may be trained; without one, none is.

    Raises:
        InputError: When there is none of that name, its folder lacks what a base needs, or the part says of prompts
            what the base cannot have.
        NotTrained: When it has yet to be trained and there is no session.
    """
    where, remote = f"parts.{part.name}.base", part.trust_remote_code
    if isinstance(part.base, TrainedBase):
        found = _trained(spec, part, part.base, session)
    else:
        found = find_base(part.base, where, relative_to=spec.folder, trust_remote_code=remote, head=part.head)
    if "prompt" not in objectives()[found.objective].can:
        for key, value in (("bos", part.bos), ("join", part.join)):
            if value not in ("auto", None):
                what = f"`{key}: {json.dumps(value)}` for {found.label}: {found.objective} has no prompt"
                raise InputError(f"parts.{part.name}.{key}", what, f"a causal language model, or no `{key}`")
    if part.keep_packed and not found.packed:
        expected = "a base that bitsandbytes packed into 4 bits"
        raise InputError(f"parts.{part.name}.keep_packed", f"true for {found.label}", expected, "leave it out")
    ways = {"gradient_checkpointing": part.gradient_checkpointing, "keep_packed": part.keep_packed}
    return replace(found.beginning(part.bos), **ways)


def full_training(spec: Spec, part: Part, which: TrainedBase, session: Session) -> FullTraining:
    """The training of a part's whole set.

    Args:
        spec: The spec.
        part: Its part that has the set.
        which: Of its trainings.
        session: Of this process.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    recipe, schedule, seed = _way(part, which)
    curated = curated_part(spec, part, session)
    samples = {sample.sample_id: sample for sample in sample_rows(curated.samples)}
    members = members_of(curated.probes, curated.probe_members, curated.later)
    own, later = {name: samples[name] for name in members.sample_ids}, [samples[name] for name in members.later]
    about = (own, later, schedule, recipe, seed, part.trust_remote_code, f"parts.{part.name}")
    return FullTraining(part_base(spec, part, session), *about)


@contextmanager
def ended(where: str) -> Generator[None]:
    """Within it, a training that fails is refused in a user's words.

    Args:
        where: What trains, for the message.

    Raises:
        InputError: When a training raises RuntimeError, as :func:`einfluence.estimators.training.trained` does.
    """
    try:
        yield
    except RuntimeError as error:
        raise InputError(where, str(error), "a training that ends with finite weights", "lower `lr`") from error


def _way(part: Part, which: TrainedBase) -> tuple[Tuning, Schedule, int]:
    """How a part trains on its set, and by which seed."""
    recipe, schedule = which.tuning(part.arms), (part.training_set or Schedule()).only(Schedule)
    return recipe, schedule, which.seed_of(part.seeds, recipe.draws or schedule.draws)


def _trained(spec: Spec, part: Part, which: TrainedBase, session: Session | None) -> BaseInfo:
    """A base that an earlier part trains: a folder of the cache, named by what it follows from.

    Its base_id is that of the base and the training: doing it again on another machine rounds otherwise, and makes no
    other base of it.
    """
    of = next(each for each in spec.parts if each.name == which.training)
    own, (recipe, schedule, seed) = part_base(spec, of, session), _way(of, which)
    key = key_of(own.base_id, OfASet(recipe=recipe), seed)
    follows = (CURATION, data_key(of, spec), schedule.key, vars(key))
    folder = cache_folder() / "models" / f"trained-{content_hash(follows)}"
    where = f"parts.{part.name}.base"
    if not (folder / NOTE).is_file():
        if session is None:
            raise NotTrained(where)
        _train(full_training(spec, of, which, session), folder, session, where)
    found = describe(folder, f"{own.label}, trained on {of.name}", where, part.trust_remote_code)
    return replace(found, base_id=json.loads((folder / NOTE).read_text())["base"], content=found.base_id)


def _train(training: FullTraining, folder: Path, session: Session, where: str) -> None:
    from einfluence.estimators.training import trained_base
    from einfluence.saved import save_base

    base = session.base(training.base, training.trust_remote_code)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch, session.computing(base):
        own = list(training.samples.values())
        with ended(where):
            after = trained_base(base, training.recipe, training.seed, own, training.schedule, later=training.later)
        made = Path(scratch) / "base"
        save_base(base, after, made)
        (made / NOTE).write_text(json.dumps({"base": after.info.base_id, "training": training.training_id}))
        try:
            os.replace(made, folder)
        except OSError:  # another process was first
            if not (folder / NOTE).is_file():
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(made, folder)


def curated_part(spec: Spec, part: Part, session: Session) -> Curated:
    """Curates a part's data for its base, without a store.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    base = session.base(part_base(spec, part, session), part.trust_remote_code)
    with session.computing(base):
        curated = _curate(part, spec, base)
    for _ in encode_all(base, (sample for sample in sample_rows(curated.samples) if not sample.unreadable)):
        pass  # each fits the base
    return curated


def _curate(part: Part, spec: Spec, base: Base) -> Curated:
    def features(samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
        from einfluence.engine.features import features as of_base

        return of_base(base, samples)

    return curate(part, spec, features, logprobs=_logprobs(base), reader=reader_of(base), **base.objective.curation())


def reader_of(base: Base) -> Reader | None:
    """How a base reads samples; None where these are no tokens to it."""
    objective = base.objective
    if not isinstance(objective, HasTokens):
        return None
    return lambda sample: read_of(objective.tokens(encode(base, sample)), sample.target)


def _logprobs(base: Base) -> Callable[[Sequence[Sample]], npt.NDArray[np.float64]] | None:
    """What finds out which texts a base knows already; None where its samples are none."""
    if "causal text" not in base.objective.can:
        return None
    from einfluence.engine import CheckedScorer, TextItem

    read = CheckedScorer(base)  # one for all texts, so that it is held against the definition once
    return lambda samples: read(cast("list[TextItem]", list(encode_all(base, samples)))).logprob
