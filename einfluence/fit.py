"""Fitting: what some estimators learn of all samples of a curation before their cells are computed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from einfluence.arms import Arm
from einfluence.errors import InputError, first_line
from einfluence.estimators.within import TrainedSet
from einfluence.keys import content_hash
from einfluence.models.base import BaseInfo
from einfluence.samples import Sample
from einfluence.session import Session
from einfluence.store.curations import set_members
from einfluence.store.store import ArmKey, Store
from einfluence.training_set import Schedule

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """A state that is missing: of one arm, for one curation.

    Args:
        fit: What names it beside base and seed (:meth:`.Arm.fit_for`).
    """

    store: str
    base: BaseInfo
    curation: str
    arm: Arm
    key: ArmKey
    trust_remote_code: bool
    fit: str
    schedule: Schedule | None = None  # of the training set, where an estimate is about it

    @property
    def state_id(self) -> str:
        """Content hash of all that the state depends on."""
        return state_id(self.key, self.fit)

    @property
    def label(self) -> str:
        """What is fitted, for run names and logs."""
        return f"{self.base.label} {self.key.estimator} {self.arm.label} seed {self.key.seed}: fit"


def state_id(key: ArmKey, fit: str) -> str:
    """The name of an arm's state, which it may share: content hash of base, seed, and what else it depends on."""
    return content_hash(("state", key.base, key.seed, fit))


def trained_set(
    curation: Path, schedule: Schedule | None, samples: Mapping[str, Sample], probes: Sequence[str] = ()
) -> TrainedSet | None:
    """The training set that an estimate of some probes is about; None without a schedule.

    Args:
        curation: Its folder.
        schedule: How the set is gone through.
        samples: Of the curation, by sample_id.
        probes: Their probe_ids.
    """
    if schedule is None:
        return None
    members = set_members(curation)
    places = tuple(members.probes[probe] for probe in probes)
    own, later = ([samples[name] for name in names] for names in (members.sample_ids, members.later))
    return TrainedSet(own, schedule, places, later)


def fit(missing: Fit, session: Session) -> None:
    """Fits an estimator to all samples of a curation that can be read, in order of their ids, and keeps the state.

    An estimate within a training set is fitted to the samples of the set, in its order.

    Raises:
        InputError: When base, recipe or a sample does not fit, or the store cannot be written.
        RuntimeError: When the estimator fails otherwise, or gives what cannot be kept; says which, and of what.
    """
    from einfluence.engine.memory import held

    store = Store(missing.store)
    base = session.base(missing.base, missing.trust_remote_code)
    folder = store.root / "curations" / missing.curation
    samples, _ = session.curation(folder)
    known = [samples[name] for name in sorted(samples) if not samples[name].unreadable]
    within = trained_set(folder, missing.schedule, samples)
    known, given = (known, {}) if within is None else (within.samples, {"within": within})
    implementation = missing.arm.made_by.implementation
    about = {**asdict(missing.key), "fit": missing.fit, "curation": missing.curation, "samples": len(known)}
    begun = time.perf_counter()
    try:
        with session.computing(base), held(next(base.model.parameters()).device) as memory:
            tensors: Mapping[str, Tensor] = implementation.fit(base, missing.arm, missing.key.seed, known, **given)
        about |= {"seconds": time.perf_counter() - begun, "memory": memory.bytes}
        store.add_state(missing.state_id, tensors, about)
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"{missing.label} failed: {first_line(error)}") from error
