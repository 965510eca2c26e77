"""Curation: facts or images into samples, probes, queries and relations, checked and counted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from einfluence.curate.adopt import Adopt, adopted_sample
from einfluence.curate.builder import Codes, CurationBuilder, Ints, Measure
from einfluence.curate.classes import ImageLimits
from einfluence.curate.distance import Features, measures_for
from einfluence.curate.files import Reading, Rows, build_from_files
from einfluence.curate.gates import (
    Tokenizer,
    check_answers,
    check_texts,
    count_alike,
    count_conflicts,
    count_joints,
    count_known,
    count_likenesses,
)
from einfluence.curate.near import mark_near_duplicates
from einfluence.curate.paraphrases import add_paraphrases
from einfluence.curate.records import lines_of
from einfluence.curate.rows.content import ChatWriter
from einfluence.curate.rows.table import Table, place_of
from einfluence.curate.sets import as_a_set
from einfluence.curate.tables import finish
from einfluence.curate.text_noise import Reader, add_noisy_probes
from einfluence.errors import InputError
from einfluence.samples import Curated, Sample
from einfluence.spec import Part, Source, Spec

__all__ = ["curate"]

DefaultKind = Callable[[Ints, Ints], Codes]


def curate(
    part: Part,
    spec: Spec,
    base_features: Callable[[Sequence[Sample]], np.ndarray] | None = None,
    *,
    tokenize: Tokenizer | None = None,
    max_tokens: int | None = None,
    specials: Collection[str] | None = None,
    logprobs: Callable[[Sequence[Sample]], np.ndarray] | None = None,
    n_classes: int | None = None,
    shape: tuple[int, int, int] | None = None,
    class_names: Mapping[str, int] | None = None,
    fit: Callable[[np.ndarray], np.ndarray] | None = None,
    rows: Rows | None = None,
    chat: ChatWriter | None = None,
    adopt: Adopt | None = None,
    reader: Reader | None = None,
) -> Curated:
    """Makes what one part of a spec is to measure.

    The same part and seed give identical tables, whatever the machine. All callables are optional and called at most
    once; without them the distances and gates that need a base are left out, and the report says so.

    Args:
        part: The data: facts, samples, images or a source.
        spec: The whole spec, for relative paths.
        base_features: Samples → float array: hidden states of texts (n, 2, d), penultimate features of images (n, d).
        tokenize: Texts → token ids of each, without special tokens; for spelling invented names and counting tokens.
        max_tokens: The longest text in tokens that the base takes; longer samples are left out and counted.
        specials: What the tokenizer reads as control tokens; None takes what stands in <> or [] and is one token.
        logprobs: Samples → float array (n,) of the base's log p(target | prompt) in nats, to find facts that it knows.
        n_classes: Classes of the image base; labels beyond are refused.
        shape: (channels, height, width) of the image base; other images are refused.
        class_names: Indices by name of the base's classes, where it names them; the part's own `classes` come first.
        fit: Brings a picture (channels, height, width) into the image base's shape; None where it has to be so.
        rows: How a samples file is read for a base that takes neither texts to be continued nor images.
        chat: Writes chats as the base reads them.
        adopt: How the base's objective asks texts to be continued, where that is another one.
        reader: How the base reads samples; noise, paraphrases and targets that it cannot read are left out.

    Raises:
        InputError: For anything that the user wrote wrong, with file and line or key.
    """
    if part.text_pairs == "any":
        if rows is None or rows.together is None:
            raise InputError("text_pairs", "`any` for a base that reads no pairs", "a text classifier, or `auto`")
        rows = replace(rows, together=None)
    written = part.classes is not None
    limits = ImageLimits(n_classes, shape, part.classes if written else class_names, written, fit)
    template = _template(spec.path(part.chat_template)) if part.chat_template else None
    reading = Reading(limits, part.join, rows, part.chat, template, chat, part.training_set is not None)
    builder, default_kind, more = _build(part, spec, tokenize, reading)
    reader = _adopting(reader, adopt) if reader and adopt else reader
    if part.paraphrases:
        add_paraphrases(builder, part.paraphrases, reader)
    if part.noise or part.label_flip:
        add_noisy_probes(builder, part.noise, part.label_flip, reader)
    if part.training_set is not None:
        as_a_set(builder, part.training_set)
    mark_near_duplicates(builder, part.near_duplicates)
    count_joints(builder)
    check_texts(builder, tokenize, max_tokens, strict=part.samples is not None, specials=specials)
    if reader:
        check_answers(builder, reader, strict=part.samples is not None)
    if part.facts is None and all(sample.gap is not None for sample in builder.samples.values()):
        count_conflicts(builder)  # a facts file says itself which relations have one object, and is held to it
        if part.samples is not None:
            count_alike(builder)
            count_likenesses(builder)
    count_known(builder, logprobs)
    features = _adopting_all(base_features, adopt) if base_features and adopt else base_features
    return finish(builder, measures_for(builder, part.distance, features, more), default_kind, part.pairs, adopt)


def _adopting(reader: Reader, adopt: Adopt) -> Reader:
    return lambda sample: reader(adopted_sample(sample, adopt))


def _adopting_all(features: Features, adopt: Adopt) -> Features:
    return lambda samples: features([adopted_sample(sample, adopt) for sample in samples])


def _build(
    part: Part, spec: Spec, tokenize: Tokenizer | None, reading: Reading
) -> tuple[CurationBuilder, DefaultKind | None, Mapping[str, Measure]]:
    if part.samples is not None:
        probes, queries, relations = (
            spec.path(name) if name else None for name in (part.probes, part.queries, part.relations)
        )
        table = Table(place_of(part.samples, spec.folder), part.fields, part.extra)
        within = part.training_set
        names = (within and within.held_out, within and within.then and within.then.samples)
        held_out, then = (replace(table, place=place_of(name, spec.folder)) if name else None for name in names)
        return build_from_files(table, probes, queries, relations, reading, held_out, then), None, {}
    if part.images is not None:
        from einfluence.curate.images.draw import build_images

        images = build_images(part.images, spec, reading.limits)
        return images.builder, images.default_kind, {}
    if part.classes is not None:
        raise InputError("classes", "classes for texts", "`classes` beside `images`, or `samples` that are images")
    from einfluence.curate.facts.derive import build_facts
    from einfluence.curate.facts.load import facts_path, load_world
    from einfluence.curate.facts.taxonomy import taxonomic

    if part.facts is not None:
        facts = build_facts(load_world(facts_path(part.facts.file, spec), tokenize), part.facts, part.join)
        return facts.builder, facts.default_kind, {"taxonomic": taxonomic(facts)}
    from einfluence.curate.sources import build_rows, build_source

    source = cast("Source", part.source)  # a part has one of the four
    if reading.rows and source.name in reading.rows.sources:
        own = reading.rows
        return build_rows(source, spec, own.objective, own.sources[source.name]), None, {}
    found = build_source(source, spec, part.join)
    return found.builder, found.default_kind, {}


def _template(file: Path) -> str:
    return "\n".join(line for _, line in lines_of(file))
