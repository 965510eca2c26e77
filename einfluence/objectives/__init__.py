"""Objectives: what models predict, and how the answer is scored. One file each, registered here by name.

A package adds its own by the entry point group ``einfluence.objectives``, which every process of a run reads, or by a
line in :data:`OBJECTIVES` in this one.

Seen from the rest of the library an objective is :class:`einfluence.models.base.Objective`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from einfluence.errors import InputError
from einfluence.installed import installed
from einfluence.models.base import Base, Batch, Capability, EncodesTogether, Item, Objective, Registered
from einfluence.objectives.causal_lm import CausalLM
from einfluence.objectives.image_class import ImageClass
from einfluence.objectives.masked_lm import MaskedLM
from einfluence.objectives.seq2seq import Seq2Seq
from einfluence.objectives.sequence_class import SequenceClass
from einfluence.objectives.token_class import TokenClass
from einfluence.objectives.tokenizing import AT_ONCE
from einfluence.samples import CAUSAL_LM, IMAGE_CLASS, Sample

__all__ = [
    "OBJECTIVES",
    "Batch",
    "Capability",
    "Item",
    "Objective",
    "Registered",
    "encode",
    "encode_all",
    "objective_of",
    "objectives",
]

GROUP = "einfluence.objectives"

KINDS = (CausalLM, ImageClass, SequenceClass, TokenClass, MaskedLM, Seq2Seq)
OBJECTIVES: dict[str, type[Registered]] = {kind.name: kind for kind in KINDS}
"""Objectives by name. Of several that claim a configuration the last one has it, so that more can be added."""


def objectives() -> dict[str, type[Registered]]:
    """All objectives by name, those of installed packages too.

    Raises:
        ValueError: When a package gives one a name that is taken.
    """
    _installed()
    return OBJECTIVES


@cache
def _installed() -> None:
    for kind in installed(GROUP):
        if OBJECTIVES.setdefault(kind.name, kind) is not kind:
            raise ValueError(f"a name of its own (another objective is called {kind.name!r})")


def objective_of(config: Mapping[str, Any], file: Path) -> type[Registered]:
    """The objective of a base, from its config.json.

    Raises:
        InputError: When none claims it.
    """
    found = next((kind for kind in reversed(objectives().values()) if kind.claims(config)), None)
    if found is None:
        known = sorted({kind.modality for kind in objectives().values()}, reverse=True)
        raise InputError(f"{file} modality", repr(config.get("modality")), " or ".join(known))
    return found


def encode(base: Base, sample: Sample) -> Item:
    """What a base sees of a sample.

    Raises:
        InputError: For a sample of another objective, or one that does not fit the model.
    """
    return base.objective.encode(sample, _where(base, sample))


def encode_all(base: Base, samples: Iterable[Sample]) -> Iterator[Item]:
    """What a base sees of each sample; like :func:`encode` one by one, but texts are tokenized together.

    Raises:
        InputError: For a sample of another objective, or one that does not fit the model.
    """
    objective = base.objective
    if not isinstance(objective, EncodesTogether):
        yield from (encode(base, sample) for sample in samples)
        return
    rest = iter(samples)
    while some := list(islice(rest, AT_ONCE)):
        yield from objective.encode_all(some, [_where(base, sample) for sample in some])


def _where(base: Base, sample: Sample) -> str:
    """What errors call a sample, which is one of the base's objective."""
    where = f"{sample.source} (sample {sample.name})" if sample.source else f"sample {sample.name}"
    wanted = base.info.objective
    if sample.objective != wanted:
        found, expected = (_data(name) for name in (sample.objective, wanted))
        expected += f", which {base.info.label} takes"
        raise InputError(where, found, expected, "take another base for this part")
    return where


def _data(name: str) -> str:
    """What a person calls data of an objective."""
    return f"{objectives()[name].modality} data" if name in (CAUSAL_LM, IMAGE_CLASS) else f"data for {name}"
