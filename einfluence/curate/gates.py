"""Quality gates that need the base: its tokenizer, its context, and what it knows already."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import lru_cache

import numpy as np

from einfluence.curate.builder import CurationBuilder
from einfluence.curate.text_noise import Reader
from einfluence.curate.wording import normalise
from einfluence.errors import InputError
from einfluence.joint import doubtful, plain_gap
from einfluence.samples import Sample

Tokenizer = Callable[[Sequence[str]], Sequence[Sequence[int]]]
"""Texts → token ids of each, without special tokens."""

NO_BLANK = "no blank put at the joint (script or bracket)"
DOUBTFUL = "blank put at the joint where it may not belong"
SEEN_ALIKE = "samples equal to the model (blanks at the joint)"
CONTROL = "texts with control tokens (special tokens)"
TOO_LONG = "tokens over the context"
NO_TOKENS = "target that tokenizes to nothing"
UNKNOWN = "target of which the tokenizer knows no word"
PARTLY = "target with words that the tokenizer does not know"
KNOWN = "fact known to the base"
CONFLICT = "one prompt trained with several answers"
ALIKE = "samples that differ in spelling alone"
_TAG = re.compile(r"<[^<>\s]{1,64}>|\[[^\[\]\s]{1,64}\]")
MARGIN = 2.0  # nats by which a known fact is likelier than every shuffled one; seven times
LIKELY = -2.3  # nats; one in ten
AT_ONCE = 1024  # texts that the tokenizer gets at a time
SHUFFLED = 4  # facts that one is held against


def count_likenesses(builder: CurationBuilder) -> None:
    """Counts texts of the user's own that are one text to the model under several ids; all are kept."""
    texts = [sample for sample in builder.samples.values() if sample.gap is not None and sample.noise is None]
    if not texts:
        return
    builder.gates.open(SEEN_ALIKE)
    seen: dict[tuple[str, str], Sample] = {}
    for sample in texts:
        first = seen.setdefault((sample.text, sample.target.strip()), sample)
        if first is not sample:
            builder.gates.count(SEEN_ALIKE, f"{_place(sample)} = {first.name}: {sample.text!r}")


def count_joints(builder: CurationBuilder) -> None:
    """Counts texts where the rule for what stands between prompt and target left the blank out, or may be wrong."""
    if not any(sample.gap is not None for sample in builder.samples.values()):
        return
    builder.gates.open(NO_BLANK, DOUBTFUL)
    for sample in builder.samples.values():
        if sample.gap is None or sample.join is not None or sample.noise is not None:
            continue
        if plain_gap(sample.prompt, sample.target) and not sample.gap:
            builder.gates.count(NO_BLANK, _joint(sample))
        elif doubtful(sample.prompt, sample.target):
            builder.gates.count(DOUBTFUL, _joint(sample))


def _joint(sample: Sample) -> str:
    return f"{_place(sample)}: {sample.prompt[-30:]!r} {sample.gap!r} {sample.target[:30]!r}"


def _place(sample: Sample) -> str:
    return f"{sample.source} {sample.name}".strip()


def check_texts(
    builder: CurationBuilder,
    tokenize: Tokenizer | None,
    max_tokens: int | None,
    *,
    strict: bool,
    specials: Collection[str] | None = None,
) -> None:
    """Leaves out texts that the base cannot take, and counts those that write control tokens of its.

    Args:
        builder: What was curated; probes, queries and claims of unfit samples go with them.
        tokenize: The base's tokenizer; None checks nothing.
        max_tokens: The base's context; None checks no length.
        strict: Refuse instead (a user's own file).
        specials: What the tokenizer reads as control tokens; None takes what stands in <> or [] and is one token.

    Raises:
        InputError: For the first unfit sample, if ``strict``.
    """
    if tokenize is None or not builder.samples:
        return
    builder.gates.open(NO_TOKENS, TOO_LONG, CONTROL)
    control = _control_finder(tokenize, specials)
    if any(sample.gap is None for sample in builder.samples.values()):
        return
    samples = list(builder.samples.values())
    targets = _lengths(tokenize, [sample.target for sample in samples])
    wholes = _lengths(tokenize, [sample.text for sample in samples]) if max_tokens is not None else targets
    unfit: set[str] = set()
    for (key, sample), in_target, in_whole in zip(builder.samples.items(), targets, wholes, strict=True):
        where = sample.source or sample.name
        if not in_target:
            if strict and sample.noise is None:
                raise InputError(
                    f"{where} target", f"{sample.target!r}, which tokenizes to nothing", "at least one token"
                )
            builder.gates.count(NO_TOKENS, f"{where} {sample.target!r}")
            unfit.add(key)
            continue
        if (token := control(builder.words.get(key, sample.text))) is not None:
            builder.gates.count(CONTROL, f"{_place(sample)}: {token}")
        length = in_whole + 1
        if max_tokens is not None and length > max_tokens:
            if strict and sample.noise is None:
                found = f"a text of {length} tokens (with one to begin)"
                raise InputError(where, found, f"at most {max_tokens}, the base's context", "shorten it")
            builder.gates.count(TOO_LONG, f"{sample.name}: {length} of {max_tokens}")
            unfit.add(key)
    remove(builder, unfit)


def check_answers(builder: CurationBuilder, reader: Reader, *, strict: bool) -> None:
    """Leaves out samples whose target is nothing but unknown tokens, and counts those of which some are.

    Such a target says to the model what any other unknown one says.

    Args:
        builder: What was curated; probes, queries and claims of unfit samples go with them.
        reader: How the base reads samples.
        strict: Refuse instead (a user's own file).

    Raises:
        InputError: For the unfit samples, if ``strict``, and for one that the base cannot read.
    """
    unfit: dict[str, str] = {}
    for key, sample in builder.samples.items():
        if sample.unreadable:
            continue
        read = reader(sample)
        if read.lost is None:
            return  # classes, and so are the others
        builder.gates.open(UNKNOWN, PARTLY)
        if read.lost:
            where = f"{_place(sample)}: {sample.target!r:.60}"
            builder.gates.count(PARTLY if read.kept else UNKNOWN, where)
            if not read.kept:
                unfit[key] = where
    if strict and unfit:
        first, *others = unfit.values()
        more = f" (and {len(others)} more: {'; '.join(others[:4])}{'; …' if len(others) > 4 else ''})" if others else ""
        found = f"a target of which the tokenizer knows no word{more}"
        fix = "write it in words that it knows, or leave the row out: to the model all such targets are the same"
        raise InputError(first, found, "at least one known token", fix)
    remove(builder, set(unfit))


def _lengths(tokenize: Tokenizer, texts: Sequence[str]) -> list[int]:
    """Tokens of each text."""
    parts = (texts[at : at + AT_ONCE] for at in range(0, len(texts), AT_ONCE))
    return [len(ids) for part in parts for ids in tokenize(part)]


def _control_finder(tokenize: Tokenizer, specials: Collection[str] | None) -> Callable[[str], str | None]:
    """A function that finds the first control token that a text writes."""
    written = [re.escape(token) for token in sorted(specials or (), key=len, reverse=True) if token]
    if specials is not None and not written:
        return lambda _text: None
    pattern = _TAG if specials is None else re.compile("|".join(written))

    @lru_cache(maxsize=4096)
    def is_one(tag: str) -> bool:
        return specials is not None or len(tokenize([tag])[0]) == 1

    return lambda text: next((tag[0] for tag in pattern.finditer(text) if is_one(tag[0])), None)


def remove(builder: CurationBuilder, unfit: set[str]) -> None:
    """Takes samples out of a builder, with the probes, queries and claims that need them."""
    if not unfit:
        return
    builder.samples = {key: sample for key, sample in builder.samples.items() if key not in unfit}
    builder.probes = {key: probe for key, probe in builder.probes.items() if not unfit.intersection(probe.members)}
    builder.queries = {key: row for row, key in enumerate(key for key in builder.queries if key not in unfit)}
    kept = {
        pair for pair in (*builder.claims, *builder.given) if pair[0] in builder.probes and pair[1] in builder.queries
    }
    builder.claims = {pair: claim for pair, claim in builder.claims.items() if pair in kept}
    builder.given = {pair: value for pair, value in builder.given.items() if pair in kept}


def count_conflicts(builder: CurationBuilder) -> None:
    """Counts trained samples that answer a prompt otherwise than an earlier one does; all stay in."""
    builder.gates.open(CONFLICT)
    own = (probe for probe in builder.probes.values() if probe.kind not in ("control", "noisy"))
    trained = (member for probe in own for member in probe.members)
    first: dict[str, tuple[str, Sample]] = {}
    for sample in (builder.samples[member] for member in dict.fromkeys(trained)):
        target = normalise(sample.target)
        answer, other = first.setdefault(normalise(sample.prompt), (target, sample))
        if answer != target:
            places = f"{sample.source or sample.name} and {other.source or other.name}"
            builder.gates.count(CONFLICT, f"{places}: {sample.prompt} | {sample.target}, {other.target}")


def count_alike(builder: CurationBuilder) -> None:
    """Counts samples that are the same text as an earlier one but for what does not count; all stay in."""
    builder.gates.open(ALIKE)
    first: dict[str, Sample] = {}
    for sample in (each for each in builder.samples.values() if each.noise is None):
        other = first.setdefault(normalise(f"{sample.prompt} {sample.target}"), sample)
        if other is not sample:
            builder.gates.count(
                ALIKE, f"{sample.source} {sample.name} and {other.name}: {sample.prompt} | {sample.target}"
            )


def count_known(builder: CurationBuilder, logprobs: Callable[[Sequence[Sample]], np.ndarray] | None) -> None:
    """Counts probe facts that the base knows: likely by themselves, and MARGIN nats above any of a few shuffled ones.

    A shuffled fact is the same target after the prompt of another probe of the same template and domain. Probes that
    are known stay in (their influence is small, not wrong); the report names them.
    """
    if logprobs is None:
        return
    groups: dict[tuple[str, str], list[Sample]] = {}
    for probe in builder.probes.values():
        sample = builder.samples[probe.members[0]]
        if probe.kind == "sample" and sample.gap is not None:
            groups.setdefault((sample.template or "", sample.domain), []).append(sample)
    facts = [fact for samples in groups.values() for fact in _shuffled(samples)]
    if not facts:
        return
    builder.gates.open(KNOWN)
    own = np.asarray(logprobs([sample for sample, _ in facts]), dtype=np.float64)
    likely = [(*fact, value) for fact, value in zip(facts, own, strict=True) if value > LIKELY]
    others = [
        Sample(name="", prompt=prompt, target=fact.target, join=fact.join)
        for fact, prompts, _ in likely
        for prompt in prompts
    ]
    known = iter(np.asarray(logprobs(others), dtype=np.float64) if others else np.zeros(0))
    for sample, prompts, value in likely:
        gain = value - max(next(known) for _ in prompts)
        if gain > MARGIN:
            builder.gates.count(KNOWN, f"{sample.prompt} | {sample.target}: {gain:.1f} nats")


def _shuffled(samples: list[Sample]) -> Iterator[tuple[Sample, list[str]]]:
    """Each fact with the prompts of other subjects, whose own target differs."""
    for index, sample in enumerate(samples):
        near = range(index + 1, index + min(len(samples), 4 * SHUFFLED))
        others = [samples[place % len(samples)] for place in near]
        prompts = dict.fromkeys(other.prompt for other in others if other.target != sample.target)
        if prompts and sample.prompt not in prompts:
            yield sample, list(prompts)[:SHUFFLED]
