"""Texts to be continued, as another objective asks them: the same curation, its samples under other names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from einfluence.curate.builder import CurationBuilder
from einfluence.errors import InputError
from einfluence.samples import Probe, Sample

Adopt = Callable[[Sample], Mapping[str, Any]]
"""A text to be continued → its ``objective`` and ``inputs``, as arguments of a sample; the target stays."""


def adopted_sample(sample: Sample, adopt: Adopt | None) -> Sample:
    """A sample as the base's objective asks it; one that is its own already stays as it is."""
    if adopt is None or sample.gap is None:
        return sample
    return replace(sample, prompt="", join=None, **adopt(sample))


def adopted(builder: CurationBuilder, adopt: Adopt | None) -> tuple[dict[str, Sample], dict[str, Probe]]:
    """Samples and probes of a builder as the base's objective asks them, by their ids in the builder.

    Raises:
        InputError: When two samples become one, since they differ only in what this objective does not see.
    """
    if adopt is None:
        return builder.samples, builder.probes
    samples = {key: adopted_sample(sample, adopt) for key, sample in builder.samples.items()}
    for key, sample in samples.items():
        if sample.parent_id is not None:
            samples[key] = replace(sample, parent_id=samples[sample.parent_id].sample_id)
    first: dict[str, Sample] = {}
    for sample in samples.values():
        other = first.setdefault(sample.sample_id, sample)
        if other is not sample:
            found = f"{sample.name!r}, which differs from {other.name!r} by its `join` alone"
            expected = f"samples that differ for {sample.objective}, which sees no joint"
            raise InputError(sample.source or "samples", found, expected, "leave one of them out")

    def members(probe: Probe) -> Sequence[str]:
        return [samples[member].sample_id for member in probe.members]

    return samples, {key: replace(probe, members=tuple(members(probe))) for key, probe in builder.probes.items()}
