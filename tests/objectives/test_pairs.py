"""Rows of one text and of two: what a part may hold for a base, and what is said of pairs that a base does not read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from einfluence.curate import curate
from einfluence.errors import InputError
from einfluence.objectives.pairs import of_pairs
from einfluence.objectives.sequence_class import SequenceClass
from einfluence.spec import load_spec

ONE = {"text": "a film", "label": 0}
TWO = {"text": "a film", "text_b": "a fish", "label": 0}
TOPICS, NLI = ("arts", "sports"), ("ENTAILMENT", "neutral", "contradiction")


def curated(folder: Path, rows: list[dict[str, Any]], labels: tuple[str, ...] | None, **part: Any) -> list[Any]:
    """The inputs of samples that are curated for a text classifier; without labels, for a language model."""
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"id": at, **row}) for at, row in enumerate(rows)))
    (folder / "spec.yaml").write_text(json.dumps({"base": "none", "samples": "rows.jsonl", **part}))
    spec = load_spec(folder / "spec.yaml")
    about = SequenceClass(labels).curation() if labels else {}
    return [json.loads(each) for each in curate(spec.parts[0], spec, **about).samples["inputs"].to_pylist() if each]


@pytest.mark.parametrize(
    ("rows", "labels", "says"),
    [
        ([ONE, TWO, ONE], TOPICS, r"rows.jsonl:2: found two texts, and one text in .*rows.jsonl:1 and 1 more row;"),
        ([TWO, ONE, TWO, ONE, TWO], TOPICS, r"rows.jsonl:2: found one text \(and in .*rows.jsonl:4\), and two texts"),
        ([ONE, {**ONE, "text": "b"}], NLI, r"rows.jsonl:1: found one text .*, for classes of pairs of texts \(ENTAIL"),
        ([{**TWO, "text_b": " "}], TOPICS, r"rows.jsonl:1 text_b: found an empty second text"),
        ([{"premise": "a", "hypothesis": "b", "label": 0}], NLI, r"`fields: \{text: premise, text_b: hypothesis\}`"),
        ([{"question": "a", "sentence": "b", "label": 0}], NLI, r"`fields: \{text: question, text_b: sentence\}`"),
        ([{"sentence": "a", "label": 0}], TOPICS, r"`fields: \{text: sentence\}`"),
        ([{"premise": "a", "hypothesis": "b", "label": 0}], None, "found pairs of texts.*Take a text classifier"),
        ([{"prompt": "a", "target": "b", "text_b": "c"}], None, "A text classifier reads pairs of texts .*leaves out"),
    ],
)
def test_what_does_not_go_together_is_refused_by_line(
    tmp_path: Path, rows: list[dict[str, Any]], labels: tuple[str, ...] | None, says: str
) -> None:
    rows = [{**row, "text": f"{row['text']} {at}"} if row in (ONE, TWO) else row for at, row in enumerate(rows)]
    with pytest.raises(InputError, match=says):
        curated(tmp_path, rows, labels)


def test_held_out_rows_are_of_the_kind_that_is_trained_on(tmp_path: Path) -> None:
    (tmp_path / "held.jsonl").write_text(json.dumps({"id": "h", **ONE}))
    training_set, arms = {"held_out": "held.jsonl"}, [{"estimator": "leave_one_out"}]
    with pytest.raises(InputError, match=r"held.jsonl:1: found one text, and two texts in .*rows.jsonl:1"):
        curated(tmp_path, [TWO], TOPICS, training_set=training_set, arms=arms)


def test_rows_of_either_kind_are_read_and_of_both_where_the_part_says_so(tmp_path: Path) -> None:
    one, two = {"text": "a film"}, {"text": "a film", "text_b": "a fish"}
    assert curated(tmp_path, [ONE], TOPICS) == [one]
    assert curated(tmp_path, [TWO], NLI) == [two]
    assert curated(tmp_path, [ONE, TWO], NLI, text_pairs="any") == [one, two]
    with pytest.raises(InputError, match="text_pairs: found `any` for a base that reads no pairs"):
        curated(tmp_path, [{"prompt": "a", "target": "b"}], None, text_pairs="any")


def test_classes_of_pairs_are_known_by_their_names() -> None:
    assert of_pairs(("Not-Duplicate", "Duplicate")) and of_pairs(("entailment", "not_entailment"))
    assert not of_pairs(("negative", "neutral", "positive")) and not of_pairs(("neutral",))
    assert not of_pairs(("LABEL_0", "LABEL_1"))


@pytest.mark.parametrize("label", [1, "1", 1.0, "1.0", "sports"])
def test_a_label_is_a_name_or_an_index_that_pandas_may_have_written(label: object) -> None:
    read = SequenceClass(TOPICS).curation()["rows"].read
    assert read("rows.jsonl:1", {"text": "a", "label": label})["label"] == 1


@pytest.mark.parametrize("label", [1.5, "1.5", True, -1, 2, "Sports", [1]])
def test_any_other_label_is_refused(label: object) -> None:
    with pytest.raises(InputError, match="expected arts, sports, or an index from 0 to 1"):
        SequenceClass(TOPICS).curation()["rows"].read("rows.jsonl:1", {"text": "a", "label": label})
