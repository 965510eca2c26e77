"""A first spec for a user's own file: it runs as it is, on every shape, and says what to change."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.errors import InputError
from einfluence.first_spec import write_first_spec
from einfluence.session import Session
from einfluence.spec import InContext, load_spec
from einfluence.store.store import Store
from tests.curate.rows.reading import written

SESSION = Session("cpu")  # one for all, so that the base is loaded once
TURNS = "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}"
WORDS = ["bird", "fish"]


def turns(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(contents)]


def begun(folder: Path, base: Path | str, *rows: Any, **more: Any) -> Path:
    """A spec for these rows, written from their own folder."""
    written(folder, *rows, name="train.jsonl")
    (folder / "t.jinja").write_text(TURNS)
    return write_first_spec(folder / "mine", str(folder / "train.jsonl"), str(base), SESSION, **more).files[0]


SHAPES: list[list[dict[str, Any]]] = [
    [{"prompt": f"{name} is a", "completion": f" {word}"} for name, word in zip(["dax", "wug"], WORDS, strict=True)],
    [{"text": f"dax is a {word}"} for word in WORDS],
    [{"prompt": "dax is a", "chosen": f" {word}", "rejected": " wings"} for word in WORDS],
    [{"question": "dax is a", "answer": word} for word in WORDS],
    [{"messages": turns("dax is a", word, "wug is a", word)} for word in WORDS],
]


@pytest.mark.parametrize("rows", SHAPES, ids=lambda rows: next(iter(rows[0])))
def test_the_spec_runs_as_it_is(rows: list[dict[str, Any]], tmp_path: Path, gpt2_folder: Path) -> None:
    chats = "messages" in rows[0]
    spec = begun(tmp_path, gpt2_folder, *rows, chat_template=tmp_path / "t.jinja" if chats else None)
    part = load_spec(spec).parts[0]
    assert any(isinstance(arm, InContext) for arm in part.arms) is not chats
    result = einfluence.measure(spec, tmp_path / "store", report=False)
    assert result.failed == 0 and result.computed > 0


def test_a_target_that_the_tokenizer_does_not_know_is_refused(tmp_path: Path, gpt2_folder: Path) -> None:
    with pytest.raises(InputError, match="train.jsonl:2 .*knows no word"):
        begun(tmp_path, gpt2_folder, *({"prompt": "dax is a", "target": target} for target in ("bird", "☃")))
    assert not (tmp_path / "mine").exists()


def test_a_long_table_is_begun_with_evenly_spaced_rows(tmp_path: Path, gpt2_folder: Path) -> None:
    said = [" ".join(words) for words in itertools.islice(itertools.product(["dax", "wug"], repeat=7), 120)]
    rows = [{"id": at, "prompt": text, "chosen": " bird", "rejected": " fish"} for at, text in enumerate(said)]
    spec = begun(tmp_path, gpt2_folder, *rows)
    probes = [json.loads(line) for line in (spec.parent / "probes.jsonl").read_text().splitlines()]
    assert [row["id"] for row in probes[:3]] == ["0", "3", "7"] and len(probes) == 32
    queries = (spec.parent / "queries.txt").read_text().splitlines()
    assert {f"{row['id']}/rejected" for row in probes} | {row["id"] for row in probes} <= {*queries}
    assert 150 < len(queries) <= 200
    assert "32 rows are trained" in spec.read_text()
    part = load_spec(spec).parts[0]
    assert (part.probes, part.queries) == ("probes.jsonl", "queries.txt")
    before = {path.name: path.read_text() for path in spec.parent.iterdir()}
    for path in spec.parent.iterdir():
        path.unlink()
    begun(tmp_path, gpt2_folder, *rows)
    assert {path.name: path.read_text() for path in spec.parent.iterdir()} == before


def test_paths_are_relative_where_both_are_below_the_working_directory(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    written(tmp_path / "data", *SHAPES[0], name="train.jsonl")
    spec = write_first_spec(Path("specs/mine"), "data/train.jsonl", str(gpt2_folder), SESSION).files[0]
    part = load_spec(spec).parts[0]
    assert (part.samples, part.base) == ("../../data/train.jsonl", str(gpt2_folder.resolve()))
    assert write_first_spec(Path("data"), "data/train.jsonl", str(gpt2_folder), SESSION).files == (
        Path("data/spec.yaml"),
    )
    assert load_spec("data/spec.yaml").parts[0].samples == "./train.jsonl"


def test_columns_that_nothing_reads_are_named_in_the_spec(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = begun(tmp_path, gpt2_folder, *({**row, "url": "x"} for row in SHAPES[0]))
    assert "extra: drop      # leaves out what nothing reads: url\n" in spec.read_text()
    assert load_spec(spec).parts[0].extra == "drop"


def test_columns_of_other_names_are_renamed_in_the_spec(tmp_path: Path, gpt2_folder: Path) -> None:
    rows = [{"asked": "dax is a", "said": word} for word in WORDS]
    spec = begun(tmp_path, gpt2_folder, *rows, fields={"prompt": "asked", "target": "said"})
    assert load_spec(spec).parts[0].fields == {"prompt": "asked", "target": "said"}


def test_a_file_of_tokens_and_tags_is_begun_for_a_tagger(tmp_path: Path) -> None:
    (tmp_path / "train.conll").write_bytes(b"\xef\xbb\xbfanna B-person\r\nlives O\r\n\r\n\r\nrome B-place\r\n")
    found = write_first_spec(tmp_path / "mine", str(tmp_path / "train.conll"), "embedded:names", SESSION)
    assert found.found == "2 rows for token_class (tokens, tags)"
    (tmp_path / "train.jsonl").write_text('{"tokens": ["anna"], "ner_tags": ["B-person"]}')
    with pytest.raises(InputError, match=r"no `tags` and the unknown column `ner_tags`.*`fields: {tags: ner_tags}`"):
        write_first_spec(tmp_path / "other", str(tmp_path / "train.jsonl"), "embedded:names", SESSION)


def test_the_second_text_of_a_pair_is_not_left_out_for_a_base_of_one_text(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"text": "anna lives in [MASK]", "target": "rome", "text_b": "a"}')
    with pytest.raises(InputError, match="A text classifier reads pairs of texts"):
        write_first_spec(tmp_path / "mine", str(tmp_path / "train.jsonl"), "embedded:cloze", SESSION)


def test_questions_are_turns_where_the_base_has_a_chat_template(tmp_path: Path, gpt2_folder: Path) -> None:
    base = tmp_path / "chatty"
    base.mkdir()
    for file in gpt2_folder.iterdir():
        (base / file.name).write_bytes(file.read_bytes())
    (base / "chat_template.jinja").write_text(TURNS)
    part = load_spec(begun(tmp_path, base, *SHAPES[3])).parts[0]
    assert part.chat and len(part.arms) == 1


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"foo": 1}], "train.jsonl:1: found no known shape in `foo`"),
        ([{"messages": turns("dax is a", "bird")}], "which has no chat template; .* `einfluence init --chat-template"),
        ([{"prompt": "dax is a", "target": "bird " * 200}], "expected at most .*, the (base|model)'s context"),
        ([{"text": "a", "label": 1}], "a text classifier as base"),
    ],
)
def test_a_file_that_does_not_fit_leaves_no_spec(
    rows: list[dict[str, Any]], says: str, tmp_path: Path, gpt2_folder: Path
) -> None:
    with pytest.raises(InputError, match=says):
        begun(tmp_path, gpt2_folder, *rows)
    assert not (tmp_path / "mine").exists()


def test_nothing_is_overwritten(tmp_path: Path, gpt2_folder: Path) -> None:
    begun(tmp_path, gpt2_folder, *SHAPES[0])
    with pytest.raises(InputError, match=r"spec.yaml: found a file that is there already"):
        begun(tmp_path, gpt2_folder, *SHAPES[0])


PAGE = (Path(__file__).parents[1] / "docs" / "fine-tuning-file.md").read_text(encoding="utf-8")


def test_the_pages_example_gives_the_pages_numbers(tmp_path: Path) -> None:
    rows = re.search(r'```jsonl title="train.jsonl"\n(.*?)```', PAGE, re.DOTALL)
    assert rows is not None
    (tmp_path / "train.jsonl").write_text(rows[1])
    written = write_first_spec(tmp_path / "mine", str(tmp_path / "train.jsonl"), "embedded:world", SESSION)
    assert "reads: topic" in written.files[0].read_text() and "topic" not in written.found
    spec = load_spec(written.files[0])
    spec = spec.model_copy(update={"parts": (spec.parts[0].model_copy(update={"arms": spec.parts[0].arms[:1]}),)})
    einfluence.measure(spec, tmp_path / "store", report=False)
    with Store(tmp_path / "store").connect() as connection:
        measured = connection.execute(
            "select prompt || ' **' || trim(target) || '**', influence from influence join probes using (probe_id) "
            "join samples on query_id = sample_id where probes.name = '29a5ac65279e'"
        ).fetchall()
    told = dict(measured)
    lines = re.findall(r"^\| \+([\d.]+) \| [\d.]+ × \| (.*?) \|", PAGE, re.MULTILINE)
    assert len(lines) == 5
    assert {query: told[query] for _, query in lines} == pytest.approx({q: float(n) for n, q in lines}, abs=0.02)
