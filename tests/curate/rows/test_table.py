"""Where rows come from, what their columns are called, and the ids that they get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from einfluence.curate import curate
from einfluence.curate.files import Rows
from einfluence.curate.key import data_key
from einfluence.errors import InputError
from einfluence.spec import Part, Spec
from tests.curate.rows.reading import curated, gates, texts, written

ROWS = [{"prompt": "dax is a", "completion": " bird"}, {"prompt": "wug is a", "completion": " fish"}]
SAID = [("dax is a", "", " bird"), ("wug is a", "", " fish")]


def saved(folder: Path, rows: list[Any] = ROWS) -> datasets.Dataset:
    found = datasets.Dataset.from_list(rows)
    found.save_to_disk(folder)
    return found


def write_all(folder: Path) -> list[str]:
    written(folder, *ROWS, name="a.jsonl")
    (folder / "a.json").write_text(json.dumps(ROWS, indent=1))
    (folder / "b.json").write_text(json.dumps({"data": ROWS}))
    (folder / "a.csv").write_text("prompt,completion\ndax is a, bird\nwug is a, fish\n")
    (folder / "a.tsv").write_text("prompt\tcompletion\ndax is a\t bird\nwug is a\t fish\n")
    pq.write_table(pa.Table.from_pylist(ROWS), folder / "a.parquet")
    saved(folder / "saved")
    return ["a.jsonl", "a.json", "b.json", "a.csv", "a.tsv", "a.parquet", "saved"]


def test_every_kind_of_table_says_the_same(tmp_path: Path) -> None:
    made = {name: curated(tmp_path, name) for name in write_all(tmp_path)}
    assert {name: texts(one) for name, one in made.items()} == dict.fromkeys(made, SAID)
    assert len({str(one.samples["name"].to_pylist()) for one in made.values()}) == 1


def test_a_data_set_on_the_hub_is_loaded_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    one = datasets.Dataset.from_list(ROWS)

    def load(name: str, config: str | None, split: str | None, revision: str | None) -> Any:
        asked.append((name, config, split, revision))
        if name == "org/none":
            raise ConnectionError("Couldn't reach the hub\nat all")
        both: Any = {"train": one, "test": one} if config == "two" else {"train": one}
        return one if split else datasets.DatasetDict(both)

    monkeypatch.setattr(datasets, "load_dataset", load)
    for name in ("org/set", "org/set:", "org/set::train", "org/set@v1:two:train"):
        assert texts(curated(tmp_path, name)) == SAID
    assert asked == [
        ("org/set", None, None, None),
        ("org/set", None, None, None),
        ("org/set", None, "train", None),
        ("org/set", "two", "train", "v1"),
    ]
    with pytest.raises(
        InputError, match="several splits; expected one of them: org/set:two:train. There are train, te"
    ):
        curated(tmp_path, "org/set:two")
    with pytest.raises(InputError, match=r"found 'org/none' \(Couldn't reach the hub\); expected a file"):
        curated(tmp_path, "org/none")
    with pytest.raises(InputError, match="rows.jsonl: found no such file"):
        curated(tmp_path, "org/rows.jsonl")


def test_of_several_splits_one_is_named(tmp_path: Path) -> None:
    both = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:1])}
    )
    both.save_to_disk(tmp_path / "both")
    (tmp_path / "cloned").mkdir()
    for split, rows in {"train": ROWS, "test": ROWS[:1]}.items():
        written(tmp_path / "cloned", *rows, name=f"{split}.jsonl")
    for folder in ("both", "cloned"):
        with pytest.raises(InputError, match=f"found '{folder}', which has several splits; .*: {folder}:train. There"):
            curated(tmp_path, folder)
        with pytest.raises(InputError, match=f"samples: {folder}:valid: found 'valid'; expected one of test, train"):
            curated(tmp_path, f"{folder}:valid")
        assert texts(curated(tmp_path, f"{folder}:train")) == SAID
        assert texts(curated(tmp_path, f"{folder}:test")) == SAID[:1]
    only = datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)})
    only.save_to_disk(tmp_path / "only")
    assert texts(curated(tmp_path, "only")) == SAID


def test_columns_have_our_names_where_the_part_says_so(tmp_path: Path) -> None:
    name = written(tmp_path, {"Frage": "dax?", "Antwort": "bird", "Nr": 7, "Thema": "animals"})
    made = curated(tmp_path, name, fields={"prompt": "Frage", "target": "Antwort", "id": "Nr", "group": "Thema"})
    assert texts(made) == [("dax?", " ", "bird")]
    assert (made.samples["name"].to_pylist(), made.samples["domain"].to_pylist()) == (["7"], ["animals"])
    plain = written(tmp_path, {"prompt": "dax?", "target": "bird"}, name="plain.jsonl")
    (renamed,) = curated(tmp_path, name, fields={"prompt": "Frage", "target": "Antwort"}, extra="drop").samples["name"]
    assert renamed == curated(tmp_path, plain).samples["name"][0]


def test_fields_that_do_not_fit_are_named(tmp_path: Path) -> None:
    name = written(tmp_path, {"prompt": "dax?", "target": "bird", "answer": "fish"})
    with pytest.raises(
        InputError, match="fields.target: found 'anser', which no row has; expected a column: prompt, t"
    ):
        curated(tmp_path, name, fields={"target": "anser"})
    with pytest.raises(InputError, match="fields.target: found 'answer', beside a column `target`"):
        curated(tmp_path, name, fields={"target": "answer"})
    swapped = curated(tmp_path, name, fields={"target": "answer", "group": "target"})
    assert texts(swapped) == [("dax?", " ", "fish")]
    with pytest.raises(ValueError, match="each column once in `fields`"):
        Part(base="x", samples="a.jsonl", fields={"prompt": "a", "target": "a"})
    with pytest.raises(ValueError, match="`extra` beside `samples` only"):
        Part(base="x", facts="world", extra="drop")  # type: ignore[arg-type]


def test_columns_that_nothing_reads_are_left_out_only_when_told(tmp_path: Path) -> None:
    name = written(tmp_path, {**ROWS[0], "url": "x"}, {**ROWS[1], "tokens": 3})
    with pytest.raises(
        InputError, match="1: found the unknown columns `url` and `tokens`; .* `extra: drop` leaves out"
    ):
        curated(tmp_path, name)
    made = curated(tmp_path, name, extra="drop")
    assert texts(made) == SAID
    row = next(row for row in made.report.to_pylist() if row["gate"] == "columns left out (`extra: drop`)")
    assert (row["count"], row["example"]) == (2, "url, tokens")
    assert made.samples["name"].equals(curated(tmp_path, written(tmp_path, *ROWS)).samples["name"])


def test_ids_are_made_of_content_and_equal_rows_are_numbered(tmp_path: Path) -> None:
    one, two = ROWS
    made = curated(tmp_path, written(tmp_path, one, two, one, one))
    names = [row["name"] for row in made.probes.to_pylist()]
    other = curated(tmp_path, written(tmp_path, one, one, two, one, name="other.jsonl"))
    assert names == [row["name"] for row in other.probes.to_pylist()]
    assert len(names) == 2 and all(len(name) == 12 for name in names)
    assert gates(made)["samples of equal content"] == 2
    (tmp_path / "queries.txt").write_text(f"{names[0]}-2\n{names[0]}-3\n{names[1]}\n")
    assert curated(tmp_path, queries="queries.txt").relations.num_rows == 4


def test_a_row_may_have_an_id_where_others_have_none(tmp_path: Path) -> None:
    one, two = ROWS
    made = curated(tmp_path, written(tmp_path, {"id": "a", **one}, two))
    assert made.samples["name"].to_pylist()[0] == "a"
    name = made.samples["name"].to_pylist()[1]
    with pytest.raises(InputError, match=f"the id '{name}' again"):
        curated(tmp_path, written(tmp_path, {"id": name, **one}, two))


def test_two_contents_never_share_a_made_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("einfluence.curate.rows.samples.DIGITS", 0)
    with pytest.raises(InputError, match="samples.jsonl:2: found the made id '' of two rows; expected an `id`"):
        curated(tmp_path, written(tmp_path, *ROWS))


def test_rows_of_other_objectives_take_the_same_switches(tmp_path: Path) -> None:
    def read(_: str, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"inputs": {"text": row["text"]}, "target": row["label"]}

    rows = Rows("sequence_class", ("text", "label"), read)
    written(tmp_path, {"sentence": "a", "label": "x", "url": 1}, {"sentence": "b", "label": "y"})
    fields = {"text": "sentence"}
    part = Part(base="x", samples="samples.jsonl", fields=fields, extra="drop")
    made = curate(part, Spec(parts=(part,), folder=tmp_path), rows=rows)
    assert made.samples["target"].to_pylist() == ["x", "y"] and len({*made.samples["name"].to_pylist()}) == 2
    part = Part(base="x", samples="samples.jsonl", fields=fields)
    with pytest.raises(
        InputError,
        match="1: found the unknown column `url`; expected columns among .*`extra: drop` leaves out `url`",
    ):
        curate(part, Spec(parts=(part,), folder=tmp_path), rows=rows)
    part = Part(base="x", samples="samples.jsonl")
    with pytest.raises(
        InputError,
        match="found no `text` .* `sentence` and `url`; .*`fields: {text: sentence}`; `extra: drop` leaves out `url`",
    ):
        curate(part, Spec(parts=(part,), folder=tmp_path), rows=rows)


def test_a_curation_is_new_when_rows_columns_or_template_are(tmp_path: Path) -> None:
    def key(name: str, **more: Any) -> str:
        part = Part(base="x", samples=name, **more)
        return data_key(part, Spec(parts=(part,), folder=tmp_path))

    written(tmp_path, *ROWS)
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    (tmp_path / "cloned").mkdir()
    for split in ("train", "test"):
        written(tmp_path / "cloned", *ROWS, {"prompt": split, "completion": split}, name=f"{split}.jsonl")
    first = key("samples.jsonl")
    assert key("samples.jsonl", extra="refuse", chat=False, fields={}) == first
    others = [
        key("samples.jsonl", extra="drop"), key("samples.jsonl", chat=True), key("samples.jsonl", fields={"a": "b"}),
        key("samples.jsonl", chat_template="t.jinja"), key("cloned:train"), key("cloned:test"), key("org/set"),
    ]  # fmt: skip
    assert len({first, *others}) == len(others) + 1
    before = key("samples.jsonl", chat_template="t.jinja")
    (tmp_path / "t.jinja").write_text("{{ messages[0] }}")
    assert key("samples.jsonl", chat_template="t.jinja") != before
    trained, tested = key("cloned:train"), key("cloned:test")
    written(tmp_path / "cloned", *ROWS, name="train.jsonl")
    assert key("cloned:train") != trained and key("cloned:test") == tested


def test_pictures_under_another_name_count_in_the_key(tmp_path: Path) -> None:
    from PIL import Image

    def key() -> str:
        part = Part(base="x", samples="samples.json", fields={"image": "bild"})
        return data_key(part, Spec(parts=(part,), folder=tmp_path))

    (tmp_path / "samples.json").write_text(json.dumps([{"bild": "a.png", "label": 0}]))
    Image.new("L", (4, 4), 1).save(tmp_path / "a.png")
    first = key()
    made = curated(tmp_path, "samples.json", fields={"image": "bild"})
    assert made.samples["modality"].to_pylist() == ["image"] and len(made.samples["name"][0].as_py()) == 12
    Image.new("L", (4, 4), 2).save(tmp_path / "a.png")
    assert key() != first
