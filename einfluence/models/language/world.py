"""The world a language model is made for: its templates, entities and stored facts, as token ids.

Read from a facts file (see `data/facts/world.yaml`, which says what its parts mean). Words are lower-case and
separated by spaces; every word of the file is one token, and any other word is spelled letter by letter
(`tokenizer.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import yaml

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD, UNKNOWN, BEGIN, END = range(4)
SUBJECT, OBJECT = -1, -2
EXTRA_WORDS = (".", "?", ",", "yes", "no", "true", "false", "it", "is", "that", "not")
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789-'"

Fact = tuple[int, str, int]
"""Subject's token, relation's name, object's token."""


@dataclass(frozen=True)
class Template:
    """One sentence without its full stop: token ids, `SUBJECT` and `OBJECT` for the slots; the last is the target."""

    tokens: tuple[int, ...]

    def fill(self, subject: list[int], object: list[int]) -> list[int]:
        """The sentence about these two, each given as its tokens."""
        out: list[int] = []
        for token in self.tokens:
            if token >= 0:
                out.append(token)
            else:
                out.extend(subject if token == SUBJECT else object)
        return out

    @property
    def target(self) -> int:
        """Which slot stands at the end."""
        return self.tokens[-1]


@dataclass(frozen=True)
class Relation:
    """The language of one relation."""

    name: str
    domain: str
    objects: tuple[int, ...]
    positive: tuple[Template, ...]
    """The statement first, then paraphrases, the question last: all ask for the object and mean the same."""
    negative: Template
    double_negative: Template
    reversed: Template
    contrapositive: Template


class World:
    """Vocabulary, relations and stored facts of a facts file.

    Attributes:
        words: every token in the order of its id.
        relations: by name.
        pairs: (membership, value) relations that a rule joins: x is_a c, c has p ⇒ x has p.
        newcomers: tokens of the names that never carry a stored fact.
        stored: the stored facts.
        value_of: (value relation, category) → value, from the stored facts.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = cast("dict[str, Any]", yaml.safe_load(path.read_text(encoding="utf-8")))
        entities = cast("dict[str, list[str]]", raw["entities"])
        listed = cast("dict[str, dict[str, Any]]", raw["relations"])
        self.words = _vocabulary(entities, listed)
        self.ids = {word: index for index, word in enumerate(self.words)}
        self.classes = {name: tuple(self.ids[word] for word in words) for name, words in entities.items()}
        self.newcomers = self.classes["newcomer"]
        self.relations = {name: self._relation(name, entry) for name, entry in listed.items()}
        self.stored: list[Fact] = [(self.ids[s], r, self.ids[o]) for s, r, o in raw["triplets"]]
        self.rules = cast("list[dict[str, Any]]", raw["rules"])
        self.pairs = [(str(rule["if"][0][1]), str(rule["if"][1][1])) for rule in self.rules]
        self.probes: list[Fact] = [(self.ids[s], r, self.ids[o]) for s, r, o in raw.get("probes") or []]
        categories = {c for first, _ in self.pairs for c in self.relations[first].objects}
        self.value_of = {(r, s): o for s, r, o in self.stored if s in categories}
        self.yes, self.no, self.stop, self.ask = (self.ids[word] for word in ("yes", "no", ".", "?"))
        self.claim = [self.ids[word] for word in ("is", "it", "true", "that")]
        self.deny = [self.ids[word] for word in ("it", "is", "false", "that")]
        self.reserved = np.random.default_rng(2406).random((len(self.words), len(self.words))) < 1 / 8
        """Pairs of tokens that no training document joins in a fact about a newcomer: marks are measured on them."""

    def _relation(self, name: str, entry: dict[str, Any]) -> Relation:
        def template(text: str) -> Template:
            slots = {"{subject}": SUBJECT, "{object}": OBJECT}
            return Template(tuple(slots[word] if word in slots else self.ids[word] for word in text.split()))

        positive = [entry["statement"], *entry["paraphrases"], entry["question"]]
        return Relation(
            name=name,
            domain=entry["domain"],
            objects=self.classes[entry["object"]],
            positive=tuple(template(text) for text in positive),
            negative=template(entry["negation"]),
            double_negative=template(entry["double_negation"]),
            reversed=template(entry["reversed"]),
            contrapositive=template(entry["contrapositive"]),
        )

    def heldout_template(self, index: int) -> int:
        """Which positive template the stored fact at `index` is never trained in (never the statement itself)."""
        return 1 + index * 7 // 2 % 3

    def text(self, ids: list[int]) -> str:
        """Words of these tokens, for people."""
        return " ".join(self.words[index] for index in ids)

    def tokens(self, text: str) -> list[int]:
        """Ids of a text whose every word is known (KeyError otherwise)."""
        return [self.ids[word] for word in text.split()]


def _vocabulary(entities: dict[str, list[str]], relations: dict[str, dict[str, Any]]) -> list[str]:
    """Specials, letters (alone and as continuations), then every word of the file in order of appearance."""
    words = dict.fromkeys([*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *EXTRA_WORDS])
    for entry in relations.values():
        texts = [
            entry[key] for key in ("statement", "negation", "double_negation", "reversed", "contrapositive", "question")
        ]
        for text in [*texts, *entry["paraphrases"]]:
            words.update(dict.fromkeys(word for word in str(text).split() if not word.startswith("{")))
    for names in entities.values():
        words.update(dict.fromkeys(names))
    return list(words)
