"""Fitting: what some estimators learn of all samples of a curation before their cells are computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from einfluence.arms import Arm
from einfluence.errors import InputError, first_line
from einfluence.keys import content_hash
from einfluence.models.base import BaseInfo
from einfluence.session import Session
from einfluence.store.store import ArmKey, Store

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Fit:
    """A state that is missing: of one arm, for one curation."""

    store: str
    base: BaseInfo
    curation: str
    arm: Arm
    key: ArmKey
    trust_remote_code: bool

    @property
    def state_id(self) -> str:
        """Content hash of all that the state depends on."""
        return state_id(self.key)

    @property
    def label(self) -> str:
        """What is fitted, for run names and logs."""
        return f"{self.base.label} {self.key.estimator} {self.arm.recipe.label} seed {self.key.seed}: fit"


def state_id(key: ArmKey) -> str:
    """The name of an arm's state: content hash of the arm, whose recipe names the curation that it is fitted to."""
    return content_hash(("state", asdict(key)))


def fit(missing: Fit, session: Session) -> None:
    """Fits an estimator to all samples of a curation that can be read, in order of their ids, and keeps the state.

    Raises:
        InputError: When base, recipe or a sample does not fit, or the store cannot be written.
        RuntimeError: When the estimator fails otherwise, or gives what cannot be kept; says which, and of what.
    """
    store = Store(missing.store)
    base = session.base(missing.base, missing.trust_remote_code)
    samples, _ = session.curation(store.root / "curations" / missing.curation)
    known = [samples[name] for name in sorted(samples) if not samples[name].unreadable]
    implementation = missing.arm.made_by.implementation
    about = {**asdict(missing.key), "curation": missing.curation, "samples": len(known)}
    try:
        with session.computing(base):
            tensors: Mapping[str, Tensor] = implementation.fit(base, missing.arm, missing.key.seed, known)
        store.add_state(missing.state_id, tensors, about)
    except InputError:
        raise
    except Exception as error:
        raise RuntimeError(f"{missing.label} failed: {first_line(error)}") from error
