"""The language of a world: the templates, entities and stored facts of a facts file as token ids.

Words are lower-case and separated by spaces; every word of the file is one token, and any other word is spelled
letter by letter (`tokenizer.py`). That takes a facts file of a plainer kind than curation does: each relation has one
class of objects and one sentence of each form, and every name is one word.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from einfluence.curate.facts import schema
from einfluence.curate.facts.load import read_world
from einfluence.errors import InputError

SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
PAD, UNKNOWN, BEGIN, END = range(4)
SUBJECT, OBJECT = -1, -2
NEWCOMER = "newcomer"
ONCE = ("question", "negation", "double_negation", "reversed", "contrapositive")
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


class Language:
    """Vocabulary, relations and stored facts of a world.

    Attributes:
        path: of the facts file.
        words: every token in the order of its id.
        relations: by name.
        pairs: (membership, value) relations that a rule joins: x is_a c, c has p ⇒ x has p.
        newcomers: tokens of the names that never carry a stored fact.
        stored: the stored facts.
        value_of: (value relation, category) → value, from the stored facts.
    """

    def __init__(self, path: Path) -> None:
        """Reads a facts file.

        Raises:
            InputError: With file, line and key, where it is no facts file, or not of the kind that has a language.
        """
        world = read_world(path)
        _check(world)
        file = world.file
        self.path = path
        self.words = _vocabulary(world)
        self.ids = {word: index for index, word in enumerate(self.words)}
        self.classes = {name: tuple(self.ids[word] for word in words) for name, words in world.entities.items()}
        self.newcomers = self.classes[NEWCOMER]
        self.relations = {name: self._relation(name, entry) for name, entry in file.relations.items()}
        self.stored = [self._fact(fact) for fact in file.triplets]
        self.pairs = [(rule.premises[0][1], rule.premises[1][1]) for rule in file.rules]
        self.probes = [self._fact(fact) for fact in world.probes]
        categories = {c for first, _ in self.pairs for c in self.relations[first].objects}
        self.value_of = {(r, s): o for s, r, o in self.stored if s in categories}
        self.yes, self.no, self.stop, self.ask = (self.ids[word] for word in ("yes", "no", ".", "?"))
        self.claim = [self.ids[word] for word in ("is", "it", "true", "that")]
        self.deny = [self.ids[word] for word in ("it", "is", "false", "that")]
        self.reserved = np.random.default_rng(2406).random((len(self.words), len(self.words))) < 1 / 8
        """Pairs of tokens that no training document joins in a fact about a newcomer: marks are measured on them."""

    def _fact(self, fact: schema.Triplet) -> Fact:
        return self.ids[fact[0]], fact[1], self.ids[fact[2]]

    def _relation(self, name: str, entry: schema.Relation) -> Relation:
        def template(text: str) -> Template:
            slots = {"{subject}": SUBJECT, "{object}": OBJECT}
            return Template(tuple(slots[word] if word in slots else self.ids[word] for word in text.split()))

        return Relation(
            name=name,
            domain=entry.domain,
            objects=self.classes[entry.object[0]],
            positive=tuple(template(text) for text in (entry.statement, *entry.paraphrases, entry.question[0])),
            negative=template(entry.negation[0]),
            double_negative=template(entry.double_negation[0]),
            reversed=template(entry.reversed[0]),
            contrapositive=template(entry.contrapositive[0]),
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


def _check(world: schema.World) -> None:
    """Refuses facts files whose sentences and names cannot be made of one token a word."""
    for name, relation in world.file.relations.items():
        for form in ("object", *ONCE):
            given: tuple[str, ...] = getattr(relation, form)
            if len(given) != 1:
                what = "class" if form == "object" else "sentence"
                raise InputError(world.where("relations", name, form), f"{len(given)} of them", f"one {what}")
        if len(relation.paraphrases) != 2:
            where = world.where("relations", name, "paraphrases")
            raise InputError(where, f"{len(relation.paraphrases)} of them", "two, of which one may be held out")
    if NEWCOMER not in world.entities:
        raise InputError(world.where("entities"), f"no class {NEWCOMER!r}", "names that carry no stored fact")
    for kind, names in world.entities.items():
        for index, name in enumerate(names):
            if len(name.split()) != 1:
                raise InputError(world.where("entities", kind, index), f"the name {name!r}", "one word")
    known = {name for names in world.entities.values() for name in names}
    for key, facts in (("triplets", world.file.triplets), ("probes", world.probes)):
        for index, fact in enumerate(facts):
            missing = next((name for name in (fact[0], fact[2]) if name not in known), None)
            if missing is not None:
                raise InputError(world.where(key, index), f"{missing!r}, which is no entity", "names of `entities`")
    for index, rule in enumerate(world.file.rules):
        if len(rule.premises) != 2:
            raise InputError(world.where("rules", index), f"{len(rule.premises)} premises", "two: category and value")


def _vocabulary(world: schema.World) -> list[str]:
    """Specials, letters (alone and as continuations), then every word of the file in order of appearance."""
    words = dict.fromkeys([*SPECIALS, *LETTERS, *(f"##{letter}" for letter in LETTERS), *EXTRA_WORDS])
    for relation in world.file.relations.values():
        once = [relation.negation, relation.double_negation, relation.reversed, relation.contrapositive]
        for text in [relation.statement, *(texts[0] for texts in (*once, relation.question)), *relation.paraphrases]:
            words.update(dict.fromkeys(word for word in text.split() if not word.startswith("{")))
    for names in world.entities.values():
        words.update(dict.fromkeys(names))
    return list(words)
