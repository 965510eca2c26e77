"""Targets of which the tokenizer knows nothing are not trained on: to the model all of them are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from einfluence.curate.gates import PARTLY, UNKNOWN
from einfluence.errors import InputError
from einfluence.inputs import curated_part
from einfluence.models.base import Tokens
from einfluence.objectives.tokenizing import read_of
from einfluence.samples import Curated
from einfluence.session import Session
from einfluence.spec import Part, Spec
from tests.engine.tokenizers import Setting, tokenizer

from .sources import gates

ROWS: dict[str, dict[str, Any]] = {
    "world": {"prompt": "dax is a"},
    "answers": {"prompt": "dax is a"},
    "cloze": {"text": "dax is a [MASK] ."},
}
FACTS = """
relations: {is_a: {domain: kinds, statement: "{subject} is a {object}"}}
triplets: [[fep, is_a, fish], [tov, is_a, fish]]
probes: [[dax, is_a, bird], [wug, is_a, ☃], [zup, is_a, ☃ bird]]
"""


def curated(folder: Path, base: str, rows: list[dict[str, Any]]) -> Curated:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    part = Part(base=f"embedded:{base}", samples="rows.jsonl", distance=("lexical",))
    return curated_part(Spec(parts=(part,), folder=folder), part, Session())


@pytest.mark.parametrize("base", ROWS)
def test_in_a_file_of_ones_own_such_targets_are_refused_by_name(base: str, tmp_path: Path) -> None:
    rows = [{**ROWS[base], "id": str(place), "target": target} for place, target in enumerate(("bird", "☃", "☃ ☃"))]
    with pytest.raises(InputError) as refused:
        curated(tmp_path, base, rows)
    assert f"{tmp_path / 'rows.jsonl'}:2 1: '☃': found a target of which the tokenizer knows no word" in str(
        refused.value
    )
    assert "and 1 more: " in str(refused.value) and "rows.jsonl:3 2: '☃ ☃'" in str(refused.value)


@pytest.mark.parametrize("base", ROWS)
def test_targets_of_known_and_unknown_words_are_kept_and_counted(base: str, tmp_path: Path) -> None:
    rows = [{**ROWS[base], "id": str(place), "target": target} for place, target in enumerate(("bird", "☃ bird"))]
    made = curated(tmp_path, base, rows)
    assert (gates(made)[UNKNOWN], gates(made)[PARTLY], made.probes.num_rows) == (0, 1, 2)
    [example] = [row["example"] for row in made.report.to_pylist() if row["gate"] == PARTLY]
    assert example.endswith("rows.jsonl:2 1: '☃ bird'")


def test_of_facts_they_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text(FACTS, encoding="utf-8")
    part = Part.model_validate({"base": "embedded:world", "facts": {"file": "facts.yaml"}, "distance": ["lexical"]})
    made = curated_part(Spec(parts=(part,), folder=tmp_path), part, Session())
    assert gates(made)[UNKNOWN] > 0 and gates(made)[PARTLY] > 0
    assert "☃" not in made.samples["target"].to_pylist() and "☃ bird" in made.samples["target"].to_pylist()
    assert made.probes["kind"].to_pylist().count("sample") == 2


def test_classes_are_no_words(tmp_path: Path) -> None:
    made = curated(tmp_path, "opinions", [{"text": "☃", "label": "positive"}])
    assert UNKNOWN not in gates(made)


@pytest.mark.parametrize(
    ("target", "lost", "kept"),
    [("01", 0, ""), ("☃", 1, ""), (" ☃", 1, ""), ("01☃", 1, "01"), ("<unk>", 0, ""), ("<unk>☃", 1, "")],
)
def test_the_mark_of_a_words_beginning_is_no_word(target: str, lost: int, kept: str) -> None:
    tok = tokenizer(Setting("meta", prefix=True))
    ids = tok(target, add_special_tokens=False)["input_ids"]
    assert len(ids) > lost  # the mark stands by itself
    read = read_of(Tokens(tok, [5], behind=ids), target)
    assert (read.ids, read.lost, read.kept) == ((5,), lost, kept)
