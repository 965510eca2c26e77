"""The small models and the rows of `examples/`: what they know, and what was kept from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from einfluence.bases.load import find_base, load_base
from einfluence.objectives import encode_all
from einfluence.samples import Sample
from pretraining.examples.rows import Row, Rows
from pretraining.examples.tasks import TASKS, Task
from pretraining.examples.train import accuracy, make
from pretraining.language import Language

ROOT = Path(__file__).parents[2]
MODELS, EXAMPLES = ROOT / "data" / "models", ROOT / "examples"
WITH_ROWS = ("opinions", "names")


@pytest.fixture(scope="module")
def language() -> Language:
    return Language(ROOT / "data" / "facts" / "world.yaml")


def _read(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _words(row: Row) -> set[str]:
    return set(row.get("tokens") or row["text"].split())


@pytest.mark.parametrize("name", WITH_ROWS)
def test_the_rows_that_ship_are_those_that_the_program_draws(name: str, language: Language) -> None:
    rows = TASKS[name].rows(language, TASKS[name].seed)
    assert _read(EXAMPLES / name / "rows.jsonl") == [*rows.train, *rows.held_out]
    assert _read(EXAMPLES / name / "new.jsonl") == rows.new
    assert _read(EXAMPLES / name / "relations.jsonl") == rows.relations
    assert len(rows.train) + len(rows.held_out) >= 1000


@pytest.mark.parametrize("name", TASKS)
def test_what_is_held_out_is_not_trained_on(name: str, language: Language) -> None:
    rows = TASKS[name].rows(language, TASKS[name].seed)
    train = {json.dumps(row) for row in rows.train}
    assert rows.held_out and not any(json.dumps(row) in train for row in rows.held_out)


@pytest.mark.parametrize("name", WITH_ROWS)
def test_what_an_example_teaches_is_new_to_its_model(name: str, language: Language) -> None:
    rows = TASKS[name].rows(language, TASKS[name].seed)
    met = set[str]().union(*map(_words, rows.train))
    assert all(len(_words(row) - met) == 1 for row in rows.new)  # the word that is taught, and no other


@pytest.mark.parametrize("name", TASKS)
def test_a_model_that_ships_is_as_right_in_rows_held_out_as_its_card_says(name: str, language: Language) -> None:
    task = TASKS[name]
    base = load_base(find_base(f"embedded:{name}", "base"))
    found = accuracy(base.model, task, task.tokenizer(language), task.rows(language, task.seed).held_out)
    assert found >= (0.95 if name in WITH_ROWS else 0.9)
    marks = json.loads((MODELS / name / "evaluation.json").read_text(encoding="utf-8"))
    assert found == pytest.approx(marks["accuracy"], abs=0.002)  # a row at the edge may fall either way
    assert sum(file.stat().st_size for file in (MODELS / name).iterdir()) < 2e6


def test_a_model_is_made_anew_with_the_same_numbers(language: Language, tmp_path: Path) -> None:
    task: Task = replace(TASKS["opinions"], rows=_few, epochs=2)
    first, again = (make(task, language, tmp_path / name) for name in ("first", "again"))
    assert first == again
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "again")]
    assert files[0] == files[1]
    base = load_base(find_base(str(tmp_path / "first"), "base"))
    text = Sample("", "", inputs={"text": "rex is lovely"}, target="positive", objective="sequence_class")
    (item,) = encode_all(base, [text])
    assert item.size == 5  # [CLS], three words, [SEP]


def _few(language: Language, seed: int) -> Rows:
    rows = TASKS["opinions"].rows(language, seed)
    return replace(rows, train=rows.train[:64], held_out=rows.held_out[:8])
