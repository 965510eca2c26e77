"""From a part of a spec to its base and its curated data."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from einfluence.arms import InContext
from einfluence.bases.load import find_base, narrowed
from einfluence.curate import curate
from einfluence.curate.key import data_key
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives import encode_all, objectives
from einfluence.samples import Curated, Sample
from einfluence.session import BASES, Session
from einfluence.spec import Part, Spec
from einfluence.store.curations import sample_rows
from einfluence.store.store import Store

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Prepared:
    """A part of the spec with its base and the key of its curated data."""

    part: Part
    base: BaseInfo
    curation: str

    @property
    def measured(self) -> BaseInfo:
        """The base as its cells are computed: in bfloat16 where all arms are, which changes no number."""
        return narrowed(self.base, (arm.recipe.reads_in for arm in self.part.arms))


def prepare(spec: Spec, part: Part, store: Store, session: Session) -> Prepared:
    """Finds a part's base and curates its data, unless that very curation is in the store.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    study = f"{spec.name}/{part.name}"
    found = find_part(spec, part)
    _check_chat(found, session)
    store.open_for_writing()
    if store.curation(found.curation) is None:
        curated = curated_part(spec, part, session)
        store.add_curation(found.curation, curated, {"origin": study, "part": json.loads(part.model_dump_json())})
    store.add_rows("bases", [_base_row(found.base)])
    store.add_rows("recipes", [arm.row(found.curation) for arm in part.arms])
    store.point_study(study, found.curation, order=time.time_ns())
    return found


def find_part(spec: Spec, part: Part) -> Prepared:
    """A part's base, and the key that its curation has or will have."""
    base = part_base(spec, part)
    return Prepared(part, base, content_hash((data_key(part, spec), base.base_id)))


def part_base(spec: Spec, part: Part) -> BaseInfo:
    """Finds the base of a part.

    Raises:
        InputError: When there is none of that name, its folder lacks what a base needs, or the part says of prompts
            what the base cannot have.
    """
    where, remote = f"parts.{part.name}.base", part.trust_remote_code
    found = find_base(part.base, where, relative_to=spec.folder, trust_remote_code=remote)
    if "prompt" not in objectives()[found.objective].can:
        for key, value in (("bos", part.bos), ("join", part.join)):
            if value not in ("auto", None):
                what = f"`{key}: {json.dumps(value)}` for {found.label}: {found.objective} has no prompt"
                raise InputError(f"parts.{part.name}.{key}", what, f"a causal language model, or no `{key}`")
    return found.beginning(part.bos)


def curated_part(spec: Spec, part: Part, session: Session) -> Curated:
    """Curates a part's data for its base, without a store.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    base = session.base(part_base(spec, part), part.trust_remote_code)
    with session.computing(base):
        curated = _curate(part, spec, base)
    for _ in encode_all(base, (sample for sample in sample_rows(curated.samples) if not sample.unreadable)):
        pass  # each fits the base
    return curated


def load_ahead(spec: Spec, store: Store, session: Session, *, computes: bool = True) -> None:
    """Loads the bases that this process will need, so that it can be done while something else is waited for.

    Args:
        spec: The spec.
        store: The store.
        session: Of this process.
        computes: Whether cells are computed in this process; else a base is needed only to curate.
    """
    for part in spec.parts[:BASES]:
        found = find_part(spec, part)
        if store.curation(found.curation) is None:
            session.base(found.base, part.trust_remote_code)
        elif computes:
            session.base(found.measured, part.trust_remote_code)


def _curate(part: Part, spec: Spec, base: Base) -> Curated:
    def features(samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
        from einfluence.engine.features import features as of_base

        return of_base(base, samples)

    return curate(part, spec, features, logprobs=_logprobs(base), **base.objective.curation())


def _logprobs(base: Base) -> Callable[[Sequence[Sample]], npt.NDArray[np.float64]] | None:
    """What finds out which texts a base knows already; None where its samples are none."""
    if "causal text" not in base.objective.can:
        return None
    from einfluence.engine import CheckedScorer, TextItem

    read = CheckedScorer(base)  # one for all that is asked, so that it is held against the definition once
    return lambda samples: read(cast("list[TextItem]", list(encode_all(base, samples)))).logprob


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
