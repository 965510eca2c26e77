"""Near-duplicates among a user's texts: counted, claimed as relations, and one cluster in the bootstrap."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from einfluence.curate.alike import Ints, Pairs, TooMuchError, alike
from einfluence.curate.builder import CurationBuilder
from einfluence.curate.files import HELD_OUT
from einfluence.curate.wording import normalise
from einfluence.errors import InputError
from einfluence.samples import Sample

USUAL = 0.8
"""The similarity from which texts with a class or tags are near-duplicates, where a part does not say."""
SAME_ANSWER = "near-duplicates (pairs)"
OTHER_ANSWER = "near-duplicates with another label (pairs)"
SAME_TEXT = "the same text with another label (pairs)"
ACROSS = "near-duplicates of what is trained on, held out (pairs)"
NOT_SOUGHT = "near-duplicates not looked for (too much to compare)"


def mark_near_duplicates(builder: CurationBuilder, threshold: float | None) -> None:
    """Finds the pairs of a builder's samples whose texts are nearly the same, and says so.

    Gates count them. Of a probe of one sample, its near-duplicates are ``near_duplicate`` among the queries where they
    have its answer, and ``contradiction`` where theirs is another; the level is the similarity. What the user claims
    of a pair stands. The clusters of the two become one, as they are not independent.

    Args:
        builder: What was curated, noisy versions included: these are compared with nothing.
        threshold: Similarity from which texts are near-duplicates, 0 for none; None takes USUAL where each sample has
            a class or tags, and 0 elsewhere.

    Raises:
        InputError: When a threshold is given for samples that are no texts.
    """
    samples = _compared(builder)
    read = [_text(sample) for sample in samples]
    if not samples or any(text is None for text in read):
        if threshold and samples:
            raise InputError("near_duplicates", "samples that are no texts", "texts, or no `near_duplicates`")
        return
    texts, answers = cast("list[str]", read), [_answer(sample) for sample in samples]
    labelled = all(answer is not None for answer in answers)
    if labelled:
        _count_contradicting(builder, samples, texts, answers)
    threshold = threshold if threshold is not None else USUAL if labelled else 0
    if not threshold:
        return
    try:
        pairs = alike(texts, threshold)
    except TooMuchError as error:
        builder.gates.count(NOT_SOUGHT, str(error))
        return
    _count(builder, samples, texts, answers, pairs)
    _claim(builder, samples, answers, pairs)
    _join_clusters(builder, samples, pairs)


def _compared(builder: CurationBuilder) -> list[Sample]:
    """What is trained on or queried, but for noisy versions, controls and paraphrases by templates."""
    made = {member for probe in builder.probes.values() if probe.kind == "control" for member in probe.members}
    trained = {
        member
        for probe in builder.probes.values()
        if probe.kind not in ("noisy", "control")
        for member in probe.members
    }
    used = trained | (builder.queries.keys() - made - builder.derived) | builder.later.keys()
    return [sample for key, sample in builder.samples.items() if key in used]


def _text(sample: Sample) -> str | None:
    """What is compared of a sample: all that a classifier reads, or a text and its target; None of what is no text."""
    if sample.pixels is not None or sample.unreadable:
        return None
    if not sample.inputs:
        return normalise(sample.text)
    values: list[Any] = [value for name, value in sample.inputs.items() if name != "tags"]
    if _answer(sample) is None:
        values.append(sample.target)  # which an objective from outside may have refused only later
    if not all(isinstance(value, str) or _is_words(value) for value in values):
        return None
    return "\0".join(normalise(value if isinstance(value, str) else " ".join(value)) for value in values)


def _is_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in cast("list[object]", value))


Answer = tuple[Hashable, Hashable] | None
"""What is asked of a text, and the answer: two answers are the same or others only where the same is asked."""


def _answer(sample: Sample) -> Answer:
    """The class of a text, or its tags; None where it has neither.

    Of tags for all words those that are no `O`, in order; of tags for some of them all, asked of these very words: a
    mention's tags neither repeat those of its sentence nor contradict those of another mention.
    """
    tags = sample.inputs.get("tags")
    if isinstance(tags, list):
        asked = tuple(tag is not None for tag in cast("list[str | None]", tags))
        return ("words", tuple(tag for tag in tags if tag != "O")) if all(asked) else (asked, tuple(tags))
    return None if sample.label is None else ("text", sample.label)


def _kind(one: Answer, other: Answer) -> str | None:
    """What a near-duplicate with one answer is to one with another."""
    if one is not None and other is not None and one[0] != other[0]:
        return None
    return "near_duplicate" if one == other else "contradiction"


def _count_contradicting(
    builder: CurationBuilder, samples: Sequence[Sample], texts: Sequence[str], answers: Sequence[Answer]
) -> None:
    """Counts the pairs of samples that are one text under two labels."""
    builder.gates.open(SAME_TEXT)
    groups: dict[Hashable, list[int]] = {}
    for place, (text, answer) in enumerate(zip(texts, answers, strict=True)):
        groups.setdefault((text, answer and answer[0]), []).append(place)
    for group in groups.values():
        counts = Counter(answers[place] for place in group)
        if len(counts) > 1:
            other = next(place for place in group if answers[place] != answers[group[0]])
            number = (len(group) ** 2 - sum(count**2 for count in counts.values())) // 2
            builder.gates.count(SAME_TEXT, _shown(samples[group[0]], samples[other]), number)


def _count(
    builder: CurationBuilder,
    samples: Sequence[Sample],
    texts: Sequence[str],
    answers: Sequence[Answer],
    pairs: Pairs,
) -> None:
    """Counts pairs by whether they have one answer, and those of a trained and a held-out sample."""
    builder.gates.open(SAME_ANSWER, *([OTHER_ANSWER] if SAME_TEXT in builder.gates.rows else []))
    trained = {member for probe in builder.probes.values() for member in probe.members} | builder.later.keys()
    if HELD_OUT in builder.gates.rows:
        builder.gates.open(ACROSS)
    for one, other, similarity in _each(pairs):
        shown = f"{similarity:.2f}: {_shown(samples[one], samples[other])}"
        kind = _kind(answers[one], answers[other])
        if kind == "near_duplicate":
            builder.gates.count(SAME_ANSWER, shown)
        elif kind == "contradiction" and texts[one] != texts[other]:
            builder.gates.count(OTHER_ANSWER, shown)
        if (
            kind
            and HELD_OUT in builder.gates.rows
            and len({samples[at].sample_id in trained for at in (one, other)}) == 2
        ):
            builder.gates.count(ACROSS, shown)


def _claim(builder: CurationBuilder, samples: Sequence[Sample], answers: Sequence[Answer], pairs: Pairs) -> None:
    probes: dict[str, list[str]] = {}
    for probe_id, probe in builder.probes.items():
        if probe.kind == "sample" and len(probe.members) == 1:
            probes.setdefault(probe.members[0], []).append(probe_id)
    for one, other, similarity in _each(pairs):
        kind = _kind(answers[one], answers[other])
        for own, query in ((one, other), (other, one)) if kind else ():
            for probe_id in probes.get(samples[own].sample_id, ()):
                if samples[query].sample_id in builder.queries:
                    builder.claim(probe_id, samples[query].sample_id, kind, similarity)


def _join_clusters(builder: CurationBuilder, samples: Sequence[Sample], pairs: Pairs) -> None:
    """Makes one cluster of those that have near-duplicates, under the name of the first; versions go with theirs."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    numbers: dict[str, int] = {}
    of_sample = np.array([numbers.setdefault(_cluster(sample), len(numbers)) for sample in samples], np.int64)
    edges: tuple[Ints, Ints] = (of_sample[pairs.left], of_sample[pairs.right])
    linked: Any = coo_matrix((np.ones(len(pairs.left), np.int8), edges), shape=(len(numbers), len(numbers)))
    groups = connected_components(linked, directed=False)[1]
    first: dict[int, str] = {}
    joined = {name: first.setdefault(int(group), name) for name, group in zip(numbers, groups, strict=True)}
    for key, sample in builder.samples.items():
        own = _cluster(sample)
        if joined.get(own, own) != own:
            builder.samples[key] = replace(sample, cluster=joined[own])


def _cluster(sample: Sample) -> str:
    return sample.cluster or sample.sample_id


def _each(pairs: Pairs) -> Iterator[tuple[int, int, float]]:
    return zip(pairs.left.tolist(), pairs.right.tolist(), pairs.similarity.tolist(), strict=True)


def _shown(one: Sample, other: Sample) -> str:
    """A pair for a gate's example."""
    names = " and ".join(f"{each.source} {each.name} ({each.target[:20]})" for each in (one, other))
    return f"{names}: {one.prompt}"
