"""Noise in facts, in chats, and in words that a tokenizer does not know."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.curate import curate
from einfluence.curate.builder import CurationBuilder
from einfluence.curate.rows.content import Chat
from einfluence.curate.text_noise import UNKNOWN, UNREADABLE, Read, add_noisy_probes
from einfluence.curate.versions import WITHOUT_EFFECT
from einfluence.errors import InputError
from einfluence.inputs import curated_part
from einfluence.objectives.chat import ChatTemplate
from einfluence.objectives.masked_lm import cloze
from einfluence.samples import Curated, Sample
from einfluence.session import Session
from einfluence.spec import Facts, Part, Source, Spec
from tests.engine.tokenizers import Setting, tokenizer

from .rows.reading import curated, gates, plainly, written

WORLD = """
relations:
  is_a: {domain: kinds, statement: "the kind of {subject} is called {object}", question: "what is {subject} ? {object}"}
  has: {domain: parts, statement: "{subject} has a lot of {object}"}
triplets: [[bird, has, wings], [fish, has, fins]]
rules: [{name: inherits, if: [["?x", is_a, "?y"], ["?y", has, "?z"]], then: ["?x", has, "?z"]}]
probes: [[dax, is_a, bird], [wug, is_a, fish]]
"""
FRAME = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>\n{% endfor %}"
MARKED = (
    "{% for m in messages %}<s>{{ m['role'] }}: {% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}</s>"
    "{% endgeneration %}{% else %}{{ m['content'] }}</s>{% endif %}\n{% endfor %}"
)
TURNS = [
    {"role": "system", "content": "answer in short sentences please"},
    {"role": "user", "content": "where does the <s> river begin"},
    {"role": "assistant", "content": "in the old hills"},
    {"role": "user", "content": "and where does it end then"},
    {"role": "assistant", "content": "in the wide sea"},
]


def rows(made: Curated) -> list[dict[str, Any]]:
    return made.samples.drop_columns(["pixels", "shape"]).to_pylist()


def noisy_pairs(made: Curated) -> Counter[tuple[str | None, float | None]]:
    """Kinds and levels of the pairs of noisy probes."""
    kinds = dict(zip(made.probes["probe_id"].to_pylist(), made.probes["kind"].to_pylist(), strict=True))
    found = made.relations.to_pylist()
    return Counter((row["kind"], row["level"]) for row in found if kinds[row["probe_id"]] == "noisy")


def test_probe_facts_have_noisy_versions_and_no_other_probes_have(tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text(WORLD, encoding="utf-8")
    part = Part(base="x", facts=Facts(file="facts.yaml"), noise={"typos": (0.1,), "dropped_words": (0.3, 0.6)})
    made = curate(part, Spec(parts=(part,), folder=tmp_path))
    names = {row["sample_id"]: row["name"] for row in rows(made)}
    noisy = [row for row in rows(made) if row["noise"]]
    assert Counter(names[row["parent_id"]] for row in noisy) == {
        "dax.is_a.bird:statement": 3, "wug.is_a.fish:statement": 3,
    }  # fmt: skip
    assert {(row["target"], row["gap"]) for row in noisy} == {("bird", " "), ("fish", " ")}
    assert all(row["prompt"] not in ("the kind of dax is called", "the kind of wug is called") for row in noisy)
    assert {row["cluster"] for row in noisy} == {"dax", "wug"}
    # Towards each clean one a level; of all other pairs nothing is claimed.
    pairs = noisy_pairs(made)
    assert pairs.pop((None, None)) > 10
    assert pairs == {("noisy", 0.1): 2, ("noisy", 0.3): 2, ("noisy", 0.6): 2}
    taxonomic = made.distances.filter([name == "taxonomic" for name in made.distances["measure"].to_pylist()])
    assert {probe["probe_id"] for probe in made.probes.to_pylist()} == set(taxonomic["probe_id"].to_pylist())


def test_data_sets_of_texts_have_noise_too(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\nThe food was good.,1\nThe food was bad.,0\n", encoding="utf-8")
    source = Source(name="sentiment", path=str(tmp_path / "a.csv"))
    part = Part(base="x", source=source, noise={"typos": (0.1,)}, distance=("lexical",))
    made = curate(part, Spec(parts=(part,), folder=tmp_path))
    assert sum(row["noise"] == "typos" for row in rows(made)) == 2 and noisy_pairs(made)["noisy", 0.1] == 2


@pytest.mark.parametrize("frame", [FRAME, MARKED])
@pytest.mark.parametrize("family", ["typos", "case", "dropped_words", "shuffled_words"])
def test_noise_of_a_chat_changes_what_user_and_system_say_and_nothing_else(
    frame: str, family: str, tmp_path: Path
) -> None:
    base = tokenizer(Setting("byte", frame="bare"))
    writer = ChatTemplate(base, "b")

    def write(chat: Chat, where: str, template: str | None = None) -> Any:
        return writer(chat, where, frame)

    name = written(tmp_path, {"id": "x", "messages": TURNS[1:3]}, {"id": "y", "messages": TURNS})
    noise = {family: (0.4,)}
    made = curated(tmp_path, name, noise=noise, chat_writer=write, distance=("lexical",))
    found = {row["name"]: row for row in rows(made)}
    assert set(found) == {"x", "y/1", "y/2", f"x+{family}@0.4", f"y/1+{family}@0.4", f"y/2+{family}@0.4"}
    for clean, noisy in (("x", f"x+{family}@0.4"), ("y/2", f"y/2+{family}@0.4")):
        one, other = found[clean], found[noisy]
        assert one["target"] == other["target"] and other["parent_id"] == one["sample_id"]
        assert one["prompt"] != other["prompt"]
        for piece in ("<s>", "</s>\n", "assistant: "):
            assert one["prompt"].count(piece) == other["prompt"].count(piece)
        said = [turn.split(": ", 1) for turn in other["prompt"].replace("</s>", "").split("\n<s>")]
        roles = [role.removeprefix("<s>") for role, _ in said]
        spoken = [text.strip() for _, text in said]
        before = TURNS[1:] if clean == "x" else TURNS
        for turn, role, text in zip(before, roles, spoken, strict=False):
            assert role == turn["role"] or not text  # the last asks for an answer
            assert (text == turn["content"]) == (turn["role"] == "assistant") or not text
    # The answers of one chat hear the same noise.
    assert found[f"y/2+{family}@0.4"]["prompt"].startswith(found[f"y/1+{family}@0.4"]["prompt"])
    probes = {row["name"]: row["kind"] for row in made.probes.to_pylist()}
    assert probes == {"x": "sample", "y": "chat", f"x+{family}@0.4": "noisy", f"y+{family}@0.4": "noisy"}
    assert noisy_pairs(made)["noisy", 0.4] == 3  # one of x, two of y


def test_texts_written_as_chats_have_noise_in_the_users_turn(tmp_path: Path) -> None:
    name = written(tmp_path, {"id": "a", "prompt": "the river is called", "target": "Mil"})
    made = curated(tmp_path, name, chat=True, noise={"case": (1.0,)}, distance=("lexical",))
    assert [(row["prompt"], row["target"]) for row in rows(made)] == [
        ("user: the river is called\n", "assistant: Mil\n"), ("user: THE RIVER IS CALLED\n", "assistant: Mil\n"),
    ]  # fmt: skip


def test_the_chosen_answer_alone_has_noise(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "the river is called"}]
    said = {name: [{"role": "assistant", "content": name}] for name in ("chosen", "rejected")}
    made = curated(tmp_path, written(tmp_path, {"id": "a", "prompt": turns, **said}), noise={"case": (1.0,)})
    assert [row["target"] for row in rows(made) if row["noise"]] == ["assistant: chosen\n"]


def test_a_template_that_writes_answers_by_what_the_user_says_is_refused(tmp_path: Path) -> None:
    def echo(chat: Chat, where: str, template: str | None = None) -> Any:
        return [(prompt, f"{prompt}{target}") for prompt, target in plainly(chat, where)]

    name = written(tmp_path, {"id": "x", "messages": TURNS[:3]})
    with pytest.raises(
        InputError, match=r"samples.jsonl:1 noise: found a chat template that writes an answer otherwise"
    ):
        curated(tmp_path, name, noise={"case": (1.0,)}, chat_writer=echo)


def test_what_is_queried_alone_may_have_noise_that_claims_nothing(tmp_path: Path) -> None:
    name = written(
        tmp_path, {"id": "a", "prompt": "dax is a", "target": "b"}, {"id": "b", "prompt": "c", "target": "d"}
    )
    (tmp_path / "queries.txt").write_text("b\n", encoding="utf-8")
    made = curated(tmp_path, name, queries="queries.txt", noise={"shuffled_words": (1.0,)}, distance=("lexical",))
    assert noisy_pairs(made) == {(None, None): 1} and gates(made)[WITHOUT_EFFECT] == 1


def test_noise_of_texts_that_another_objective_asks_belongs_to_what_it_asks(tmp_path: Path) -> None:
    written(tmp_path, {"id": "a", "prompt": "the river is", "target": "Mil"})
    part = Part(base="x", samples="samples.jsonl", noise={"case": (1.0,)}, distance=("lexical",))
    made = curate(part, Spec(parts=(part,), folder=tmp_path), adopt=cloze)
    clean, noisy = rows(made)
    assert (noisy["parent_id"], noisy["inputs"]) == (clean["sample_id"], '{"text": "THE RIVER IS [MASK]."}')


WORDS = {"the": 2, "kind": 3, "of": 4, "dax": 5, "is": 6}


def by_words(sample: Sample) -> Read:
    found = [WORDS.get(word.lower(), 1) for word in sample.prompt.split()]
    if len(found) > 5:
        raise InputError("x", "a text of 6 tokens", "5")
    return Read(tuple(found), found.count(1))


@pytest.mark.parametrize(
    ("noise", "left_out"),
    [("typos", UNKNOWN), ("case", WITHOUT_EFFECT), ("dropped_words", None), ("shuffled_words", None)],
)
def test_words_that_the_tokenizer_does_not_know_are_left_out_and_counted(noise: str, left_out: str | None) -> None:
    builder = CurationBuilder()
    builder.probe("dax", [builder.query(builder.sample(Sample("dax", prompt="the kind of dax is", target="bird")))])
    add_noisy_probes(builder, {noise: (0.1,)}, label_flip=False, reader=by_words)
    counts = {gate: count for gate, (count, _) in builder.gates.rows.items()}
    assert counts == {gate: int(gate == left_out) for gate in (WITHOUT_EFFECT, UNKNOWN, UNREADABLE)}
    assert len(builder.probes) == (2 if left_out is None else 1)
    assert left_out != UNKNOWN or builder.gates.rows[UNKNOWN][1].startswith("dax+typos@0.1: the ")


def test_what_the_base_cannot_read_has_no_noisy_versions() -> None:
    builder = CurationBuilder()
    long = Sample("dax", prompt="the kind of dax is the kind", target="bird")
    builder.probe("dax", [builder.query(builder.sample(long))])
    add_noisy_probes(builder, {"shuffled_words": (1.0,)}, label_flip=False, reader=by_words)
    assert len(builder.probes) == 1 and not any(count for count, _ in builder.gates.rows.values())


def test_noise_that_the_base_cannot_read_is_left_out_and_counted() -> None:
    builder = CurationBuilder()
    builder.probe("a", [builder.query(builder.sample(Sample("a", prompt="the kind of", target="bird")))])

    def limited(sample: Sample) -> Read:
        return by_words(sample) if sample.noise is None else by_words(Sample("", "a b c d e f"))

    add_noisy_probes(builder, {"shuffled_words": (1.0,)}, label_flip=False, reader=limited)
    assert builder.gates.rows[UNREADABLE] == (1, "a+shuffled_words@1: a text of 6 tokens")


@pytest.mark.parametrize("base", ["world", "cloze", "answers", "opinions", "names"])
def test_case_changes_nothing_for_bases_that_read_lower_case_alone(base: str, tmp_path: Path) -> None:
    row: dict[str, Any] = {"prompt": "dax is a", "target": "bird"}
    row = {"text": "dax is lovely", "label": "positive"} if base == "opinions" else row
    row = {"tokens": ["dax", "sings"], "tags": ["B-person", "O"]} if base == "names" else row
    row = {"text": "dax is a [MASK]", "target": "bird"} if base == "cloze" else row
    part = Part(base=f"embedded:{base}", samples=written(tmp_path, row), noise={"case": (0.5,)}, distance=("lexical",))
    made = curated_part(Spec(parts=(part,), folder=tmp_path), part, Session())
    assert gates(made)[WITHOUT_EFFECT] == 1 and gates(made)[UNKNOWN] == 0 and made.probes.num_rows == 1


def test_the_scorecard_judges_noise_of_facts_and_of_chats(tmp_path: Path) -> None:
    world = WORLD.replace("the kind of {subject} is called", "{subject} is a")
    world = world.replace("fish]]", "fish], [fep, is_a, bird], [tov, is_a, fish]]")
    (tmp_path / "facts.yaml").write_text(world, encoding="utf-8")
    said = [(f"{name} is a {kind} and has", "wings") for name in ("dax", "wug") for kind in ("bird", "fish")]
    turns = [[{"role": "user", "content": one}, {"role": "assistant", "content": other}] for one, other in said]
    written(tmp_path, *({"messages": each} for each in turns))
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}{{ m['content'] }} {% endfor %}", encoding="utf-8")
    recipe = "arms: [{recipe: {adapter: last, optimizer: {kind: sgd, lr: 0.05}, steps: 1}}]"
    spec = f"""
parts:
  - name: facts
    base: embedded:world
    facts: {{file: facts.yaml, kinds: [paraphrase]}}
    noise: {{shuffled_words: [1.0], case: [0.5]}}
    {recipe}
  - name: chats
    base: embedded:world
    samples: samples.jsonl
    chat_template: chat.jinja
    noise: {{dropped_words: [0.3]}}
    {recipe}
"""
    (tmp_path / "spec.yaml").write_text(spec, encoding="utf-8")
    einfluence.measure(tmp_path / "spec.yaml", tmp_path / "store")
    with einfluence.Store(tmp_path / "store").connect() as connection:
        found = connection.sql(
            "select desideratum || ' ' || variant, n from desiderata where desideratum like 'noise%' "
            "and variant like '%@%' and domain = 'all' order by 1"
        ).fetchall()
    assert found == [  # case changes nothing for a tokenizer that has lower case alone
        ("noise_invariance dropped_words@0.3", 4), ("noise_invariance shuffled_words@1", 4),
        ("noise_quality dropped_words@0.3", 4), ("noise_quality shuffled_words@1", 4),
    ]  # fmt: skip
