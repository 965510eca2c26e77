"""From facts to claims: each kind, by hand, on a miniature world; faults of a facts file with file and line."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from einfluence.curate import curate
from einfluence.curate.facts.derive import KNOWN, LEAK, STATED
from einfluence.curate.facts.load import load_world
from einfluence.errors import InputError
from einfluence.samples import Curated
from einfluence.spec import Facts, Part, Spec

BIRDS = Path(__file__).parents[1] / "data" / "birds.yaml"


def read(path: Path = BIRDS, **fields: Any) -> Curated:
    part = Part(base="x", facts=Facts(file=str(path), **fields))
    return curate(part, Spec(parts=(part,)))


def changed(tmp_path: Path, **keys: Any) -> Path:
    """The miniature world with some keys replaced, or extended by a list."""
    world = yaml.safe_load(BIRDS.read_text())
    for key, value in keys.items():
        world[key] = [*world[key], *value] if isinstance(value, list) else value
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(world, sort_keys=False))
    return path


def of(made: Curated, probe: str) -> set[tuple[str, str, float | None]]:
    """(kind, query, level) of a probe's claims but ``unrelated``; a text is "prompt | target"."""
    text = {row["sample_id"]: f"{row['prompt']} | {row['target']}" for row in made.samples.to_pylist()}
    members: dict[str, list[str]] = {}
    for row in made.probe_members.to_pylist():
        members.setdefault(row["probe_id"], []).append(text[row["sample_id"]])
    return {
        (row["kind"], text[row["query_id"]], row["level"])
        for row in made.relations.to_pylist()
        if " + ".join(members[row["probe_id"]]) == probe and row["kind"] not in (None, "unrelated")
    }


def gate(made: Curated, name: str) -> int:
    return {row["gate"]: row["count"] for row in made.report.to_pylist()}[name]


DAX = {
    ("self", "dax is a | bird", None),
    ("paraphrase", "dax counts as a | bird", None),
    ("paraphrase", "the kind of dax is | bird", None),
    ("paraphrase", "what is dax ? | bird", None),
    ("negation", "dax is not a | bird", None),
    ("double_negation", "it is false that dax is not a | bird", None),
    ("reversed", "one bird is | dax", None),
    ("contrapositive", "what is not a bird is not | dax", None),
    ("entailed", "dax has | wings", 1.0),
    ("entailed", "dax lives in | trees", 1.0),
    ("premise", "bird has | wings", None),
    ("premise", "bird lives in | trees", None),
    # For each conclusion: the same entity with a rival object, another entity with the same object.
    ("sibling", "dax has | fins", None),
    ("sibling", "wug has | wings", None),
    ("sibling", "dax lives in | rivers", None),
    ("sibling", "wug lives in | trees", None),
}


def test_every_kind_of_a_probe_fact() -> None:
    assert of(read(), "dax is a | bird") == DAX


def test_unrelated_shares_no_entity_object_or_relation() -> None:
    made = read()
    text = {row["sample_id"]: f"{row['prompt']} | {row['target']}" for row in made.samples.to_pylist()}
    members = dict(
        zip(made.probe_members["probe_id"].to_pylist(), made.probe_members["sample_id"].to_pylist(), strict=True)
    )
    kinds = {(text[members[row["probe_id"]]], text[row["query_id"]]): row["kind"] for row in made.relations.to_pylist()}
    assert kinds["blick lives in | rivers", "wug likes | trees"] == "unrelated"
    assert kinds["dax is a | bird", "blick lives in | rivers"] is None  # the relation of a conclusion
    assert kinds["wug is a | fish", "wug likes | trees"] is None  # the same entity
    assert kinds["wug likes | trees", "bird lives in | trees"] == "neighbour"


def test_kinds_may_be_chosen() -> None:
    made = read(kinds=("negation", "entailed"))
    assert {kind for kind, *_ in of(made, "dax is a | bird")} == {"self", "negation", "entailed"}
    assert set(made.probes["kind"].to_pylist()) == {"sample"}
    assert "unrelated" not in made.relations["kind"].to_pylist()


def test_without_inference_siblings_are_of_the_fact_itself() -> None:
    made = read(depth=0)
    found = of(made, "dax is a | bird")
    assert not {claim for claim in found if claim[0] in ("entailed", "premise")}
    assert {claim[1] for claim in found if claim[0] == "sibling"} == {"dax is a | fish", "wug is a | bird"}


def test_bundles_hold_a_fact_and_the_premise_of_its_conclusion() -> None:
    made = read()
    assert of(made, "dax is a | bird + bird has | wings") == {
        ("self", "dax is a | bird", None),
        ("self", "bird has | wings", None),
        ("entailed", "dax has | wings", 1.0),
    }
    assert of(made, "bird has | wings") == {("self", "bird has | wings", None)}  # the other premise alone


def test_some_premises_are_trained_in_both_orders_together_and_in_turn() -> None:
    made = read(Path("world"), probes=60)
    rows = made.probe_members.sort_by("position").to_pylist()
    kinds = dict(zip(made.probes["probe_id"].to_pylist(), made.probes["kind"].to_pylist(), strict=True))
    ways: dict[frozenset[str], set[tuple[str, tuple[str, ...]]]] = {}
    for probe, kind in kinds.items():
        members = tuple(row["sample_id"] for row in rows if row["probe_id"] == probe)
        if len(members) == 2:
            ways.setdefault(frozenset(members), set()).add((kind, members))
    assert {len(each) for each in ways.values()} == {1, 4}
    assert sum(len(each) == 4 for each in ways.values()) >= 5  # as many as an interval takes
    entailed = {row["probe_id"] for row in made.relations.to_pylist() if row["kind"] == "entailed"}
    assert entailed >= {probe for probe, kind in kinds.items() if kind in ("bundle", "sequence")}


def test_controls_and_probes_both_ways_exist_in_a_larger_world() -> None:
    made = read(Path("world"))
    assert {"sample", "bundle", "sequence", "control"} == set(made.probes["kind"].to_pylist())
    text = {row["sample_id"]: f"{row['prompt']} {row['target']}".split() for row in made.samples.to_pylist()}
    names = dict(zip(made.probes["probe_id"].to_pylist(), made.probes["name"].to_pylist(), strict=True))
    members = {row["probe_id"]: row["sample_id"] for row in made.probe_members.to_pylist()}
    shuffled = [key for key, name in names.items() if name.startswith("control:") and name.endswith(":shuffled")]
    assert len(shuffled) >= 20
    kinds = {row["probe_id"]: (row["kind"], row["control"]) for row in made.probes.to_pylist()}
    assert {kinds[key] for key in shuffled} == {("control", "shuffled words")}
    others = {kind for key, kind in kinds.items() if key not in shuffled}
    assert others == {("sample", None), ("bundle", None), ("sequence", None), ("control", "length-matched")}
    statements = {
        tuple(sorted(words)): words for key, words in text.items() if key not in {members[p] for p in shuffled}
    }
    for key in shuffled:
        words = text[members[key]]
        assert statements[tuple(sorted(words))] != words
    both = Counter(zip(made.relations["probe_id"].to_pylist(), made.relations["kind"].to_pylist(), strict=True))
    main = {row["probe_id"] for row in made.probes.to_pylist() if ":" in row["name"] and row["kind"] == "sample"}
    assert sum(1 for (probe, kind) in both if probe in main and kind == "paraphrase") >= 20


def test_each_shipped_domain_is_large_enough_for_an_interval() -> None:
    world = load_world(Path(__file__).parents[3] / "data" / "facts" / "world.yaml")
    domains = Counter(world.file.relations[relation].domain for _, relation, _ in world.probes)
    assert len(domains) >= 6 and min(domains.values()) >= 30


def test_depth_two_chains_further(tmp_path: Path) -> None:
    rule = {"name": "climbs", "if": [["?x", "lives_in", "trees"]], "then": ["?x", "likes", "trees"]}
    path = changed(tmp_path, rules=[rule])
    assert ("entailed", "dax likes | trees", 2.0) in of(read(path, depth=2), "dax is a | bird")
    assert "dax likes | trees" not in {text for _, text, _ in of(read(path, depth=1), "dax is a | bird")}


def test_symmetric_and_inverse_relations_are_reversed_by_their_own_words(tmp_path: Path) -> None:
    world = yaml.safe_load(BIRDS.read_text())
    world["relations"]["likes"] |= {"symmetric": True, "object": "pet"}
    world["probes"][-1] = ["wug", "likes", "dax"]
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(world))
    assert ("reversed", "dax likes | wug", None) in of(read(path), "wug likes | dax")


def test_what_is_stated_already_is_counted(tmp_path: Path) -> None:
    path = changed(
        tmp_path, triplets=[["dax", "has", "wings"], ["blick", "is_a", "snake"]], probes=[["blick", "is_a", "snake"]]
    )
    made = read(path)
    assert gate(made, STATED) == 1 and gate(made, KNOWN) == 1
    assert "dax has | wings" not in {text for _, text, _ in of(made, "dax is a | bird")}
    assert not of(made, "blick is a | snake")


def test_an_answer_in_the_prompt_is_counted(tmp_path: Path) -> None:
    world = yaml.safe_load(BIRDS.read_text())
    world["relations"]["is_a"]["paraphrases"] = ["{subject} is some bird , namely {object}"]
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(world))
    made = read(path)
    assert gate(made, LEAK) == 1
    assert ("paraphrase", "wug is some bird , namely | fish", None) in of(made, "wug is a | fish")


def test_adding_facts_leaves_every_sample_and_claim_as_it_was(tmp_path: Path) -> None:
    world = yaml.safe_load(BIRDS.read_text())
    world["entities"]["pet"] += ["toma", "fep"]
    world["entities"]["part"] += ["paws"]
    world["triplets"] += [["snake", "lives_in", "rivers"]]
    world["probes"] += [["toma", "is_a", "snake"], ["fep", "lives_in", "trees"]]
    path = tmp_path / "larger.yaml"
    path.write_text(yaml.safe_dump(world))
    before, after = read(), read(path)
    assert set(before.samples["sample_id"].to_pylist()) <= set(after.samples["sample_id"].to_pylist())
    assert set(before.probes["probe_id"].to_pylist()) <= set(after.probes["probe_id"].to_pylist())
    assert of(after, "dax is a | bird") == DAX


def test_the_order_of_facts_changes_nothing(tmp_path: Path) -> None:
    world = yaml.safe_load(BIRDS.read_text())
    world["triplets"].reverse()
    world["probes"].reverse()
    path = tmp_path / "turned.yaml"
    path.write_text(yaml.safe_dump(world))
    one, two = read(), read(path)
    key = ("probe_id", "query_id", "kind", "level")
    pairs = [{tuple(row[name] for name in key) for row in made.relations.to_pylist()} for made in (one, two)]
    assert pairs[0] == pairs[1]


def test_a_draw_is_balanced_over_domains_and_seeded() -> None:
    made = read(Path("world"), probes=14, kinds=("negation",))
    plain = [row for row in made.samples.to_pylist() if row["name"].endswith(":statement")]
    domains = Counter(row["domain"] for row in plain)
    assert len(domains) == 7 and set(domains.values()) == {2}
    again, other = (read(Path("world"), probes=14, kinds=("negation",), seed=seed) for seed in (0, 1))
    assert again.relations.equals(made.relations) and not other.probes.equals(made.probes)


def test_drawn_probes_and_invented_names(tmp_path: Path) -> None:
    world = yaml.safe_load(BIRDS.read_text())
    world["entities"]["pet"] = {"invent": 30, "seed": 3}
    world["probes"] = [{"relation": "is_a", "subjects": "pet", "objects": "kind", "seed": 1}]
    world["triplets"] = [fact for fact in world["triplets"]]
    path = tmp_path / "drawn.yaml"
    path.write_text(yaml.safe_dump(world))
    made = load_world(path)
    assert len(made.probes) == 30 and {obj for _, _, obj in made.probes} == {"bird", "fish", "snake"}
    assert made.probes == load_world(path).probes


def test_taxonomic_distance_counts_facts_on_the_way() -> None:
    made = read()
    text = {row["sample_id"]: f"{row['prompt']} | {row['target']}" for row in made.samples.to_pylist()}
    members = dict(
        zip(made.probe_members["probe_id"].to_pylist(), made.probe_members["sample_id"].to_pylist(), strict=True)
    )
    far = {
        (text[members[row["probe_id"]]], text[row["query_id"]]): row["distance"]
        for row in made.distances.to_pylist()
        if row["measure"] == "taxonomic"
    }
    assert far["dax is a | bird", "dax has | wings"] == 0
    assert far["dax is a | bird", "bird has | wings"] == 1
    # dax - bird - trees - wug, as wug likes trees
    assert far["dax is a | bird", "wug is a | fish"] == 3
    assert ("dax is a | bird", "blick lives in | rivers") not in far  # no way leads there


FAULTS: list[tuple[str, str, str]] = [
    (
        "    domain: places\n",
        "",
        r"changed.yaml:21 relations.lives_in.domain: found nothing; expected the key `domain`",
    ),
    (
        "[dax, is_a, bird]",
        "[dax, isa, bird]",
        r"changed.yaml:47 probes.0: found the unknown relation 'isa'; expected one of is_a, has",
    ),
    ("[dax, is_a, bird]", "[dax, is_a, bord]", r"changed.yaml:47 probes.0: found 'bord' as the object of `is_a`"),
    (
        "[dax, is_a, bird]",
        "[dax, is_a]",
        r"changed.yaml:47 probes.0: found 2 items; expected 3. A fact is \[subject, relation, object\]",
    ),
    ('is not a {object}"\n    double', 'is not a"\n    double', r"no slot \{object\}; a template has each slot once"),
    ("{subject} has {object}", "{subject} has {objekt}", r"the unknown slot \{objekt\}"),
    (
        "{subject} has {object}",
        "{object} of {subject}",
        r"ends with \{subject\}; the last slot of `statement` is \{object\}",
    ),
    ("{subject} has {object}", "{subject} has {object} today", r"text after \{object\}"),
    ('negation: "{subject} does not have', 'negation: "{subject} has', r"the negation '.*' is the statement itself"),
    ('statement: "{subject} has {object}"', "statement: {subject} has", r"YAML that cannot be read"),
    ("exclusive: true", "exclusive: perhaps", r"relations.is_a.exclusive: found 'perhaps'"),
    ("exclusive: true", "exclusif: true", r"relations.is_a.exclusif: found the unknown key `exclusif`"),
    ("entities:", "ent[ities: 1\nentities:", r"ent\[ities: found the unknown key `ent\[ities`"),
    ("[wug, is_a, fish]", "[dax, is_a, fish]", r"dax is_a fish, but dax is_a bird stands at .*changed.yaml:47"),
    (
        '["?y", has, "?z"]], then',
        '["?y", likes, "?z"]], then',
        r"rules.0: found the rule 'inherits', which never fires",
    ),
    (
        'then: ["?x", has, "?z"]',
        'then: ["?x", has, "?q"]',
        r"rule 'inherits' concludes about \?q, which no premise names",
    ),
    ('then: ["?x", has, "?z"]', 'then: ["?x", had, "?z"]', r"rules.0: found the unknown relation 'had'"),
    ("kind: [bird, fish, snake]", "kind: [bird, fish, bird]", r"changed.yaml:\d+ entities.kind: found 'bird' twice"),
    ("part: [wings, fins, fangs]", "part: [wings, true, fangs]", r"entities.part.1: found True; .*in quotes"),
    ("object: part", "object: limb", r"relations.has.object: found the unknown class 'limb'"),
]


@pytest.mark.parametrize(("old", "new", "fault"), FAULTS, ids=range(len(FAULTS)))
def test_faults_of_a_facts_file(old: str, new: str, fault: str, tmp_path: Path) -> None:
    text = BIRDS.read_text()
    assert old in text
    path = tmp_path / "changed.yaml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        read(path)
    assert re.search(fault, str(caught.value)), str(caught.value)


def test_circles_in_a_taxonomy(tmp_path: Path) -> None:
    world = yaml.safe_load(BIRDS.read_text())
    world["relations"]["is_a"] |= {"subject": ["pet", "kind"], "exclusive": False}
    world["triplets"] += [["bird", "is_a", "fish"], ["fish", "is_a", "snake"], ["snake", "is_a", "bird"]]
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(world))
    with pytest.raises(InputError, match="a circle in `is_a`: bird → fish → snake → bird"):
        read(path)


def test_faults_of_the_spec() -> None:
    for fields, fault in [
        ({"domains": ("cooking",)}, "facts.domains: found 'cooking'; expected domains among"),
        ({"kinds": ("cousin",)}, "facts.kinds: found 'cousin'"),
    ]:
        with pytest.raises(InputError, match=fault):
            read(**fields)
    with pytest.raises(InputError, match="facts.file: found no file .*one that is shipped"):
        read(Path("nowhere"))
