"""Noisy and mislabelled versions of probes that are texts.

The level of a noise is the **share of what it changes**: of letters for `typos` and `case`, of words for
`dropped_words` and `shuffled_words`. Words are what stands between white space; a mask or another control token
(``[MASK]``, ``<mask>``) is none of them and stays where it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, cast

import numpy as np

from einfluence.curate.builder import CurationBuilder
from einfluence.curate.versions import WITHOUT_EFFECT, add_noisy_probe, mislabelled, version, wrong_label
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Sample

_CONTROL = re.compile(r"[<\[]\S*[>\]]\W*")
Noise = Mapping[str, Sequence[float]]
"""Levels by family."""
UNKNOWN = "noise of words that the tokenizer does not know (left out)"
UNREADABLE = "noise that the base cannot read (left out)"


class Read(NamedTuple):
    """What a base reads of a sample.

    Args:
        ids: The tokens that it sees, without those that only its target has.
        unknown: How many of them stand for what its tokenizer does not know.
        lost: How many tokens of the target do; None where the target is none of words, but a class.
        kept: Where any is lost, what the other tokens of the target say.
    """

    ids: tuple[object, ...]
    unknown: int = 0
    lost: int | None = None
    kept: str = ""


Reader = Callable[[Sample], Read]
"""How a base reads samples; raises InputError for one that it cannot read."""


def add_noisy_probes(builder: CurationBuilder, noise: Noise, label_flip: bool, reader: Reader | None = None) -> None:
    """Of every probe of one row its noisy versions, by family and level, and one with a wrong label.

    Each is a probe of its own, ``noisy`` towards its clean sample. Versions that change nothing, for a reader or
    because they are another sample already, that it cannot read, or that have words which its tokenizer does not know
    are counted and left out. What is drawn depends on sample, family and level alone.

    Raises:
        InputError: For a family that there is not, levels that are no shares, or noise that the samples cannot have.
    """
    _check(noise)
    builder.gates.open(WITHOUT_EFFECT, *([UNKNOWN, UNREADABLE] if reader else []))
    classes = {sample.label: sample for sample in builder.samples.values() if sample.label is not None}
    if label_flip and len(classes) < 2:
        raise InputError("label_flip", "true, with samples of fewer than two classes", "samples of two classes or more")
    for probe_id, probe in list(builder.probes.items()):
        if probe.kind not in ("sample", "chat") or builder.noised is not None and probe_id not in builder.noised:
            continue
        clean = [builder.samples[member] for member in probe.members]
        if noise:
            _add_noisy(builder, probe.name, clean, noise, reader)
        if label_flip and clean[0].label is not None:
            other = classes[wrong_label(clean[0].sample_id, clean[0].label, sorted(classes), 0)]
            add_noisy_probe(builder, mislabelled(clean[0], other))


def _add_noisy(
    builder: CurationBuilder, name: str, clean: Sequence[Sample], noise: Noise, reader: Reader | None
) -> None:
    """The noisy versions of one probe; none of one that the base cannot read, which others leave out or refuse."""
    try:
        seen = [reader(sample) for sample in clean] if reader else []
    except InputError:
        return
    for family, levels in noise.items():
        for level in levels:
            made = _versions(builder, clean, family, level)
            called = made[0].name if len(made) == 1 else f"{name}+{family}@{level:g}"
            if reader is None or _is_read(builder, called, made, seen, reader):
                add_noisy_probe(builder, *made, name=called)


def _is_read(
    builder: CurationBuilder, name: str, made: Sequence[Sample], clean: Sequence[Read], reader: Reader
) -> bool:
    """Whether a base reads a version, otherwise than its clean samples, and knows as many of its words."""
    try:
        found = [reader(sample) for sample in made]
    except InputError as error:
        builder.gates.count(UNREADABLE, f"{name}: {error.found}")
        return False
    if any(now.unknown > old.unknown for now, old in zip(found, clean, strict=True)):
        builder.gates.count(UNKNOWN, f"{name}: {made[-1].prompt or made[-1].target}")
        return False
    if [now.ids for now in found] == [old.ids for old in clean]:
        builder.gates.count(WITHOUT_EFFECT, name)
        return False
    return True


def _check(noise: Noise) -> None:
    for family, levels in noise.items():
        if family not in FAMILIES:
            fix = "write `label_flip: true` beside `noise`" if family == "label_flip" else ""
            raise InputError("noise", repr(family), f"one of {', '.join(FAMILIES)}", fix)
        if not levels or len(set(levels)) != len(levels) or not all(0 < level <= 1 for level in levels):
            expected = "different shares above 0 and up to 1, e.g. [0.1, 0.3]"
            raise InputError(f"noise.{family}", f"{list(levels)}", expected)


def _versions(builder: CurationBuilder, clean: Sequence[Sample], family: str, level: float) -> list[Sample]:
    """The samples of a probe with noise in what the model reads, and what is known of each."""
    draw = np.random.default_rng(int(content_hash((clean[-1].sample_id, family, float(level))), 16))
    chat = builder.chats.get(tuple(sample.sample_id for sample in clean))
    if chat is None:
        spoilt = [_spoilt(sample, family, level, draw) for sample in clean]
    else:
        written = chat.again(lambda text: spoil(text, family, level, draw))
        odd = next((one for one, (_, target) in zip(clean, written, strict=True) if one.target != target), None)
        if odd is not None:
            found = "a chat template that writes an answer otherwise after other words of the user"
            raise InputError(f"{odd.source} noise", found, "one that writes each turn by itself, or no `noise`")
        spoilt = [replace(one, prompt=prompt) for one, (prompt, _) in zip(clean, written, strict=True)]
    return [version(one, other, family, level) for one, other in zip(clean, spoilt, strict=True)]


def _spoilt(sample: Sample, family: str, level: float, draw: np.random.Generator) -> Sample:
    """The sample with noise in what the model reads: its texts, its prompt, or the text that has no prompt."""

    def noisy(text: str) -> str:
        return spoil(text, family, level, draw)

    tokens = sample.inputs.get("tokens")
    if isinstance(tokens, list) and family in OF_WORDS:
        words = FAMILIES[family](cast("list[str]", tokens), level, draw)
        return replace(sample, inputs={**sample.inputs, "tokens": [*words]}, prompt=" ".join(map(str, words)))
    if sample.inputs:
        if not all(isinstance(value, str) for value in sample.inputs.values()):
            expected = f"{' and '.join(OF_WORDS)}, which leave each word its tag" if tokens else "texts as samples"
            raise InputError("noise", f"{family} of samples of {sample.objective}", expected)
        inputs = {key: noisy(text) for key, text in sample.inputs.items()}
        return replace(sample, inputs=inputs, prompt="")  # which is the inputs in words
    if sample.pixels is not None or sample.unreadable:
        raise InputError("noise", "images", "texts; noise of pixels is written under `images:`")
    if sample.prompt.strip():
        return replace(sample, prompt=noisy(sample.prompt), join=sample.gap)
    return replace(sample, target=noisy(sample.target))


def spoil(text: str, family: str, level: float, draw: np.random.Generator) -> str:
    """A text with noise.

    Args:
        text: The text.
        family: One of FAMILIES.
        level: The share of its letters or words that are changed; at least one is, where there is one.
        draw: What it is drawn from.
    """
    pieces = re.split(r"(\s+)", text)
    words, before = pieces[::2], ["", *pieces[1::2]]
    places = [place for place, word in enumerate(words) if word and not _CONTROL.fullmatch(word)]
    made = dict(zip(places, FAMILIES[family]([words[place] for place in places], level, draw), strict=True))
    kept = [(blank, made.get(place, word)) for place, (blank, word) in enumerate(zip(before, words, strict=True))]
    found = "".join(blank + word for blank, word in kept if word is not None)
    return found if words[0] and made.get(0, words[0]) is not None else found.lstrip()


Family = Callable[[list[str], float, np.random.Generator], Sequence[str | None]]
"""Words to as many words, None for one that is left out."""


def typos(words: list[str], level: float, draw: np.random.Generator) -> Sequence[str | None]:
    """Letters are left out, doubled, or swapped with the next one of the word; a word keeps its last letter."""
    letters = [(word, place) for word, text in enumerate(words) for place, sign in enumerate(text) if sign.isalnum()]
    made = [list(text) for text in words]
    for index in sorted(_chosen(len(letters), level, draw), reverse=True):  # from behind: places before stay
        word, place = letters[index]
        text, kind = made[word], draw.integers(3)
        if kind == 0 and len(text) > 1:
            del text[place]
        elif kind == 1 and place + 1 < len(text) and text[place] != text[place + 1]:
            text[place], text[place + 1] = text[place + 1], text[place]
        else:
            text.insert(place, text[place])
    return ["".join(text) for text in made]


def case(words: list[str], level: float, draw: np.random.Generator) -> Sequence[str | None]:
    """Letters change between upper and lower case; scripts without case have none to change."""
    letters = [(word, place) for word, text in enumerate(words) for place, sign in enumerate(text) if _cased(sign)]
    made = [list(text) for text in words]
    for index in _chosen(len(letters), level, draw):
        word, place = letters[index]
        made[word][place] = made[word][place].swapcase()
    return ["".join(text) for text in made]


def dropped_words(words: list[str], level: float, draw: np.random.Generator) -> Sequence[str | None]:
    """Words are left out; one is always left."""
    gone = set(_chosen(len(words), level, draw)[: max(len(words) - 1, 0)])
    return [None if place in gone else word for place, word in enumerate(words)]


def shuffled_words(words: list[str], level: float, draw: np.random.Generator) -> Sequence[str | None]:
    """Words, two at least, change places, each into that of the next one drawn."""
    drawn = draw.permutation(len(words))[: max(2, round(level * len(words)))].tolist()
    made = list(words)
    for place, source in zip(drawn, drawn[1:] + drawn[:1], strict=True):
        made[place] = words[source]
    return made


FAMILIES: dict[str, Family] = {
    "typos": typos,
    "case": case,
    "dropped_words": dropped_words,
    "shuffled_words": shuffled_words,
}


OF_WORDS = ("typos", "case")
"""The families that leave words as many, in their order: those of words with a tag each."""


def _chosen(count: int, level: float, draw: np.random.Generator) -> list[int]:
    """A share of so many, at least one where there is one, in a drawn order."""
    return draw.permutation(count)[: max(1, round(level * count))].tolist()


def _cased(sign: str) -> bool:
    return len(sign.swapcase()) == 1 and sign.swapcase() != sign
