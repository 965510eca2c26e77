"""Files that were made elsewhere: read where that is plain, else named, with what to do, in one message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from einfluence.curate import curate
from einfluence.curate.records import read_records
from einfluence.errors import InputError
from einfluence.samples import Curated
from einfluence.spec import Part, Spec

from .sources import each

FOREIGN: list[tuple[dict[str, Any], list[str]]] = [
    ({"context": "c", "question": "a", "answers": ["b"]}, ["SQuAD", "one of the `answers` as `target`"]),
    ({"question": "a", "choices": ["b"], "answer": 0}, ["`choices`", "the right choice"]),
    ({"id": "a", "text": "a", "label": 1}, ["classes", "the class's word as `target`", "a text classifier as base"]),
    ({"sentence": "a", "label": 1}, ["classes", "`sentence` as `prompt`"]),
    ({"subject": "a", "relation": "b", "object": "c"}, ["triplets", "`source: {name: triplets, path: FILE}`"]),
    ({"question": "a", "options": ["b"], "answer": "A"}, ["the right option", "`source: {name: prontoqa"]),
    ({"prompt": "a", "target_new": "b"}, ["CounterFact", "`source: {name: counterfact, path: FILE}`"]),
    ({"requested_rewrite": [], "single_hops": []}, ["MQuAKE", "`source: {name: mquake, path: FILE}`"]),
    ({"context": "c", "question": "a", "answer": "b", "hypothesis": "d", "proof": "e"}, ["name: entailmentbank,"]),
    ({"prompt": "a", "completion": "b", "label": True}, ["KTO", "the unknown column `label`", "Leave out the rows"]),
    ({"data": [{"prompt": "a", "target": "b"}], "version": 1}, ["The rows seem to be the list under `data`"]),
    ({"translation": {"en": "a", "de": "b"}}, ["translations", "as plain text"]),
    ({"idx": 1, "prompt": "a", "target": "b"}, ["`fields: {id: idx}` says which", "`extra: drop` leaves out `idx`"]),
    ({"ID": "a", "Prompt": "a", "Target": "b"}, ["`fields: {id: ID, prompt: Prompt, target: Target}`"]),
    ({"id": "a", "promt": "a", "target": "b"}, ["the unknown column `promt`", "`fields: {prompt: promt}`"]),
    ({"solution": "a"}, ["no known shape in `solution`", "messages; conversations", "`fields: {target: solution}`"]),
    ({"foo": 1}, ["no known shape in `foo`", "`fields: {target: COLUMN}`"]),
    (
        {"id": "a", "prompt": "a", "target": "b", "url": "x", "score": 1, "split": "train"},
        ["the unknown columns `url`, `score` and `split`", "`extra: drop` leaves out `url`, `score` and `split`"],
    ),
    ({"id": "a", "prompt": [{"role": "user", "content": "x"}], "target": "b"}, ["samples.jsonl:1 prompt", "text"]),
]


def write(path: Path, *rows: object) -> str:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path.name


def read(folder: Path, name: str = "samples.jsonl", **more: Any) -> Curated:
    options = {key: more.pop(key) for key in ("tokenize", "specials") if key in more}
    part = Part(base="x", samples=name, **more)
    return curate(part, Spec(parts=(part,), folder=folder), **options)


def refused(folder: Path, name: str = "samples.jsonl", **more: Any) -> str:
    with pytest.raises(InputError) as error:
        read(folder, name, **more)
    return str(error.value).replace(f"{folder}/", "")


@pytest.mark.parametrize(("row", "says"), FOREIGN)
def test_rows_that_are_not_read_are_named_with_what_to_do(row: dict[str, Any], says: list[str], tmp_path: Path) -> None:
    write(tmp_path / "samples.jsonl", row)
    message = refused(tmp_path)
    assert message.startswith("samples.jsonl:1")
    assert [words for words in says if words not in message] == []


def test_unknown_fields_of_all_rows_are_named_at_once(tmp_path: Path) -> None:
    rows = [
        {"id": str(i), "prompt": "a", "target": "b", **more} for i, more in enumerate([{}, {"url": 1}, {"hash": 2}])
    ]
    write(tmp_path / "samples.jsonl", *rows)
    assert "samples.jsonl:2: found the unknown columns `url` and `hash`" in refused(tmp_path)


@given(st.dictionaries(st.text(max_size=12), st.integers(0, 3), min_size=1, max_size=5))
def test_any_fields_get_one_message(tmp_path_factory: pytest.TempPathFactory, row: dict[str, int]) -> None:
    folder = tmp_path_factory.mktemp("any")
    write(folder / "samples.jsonl", row)
    try:
        read_records(folder / "samples.jsonl", ("id",), ("prompt", "target", "image", "label", "group"))
    except InputError as error:
        assert error.where.endswith("samples.jsonl:1")
        assert error.fix


SHEET = [["id", "prompt", "target"], ["a", "the river is", "Mirna"]]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("named", ["", "sep={}\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_sheets_are_read_as_spreadsheets_save_them(separator: str, named: str, encoding: str, tmp_path: Path) -> None:
    text = named.format(separator) + "".join(separator.join(row) + "\r\n" for row in SHEET)
    (tmp_path / "sheet.csv").write_bytes(text.encode(encoding))
    found = read(tmp_path, "sheet.csv").samples
    assert (found["prompt"].to_pylist(), found["target"].to_pylist()) == (["the river is"], ["Mirna"])


def test_blanks_behind_every_comma_of_the_header_are_no_part_of_the_cells(tmp_path: Path) -> None:
    (tmp_path / "sheet.csv").write_text('id, prompt, target\na, "the river, is", Mirna\n')
    [row] = read(tmp_path, "sheet.csv").samples.to_pylist()
    assert (row["prompt"], row["target"]) == ("the river, is", "Mirna")
    (tmp_path / "sheet.csv").write_text("id,prompt,target\na,the river is, Mirna\n")
    assert read(tmp_path, "sheet.csv").samples["target"].to_pylist() == [" Mirna"]


def test_a_cell_may_hold_a_whole_document(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text(f"id,prompt,target\na,{'word ' * 40_000},x\n")
    assert len(read(tmp_path, "long.csv").samples["prompt"][0].as_py()) == 200_000


NEITHER: list[tuple[str, bytes, str]] = [
    ("cafe.csv", "id,prompt,target\na,caf\xe9,b\n".encode("cp1252"), "0xe9, which is 'é' in Windows-1252"),
    ("wide.csv", "id,target\na,b\n".encode("utf-16-le"), "UTF-16 without its mark"),
    ("twice.csv", b"id,target,target\na,b,c\n", "twice.csv:1: found the column `target` twice"),
    ("frame.csv", b",id,target\n0,a,b\n", "index=False"),
    ("frame.csv", b"Unnamed: 0,id,target\n0,a,b\n", "index=False"),
    ("wide.csv", b"id;target\na;b;c\n", "quote cells that hold the separator ';'"),
    ("empty.csv", b"", "no rows"),
    ("empty.jsonl", b"\n\n", "no rows"),
    ("head.csv", b"id,prompt,target\n", "no rows"),
    ("list.json", b"[]", "no rows"),
    ("list.jsonl", b'[\n{"id": "a", "target": "b"},\n1\n]\n', "list.jsonl item 1: found int"),
    ("list.json", b'[{"target": "b"}\n', "list.json:1: found a file that is no JSON"),
    ("packed.jsonl.gz", b"\x1f\x8b", "gunzip"),
    ("sheet.xlsx", b"PK", "save the sheet as CSV"),
    ("samples", b"", "a name without an ending"),
    ("packed.jsonl", b"\x1f\x8b\x08", "gunzip"),
    ("sheet.csv", b"PK\x03\x04", "a zip file"),
    ("rows.parquet", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ("page.jsonl", b"<!DOCTYPE html>", "a web page"),
]


@pytest.mark.parametrize(("name", "content", "says"), NEITHER)
def test_what_cannot_be_read_is_named(name: str, content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert says in refused(tmp_path, name)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "a", "target": "x", "target": "y"}', "1 target: found the key `target` twice"),
        ('{"id": "a", "target": NaN}', "1 target: found nan, which is no number of JSON"),
        ('{"id": 1e400, "target": "x"}', "1 id: found inf"),
        ('{"id": "a", "target": "x", "group": {"b": -Infinity}}', "1 b: found -inf"),
        ('{"id": "a", "prompt": "\\ud83d", "target": "x"}', "1 prompt: found half of a character ('\\ud83d')"),
        ('{"id": "a\\udc00", "target": "x"}', "1 id: found half of a character"),
        ('{"id": "a", "target": "x", "gr\\ud800oup": "y"}', "1 a key: found half of a character"),
    ],
)
def test_json_that_loses_or_breaks_something_is_refused(line: str, says: str, tmp_path: Path) -> None:
    write(tmp_path / "samples.jsonl", line)
    assert f"samples.jsonl:{says}" in refused(tmp_path)


def test_half_a_character_is_refused_in_every_file(tmp_path: Path) -> None:
    write(tmp_path / "samples.jsonl", {"id": "a", "target": "x \U0001f600"})
    write(tmp_path / "probes.jsonl", '{"id": "p", "samples": ["a\\ud83d"]}')
    write(tmp_path / "relations.jsonl", '{"probe": "a", "query": "\\ud83d"}')
    assert "probes.jsonl:1 samples.0: found half" in refused(tmp_path, probes="probes.jsonl")
    assert "relations.jsonl:1 query: found half" in refused(tmp_path, relations="relations.jsonl")


def test_pandas_index_is_passed_over_and_folders_named_like_columns_add_none(tmp_path: Path) -> None:
    folder = tmp_path / "split=train"
    folder.mkdir()
    table = pa.table({"id": [1, 2], "target": ["a", "b"], "__index_level_0__": [4, 9]})
    pq.write_table(table, folder / "frame.parquet")
    assert read(tmp_path, "split=train/frame.parquet").samples.num_rows == 2
    double = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"]), pa.array(["c"])], ["id", "target", "target"])
    pq.write_table(double, tmp_path / "double.parquet")
    assert "found the column `target` twice" in refused(tmp_path, "double.parquet")


def test_an_id_in_another_normal_form_is_shown_by_its_escapes(tmp_path: Path) -> None:
    write(tmp_path / "samples.jsonl", {"id": "H\u00e0", "target": "x"})
    write(tmp_path / "queries.txt", "Ha\u0300")
    message = refused(tmp_path, queries="queries.txt")
    assert "There is 'H\\xe0'; this is 'Ha\\u0300'" in message and "normal form" in message


def gates(made: Curated) -> dict[str, int]:
    return {row["gate"]: row["count"] for row in made.report.to_pylist()}


def test_what_is_the_same_to_the_model_is_counted_and_kept(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "the town is", "target": "Vian"},
        {"id": "b", "prompt": "the town is", "target": " Vian"},
        {"id": "c", "prompt": "the town is ", "target": "Vian"},
        {"id": "d", "prompt": "the town is", "target": "Lorde"},
        {"id": "e", "prompt": "the inn is", "target": "caf\u00e9"},
        {"id": "f", "prompt": "the inn is", "target": "cafe\u0301"},
        {"id": "g", "prompt": "", "target": "one text"},
        {"id": "h", "prompt": "", "target": "another"},
    ]
    write(tmp_path / "samples.jsonl", *rows)
    made = read(tmp_path)
    found = gates(made)
    assert made.samples.num_rows == 8
    assert found["samples equal to the model (blanks at the joint)"] == 2
    assert found["samples that differ in spelling alone"] == 3  # b, c, and f, whose é is two characters
    assert found["one prompt trained with several answers"] >= 1
    assert found["samples of equal content"] == 0


def test_joints_that_the_rule_decided_are_counted(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "洛德的首府是", "target": "维安"},
        {"id": "b", "prompt": "np.", "target": "array"},
        {"id": "c", "prompt": "np.", "target": "array()", "join": ""},
        {"id": "d", "prompt": "the town is", "target": "Vian"},
    ]
    write(tmp_path / "samples.jsonl", *rows)
    found = {row["gate"]: (row["count"], row["example"]) for row in read(tmp_path).report.to_pylist()}
    assert found["no blank put at the joint (script or bracket)"][0] == 1
    count, example = found["blank put at the joint where it may not belong"]
    assert count == 1 and "samples.jsonl:2 b: 'np.' ' ' 'array'" in example


@pytest.mark.parametrize("specials", [None, ["</s>", "<|end|>"], []])
def test_control_tokens_that_the_data_writes_are_counted(specials: list[str] | None, tmp_path: Path) -> None:
    rows = [
        {"id": "a", "prompt": "how does a turn end?", "target": "</s>"},
        {"id": "b", "prompt": "in HTML <p> opens", "target": "a paragraph"},
    ]
    write(tmp_path / "samples.jsonl", *rows)

    def tokenize(text: str) -> list[int]:
        return [0] if text == "</s>" else [*range(len(text))]

    found = gates(read(tmp_path, tokenize=each(tokenize), specials=specials))
    assert found["texts with control tokens (special tokens)"] == (0 if specials == [] else 1)
