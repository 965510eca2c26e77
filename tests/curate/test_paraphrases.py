"""Paraphrases by templates: queries with the same answer after the same text in other words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.curate import curate, near, paraphrases
from einfluence.curate.files import Rows
from einfluence.curate.text_noise import Read
from einfluence.errors import InputError
from einfluence.objectives.masked_lm import cloze
from einfluence.samples import Curated, Sample
from einfluence.spec import Part, Spec, TrainingSet
from tests.curate.test_near_duplicates import classified, clusters, gates, pairs, tagged

from .rows.reading import curated, written

ROW = {"id": "a", "text": "it is a very lovely day by the sea", "label": "pos"}
OTHER = {"id": "b", "text": "the soup was cold", "label": "neg"}


def queries(made: Curated) -> dict[str, tuple[str, str, str | None]]:
    """Prompt, target and template by name."""
    rows = made.samples.to_pylist()
    return {row["name"]: (row["prompt"], row["target"], row["template"]) for row in rows}


def test_each_probe_has_a_paraphrase_by_each_template(tmp_path: Path) -> None:
    made = classified(tmp_path, [ROW, OTHER], paraphrases=("{text} , they say", "yes : {text}"))
    found = queries(made)
    assert found["a~1"] == ("it is a very lovely day by the sea , they say", "pos", "{text} , they say")
    assert found["b~2"] == ("yes : the soup was cold", "neg", "yes : {text}")
    assert pairs(made) == {(one, f"{one}~{n}", "paraphrase"): None for one in "ab" for n in (1, 2)}
    assert [row["name"] for row in made.probes.to_pylist()] == ["a", "b"]
    assert clusters(made)["a~1"] == clusters(made)["a"] != clusters(made)["b"]
    assert gates(made)[near.SAME_ANSWER][0] == 0  # what a template made is no near-duplicate


def test_the_second_text_of_a_pair_stays(tmp_path: Path) -> None:
    made = classified(tmp_path, [{**ROW, "text_b": "so it is"}, OTHER], paraphrases=("yes : {text}",))
    row = next(row for row in made.samples.to_pylist() if row["name"] == "a~1")
    assert row["inputs"] == '{"text": "yes : it is a very lovely day by the sea", "text_b": "so it is"}'


def test_a_row_that_says_so_already_is_the_paraphrase(tmp_path: Path) -> None:
    said = {**ROW, "id": "c", "text": f"yes : {ROW['text']}"}
    made = classified(tmp_path, [ROW, said], paraphrases=("yes : {text}",), near_duplicates=0.8)
    assert {name for name in queries(made)} == {"a", "c", "c~1"}
    assert pairs(made).keys() == {("a", "c", "paraphrase"), ("c", "c~1", "paraphrase"), ("c", "a", "near_duplicate")}


def test_words_of_a_template_are_no_targets_of_a_tagger(tmp_path: Path) -> None:
    rows = [{"id": "a", "tokens": ["ada", "sings"], "tags": ["B-per", "O"]}]
    made = tagged(tmp_path, rows, paraphrases=("they say that {text} today",))
    row = next(row for row in made.samples.to_pylist() if row["name"] == "a~1")
    assert row["inputs"] == (
        '{"tokens": ["they", "say", "that", "ada", "sings", "today"], "tags": [null, null, null, "B-per", "O", null]}'
    )
    assert row["target"] == "B-per O" and row["prompt"] == "they say that ada sings today"


def test_a_template_is_put_around_a_prompt(tmp_path: Path) -> None:
    name = written(tmp_path, {"id": "a", "prompt": "dax is a", "target": "bird"})
    found = queries(curated(tmp_path, name, paraphrases=("they say {text}",), distance=("lexical",)))
    assert found["a~1"] == ("they say dax is a", "bird", "they say {text}")
    part = Part(base="x", samples=name, paraphrases=("they say {text}",), distance=("lexical",))
    made = curate(part, Spec(parts=(part,), folder=tmp_path), adopt=cloze)
    assert made.samples["inputs"].to_pylist()[1] == '{"text": "they say dax is a [MASK]."}'


def test_of_a_flipped_sample_nothing_is_a_paraphrase(tmp_path: Path) -> None:
    flip = TrainingSet.model_validate({"flip_labels": {"share": 0.5}})
    made = classified(
        tmp_path, [ROW, OTHER], paraphrases=("yes : {text}",), training_set=flip, arms=({"estimator": "leave_one_out"},)
    )
    flipped = [row["name"] for row in made.samples.to_pylist() if row["noise"] == "label_flip"]
    claimed = {probe for probe, _, kind in pairs(made) if kind == "paraphrase"}
    assert len(flipped) == 1 and len(claimed) == 1 and not flipped[0].startswith(claimed.pop())


def test_a_paraphrase_that_the_base_cannot_read_is_left_out_and_counted(tmp_path: Path) -> None:
    def reader(sample: Sample) -> Read:
        if len(sample.prompt) > 12:
            raise InputError("rows.jsonl:1", "a text of 9 tokens", "8")
        return Read((sample.prompt,))

    name = written(tmp_path, {"id": "a", "prompt": "dax is a", "target": "bird"})
    part = Part(base="x", samples=name, paraphrases=("they say {text}", "so {text}"), distance=("lexical",))
    made = curate(part, Spec(parts=(part,), folder=tmp_path), reader=reader)
    assert set(queries(made)) == {"a", "a~2"}
    assert gates(made)[paraphrases.UNREADABLE] == (1, "a~1: a text of 9 tokens")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"target": "bird"}, "samples.jsonl:1: found a text without a prompt under `paraphrases`"),
        (
            {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
            "that a chat template",
        ),
    ],
)
def test_what_has_no_text_to_put_it_around_is_refused(row: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        curated(tmp_path, written(tmp_path, row), paraphrases=("they say {text}",))


@pytest.mark.parametrize("template", ["they say", "{text}", "{text} {text}"])
def test_a_template_has_words_around_one_text(template: str, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(f"{{base: x, samples: a.jsonl, paraphrases: ['{template}']}}", encoding="utf-8")
    with pytest.raises(InputError, match="words around one `{text}`"):
        einfluence.load_spec(tmp_path / "spec.yaml")


def test_rows_of_another_objective_are_refused(tmp_path: Path) -> None:
    name = written(tmp_path, {"number": 3})
    rows = Rows("counting", ("number",), lambda _, fields: {"inputs": dict(fields), "target": "x"})
    part = Part(base="x", samples=name, paraphrases=("they say {text}",))
    with pytest.raises(InputError, match="paraphrases: found samples of counting; expected texts"):
        curate(part, Spec(parts=(part,), folder=tmp_path), rows=rows)
