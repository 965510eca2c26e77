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


def add_noisy_probe(builder: CurationBuilder, made: Sample) -> None:
    """A version as a probe, ``noisy`` towards its clean sample; one that is a sample already is counted instead."""
    if made.sample_id in builder.samples:
        builder.gates.count(WITHOUT_EFFECT, made.name)
        return
    builder.claim(builder.probe(made.name, [builder.sample(made)], "noisy"), made.parent_id or "", "noisy", made.level)


def wrong_label(sample_id: str, label: int, classes: list[int], seed: int) -> int:
    """Another class than ``label``, drawn by the sample's id and the seed."""
    others = [value for value in classes if value != label]
    return others[int(content_hash((sample_id, LABEL_FLIP, seed)), 16) % len(others)]
