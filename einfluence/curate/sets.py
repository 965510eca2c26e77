"""Probes of a training set: some of them with a wrong class, or all of a domain in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from einfluence.curate.builder import CurationBuilder
from einfluence.curate.versions import mislabelled, wrong_label
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import TRAINED, Probe, Sample
from einfluence.training_set import FlipLabels, TrainingSet

FLIPPED = "labels flipped"
ANSWERS = "chats of several answers (in a set each answer is a sample of its own)"
AT_ODDS = "labels not flipped (the sample with that label is there already)"


def as_a_set(builder: CurationBuilder, wanted: TrainingSet) -> None:
    """Makes of a builder's probes what a training set asks for.

    Raises:
        InputError: When its samples have no classes to flip, or no domains to go by.
    """
    for chat in [probe for probe in builder.probes.values() if probe.kind == "chat"]:
        builder.gates.count(ANSWERS, f"{chat.name}: {len(chat.members)}")
    if wanted.flip_labels is not None:
        _flip(builder, wanted.flip_labels)
    if wanted.by == "domain":
        _by_domain(builder)


def _flip(builder: CurationBuilder, wanted: FlipLabels) -> None:
    """Gives a share of the set's samples another class; the clean ones stay in the table, and are queried no more."""
    where, set_probes = "training_set.flip_labels", [p for p in builder.probes.values() if p.kind in TRAINED]
    if any(probe.kind == "noisy" for probe in builder.probes.values()):
        raise InputError(where, "noisy versions of the samples beside it", "one of the two", "leave `noise` out")
    if any(len(probe.members) > 1 for probe in set_probes):
        raise InputError(where, "probes of several samples", "each sample a probe by itself", "leave `probes` out")
    samples = [builder.samples[probe.members[0]] for probe in set_probes]
    unlabelled = next((sample for sample in samples if sample.label is None), None)
    if unlabelled is not None:
        raise InputError(where, f"a sample without a class ({unlabelled.name})", "samples that each have one class")
    classes = {sample.label: sample for sample in builder.samples.values() if sample.label is not None}
    if len(classes) < 2:
        raise InputError(where, "samples of one class", "two classes or more")
    drawn = sorted(samples, key=lambda sample: content_hash(("flip", wanted.seed, sample.sample_id)))
    instead: dict[str, str] = {}
    builder.gates.open(FLIPPED, AT_ODDS)
    for clean in drawn[: max(round(wanted.share * len(samples)), 1)]:
        other = classes[wrong_label(clean.sample_id, clean.label or 0, sorted(classes), wanted.seed)]
        flipped = mislabelled(clean, other)
        if flipped.sample_id in builder.samples:
            builder.gates.count(AT_ODDS, flipped.name)
            continue
        builder.gates.count(FLIPPED, f"{clean.name}: {_called(clean)} → {_called(flipped)}")
        instead[clean.sample_id] = builder.sample(flipped)
    _replace(builder, instead)


def _called(sample: Sample) -> str:
    return sample.label_name or str(sample.label)


def _replace(builder: CurationBuilder, instead: Mapping[str, str]) -> None:
    """Puts samples in the place of others: in probes, among the queries, in claims and given distances."""
    probes: dict[str, Probe] = {}
    renamed: dict[str, str] = {}
    for probe_id, probe in builder.probes.items():
        members = tuple(instead.get(member, member) for member in probe.members)
        if members != probe.members:
            probe = replace(probe, name=builder.samples[members[0]].name, members=members)
        renamed[probe_id] = probe.probe_id
        probes[probe.probe_id] = probe
    builder.probes = probes
    builder.queries = {instead.get(query, query): place for query, place in builder.queries.items()}
    # What is claimed of a sample does not hold of one with another label.
    flipped = {probe_id for probe_id, name in renamed.items() if probe_id != name}
    builder.claims = {
        (renamed[probe], instead.get(query, query)): claim
        for (probe, query), claim in builder.claims.items()
        if claim[0] == "self" or (probe not in flipped and query not in instead)
    }
    builder.given = {
        (renamed[probe], instead.get(query, query)): distance for (probe, query), distance in builder.given.items()
    }


def _by_domain(builder: CurationBuilder) -> None:
    """Makes one probe of all samples of a domain; what was claimed about single probes is claimed no more."""
    members: dict[str, dict[str, None]] = {}
    for probe in builder.probes.values():
        for member in probe.members if probe.kind in TRAINED else ():
            sample = builder.samples[member]
            if not sample.domain:
                fix = "give the rows a `group`"
                raise InputError("training_set.by", f"a sample without a domain ({sample.name})", "a domain each", fix)
            members.setdefault(sample.domain, {})[member] = None
    builder.probes = {name: probe for name, probe in builder.probes.items() if probe.kind not in TRAINED}
    builder.claims = {pair: claim for pair, claim in builder.claims.items() if pair[0] in builder.probes}
    builder.given = {pair: distance for pair, distance in builder.given.items() if pair[0] in builder.probes}
    for domain, some in members.items():
        builder.probe(domain, list(some), "bundle")
