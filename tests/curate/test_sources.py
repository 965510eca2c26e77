"""Every published format is read without hand work: from miniature files always, from the real ones where present."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from einfluence.curate import curate
from einfluence.curate.gates import CONFLICT
from einfluence.curate.sources import SOURCES, listing
from einfluence.curate.sources.cases import DUPLICATE, LEAK, NOT_AT_END, STATED, SUBJECT, UNANSWERED, UNREADABLE
from einfluence.errors import InputError
from einfluence.samples import Curated
from einfluence.spec import Part, Source, Spec

DATA = Path(__file__).parent / "data"


def read(name: str, path: Path, limit: int | None = None) -> Curated:
    part = Part(base="x", source=Source(name=name, path=str(path), limit=limit))
    return curate(part, Spec(parts=(part,)))


def claims(made: Curated) -> set[tuple[str, str, str, float | None]]:
    """(texts of the probe, kind, text of the query, level) of all pairs with a claim but ``unrelated``."""
    text = {row["sample_id"]: f"{row['prompt']} | {row['target']}" for row in made.samples.to_pylist()}
    members: dict[str, list[str]] = {}
    for row in made.probe_members.to_pylist():
        members.setdefault(row["probe_id"], []).append(text[row["sample_id"]])
    return {
        (" + ".join(members[row["probe_id"]]), row["kind"], text[row["query_id"]], row["level"])
        for row in made.relations.to_pylist()
        if row["kind"] not in (None, "unrelated")
    }


def of(made: Curated, probe: str) -> set[tuple[str, str, float | None]]:
    return {(kind, text, level) for own, kind, text, level in claims(made) if own == probe}


def gate(made: Curated, name: str) -> int:
    return {row["gate"]: row["count"] for row in made.report.to_pylist()}[name]


def kinds(made: Curated) -> Counter[Any]:
    return Counter(made.relations["kind"].to_pylist())


def test_counterfact_of_easyedit() -> None:
    made = read("counterfact", DATA / "counterfact" / "easyedit.json")
    assert of(made, "The mother tongue of Ann Alder is | Danish") == {
        ("self", "The mother tongue of Ann Alder is | Danish", None),
        ("paraphrase", "At home Ann Alder speaks | Danish", None),
        ("sibling", "The mother tongue of Ann Alder is | Welsh", None),
        ("sibling", "Bob Birch is a native speaker of | Welsh", None),
    }
    assert gate(made, DUPLICATE) == 1  # the third differs from the second in case alone
    assert gate(made, LEAK) == 1  # "Bonn Museum stands in | Bonn"
    assert made.probes.num_rows == 2


def test_counterfact_of_rome() -> None:
    made = read("counterfact", DATA / "counterfact" / "rome.json")
    assert kinds(made) == {"self": 1, "paraphrase": 2, "sibling": 3}
    assert ("sibling", "The mother tongue of Carl Cedar is | Danish", None) in of(
        made, "The mother tongue of Ann Alder is | Danish"
    )
    assert made.samples["domain"].unique().to_pylist() == ["P103"]


def test_knowedit() -> None:
    made = read("knowedit", DATA / "knowedit.json")
    assert of(made, "The place of birth of Ann Alder is | Bonn") == {
        ("self", "The place of birth of Ann Alder is | Bonn", None),
        ("entailed", "Was Ann Alder born in Bonn? | yes", 1.0),
        ("entailed", "The river of the place of birth of Ann Alder is | Rhine", 2.0),
        ("paraphrase", "The place of birth of The Builder is | Bonn", None),  # an alias need not name the subject
    }
    assert of(made, "The employer of Bob Birch is | Fir Mill") == {
        ("self", "The employer of Bob Birch is | Fir Mill", None),
        ("sibling", "The employer of Bob Birch is | Gorse Works", None),
        ("paraphrase", "The employer of B. Birch is | Fir Mill", None),
    }
    assert "This is a passage about carl cedar. | He was a baker in Oslo." in {own for own, *_ in claims(made)}
    texts = set(made.samples["prompt"].to_pylist())
    assert {"The occupation of Ann Alder is", "Bob Birch plays", "carl cedar field of work"} <= texts
    assert gate(made, UNREADABLE) == 1  # Eve Elm has no new answer
    assert gate(made, UNANSWERED) == 1  # which is not Bonn
    assert gate(made, SUBJECT) == 1  # who pays the man?
    for name in ("counterfact", "zsre"):  # the same items under the names of the sets that they were made from
        assert claims(read(name, DATA / "knowedit.json")) == claims(made)


def test_neighbours_share_the_object_in_another_relation(tmp_path: Path) -> None:
    def item(number: int, subject: str, relation: str, prompt: str, new: str) -> dict[str, Any]:
        edit = {"subject": subject, "relation_id": relation, "prompt": prompt}
        targets = {"target_new": {"str": new}, "target_true": {"str": "Oslo"}}
        return {"case_id": number, "requested_rewrite": edit | targets}

    rows = [
        item(1, "Ann Alder", "P19", "{} was born in", "Bonn"),
        item(2, "Bob Birch", "P551", "{} lives in", "Bonn"),
        item(3, "Carl Cedar", "P19", "{} was born in", "Bonn"),
        item(4, "Ann Alder", "P551", "{} lives in", "Bonn"),
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    found = claims(read("counterfact", tmp_path / "a.json"))
    neighbours = {(own, text) for own, kind, text, _ in found if kind == "neighbour"}
    born, lives = ({f"{name} {verb} | Bonn" for name in names} for verb, names in VERBS.items())
    assert neighbours == {pair for pair in {(a, b) for a in born | lives for b in born | lives} if _differ(*pair)}


VERBS = {"was born in": ("Ann Alder", "Carl Cedar"), "lives in": ("Bob Birch", "Ann Alder")}


def _differ(one: str, other: str) -> bool:
    return one[:3] != other[:3] and ("born" in one) != ("born" in other)


def test_one_question_with_two_answers_is_counted_and_never_unrelated(tmp_path: Path) -> None:
    rows = [
        {"src": "Who leads Fir?", "alt": "Ann Alder", "answers": ["Bo Birch"], "rephrase": "Who heads Fir?"},
        {"src": "Who leads Fir?", "alt": "Cy Cedar", "answers": ["Bo Birch"], "loc": "Who leads Fir?", "loc_ans": "Bo"},
        {"src": "Where is Gorse?", "alt": "Bonn", "answers": ["Oslo"]},
    ]
    (tmp_path / "a.json").write_text(json.dumps(rows))
    made = read("zsre", tmp_path / "a.json")
    assert made.probes.num_rows == 3 and gate(made, CONFLICT) == 1
    text = {row["sample_id"]: row["prompt"] for row in made.samples.to_pylist()}
    own = {row["probe_id"]: text[row["sample_id"]] for row in made.probe_members.to_pylist()}
    far = {
        (own[row["probe_id"]], text[row["query_id"]])
        for row in made.relations.to_pylist()
        if row["kind"] == "unrelated"
    }
    assert far and all("Fir" not in one or "Fir" not in other for one, other in far)


def test_zsre() -> None:
    made = read("zsre", DATA / "zsre.json")
    assert of(made, "Which school did Dora Dale attend? | Fir Academy") == {
        ("self", "Which school did Dora Dale attend? | Fir Academy", None),
        ("paraphrase", "Where was Dora Dale a pupil? | Fir Academy", None),
        ("sibling", "Which school did Dora Dale attend? | Gorse School", None),
    }
    assert kinds(made)["unrelated"] == 1  # who painted the blue harbour
    assert gate(made, UNREADABLE) == 1


FERN = {"subject": "Fern Hale", "portability": {"Recalled Relation": "", "New Question": "", "New Answer": ""}}
FOLLOWS = {**FERN, "portability": {"Recalled Relation": "-", "New Question": "Where is its lake?", "New Answer": "Elm"}}


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("zsre", {"src": "Where is Fern Hale?", "alt": "Oakham", "answers": ["Ashby"], "rephrase": "Fern Hale?"}),
        ("counterfact", {"prompt": "Fern Hale is in", "target_new": "Oakham", "rephrase_prompt": "Fern Hale?"}),
        (
            "counterfact",
            {
                "requested_rewrite": {
                    "prompt": "{} is in",
                    "subject": "Fern Hale",
                    "target_new": {"str": "Oakham"},
                    "target_true": {"str": "Ashby"},
                },
                "paraphrase_prompts": ["Fern Hale?"],
            },
        ),
    ],
)
def test_one_question_of_what_follows(name: str, item: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "edits.json").write_text(json.dumps([{**FERN, **item}]))
    assert "entailed" not in kinds(read(name, tmp_path / "edits.json"))
    assert gate(read(name, tmp_path / "edits.json"), "query without an answer") == 1
    (tmp_path / "edits.json").write_text(json.dumps([{**FOLLOWS, **item}]))
    made = read(name, tmp_path / "edits.json")
    assert ("entailed", "Where is its lake? | Elm", 2.0) in {claim[1:] for claim in claims(made)}
    assert kinds(made)["paraphrase"] == 1


@pytest.mark.parametrize(("name", "file"), [("counterfact", "rome.json"), ("mquake", "mquake.json")])
def test_a_prompt_without_its_subject_is_refused(name: str, file: str, tmp_path: Path) -> None:
    [source] = DATA.rglob(file)
    (tmp_path / file).write_text(source.read_text().replace("{}", "it"))
    with pytest.raises(InputError, match=r"item 0 requested_rewrite.prompt: found .* without the subject"):
        read(name, tmp_path / file)


def test_an_item_that_lacks_what_a_probe_needs_is_shown_where_no_other_is_left(tmp_path: Path) -> None:
    (tmp_path / "questions.json").write_text('[{"input": "Where is it?", "output": [{"answer": "Elm"}]}]')
    with pytest.raises(InputError, match=r"no usable item .*item 0: no question"):
        read("zsre", tmp_path / "questions.json")


def test_rippleedits() -> None:
    made = read("rippleedits", DATA / "rippleedits.json")
    name = "The name of the country of citizenship of Ann Alder is"
    assert of(made, f"{name} | Norway") == {
        ("self", f"{name} | Norway", None),
        ("sibling", f"{name} | Wales", None),
        ("entailed", "Ann Alder holds a passport of | Norway", 1.0),
        ("entailed", "The capital of the country of Ann Alder is | Oslo", 2.0),
        ("paraphrase", "The name of the country of citizenship of A. Alder is | Norway", None),
    }
    assert ("self", "The name of the director of Fern Film is | Gus Gorse", None) in of(
        made, "The name of the director of Fern Film is | Gus Gorse"
    )
    assert "The name of the mother of Ann Alder is" in made.samples["prompt"].to_pylist()


def test_mquake() -> None:
    made = read("mquake", DATA / "mquake.json")
    both = "Ann Alder works for | Heath Works + The head of Heath Works is | Jan Juniper"
    asked = "Who leads the firm that pays Ann Alder?"
    assert {claim for claim in of(made, both) if claim[0] != "self"} == {
        ("entailed", f"{asked} | Jan Juniper", 1.0),
        ("sibling", f"{asked} | Lea Larch", None),
    }
    assert of(made, "Ann Alder works for | Heath Works") == {
        ("self", "Ann Alder works for | Heath Works", None),
        ("paraphrase", "Who employs Ann Alder? | Heath Works", None),
        ("sibling", "Ann Alder works for | Iris Inc", None),
        ("premise", "The head of Heath Works is | Jan Juniper", None),
    }
    assert ("entailed", "In which land is the birthplace of Otto Oak? | Ireland", 1.0) in of(
        made, "Otto Oak was born in | Mossville"
    )


def test_leap_of_thought() -> None:
    made = read("leap_of_thought", DATA / "leap_of_thought.jsonl")
    # Two items share the rule about the dax, and speak of one world.
    assert of(made, "A dax is a | fish") == {
        ("self", "A dax is a | fish", None),
        ("entailed", "A dax has a | fin", 1.0),
        ("sibling", "A dax does not have a | fin", None),
        ("premise", "A fish has a | fin", None),
        ("entailed", "A dax is capable of | swim", 1.0),
        ("sibling", "A dax is not capable of | swim", None),
        ("premise", "A fish is capable of | swim", None),
    }
    assert ("sibling", "A wug is a | metal thing", None) in of(made, "A wug is a | plant")
    assert ("entailed", "A wug is not a | metal thing", 1.0) in of(
        made, "A wug is a | plant + A plant is not a | metal thing"
    )


@pytest.mark.parametrize("file", ["prontoqa.jsonl", "prontoqa_authors.json"])
def test_prontoqa(file: str) -> None:
    made = read("prontoqa", DATA / file)
    expected = {
        ("self", "Max is a | zupus", None),
        ("entailed", "Max is a | blickus", 1.0),
        ("entailed", "Max is | shy", 2.0),
        ("premise", "Every zupus is a | blickus", None),
        ("premise", "Blickuses are | shy", None),
        ("negation", "Max is not a | zupus", None),
        ("sibling", "Max is a | fepus", None),
    }
    if file == "prontoqa.jsonl":
        expected.add(("sibling", "Max is not | shy", None))
    assert of(made, "Max is a | zupus") == expected
    assert of(made, "Every zupus is a | blickus") == {("self", "Every zupus is a | blickus", None)}
    bundles = [row["probe_id"] for row in made.probes.to_pylist() if row["kind"] == "bundle"]
    assert len(bundles) == 2


def test_proofwriter() -> None:
    made = read("proofwriter", DATA / "proofwriter.jsonl")
    theory = "Bob is | cold + Bob is | red + If something is cold then it is | rough"
    assert {claim for claim in of(made, theory) if claim[0] != "self"} == {
        ("entailed", "Bob is | rough", None),
        ("sibling", "Bob is not | rough", None),
    }
    assert gate(made, STATED) == 1
    authors = read("proofwriter", DATA / "proofwriter_authors.jsonl")
    found = of(authors, "Fay is | kind + If someone is kind then they are | calm")
    assert ("entailed", "Fay is | calm", 1.0) in found and ("sibling", "Fay is not | calm", None) in found


def test_entailmentbank() -> None:
    made = read("entailmentbank", DATA / "entailmentbank.jsonl")
    bundle = "a kettle is an electric | device + electric devices make | heat + heat warms what it | touches"
    assert {claim for claim in of(made, bundle) if claim[0] != "self"} == {
        ("entailed", "a kettle becomes hot when plugged | in", 2.0),
        ("entailed", "a kettle turns electricity into | heat", 1.0),
    }
    assert "cats" not in " ".join(made.samples["prompt"].to_pylist())


def test_pararel() -> None:
    made = read("pararel", DATA / "pararel")
    assert {
        ("self", "Ann Alder was born in | Bonn", None),
        ("paraphrase", "the birthplace of Ann Alder is | Bonn", None),
        ("reversed", "Bonn is the birthplace of | Ann Alder", None),
        ("sibling", "Ann Alder was born in | Oslo", None),
        ("sibling", "Bob Birch was born in | Bonn", None),
        ("neighbour", "Carl Cedar works in | Bonn", None),
    } <= of(made, "Ann Alder was born in | Bonn")
    assert gate(made, NOT_AT_END) == 1 and gate(made, DUPLICATE) == 1 and gate(made, UNREADABLE) == 1


def test_lama_with_negations() -> None:
    made = read("lama", DATA / "lama")
    assert ("negation", "Ann Alder was not born in | Bonn", None) in of(made, "Ann Alder was born in | Bonn")


def test_lre() -> None:
    made = read("lre", DATA / "lre")
    assert {
        ("paraphrase", "The river of Bonn is the | Rhine", None),
        ("sibling", "Bonn lies on the | Daugava", None),
    } <= of(made, "Bonn lies on the | Rhine")
    assert made.samples["domain"].unique().to_pylist() == ["town"]


def test_triplets() -> None:
    made = read("triplets", DATA / "triplets.csv")
    assert "Ann likes | tea" in {own for own, *_ in claims(made)}
    assert set(made.samples["domain"].to_pylist()) == {"places", "tastes"}


def test_country_json() -> None:
    made = read("country_json", DATA / "country")
    assert ("reversed", "Europe is the continent of | Norway", None) in of(made, "The continent of Norway is | Europe")


def test_reversal_experiments_and_parents() -> None:
    made = read("reversal", DATA / "reversal")
    assert of(made, "Ann Alder is known as | the builder of the glass bridge.") == {
        ("self", "Ann Alder is known as | the builder of the glass bridge.", None),
        ("paraphrase", "Ever wondered about Ann Alder? This is | the builder of the glass bridge.", None),
        ("reversed", "The builder of the glass bridge is called | Ann Alder", None),
    }
    assert ("reversed", "Bob Birch was | the first to row around the moon", None) in of(
        made, "The first to row around the moon is | Bob Birch"
    )
    pairs = read("reversal", DATA / "parents.csv")
    assert ("reversed", "The name of a child of Eve Alder is | Ann Alder", None) in of(
        pairs, "The name of the mother of Ann Alder is | Eve Alder"
    )


def test_labelled_sentences() -> None:
    made = read("sentiment", DATA / "sentiment_labelled.txt")
    assert ("sibling", "The soup was a joy. The sentiment is | negative", None) in of(
        made, "The soup was a joy. The sentiment is | positive"
    )
    made = read("conll", DATA / "entities.conll")
    own = "Ann Alder moved to Bonn . In this sentence, Ann Alder is a | person"
    assert ("self", own, None) in of(made, own)
    assert made.probes.num_rows == 3


def test_every_source_says_its_terms_and_whom_to_cite() -> None:
    assert {row["name"] for row in listing()} == set(SOURCES)
    assert all(row["terms"] and row["citation"] and row["gives"] for row in listing())


def test_folders_saved_by_datasets_and_other_formats_say_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = json.loads((DATA / "counterfact" / "easyedit.json").read_text())
    table = datasets.Dataset.from_list(rows)
    table.save_to_disk(tmp_path / "saved")
    table.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    expected = claims(read("counterfact", DATA / "counterfact" / "easyedit.json"))
    for name in ("saved", "rows.parquet", "rows.jsonl"):
        assert claims(read("counterfact", tmp_path / name)) == expected


def test_wrong_sources_are_refused(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"case_id": 1, "prompt": "A", "target_new": "b"}\n')
    for name, path, fault in [
        ("nothing", broken, "source.name"),
        ("counterfact", tmp_path / "absent.jsonl", "which is not there"),
        ("counterfact", broken, "broken.jsonl:1: found no `subject`"),
        ("pararel", tmp_path, "no patterns.jsonl"),
        ("lama", broken, "no `sub_label`"),
        ("conll", broken, "broken.jsonl:1: found 0 tokens and 0 tags"),
    ]:
        with pytest.raises(InputError, match=fault):
            read(name, path)


def test_a_draw_is_a_part_of_the_whole(tmp_path: Path) -> None:
    whole = read("pararel", DATA / "pararel")
    drawn = read("pararel", DATA / "pararel", limit=2)
    plain = [row for row in drawn.probes.to_pylist() if row["kind"] == "sample" and ":" not in row["name"]]
    assert {row["probe_id"] for row in plain} <= set(whole.probes["probe_id"].to_pylist())


REAL = [
    ("counterfact", "counterfact/cases.jsonl", {"paraphrase", "sibling", "unrelated"}),
    ("pararel", "pararel", {"paraphrase", "reversed", "sibling", "neighbour", "unrelated"}),
    ("prontoqa", "prontoqa/items.jsonl", {"entailed", "premise", "negation", "sibling", "unrelated"}),
    ("leap_of_thought", "leap_of_thought/items.jsonl", {"entailed", "premise", "sibling", "unrelated"}),
    ("mquake", "mquake_4hop/items.jsonl", {"paraphrase", "entailed", "premise", "sibling", "unrelated"}),
    ("proofwriter", "proofwriter/items.jsonl", {"entailed", "sibling", "unrelated"}),
    ("entailmentbank", "entailment_bank/items.jsonl", {"entailed", "premise", "unrelated"}),
    ("country_json", "country_json", {"paraphrase", "reversed", "sibling", "unrelated"}),
    ("sentiment", "uci_sentiment/yelp_labelled.txt", {"sibling", "unrelated"}),
    ("conll", "wnut17/emerging.dev.conll", {"sibling", "unrelated"}),
]


@pytest.mark.parametrize(("name", "path", "expected"), REAL, ids=[name for name, *_ in REAL])
def test_real_files_give_every_kind(name: str, path: str, expected: set[str], real_data: Any) -> None:
    folder, _, rest = path.partition("/")
    made = read(name, real_data(folder) / rest, limit=60)
    found = kinds(made)
    assert expected | {"self"} <= set(found)
    mains = [row for row in made.probes.to_pylist() if row["kind"] in ("sample", "bundle")]
    assert len(mains) >= 30
    assert all(prompt.strip() and target.strip() for prompt, target in _texts(made))


def _texts(made: Curated) -> list[tuple[str, str]]:
    return list(zip(made.samples["prompt"].to_pylist(), made.samples["target"].to_pylist(), strict=True))
