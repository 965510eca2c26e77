"""From facts to samples: what each probe fact should and should not bring about, as queries and claims.

For a probe fact such as (dax, is_a, bird), with (bird, has, wings) stored and a rule that hands parts down:

- ``self`` its statement, which is the probe; ``paraphrase`` its other wordings, the question form included;
- ``negation``, ``double_negation``, ``reversed``, ``contrapositive`` from the relation's templates (an inverse or
  symmetric relation gives ``reversed`` by its own statement);
- ``entailed`` (level = depth) every conclusion that takes the probe fact and stored ones: dax has wings;
- ``premise`` the stored facts that the conclusions take: bird has wings;
- ``sibling`` for each conclusion (for the probe fact itself if it has none) two controls of the very same form:
  the same entity with a rival object (dax has fins), and another entity of the class with the same object
  (wug has wings), neither of which follows from anything. The first stays when all completions of the prompt grow,
  the second when the object grows whatever the subject is: only binding both lifts the conclusion over both.
- ``neighbour`` the same object in another relation; ``unrelated`` shares no entity, object or relation with the
  probe fact, its conclusions or its premises; every other pair is wanted, but nothing is claimed about it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from einfluence.curate.builder import KINDS, CurationBuilder
from einfluence.curate.facts.controls import shuffled_words
from einfluence.curate.facts.infer import Derived, Knowledge, chase, rules_of
from einfluence.curate.facts.pairs import FactsBuilder
from einfluence.curate.facts.schema import Triplet, World
from einfluence.curate.facts.templates import parse
from einfluence.curate.wording import contains, normalise
from einfluence.errors import InputError
from einfluence.keys import content_hash
from einfluence.samples import Sample
from einfluence.spec import Facts

EXTRA_KINDS = ("bundle", "control", "asymmetry")
"""Beside the kinds of relation, these in ``facts.kinds`` ask for further probes; without ``kinds`` all are made."""

STATED = "conclusion already stated"
KNOWN = "probe fact already stored"
NEGATION = "negation equal to its statement"
LEAK = "answer stands in the query's prompt"
SHARE = 4  # one probe fact in so many gets control probes, one the probes that asymmetry needs, one bundles both ways


def build_facts(world: World, facts: Facts, join: str | None = None) -> FactsBuilder:
    """Derives samples, probes, queries and claims from a world.

    Args:
        world: A checked facts file.
        facts: Which domains, how many probe facts, which kinds, how deep.
        join: What stands between prompt and target; None as the template has it.

    Raises:
        InputError: For an unknown domain or kind, or nothing to probe.
    """
    return _Derivation(world, facts, join).run()


class _Derivation:
    def __init__(self, world: World, facts: Facts, join: str | None) -> None:
        self.world, self.facts = world, facts
        self.out = FactsBuilder(CurationBuilder(join=join), world)
        self.builder = self.out.builder
        self.builder.gates.open(KNOWN, STATED, NEGATION, LEAK)
        self.stored = Knowledge()
        for fact in world.file.triplets:
            self.stored.add(fact)
        self.rules = rules_of(world)
        self.pools: dict[str, list[Triplet]] = {}
        self.ranks: dict[Triplet, int] = {}
        self.leaking: set[str] = set()
        self.keys: dict[tuple[Triplet, str], str] = {}
        self.labels: dict[tuple[str, str, str], str] = {}
        self.wanted = set(facts.kinds) if facts.kinds is not None else None
        unknown = sorted((self.wanted or set()) - {*KINDS, *EXTRA_KINDS})
        if unknown:
            raise InputError("facts.kinds", f"{unknown[0]!r}", f"kinds among {', '.join((*KINDS, *EXTRA_KINDS))}")
        self.out.kinds = frozenset(KINDS if self.wanted is None else self.wanted)

    def run(self) -> FactsBuilder:
        """Everything, in the order: probe facts, their families, further probes."""
        chosen = self._choose()
        self.conclusions = {fact: self._conclude(fact) for fact in self.world.probes}
        self._truths(chosen)
        self.builder.noised = {self._family(fact) for fact in chosen}
        for fact in chosen:
            if self._wants("bundle"):
                self._bundle(fact)
            if self._wants("asymmetry") and self._drawn(fact, "asymmetry"):
                self._both_ways(fact)
            if self._wants("control") and self._drawn(fact, "control"):
                self._controls(fact)
        return self.out

    def _wants(self, kind: str) -> bool:
        return self.wanted is None or kind in self.wanted

    def _drawn(self, fact: Triplet, purpose: str) -> bool:
        return (self._rank(fact) >> (8 * EXTRA_KINDS.index(purpose))) % SHARE == 0

    def _rank(self, fact: Triplet) -> int:
        """A number that only the fact and the seed decide."""
        if fact not in self.ranks:
            self.ranks[fact] = int(content_hash((self.facts.seed, fact)), 16)
        return self.ranks[fact]

    def _choose(self) -> list[Triplet]:
        """The probe facts: new ones, of the wanted domains, drawn evenly over the domains."""
        domains = {relation.domain for relation in self.world.file.relations.values()}
        unknown = sorted(set(self.facts.domains or ()) - domains)
        if unknown:
            raise InputError("facts.domains", f"{unknown[0]!r}", f"domains among {', '.join(sorted(domains))}")
        by_domain: dict[str, list[Triplet]] = defaultdict(list)
        for fact in self.world.probes:
            domain = self.world.file.relations[fact[1]].domain
            if fact in self.stored.facts:
                self.builder.gates.count(KNOWN, " ".join(fact))
            elif self.facts.domains is None or domain in self.facts.domains:
                by_domain[domain].append(fact)
        ranked = [sorted(found, key=self._rank) for found in by_domain.values()]
        turns = [(turn, index, fact) for index, found in enumerate(ranked) for turn, fact in enumerate(found)]
        chosen = {fact for _, _, fact in sorted(turns)[: self.facts.probes]}
        if not chosen:
            raise InputError("facts.probes", f"no probe fact in {self.world.path.name}", "facts under `probes:`")
        return [fact for fact in self.world.probes if fact in chosen]

    def _conclude(self, fact: Triplet) -> list[Derived]:
        found, stated = chase(fact, self.stored, self.rules, self.facts.depth)
        for conclusion in stated:
            self.builder.gates.count(STATED, f"{' '.join(fact)} ⇒ {' '.join(conclusion)}")
        return found

    def _truths(self, chosen: Sequence[Triplet]) -> None:
        """What is true of whom, and what objects and subjects there are to choose wrong ones from."""
        self.true: set[Triplet] = {*self.stored.facts, *self.conclusions}
        self.true |= {item.fact for found in self.conclusions.values() for item in found}
        objects: dict[str, set[str]] = defaultdict(set)
        for _, relation, obj in self.true:
            objects[relation].add(obj)
        order = self.world.order
        self.objects = {name: sorted(found, key=lambda obj: order[obj]) for name, found in objects.items()}
        subjects: dict[str, dict[str, None]] = defaultdict(dict)
        for subject, relation, _ in chosen:
            subjects[relation][subject] = None
        self.subjects = {name: sorted(found, key=lambda subject: order[subject]) for name, found in subjects.items()}
        self.place = {
            **{("object", name, obj): i for name, found in self.objects.items() for i, obj in enumerate(found)},
            **{
                ("subject", name, subject): i
                for name, found in self.subjects.items()
                for i, subject in enumerate(found)
            },
        }

    # Sentences

    def _sample(self, fact: Triplet, form: str, text: str) -> str:
        known = self.keys.get((fact, text))
        if known is not None:
            return known
        subject, relation, obj = fact
        template = parse(text)
        prompt, target = template.fill(subject, obj)
        sample = Sample(
            name=f"{subject}.{relation}.{obj}:{form}",
            prompt=prompt,
            target=target,
            domain=self.world.file.relations[relation].domain,
            cluster=subject,
            template=self.labels.setdefault((relation, form, text), f"{relation}/{form}: {text}"),
            source=self.world.path.name,
            join=template.gap if self.builder.join is None else None,
        )
        key = self.keys[fact, text] = self.builder.sample(sample)
        self.out.facts.setdefault(key, fact)
        return key

    def _statement(self, fact: Triplet) -> str:
        key = self._sample(fact, "statement", self.world.file.relations[fact[1]].statement)
        self.out.statements.add(key)
        return key

    def _forms(self, fact: Triplet) -> Iterator[tuple[str, str]]:
        """Pairs of (kind, sample_id) of a fact's other sentences."""
        relation = self.world.file.relations[fact[1]]
        for form, text in relation.forms:
            kind = {"paraphrase": "paraphrase", "question": "paraphrase"}.get(form, form)
            if form != "statement" and self._wants(kind):
                key = self._sample(fact, form, text)
                if kind == "negation" and key == self._statement(fact):
                    self.builder.gates.count(NEGATION, self.builder.samples[key].name)
                else:
                    yield kind, key
        turned = [relation.inverse] if relation.inverse else [fact[1]] if relation.symmetric else []
        for other in turned:
            if self._wants("reversed"):
                yield "reversed", self._statement((fact[2], other, fact[0]))

    # Families

    def _family(self, fact: Triplet) -> str:
        """The probe of a fact, its queries and what it claims about them; its id."""
        own = self._statement(fact)
        probe_id = self.builder.probe(".".join(fact), [own])
        self.builder.query(own)
        self._claim_all(probe_id, fact)
        return probe_id

    def _claim_all(self, probe_id: str, fact: Triplet) -> None:
        self.builder.claim(probe_id, self.builder.probes[probe_id].members[0], "self")
        self.builder.claim(probe_id, self._statement(fact), "paraphrase")
        turned = {(fact[2], other, fact[0]) for other in self._turned(fact)}
        for kind, key in self._forms(fact):
            self._add(probe_id, key, kind)
        conclusions = [item for item in self.conclusions.get(fact, []) if item.fact not in turned]
        names, relations = {fact[0], fact[2]}, {fact[1]}
        for item in conclusions:
            if self._wants("entailed"):
                self._add(probe_id, self._statement(item.fact), "entailed", float(item.depth))
            for premise in item.premises:
                if self._wants("premise"):
                    self._add(probe_id, self._statement(premise), "premise")
                names |= {premise[0], premise[2]}
            names |= {item.fact[0], item.fact[2]}
            relations.add(item.fact[1])
        if self._wants("sibling"):
            for like in [item.fact for item in conclusions] or [fact]:
                for control in self._siblings(like, fact[1]):
                    self._add(probe_id, self._statement(control), "sibling")
        if self._wants("neighbour"):
            found = (
                other for name in self.world.file.relations for other in self.stored.by_object.get((name, fact[2]), ())
            )
            near = next((other for other in found if other[1] != fact[1] and other[0] != fact[0]), None)
            if near is not None:
                self._add(probe_id, self._statement(near), "neighbour")
        self.out.touched[probe_id] = (names, relations)

    def _turned(self, fact: Triplet) -> list[str]:
        relation = self.world.file.relations[fact[1]]
        return ([relation.inverse] if relation.inverse else []) + ([fact[1]] if relation.symmetric else [])

    def _add(self, probe_id: str, key: str, kind: str, level: float | None = None) -> None:
        sample = self.builder.samples[key]
        if contains(normalise(sample.prompt), normalise(sample.target)):
            self.builder.gates.count(LEAK, f"{sample.prompt} | {sample.target}", int(key not in self.leaking))
            self.leaking.add(key)
            return
        self.builder.claim(probe_id, self.builder.query(key), kind, level)

    def _siblings(self, fact: Triplet, probe_relation: str) -> Iterator[Triplet]:
        """A rival object for the same subject, and another subject for the same object; both false.

        The nearest earlier candidate in the file's order, else the nearest later one: what is added to the end of
        the file's lists changes no earlier choice.
        """
        subject, relation, obj = fact
        for other in _nearest(self.objects.get(relation, []), self.place.get(("object", relation, obj), 0)):
            if other not in (obj, subject) and (subject, relation, other) not in self.true:
                yield subject, relation, other
                break
        for other in _nearest(self.subjects[probe_relation], self.place.get(("subject", probe_relation, subject), 0)):
            if other not in (obj, subject) and (other, relation, obj) not in self.true:
                yield other, relation, obj
                break

    # Further probes

    def _bundle(self, fact: Triplet) -> None:
        """The fact and the stored premise of its first conclusion, trained together; and the premise alone.

        Of some facts also the other way round, and one after the other both ways.
        """
        item = next((item for item in self.conclusions[fact] if item.depth == 1 and len(item.premises) == 1), None)
        if item is None:
            return
        premise = item.premises[0]
        one, other = self._statement(fact), self._statement(premise)
        alone = self.builder.probe(".".join(premise), [other])
        first, second = ".".join(fact), ".".join(premise)
        ways = [(f"{first}+{second}", [one, other], "bundle")]
        if self._drawn(fact, "bundle"):
            ways.append((f"{second}+{first}", [other, one], "bundle"))
            ways.append((f"{first}, then {second}", [one, other], "sequence"))
            ways.append((f"{second}, then {first}", [other, one], "sequence"))
        conclusion = self.builder.query(self._statement(item.fact))
        self.builder.query(other)
        names = {*fact, *premise, *item.fact} - {fact[1], premise[1], item.fact[1]}
        for name, members, kind in ways:
            both = self.builder.probe(name, members, kind)
            self.builder.claim(both, conclusion, "entailed", 1.0)
            self.out.touched[both] = (names, {fact[1], premise[1], item.fact[1]})
        self.out.touched.setdefault(alone, ({premise[0], premise[2]}, {premise[1]}))

    def _both_ways(self, fact: Triplet) -> None:
        """Probes for φ: influence from i to j and from j to i, for a paraphrase and for a conclusion."""
        own = self._statement(fact)
        words = [(kind, key) for kind, key in self._forms(fact) if kind == "paraphrase" and key in self.builder.queries]
        if words:
            length = len(self._text(own))
            _, other = min(words, key=lambda pair: (abs(len(self._text(pair[1])) - length), pair[1]))
            self._claim_all(self.builder.probe(self.builder.samples[other].name, [other]), fact)
        item = next((item for item in self.conclusions[fact] if item.depth == 1), None)
        if item is not None and self._statement(item.fact) in self.builder.queries:
            key = self._statement(item.fact)
            probe_id = self.builder.probe(".".join(item.fact), [key])
            near = ({item.fact[0], item.fact[2], fact[2]}, {item.fact[1], fact[1]})
            self.out.touched.setdefault(probe_id, near)

    def _text(self, key: str) -> str:
        return self.builder.samples[key].text

    def _controls(self, fact: Triplet) -> None:
        """The probe's words in another order, and a stored sentence of the same length about something else."""
        own = self.builder.samples[self._statement(fact)]
        shuffled = shuffled_words(own, self.facts.seed)
        probes = [] if shuffled is None else [(shuffled, fact)]
        names = self.out.touched[self.builder.probe(".".join(fact), [own.sample_id])][0]
        other = self._length_matched(fact, names, len(self._text(own.sample_id)))
        if other is not None:
            probes.append((self.builder.samples[self._statement(other)], other))
        for sample, about in probes:
            key = self.builder.query(self.builder.sample(sample))
            self.out.facts.setdefault(key, about)
            if sample is shuffled:
                self.out.gibberish.add(key)
            which = "shuffled words" if sample is shuffled else "length-matched"
            probe_id = self.builder.probe(f"control:{sample.name}", [key], "control", which)
            self.out.touched.setdefault(probe_id, ({about[0], about[2]}, {about[1]}))

    def _length_matched(self, fact: Triplet, names: set[str], length: int) -> Triplet | None:
        """Among stored facts of other domains, sixteen drawn by the fact, the one nearest in length."""
        domain = self.world.file.relations[fact[1]].domain
        pool = self._pool(domain)
        if not pool:
            return None
        start = self._rank(fact)
        drawn = [pool[(start + step) % len(pool)] for step in range(min(16, len(pool)))]
        free = [other for other in drawn if other[0] not in names and other[2] not in names]
        return min(free, key=lambda other: abs(self._length(other) - length), default=None)

    def _length(self, fact: Triplet) -> int:
        template = parse(self.world.file.relations[fact[1]].statement)
        return len(template.gap.join(template.fill(fact[0], fact[2])))

    def _pool(self, domain: str) -> list[Triplet]:
        """Stored facts of other domains."""
        if domain not in self.pools:
            relations = self.world.file.relations
            self.pools[domain] = [fact for fact in self.stored.facts if relations[fact[1]].domain != domain]
        return self.pools[domain]


def _nearest(names: Sequence[str], place: int) -> Iterable[str]:
    """Names before a place, the nearest first, then those after it; without copying the list, which may be long."""
    yield from (names[index] for index in range(place - 1, -1, -1))
    yield from (names[index] for index in range(place + 1, len(names)))
