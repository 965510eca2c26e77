"""Forward chaining against a naive closure, and names that mean nothing."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from einfluence.curate.facts.infer import Knowledge, chase
from einfluence.curate.facts.names import invented_names
from einfluence.curate.facts.schema import Rule, Triplet
from einfluence.errors import InputError
from tests.curate.sources import each

NAMES, RELATIONS = "abcd", ("r", "s")
facts = st.tuples(st.sampled_from(NAMES), st.sampled_from(RELATIONS), st.sampled_from(NAMES))
terms = st.sampled_from(["?x", "?y", "?z", "a"])
premises = st.lists(st.tuples(terms, st.sampled_from(RELATIONS), terms), min_size=1, max_size=2)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    body = draw(premises)
    bound = sorted({term for subject, _, obj in body for term in (subject, obj)})
    head = (draw(st.sampled_from(bound)), draw(st.sampled_from(RELATIONS)), draw(st.sampled_from(bound)))
    return Rule.model_validate({"name": "rule", "if": body, "then": head})


def closure(known: set[Triplet], rules: list[Rule]) -> set[Triplet]:
    """Everything that follows, by trying all values of all variables until nothing is new."""
    while True:
        fresh: set[Triplet] = set()
        for rule in rules:
            names = sorted({t for p in rule.premises for t in (p[0], p[2]) if t.startswith("?")})
            for values in itertools.product(NAMES, repeat=len(names)):
                put = dict(zip(names, values, strict=True))
                filled = [(put.get(s, s), r, put.get(o, o)) for s, r, o in (*rule.premises, rule.then)]
                if all(premise in known for premise in filled[:-1]) and filled[-1][0] != filled[-1][2]:
                    fresh.add(filled[-1])
        if fresh <= known:
            return known
        known = known | fresh


@settings(max_examples=150, deadline=None)
@given(st.lists(facts, max_size=6), facts, st.lists(rules(), min_size=1, max_size=2))
def test_conclusions_are_what_the_new_fact_adds_to_the_closure(
    stored: list[Triplet], new: Triplet, given: list[Rule]
) -> None:
    closed = closure(set(stored), given)
    knowledge = Knowledge()
    for fact in closed:
        knowledge.add(fact)
    derived, _ = chase(new, knowledge, given, 20)
    assert {item.fact for item in derived} == closure(closed | {new}, given) - closed - {new}
    assert all(set(item.premises) <= closed for item in derived)


def test_depth_counts_steps_and_premises_come_in_order() -> None:
    knowledge = Knowledge()
    for fact in (("b", "r", "c"), ("c", "r", "d"), ("d", "s", "e")):
        knowledge.add(fact)
    climb = Rule.model_validate(
        {"name": "climb", "if": [("?x", "r", "?y"), ("?y", "r", "?z")], "then": ("?x", "r", "?z")}
    )
    hand = Rule.model_validate(
        {"name": "hand", "if": [("?x", "r", "?y"), ("?y", "s", "?z")], "then": ("?x", "s", "?z")}
    )
    derived, stated = chase(("a", "r", "b"), knowledge, [climb, hand], 3)
    assert [(item.fact, item.depth) for item in derived] == [
        (("a", "r", "c"), 1),
        (("a", "r", "d"), 2),
        (("a", "s", "e"), 3),
    ]
    assert derived[2].premises == (("b", "r", "c"), ("c", "r", "d"), ("d", "s", "e"))
    assert not stated
    assert len(chase(("a", "r", "b"), knowledge, [climb, hand], 1)[0]) == 1
    assert chase(("a", "r", "b"), knowledge, [climb, hand], 0) == ([], [])


def test_names_are_seeded_prefixes_of_longer_draws_and_new() -> None:
    names = invented_names(50, 7, taken={"wugs", "Kist"})
    assert names == invented_names(80, 7, taken={"wugs", "Kist"})[:50]
    assert len(set(names)) == 50 and not {"kist", "wug", "kis"} & set(names)
    assert names != invented_names(50, 8, taken={"wugs", "Kist"})


def test_names_are_ones_that_the_tokenizer_can_spell() -> None:
    vowels = invented_names(20, 0, spell=each(lambda text: [1] if "a" in text else [1] * 9))
    assert all("a" in name for name in vowels)
    with pytest.raises(InputError, match="at most 0 here"):
        invented_names(5, 0, spell=each(lambda text: []))
