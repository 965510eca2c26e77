"""Token classification: what a loop of transformers says of many architectures, schemes of tags, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from einfluence.curate.builder import Gates
from einfluence.curate.rows.table import Table
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.objectives.token_class import written
from einfluence.samples import Sample
from tests.models.folders import change_weights
from tests.objectives.tiny_texts import (
    ENCODERS,
    hold_a_padded_batch_against_its_items,
    hold_against,
    hold_against_the_definition,
    load,
    measured,
    save_encoder,
)

LABELS = ["O", "B-per", "I-per", "B-loc", "I-loc"]
SENTENCES: list[tuple[str, list[str | None]]] = [
    ("ada sees the fishes", ["B-per", "O", "O", "O"]),
    ("ada fishes lives in paris", [None, None, None, None, "B-loc"]),
    ("nobody of the birds lives", ["O", "O", "B-per", "I-per", "O"]),
    ("ada fishes lives in paris", ["B-per", "I-per", "O", "O", "B-loc"]),
]


def sample(text: str, tags: list[str | None]) -> Sample:
    return Sample("s", objective="token_class", inputs={"tokens": text.split(), "tags": tags}, target="tags")


SAMPLES = [sample(*each) for each in SENTENCES]


@pytest.fixture(scope="module", params=ENCODERS)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(save_encoder(tmp_path_factory.mktemp("tagger"), request.param, "TokenClassification", LABELS))


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "bert", "Bert", "TokenClassification", LABELS)


def test_influence_is_what_a_loop_of_transformers_says(base: Base) -> None:
    folder = base.info.folder
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
    model: Any = transformers.AutoModelForTokenClassification.from_pretrained(folder).double().eval()

    def losses(index: int) -> torch.Tensor:
        text, tags = SENTENCES[index]
        inputs = tokenizer(text.split(), is_split_into_words=True, return_tensors="pt")
        labels, last = list[int](), None
        for word in inputs.word_ids():  # as in transformers' examples
            tag = tags[word] if word is not None and word != last else None
            labels.append(-100 if tag is None else LABELS.index(tag))
            last = word
        return model(**inputs, labels=torch.tensor([labels])).loss

    hold_against(base, model, SAMPLES, "classifier", losses)


def test_adapters_are_trained_as_the_definition_says_and_leave_the_base_alone(base: Base) -> None:
    hold_against_the_definition(base, SAMPLES)


def test_the_first_piece_of_a_word_carries_its_tag(bert: Path) -> None:
    base = load(bert)
    whole, mention = encode(base, SAMPLES[2]), encode(base, SAMPLES[1])
    assert base.objective.collate([whole]).places.tolist() == [[1, 2, 3, 4, 6]]  # `birds` is two pieces
    batch = base.objective.collate([mention, whole])
    assert batch.places.tolist()[0] == [6, 0, 0, 0, 0] and batch.counts.sum(1).tolist() == [1, 5]
    assert batch.targets.tolist() == [[3, 0, 0, 0, 0], [0, 0, 1, 2, 0]]


def test_a_padded_batch_says_what_each_sentence_says_alone(base: Base) -> None:
    hold_a_padded_batch_against_its_items(base, SAMPLES)


def test_rows_of_tokens_and_tags_are_measured_to_the_store(bert: Path) -> None:
    rows = [{"tokens": text.split(), "tags": tags} for text, tags in SENTENCES]
    rows[0]["tags"] = [1, 0, 0, -100]
    (bert.parent / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with measured(bert, samples="rows.jsonl").connect() as connection:
        found = connection.sql("select prompt, target, domain from samples").fetchall()
        counts = connection.sql("select count(*), count(distance) from relations").fetchall()
    assert found[:2] == [("ada sees the fishes", "B-per O O", "per"), ("ada fishes lives in paris", "B-loc", "loc")]
    assert [domain for *_, domain in found] == ["per", "loc", "per", ""]  # of its mentions, where they are of one class
    assert counts == [(16, 16)]


@pytest.mark.parametrize("tags", ["B-per I-per O O B-loc", "I-per I-per O O I-loc", "B-per E-per O O S-loc"])
def test_mentions_of_every_scheme_are_queries_in_the_tags_of_the_base(bert: Path, tags: str) -> None:
    columns = zip("ada fishes lives in paris".split(), tags.split(), strict=True)
    (bert.parent / "data.conll").write_text("\n".join(map(" ".join, columns)))
    store = measured(bert, source={"name": "conll", "path": "data.conll"})
    query = "select target, kind, domain from relations join samples on sample_id = query_id order by samples.name"
    with store.connect() as connection:
        found = connection.sql(query).fetchall()
    assert found == [
        ("B-per I-per O O B-loc", "self", ""), ("B-per I-per", "entailed", "per"), ("B-loc", "entailed", "loc")
    ]  # fmt: skip


TAGGED = [["ada fishes lives in paris".split(), "B-per I-per O O B-loc".split()], [["birds", "sees"], ["O", "O"]]]


def columns(rows: list[list[list[str]]], line: str = "{word}\t{tag}") -> str:
    sentences = (
        "\n".join(line.format(n=n, word=word, tag=tag) for n, (word, tag) in enumerate(zip(*row, strict=True), 1))
        for row in rows
    )
    return "\n\n".join(sentences) + "\n"


@pytest.mark.parametrize("scheme", ["B-per I-per O O B-loc", "I-per I-per O O I-loc", "B-per E-per O O S-loc"])
def test_a_file_of_columns_is_a_samples_file_in_whatever_scheme(bert: Path, scheme: str) -> None:
    (bert.parent / "data.conll").write_text(columns([[TAGGED[0][0], scheme.split()], TAGGED[1]]))
    (bert.parent / "rows.jsonl").write_text(
        "\n".join(json.dumps({"tokens": tokens, "tags": tags}) for tokens, tags in TAGGED)
    )
    found = []
    for name in ("data.conll", "rows.jsonl"):
        with measured(bert, samples=name).connect() as connection:
            found.append(connection.sql("select sample_id, prompt, target from samples order by 1").fetchall())
    assert found[0] == found[1] and len(found[0]) == 2


def rows_of(bert: Path, text: str, name: str = "data.conll", **fields: str) -> list[tuple[str, dict[str, Any]]]:
    (bert.parent / name).write_text(text)
    table = Table(bert.parent / name, fields)
    return list(load(bert).objective.curation()["rows"].of_table(table, Gates()))


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ("{word} NN B-NP {tag}", {}),
        ("{tag}\t{word}", {}),
        ("{n}\t{word}\t{tag}", {}),
        ("{word}\t{tag}\tX\tO", {"tags": "2"}),
        ("x {tag} {word}", {"tokens": "3"}),
    ],
)
def test_which_columns_are_meant_is_seen_or_said(bert: Path, line: str, fields: dict[str, str]) -> None:
    found = rows_of(bert, columns(TAGGED, line), **fields)
    assert [[row["tokens"], row["tags"]] for _, row in found] == TAGGED
    assert [where.rpartition(":")[2] for where, _ in found] == ["1", "7"]


def test_tags_of_words_are_taken_as_they_are_and_the_fourth_column_of_conll_u_has_them(bert: Path) -> None:
    line = "{n}\t{word}\t_\t{tag}\t_\t_\t0\troot\t_\t_"
    words = [["ada", "sees", "birds"], ["NOUN", "VERB", "_"]]
    [(_, row)] = rows_of(bert, "# sent_id = 1\n" + columns([words], line), "data.conllu")
    assert row == {"tokens": words[0], "tags": ["NOUN", "VERB", None]}


@pytest.mark.parametrize(
    ("text", "fields", "says"),
    [
        ("ada\tB-per\nsees", {}, r"data\.conll:2: found 'sees'; expected a token and a tag"),
        ("ada\tB-org\n", {}, r"data\.conll:1 tags\.0: found the tag 'B-org'; expected O, B-per"),
        ("ada N x\nsees V y\n", {}, r"data\.conll:1: found 3 columns, none of them of tags"),
        ("ada N x B-per\nsees V O\n", {"tags": "4"}, r"data\.conll:2: found 3 columns \('sees V O'\); expected 4"),
        ("ada O\n", {"tags": "ner"}, r"fields\.tags: found 'ner'; expected the number of a column"),
        ("ada O\n", {"text": "1"}, r"fields\.text: found a name"),
        ("\n\n", {}, r"data\.conll: found no rows"),
    ],
)
def test_a_fault_in_columns_is_told_with_file_and_line(
    bert: Path, text: str, fields: dict[str, str], says: str
) -> None:
    (bert.parent / "data.conll").write_text(text)
    with pytest.raises(InputError, match=says):
        measured(bert, samples="data.conll", fields=fields)


def test_mentions_are_written_in_the_scheme_that_the_tags_of_a_base_show() -> None:
    def tags(places: str) -> list[str]:
        return ["O", *(f"{place}-x" for place in places)]

    assert written("x", 3, tags("BI")) == ["B-x", "I-x", "I-x"] and written("x", 1, tags("BI")) == ["B-x"]
    assert written("x", 3, tags("BIES")) == ["B-x", "I-x", "E-x"] and written("x", 1, tags("BIES")) == ["S-x"]
    assert written("x", 3, tags("BILU")) == ["B-x", "I-x", "L-x"] and written("x", 1, tags("BILU")) == ["U-x"]
    assert written("x", 3, tags("BMES")) == ["B-x", "M-x", "E-x"] and written("x", 2, tags("I")) == ["I-x", "I-x"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"tokens": ["ada"], "tags": ["B-org"]}, r"tags\.0: found the tag 'B-org'; expected O, B-per, .*from 0 to 4"),
        ({"tokens": ["ada"], "tags": [5]}, r"tags\.0: found the tag 5"),
        ({"tokens": ["ada", "is"], "tags": ["O"]}, "found 2 tokens and 1 tags"),
        ({"tokens": [], "tags": []}, "tokens: found no tokens; expected a sentence of at least one word"),
        ({"tokens": ["ada"], "tags": [None]}, "no tag that is a target"),
        ({"tokens": "ada is", "tags": ["O"]}, "tokens: found 'ada is'; expected a list"),
        ({"tokens": ["ada", 7], "tags": ["O", "O"]}, r"tokens\.1: found 7; expected a word"),
        ({"tokens": ["ada", " "], "tags": ["O", "O"]}, r"tokens\.1: found ' ', which the tokenizer turns into nothing"),
        ({"tokens": ["a"] * 30, "tags": ["O"] * 30}, "a text of 32 tokens; expected at most 24"),
        ({"prompt": "a", "target": "film"}, "no `tokens` and `tags`"),
    ],
)
def test_a_row_that_does_not_fit_is_told_with_its_place(bert: Path, row: dict[str, Any], says: str) -> None:
    (bert.parent / "rows.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=rf"rows.jsonl:1.*{says}"):
        measured(bert, samples="rows.jsonl")


def test_a_class_of_mentions_that_the_base_does_not_have_is_told(bert: Path) -> None:
    (bert.parent / "data.conll").write_text("ada B-org\n")
    with pytest.raises(InputError, match=r"data\.conll:1: found the tag 'B-org'"):
        measured(bert, source={"name": "conll", "path": "data.conll"})


def test_a_tagger_without_its_head_is_refused(bert: Path) -> None:
    change_weights(bert, lambda old: {name: value for name, value in old.items() if "classifier" not in name})
    with pytest.raises(InputError, match=r"classifier\.bias, classifier\.weight are missing"):
        load(bert)
