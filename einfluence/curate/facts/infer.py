"""What follows from a new fact and the stored ones: forward chaining over rules, and checks of a world's logic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from einfluence.curate.facts.schema import Relation, Rule, Triplet, World
from einfluence.errors import InputError

Binding = dict[str, str]


@dataclass(frozen=True)
class Derived:
    """A conclusion.

    Args:
        fact: What follows.
        depth: In how many steps, from 1.
        premises: The stored facts used on the way, in the order in which they came in.
        rule: Name of the last rule.
    """

    fact: Triplet
    depth: int
    premises: tuple[Triplet, ...]
    rule: str


@dataclass
class Knowledge:
    """Facts, indexed by relation, by relation and subject, by relation and object."""

    facts: dict[Triplet, None] = field(default_factory=dict[Triplet, None])
    by_relation: dict[str, list[Triplet]] = field(default_factory=lambda: defaultdict(list))
    by_subject: dict[tuple[str, str], list[Triplet]] = field(default_factory=lambda: defaultdict(list))
    by_object: dict[tuple[str, str], list[Triplet]] = field(default_factory=lambda: defaultdict(list))

    def add(self, fact: Triplet) -> None:
        """Adds a fact, once."""
        if fact not in self.facts:
            self.facts[fact] = None
            subject, relation, obj = fact
            self.by_relation[relation].append(fact)
            self.by_subject[relation, subject].append(fact)
            self.by_object[relation, obj].append(fact)

    def matching(self, pattern: Triplet, binding: Binding) -> Sequence[Triplet]:
        """Facts that may match a pattern, the variables bound so far filled in."""
        subject, relation, obj = (binding.get(term, term) for term in pattern)
        if not subject.startswith("?"):
            return self.by_subject.get((relation, subject), ())
        if not obj.startswith("?"):
            return self.by_object.get((relation, obj), ())
        return self.by_relation.get(relation, ())


def rules_of(world: World) -> list[Rule]:
    """The file's rules, and those that symmetric and inverse relations stand for."""
    implied: list[Rule] = []
    for name, relation in world.file.relations.items():
        for other in ([name] if relation.symmetric else []) + ([relation.inverse] if relation.inverse else []):
            fields = {"name": f"{name} from its object", "if": (("?x", name, "?y"),), "then": ("?y", other, "?x")}
            implied.append(Rule.model_validate(fields))
    return [*world.file.rules, *implied]


def chase(fact: Triplet, stored: Knowledge, rules: Sequence[Rule], depth: int) -> tuple[list[Derived], list[Triplet]]:
    """Chains forward from one new fact.

    Args:
        fact: The new fact.
        stored: What is known.
        rules: From :func:`rules_of`.
        depth: The most steps.

    Returns:
        The conclusions that are not stored, each with its least depth; and those that are stored already.
    """
    known: dict[Triplet, Derived] = {fact: Derived(fact, 0, (), "")}
    stated: dict[Triplet, None] = {}
    frontier = [fact]
    for step in range(1, depth + 1):
        fresh: list[Triplet] = []
        for start in frontier:
            for rule, index in _premises_about(start[1], rules):
                for conclusion, used in _fire(rule, index, start, stored, known):
                    if conclusion in stored.facts:
                        stated[conclusion] = None
                    elif conclusion not in known and conclusion[0] != conclusion[2]:
                        known[conclusion] = Derived(conclusion, step, _stored_behind(used, stored, known), rule.name)
                        fresh.append(conclusion)
        frontier = fresh
    return [derived for derived in known.values() if derived.depth], list(stated)


def _premises_about(relation: str, rules: Sequence[Rule]) -> list[tuple[Rule, int]]:
    return [(rule, index) for rule in rules for index, premise in enumerate(rule.premises) if premise[1] == relation]


def _stored_behind(used: Iterable[Triplet], stored: Knowledge, known: dict[Triplet, Derived]) -> tuple[Triplet, ...]:
    found = (fact for item in used for fact in ((item,) if item in stored.facts else known[item].premises))
    return tuple(dict.fromkeys(found))


def _fire(
    rule: Rule, index: int, start: Triplet, stored: Knowledge, known: dict[Triplet, Derived]
) -> Iterator[tuple[Triplet, tuple[Triplet, ...]]]:
    """Conclusions of a rule whose premise ``index`` is ``start``, with the facts used."""
    binding = unify(rule.premises[index], start, {})
    if binding is None:
        return
    rest = [premise for place, premise in enumerate(rule.premises) if place != index]
    for full, used in _join(rest, binding, (start,), stored, known):
        subject, relation, obj = (full.get(term, term) for term in rule.then)
        yield (subject, relation, obj), used


def _join(
    premises: Sequence[Triplet],
    binding: Binding,
    used: tuple[Triplet, ...],
    stored: Knowledge,
    known: Iterable[Triplet],
) -> Iterator[tuple[Binding, tuple[Triplet, ...]]]:
    if not premises:
        yield binding, used
        return
    candidates = [*stored.matching(premises[0], binding), *(fact for fact in known if fact[1] == premises[0][1])]
    for fact in candidates:
        extended = unify(premises[0], fact, binding)
        if extended is not None:
            yield from _join(premises[1:], extended, (*used, fact), stored, known)


def unify(pattern: Triplet, fact: Triplet, binding: Binding) -> Binding | None:
    """The binding under which a pattern is the fact, or None."""
    found = dict(binding)
    for term, value in zip(pattern, fact, strict=True):
        if term.startswith("?"):
            if found.setdefault(term, value) != value:
                return None
        elif term != value:
            return None
    return found


def check(world: World) -> None:
    """Checks the logic of a facts file.

    Raises:
        InputError: For a fact or rule with an unknown relation or entity, contradictory facts, a circle in a
            transitive relation, or a rule that never fires.
    """
    _check_relations(world)
    _check_classes(world)
    _check_contradictions(world)
    _check_circles(world)
    _check_rules_fire(world)


def _numbered(world: World) -> Iterator[tuple[str, int, Triplet]]:
    for index, fact in enumerate(world.file.triplets):
        yield "triplets", index, fact
    for index, entry in enumerate(world.file.probes):
        if isinstance(entry, tuple):
            yield "probes", index, entry


def _check_relations(world: World) -> None:
    known = world.file.relations
    expected = f"one of {', '.join(known)}"
    for key, index, (_, relation, _) in _numbered(world):
        if relation not in known:
            raise InputError(world.where(key, index), f"the unknown relation {relation!r}", expected)
    for index, rule in enumerate(world.file.rules):
        for _, relation, _ in (*rule.premises, rule.then):
            if relation not in known:
                raise InputError(world.where("rules", index), f"the unknown relation {relation!r}", expected)
    for name, relation in known.items():
        if relation.inverse is not None and relation.inverse not in known:
            raise InputError(
                world.where("relations", name, "inverse"), f"the unknown relation {relation.inverse!r}", expected
            )
        for key in ("subject", "object"):
            missing = [kind for kind in getattr(relation, key) if world.entities and kind not in world.entities]
            if missing:
                classes = ", ".join(world.entities)
                raise InputError(
                    world.where("relations", name, key), f"the unknown class {missing[0]!r}", f"one of {classes}"
                )


def _check_classes(world: World) -> None:
    if not world.entities:
        return
    members = {kind: set(names) for kind, names in world.entities.items()}
    for key, index, fact in _numbered(world):
        relation = world.file.relations[fact[1]]
        for role, name, kinds in (("subject", fact[0], relation.subject), ("object", fact[2], relation.object)):
            if kinds and not any(name in members[kind] for kind in kinds):
                found = f"{name!r} as the {role} of `{fact[1]}`"
                raise InputError(
                    world.where(key, index), found, f"a name of the class {' or '.join(kinds)}", "see `entities`"
                )


def _check_contradictions(world: World) -> None:
    first: dict[tuple[str, str], tuple[str, int, str]] = {}
    for key, index, (subject, relation, obj) in _numbered(world):
        if not world.file.relations[relation].exclusive:
            continue
        seen = first.setdefault((subject, relation), (key, index, obj))
        if seen[2] != obj:
            line = world.where(seen[0], seen[1])
            found = f"{subject} {relation} {obj}, but {subject} {relation} {seen[2]} stands at {line}"
            raise InputError(world.where(key, index), found, f"one object, as `{relation}` is exclusive")


def _transitive(relation: str, details: Relation, rules: Iterable[Rule]) -> bool:
    if details.symmetric:
        return False
    steps = [rule for rule in rules if rule.then[1] == relation and all(p[1] == relation for p in rule.premises)]
    return relation in ("is_a", "subclass_of", "kind_of") or any(len(rule.premises) == 2 for rule in steps)


def _check_circles(world: World) -> None:
    for name, details in world.file.relations.items():
        if not _transitive(name, details, world.file.rules):
            continue
        above: dict[str, list[tuple[str, str, int]]] = defaultdict(list)
        for key, index, (subject, relation, obj) in _numbered(world):
            if relation == name:
                above[subject].append((obj, key, index))
        _walk(world, name, above)


def _walk(world: World, name: str, above: dict[str, list[tuple[str, str, int]]]) -> None:
    done: set[str] = set()
    for start in list(above):
        path: dict[str, Iterator[tuple[str, str, int]]] = {start: iter(above[start])} if start not in done else {}
        while path:
            here = next(reversed(path))
            step = next(path[here], None)
            if step is None:
                done.add(here)
                path.pop(here)
            elif step[0] in path:
                names = [*path][list(path).index(step[0]) :]
                circle = " → ".join([*names, step[0]])
                raise InputError(
                    world.where(step[1], step[2]), f"a circle in `{name}`: {circle}", "a taxonomy without circles"
                )
            elif step[0] not in done:
                path[step[0]] = iter(above.get(step[0], ()))


def _check_rules_fire(world: World) -> None:
    """A rule fires if its premises meet in the stored facts, the probes and what follows from these in one step."""
    everything = Knowledge()
    for _, _, fact in _numbered(world):
        everything.add(fact)
    for fact in world.probes:
        everything.add(fact)
    waiting = dict(enumerate(world.file.rules))
    others = rules_of(world)[len(world.file.rules) :]
    for _ in range(4):
        for index in [
            index for index, rule in waiting.items() if next(_join(rule.premises, {}, (), everything, ()), None)
        ]:
            others.append(waiting.pop(index))
        if not waiting:
            return
        for rule in others:
            for binding, _ in list(_join(rule.premises, {}, (), everything, ())):
                subject, relation, obj = (binding.get(term, term) for term in rule.then)
                everything.add((subject, relation, obj))
    index, rule = next(iter(waiting.items()))
    shown = " and ".join(" ".join(premise) for premise in rule.premises)
    raise InputError(world.where("rules", index), f"the rule {rule.name!r}, which never fires", f"facts with {shown}")
