"""What curation makes of the probes of a training set."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from einfluence.curate.builder import CurationBuilder
from einfluence.curate.sets import AT_ODDS, FLIPPED, as_a_set
from einfluence.errors import InputError
from einfluence.samples import Sample
from einfluence.spec import TrainingSet

NAMES = {0: "cat", 1: "dog", 2: "owl"}


def images(n: int = 20, order: int = 1) -> CurationBuilder:
    builder = CurationBuilder()
    for place in range(n)[::order]:
        pixels = np.full((1, 2, 2), place / n, np.float32)
        label = place % 3
        sample = Sample(f"i{place}", pixels=pixels, label=label, label_name=NAMES[label], domain=NAMES[label])
        builder.claim(builder.probe(sample.name, [builder.query(builder.sample(sample))]), sample.sample_id, "self")
    builder.query(builder.sample(Sample("held", pixels=np.ones((1, 2, 2), np.float32), label=0, label_name="cat")))
    return builder


def flipped(builder: CurationBuilder, share: float = 0.1, seed: int = 0) -> dict[str, Sample]:
    as_a_set(builder, TrainingSet.model_validate({"flip_labels": {"share": share, "seed": seed}}))
    return {sample.name: sample for sample in builder.samples.values() if sample.noise}


def test_a_share_of_the_labels_is_flipped_and_the_true_ones_stay_in_the_table() -> None:
    before, builder = images(), images()
    found = flipped(builder)
    assert len(found) == 2 and builder.gates.rows[FLIPPED][0] == 2
    for sample in found.values():
        clean = before.samples[sample.parent_id or ""]
        assert sample.name == f"{clean.name}+label_flip" and sample.label != clean.label
        assert (sample.label_name, sample.cluster) == (NAMES[sample.label or 0], clean.sample_id)
        assert clean.sample_id in builder.samples and clean.sample_id not in builder.queries
        [probe] = [probe for probe in builder.probes.values() if probe.members == (sample.sample_id,)]
        assert (probe.kind, probe.name) == ("sample", sample.name)
        assert builder.claims[probe.probe_id, sample.sample_id] == ("self", None)
    assert all(probe_id == probe.probe_id for probe_id, probe in builder.probes.items())
    assert len(builder.probes) == 20 and len(builder.queries) == 21 == len(builder.claims) + 1
    assert [*builder.queries.values()] == [*range(21)]  # in their old places
    old, new = [*before.queries], [*builder.queries]
    assert sum(one != other for one, other in zip(old, new, strict=True)) == 2


def test_which_labels_are_flipped_follows_from_content_and_seed() -> None:
    assert flipped(images()).keys() == flipped(images(order=-1)).keys() != flipped(images(), seed=1).keys()
    assert flipped(images()).keys() < flipped(images(), 0.4).keys()


def test_a_label_is_not_flipped_to_a_sample_that_is_there() -> None:
    builder = images(2)  # a cat and a dog; with the other label either is there, too
    for sample in list(builder.samples.values())[:2]:
        other = 1 - (sample.label or 0)
        builder.sample(replace(sample, name="there", label=other, label_name=NAMES[other]))
    assert flipped(builder, 0.9) == {}
    assert builder.gates.rows[AT_ODDS][0] == 2


def test_samples_without_classes_have_none_to_flip() -> None:
    builder = CurationBuilder()
    builder.probe("a", [builder.sample(Sample("a", "dax is", "wug"))])
    with pytest.raises(InputError, match=r"flip_labels: found a sample without a class \(a\)"):
        flipped(builder)
    with pytest.raises(InputError, match="found samples of one class"):
        flipped(images(1))
    pair = images(4)
    pair.probe("both", [*pair.samples][:2], "bundle")
    with pytest.raises(InputError, match="found probes of several samples"):
        flipped(pair)
    noisy = images(4)
    noisy.probe("noisy", [[*noisy.samples][0], [*noisy.samples][1]], "noisy")
    with pytest.raises(InputError, match="found noisy versions"):
        flipped(noisy)


def test_all_samples_of_a_domain_are_one_probe() -> None:
    builder = images(7)
    aside = builder.probe("aside", [[*builder.samples][0], [*builder.samples][1]], "control")
    builder.claim(aside, [*builder.queries][0], None)
    as_a_set(builder, TrainingSet(by="domain"))
    found = {probe.name: len(probe.members) for probe in builder.probes.values() if probe.kind == "bundle"}
    assert found == {"cat": 3, "dog": 2, "owl": 2} and len(builder.queries) == 8
    assert [*builder.claims] == [(aside, [*builder.queries][0])] and len(builder.probes) == 4
    nameless = CurationBuilder()
    nameless.probe("a", [nameless.sample(Sample("a", "dax is", "wug"))])
    with pytest.raises(InputError, match=r"training_set.by: found a sample without a domain \(a\)"):
        as_a_set(nameless, TrainingSet(by="domain"))
