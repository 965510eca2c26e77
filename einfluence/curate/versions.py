"""Noisy and mislabelled versions of samples: what is known of one, and the probe that is made of it."""

from __future__ import annotations

from dataclasses import replace

from einfluence.curate.builder import CurationBuilder
from einfluence.keys import content_hash
from einfluence.samples import Sample

WITHOUT_EFFECT = "noise without effect"
LABEL_FLIP = "label_flip"


def version(clean: Sample, spoilt: Sample, noise: str, level: float) -> Sample:
    """A spoilt sample with what is known of it: its clean one, its noise and level, and a name that says so."""
    return replace(
        spoilt,
        name=f"{clean.name}+{noise}" + ("" if noise == LABEL_FLIP else f"@{level:g}"),
        cluster=clean.cluster or clean.sample_id,
        parent_id=clean.sample_id,
        noise=noise,
        level=level,
    )


def mislabelled(clean: Sample, other: Sample) -> Sample:
    """A sample with the class of another."""
    flipped = replace(clean, label=other.label, label_name=other.label_name, target=other.target)
    return version(clean, flipped, LABEL_FLIP, 1.0)


def add_noisy_probe(builder: CurationBuilder, *made: Sample, name: str = "") -> None:
    """A version as a probe, ``noisy`` towards its clean sample; one that is a sample already is counted instead.

    Args:
        builder: Gets the probe.
        made: The version; of the answers of a chat, that of each.
        name: Of the probe; that of its only sample by default.
    """
    name = name or made[0].name
    if any(sample.sample_id in builder.samples for sample in made):
        builder.gates.count(WITHOUT_EFFECT, name)
        return
    probe_id = builder.probe(name, [builder.sample(sample) for sample in made], "noisy")
    for sample in made:
        if sample.parent_id in builder.queries:
            builder.claim(probe_id, sample.parent_id, "noisy", sample.level)


def wrong_label(sample_id: str, label: int, classes: list[int], seed: int) -> int:
    """Another class than ``label``, drawn by the sample's id and the seed."""
    others = [value for value in classes if value != label]
    return others[int(content_hash((sample_id, LABEL_FLIP, seed)), 16) % len(others)]
