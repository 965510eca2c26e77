"""Paraphrases of a user's rows, by templates: the same label or target after the same text in other words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

from einfluence.curate.builder import CurationBuilder
from einfluence.curate.text_noise import Reader
from einfluence.errors import InputError
from einfluence.samples import Sample

SLOT = "{text}"
UNREADABLE = "paraphrases that the base cannot read (left out)"


def add_paraphrases(builder: CurationBuilder, templates: Sequence[str], reader: Reader | None = None) -> None:
    """Of every probe of one sample a query by each template, whose relation is ``paraphrase``.

    A template is put around what the model reads: the prompt, the (first) text, or the words of a sentence, of which
    the new ones are no targets.

    Args:
        builder: What was curated.
        templates: Each with one SLOT.
        reader: How the base reads samples; without it all are taken.

    Raises:
        InputError: For samples that are no texts, that a chat template writes, or without a text before the target.
    """
    if builder.words:
        raise InputError("paraphrases", "texts that a chat template writes", "plain texts, or no `paraphrases`")
    if reader:
        builder.gates.open(UNREADABLE)
    for probe_id, probe in builder.probes.items():
        if probe.kind != "sample":
            continue
        clean = builder.samples[probe.members[0]]
        for number, template in enumerate(templates, start=1):
            made = replace(
                _around(clean, template),
                name=f"{clean.name}~{number}",
                cluster=clean.cluster or clean.sample_id,
                template=template,
            )
            if made.sample_id not in builder.samples:
                try:
                    _ = reader and reader(made)
                except InputError as error:
                    builder.gates.count(UNREADABLE, f"{made.name}: {error.found}")
                    continue
                builder.derived.add(made.sample_id)
            builder.claim(probe_id, builder.query(builder.sample(made)), "paraphrase")


def _around(sample: Sample, template: str) -> Sample:
    """A sample with a template around what the model reads before it answers."""
    before, after = template.split(SLOT)
    tokens = sample.inputs.get("tokens")
    if isinstance(tokens, list):
        words, tags = cast("list[str]", tokens), cast("list[str | None]", sample.inputs["tags"])
        left, right = before.split(), after.split()
        words, tags = [*left, *words, *right], [*[None] * len(left), *tags, *[None] * len(right)]
        return replace(sample, inputs={**sample.inputs, "tokens": words, "tags": tags}, prompt=" ".join(words))
    if isinstance(sample.inputs.get("text"), str):
        return replace(sample, inputs={**sample.inputs, "text": f"{before}{sample.inputs['text']}{after}"}, prompt="")
    if sample.gap is None or sample.inputs:
        raise InputError("paraphrases", f"samples of {sample.objective}", "texts, or no `paraphrases`")
    if not sample.prompt.strip():
        where = sample.source or sample.name
        raise InputError(
            where, "a text without a prompt under `paraphrases`", "a prompt, which the templates are put around"
        )
    return replace(sample, prompt=f"{before}{sample.prompt}{after}")
