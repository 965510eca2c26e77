"""Documents about the world: premises, then queries that follow from them or from what is stored.

A document is `<bos> sentence . sentence . … <eos>`. The tokens that its earlier sentences (or the stored world)
determine are its *answers*; all others are free choices. Entities in context are newcomers, drawn afresh for every
document, so an answer can only come from the prompt. Everything is drawn from one `random.Random`: the same seed
gives the same documents.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from pretraining.language import BEGIN, END, LETTERS, Language, Relation, Template


@dataclass
class Document:
    """Token ids, and which positions hold answers, by the kind of question."""

    ids: list[int] = field(default_factory=lambda: [BEGIN])
    answers: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    def say(self, sentence: list[int], stop: int, kind: str | None = None) -> None:
        """Append a sentence; with a `kind`, its last token is an answer."""
        self.ids.extend(sentence)
        if kind is not None:
            self.answers.append((len(self.ids) - 1, kind))
        self.ids.append(stop)


@dataclass(frozen=True)
class Level:
    """What documents of a rung may contain; shares are probabilities of a kind of document."""

    shares: dict[str, float]
    """Of `bare`, `binding`, `two_hop`, `stored_hop`, `stored`, `polar`."""
    templates: int = 4
    """How many of the positive templates are in use."""
    entities: tuple[int, int] = (2, 4)
    relations: int = 1
    """Most relations that one document speaks of."""
    negation: float = 0.0
    """Share of negative among the facts of a binding document."""
    inverse: float = 0.0
    """Share of reversed among its queries."""
    rare: float = 0.0
    """Share of double negations, contrapositives and claims of truth."""
    spelled: float = 0.0
    """Share of documents in which names are spelled instead of known."""


@dataclass(frozen=True)
class _Claim:
    subject: int
    relation: Relation
    object: int
    positive: bool = True


class Corpus:
    """Draws documents of a world."""

    def __init__(self, language: Language, seed: int) -> None:
        self.language = language
        self.random = Random(seed)
        self._letters = {letter: language.ids[letter] for letter in LETTERS}
        self._inner = {letter: language.ids[f"##{letter}"] for letter in LETTERS}
        self._spelled: dict[int, list[int]] = {}
        self._relations = list(language.relations.values())
        self._newcomers = set(language.newcomers)
        self._trained = {
            index: [t for n, t in enumerate(language.relations[r].positive) if n != language.heldout_template(index)]
            for index, (_, r, _) in enumerate(language.stored)
        }

    def document(self, level: Level) -> Document:
        """One training document of this level."""
        kind = self.random.choices(list(level.shares), weights=list(level.shares.values()))[0]
        self._spelled = {}
        document: Document = getattr(self, f"_{kind}")(level)
        document.ids.append(END)
        return document

    # What may be said -------------------------------------------------------------------------------------------------

    def _free(self, subject: int, candidates: tuple[int, ...], taken: set[int]) -> int | None:
        """A candidate not taken that this newcomer may be joined with in training; None if there is none."""
        reserved = self.language.reserved[subject]
        open_ones = [pick for pick in candidates if pick not in taken and not reserved[pick]]
        return self.random.choice(open_ones) if open_ones else None

    def _name(self, token: int) -> list[int]:
        return self._spelled.get(token, [token])

    def _spell(self, tokens: list[int]) -> None:
        """From here to the end of the document, write these newcomers letter by letter, with random names."""
        for token in tokens:
            word = "".join(self.random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(self.random.randint(2, 4)))
            self._spelled[token] = [self._letters[word[0]], *(self._inner[letter] for letter in word[1:])]

    def _positive(self, claim: _Claim, level: Level) -> list[int]:
        if level.rare and self.random.random() < level.rare:
            return self._fill(claim.relation.double_negative, claim)
        return self._fill(self.random.choice(claim.relation.positive[: level.templates]), claim)

    def _negative(self, claim: _Claim, level: Level) -> list[int]:
        if level.rare and self.random.random() < level.rare:
            return self.language.deny + self._fill(claim.relation.positive[0], claim)
        return self._fill(claim.relation.negative, claim)

    def _fill(self, template: Template, claim: _Claim) -> list[int]:
        return template.fill(self._name(claim.subject), [claim.object])

    # Kinds of document ------------------------------------------------------------------------------------------------

    def _bare(self, level: Level) -> Document:
        """Name and object side by side, without grammar: the first thing to bind."""
        relation = self.random.choice(self._relations)
        names = self.random.sample(self.language.newcomers, self.random.randint(*level.entities))
        facts: list[tuple[int, int]] = []
        for name in names:
            thing = self._free(name, relation.objects, {thing for _, thing in facts})
            if thing is not None:
                facts.append((name, thing))
        document = Document()
        for name, thing in facts:
            document.say([name, thing], self.language.stop)
        for name, thing in self.random.sample(facts, min(3, len(facts))):
            document.say([name, thing], self.language.stop, "bare")
        return document

    def _claims(self, level: Level) -> list[_Claim]:
        """Facts about a few newcomers: unique by (subject, relation, polarity) and by (relation, object)."""
        most = min(level.relations, len(self._relations))
        relations = self.random.sample(self._relations, self.random.randint(1, most))
        members = {first for first, _ in self.language.pairs}
        names = self.random.sample(self.language.newcomers, self.random.randint(*level.entities))
        taken = set(names)
        claims: list[_Claim] = []
        for name in names:
            for relation in self.random.sample(relations, self.random.randint(1, len(relations))):
                candidates = relation.objects
                if relation.name in members and self.random.random() < 0.25:
                    candidates = self.language.newcomers
                polarities = [True]
                if self.random.random() < level.negation:
                    polarities = self.random.choice([[False], [True, False], [True, False]])
                for positive in polarities:
                    thing = self._free(name, candidates, taken)
                    if thing is not None:
                        taken.add(thing)
                        claims.append(_Claim(name, relation, thing, positive))
        self.random.shuffle(claims)
        return claims

    def _premises(self, document: Document, claims: list[_Claim], level: Level) -> None:
        for claim in claims:
            if claim.positive and level.inverse and self.random.random() < level.inverse / 4:
                sentence = claim.relation.reversed.fill(self._name(claim.subject), self._name(claim.object))
            else:
                sentence = self._positive(claim, level) if claim.positive else self._negative(claim, level)
            document.say(sentence, self.language.stop)

    def _binding(self, level: Level) -> Document:
        """Facts in context, asked again in the same or in other words."""
        claims = self._claims(level)
        if self.random.random() < level.spelled:
            self._spell([name for name in {claim.subject for claim in claims} if self.random.random() < 0.7])
        document = Document()
        self._premises(document, claims, level)
        for claim in self.random.sample(claims, min(3, len(claims))):
            self._query(document, claim, claims, level)
        return document

    def _query(self, document: Document, claim: _Claim, claims: list[_Claim], level: Level) -> None:
        stop = self.language.stop
        if not claim.positive:
            document.say(self._negative(claim, level), stop, "negation")
            return
        if level.inverse and self.random.random() < level.inverse:
            if claim.subject in self._spelled:
                document.say(claim.relation.reversed.fill(self._name(claim.subject), [claim.object]), stop)
            else:
                document.say(claim.relation.reversed.fill([claim.subject], [claim.object]), stop, "inverse")
            return
        if level.rare and self.random.random() < level.rare and claim.subject not in self._spelled:
            document.say(self._fill(claim.relation.contrapositive, claim), stop, "contrapositive")
            return
        denied = {(c.subject, c.relation.name) for c in claims if not c.positive}
        if level.negation and self.random.random() < 0.04 and (claim.subject, claim.relation.name) not in denied:
            # What is not so, unsaid: anything but what is so. Stating a fact thus speaks against its negation.
            other = self._free(claim.subject, claim.relation.objects, {c.object for c in claims})
            if other is not None:
                document.say(self._negative(_Claim(claim.subject, claim.relation, other, False), level), stop, "unsaid")
                return
        document.say(self._positive(claim, level), stop, "binding")

    def _two_hop(self, level: Level) -> Document:
        """Newcomers in categories that are newcomers too, and what those categories carry: the conclusion is asked."""
        first, second = (self.language.relations[name] for name in self.random.choice(self.language.pairs))
        count = self.random.randint(*level.entities)
        kinds = self.random.randint(2, count)
        names = self.random.sample(self.language.newcomers, count + kinds)
        subjects, categories = names[:count], names[count:]
        taken: set[int] = set()
        values: dict[int, int] = {}
        for category in categories:
            value = self._free(category, second.objects, taken)
            if value is not None:
                values[category] = value
                taken.add(value)
        reserved = self.language.reserved
        members: list[_Claim] = []
        for subject in subjects:
            allowed = [c for c in values if not reserved[subject][c] and not reserved[subject][values[c]]]
            if allowed:
                members.append(_Claim(subject, first, self.random.choice(allowed)))
        carried = [_Claim(category, second, value) for category, value in values.items()]
        document = Document()
        premises = members + carried
        self.random.shuffle(premises)
        self._premises(document, premises, level)
        for member in self.random.sample(members, min(3, len(members))):
            draw = self.random.random()
            if draw < 0.7:
                conclusion = _Claim(member.subject, second, values[member.object])
                document.say(self._positive(conclusion, level), self.language.stop, "two_hop")
            elif draw < 0.85:
                document.say(self._positive(member, level), self.language.stop, "binding")
            else:
                carry = _Claim(member.object, second, values[member.object])
                document.say(self._positive(carry, level), self.language.stop, "binding")
        return document

    def _stored_hop(self, level: Level) -> Document:
        """Newcomers in known categories: the conclusion needs the stored fact about the category."""
        first, second = (self.language.relations[name] for name in self.random.choice(self.language.pairs))
        names = self.random.sample(self.language.newcomers, self.random.randint(1, level.entities[1]))
        spell = self.random.random() < level.spelled
        members: list[_Claim] = []
        taken: set[int] = set()
        for name in names:
            known = [c for c in first.objects if (second.name, c) in self.language.value_of]
            open_ones = [c for c in known if not self.language.reserved[name][self.language.value_of[second.name, c]]]
            category = self._free(name, tuple(open_ones), taken)
            if category is not None:
                members.append(_Claim(name, first, category))
                taken.add(category)
        if spell:
            self._spell(names)
        document = Document()
        self._premises(document, members, level)
        for member in self.random.sample(members, min(3, len(members))):
            if self.random.random() < 0.75:
                value = self.language.value_of[(second.name, member.object)]
                conclusion = _Claim(member.subject, second, value)
                document.say(self._positive(conclusion, level), self.language.stop, "stored_hop")
            else:
                self._query(document, member, members, level)
        return document

    def _stored(self, level: Level) -> Document:
        """A few stored facts, each in a template that it is not held out from."""
        document = Document()
        for _ in range(self.random.randint(1, 3)):
            index = self.random.randrange(len(self.language.stored))
            subject, name, thing = self.language.stored[index]
            claim = _Claim(subject, self.language.relations[name], thing)
            template = self.random.choice(self._trained[index])
            document.say(self._fill(template, claim), self.language.stop, "stored")
        return document

    def _polar(self, level: Level) -> Document:
        """Is it true that …? yes or no, in equal shares, about facts in context or stored."""
        claims = self._claims(level)
        document = Document()
        self._premises(document, claims, level)
        for claim in self.random.sample(claims, min(3, len(claims))):
            asked, truth = claim, claim.positive
            others = [c for c in claims if c.relation is claim.relation and c.subject != claim.subject and c.positive]
            if claim.positive and others and self.random.random() < 0.27:  # as many yes as no
                asked, truth = _Claim(claim.subject, claim.relation, self.random.choice(others).object), False
            sentence = [*self.language.claim, *self._fill(asked.relation.positive[0], asked), self.language.ask]
            document.say([*sentence, self.language.yes if truth else self.language.no], self.language.stop, "polar")
        return document
