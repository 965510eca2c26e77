"""What stands in a data set's folder beside the data, in its place, or in it twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from einfluence.curate.sources import TOGETHER
from einfluence.curate.sources.rows import rows
from einfluence.errors import InputError

from .sources import gates, probes, read

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


def edit(number: int) -> dict[str, Any]:
    name = f"Alder {number}"
    texts = {"subject": name, "prompt": f"The home of {name} is", "rephrase_prompt": f"{name} lives in"}
    return {"case_id": number, **texts, "target_new": "Bonn", "ground_truth": "Oslo"}


def repository(folder: Path) -> Path:
    """A data set as `git clone` leaves it: two splits that share an item, and what lies around them."""
    parts = {"train": [edit(1), edit(2)], "test": [edit(2), edit(3)]}
    (folder / "data").mkdir()
    for split, listed in parts.items():
        (folder / "data" / f"{split}-00000-of-00001.jsonl").write_text("\n".join(map(json.dumps, listed)))
    (folder / "dataset_infos.json").write_text('{"default": {"splits": {}}}')
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / ".gitattributes").write_text("*.parquet filter=lfs\n")
    (folder / "alders.py").write_text("raise SystemExit\n")
    for hidden in (".git", "__MACOSX"):
        (folder / hidden).mkdir()
        (folder / hidden / "config.json").write_text("{}")
    return folder


def test_a_cloned_repository_is_read_together_or_by_split(tmp_path: Path) -> None:
    folder = repository(tmp_path)
    whole = gates(read("counterfact", folder))
    assert whole[TOGETHER] == 2 and whole["duplicate after normalisation"] == 1
    for split, names in (("train", "12"), ("test", "23"), ("Test", "23")):
        made = read("counterfact", folder, split=split)
        assert [prompt[-4] for prompt, _ in probes(made)] == list(names)
        assert TOGETHER not in gates(made)
    with pytest.raises(InputError, match="source.split: found 'validation'; expected one of test, train"):
        read("counterfact", folder, split="validation")
    with pytest.raises(InputError, match="Leave it out"):
        read("counterfact", folder / "data" / "test-00000-of-00001.jsonl", split="test")


def test_saved_splits_are_folders(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    table = {split: datasets.Dataset.from_list([edit(1), edit(n)]) for split, n in (("train", 2), ("test", 3))}
    datasets.DatasetDict(table).save_to_disk(tmp_path / "saved")
    assert len(probes(read("counterfact", tmp_path / "saved"))) == 3
    assert len(probes(read("counterfact", tmp_path / "saved", split="test"))) == 2
    table["train"].save_to_disk(tmp_path / "more" / "one")
    table["test"].save_to_disk(tmp_path / "more" / "two")
    assert len(probes(read("counterfact", tmp_path / "more"))) == 3
    next((tmp_path / "saved" / "test").glob("*.arrow")).write_text(POINTER)
    with pytest.raises(InputError, match="Git LFS pointer"):
        read("counterfact", tmp_path / "saved")


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.parquet", "a.tsv"])
@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (POINTER.encode(), "a Git LFS pointer instead of the file; .* `git lfs pull`"),
        (b"\x1f\x8b\x08\x00", "a gzip file"),
        (b"PK\x03\x04", "a zip file"),
        (b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_what_is_no_data_is_named(name: str, content: bytes, fault: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: found {fault}"):
        read("counterfact", tmp_path / name)
    with pytest.raises(InputError, match=f"{name}: found {fault}"):
        read("counterfact", tmp_path)


def test_packed_files_in_a_folder_are_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(edit(1)))
    (tmp_path / "b.jsonl.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(InputError, match="b.jsonl.gz: found a gzip file"):
        read("counterfact", tmp_path)


def test_a_folder_with_a_script_alone_says_so(tmp_path: Path) -> None:
    (tmp_path / "alders.py").write_text("")
    with pytest.raises(InputError, match=r"only a script \(alders.py\).*Scripts are not run"):
        read("counterfact", tmp_path)


LIST, LINES = json.dumps([edit(1), edit(2)]), f"{json.dumps(edit(1))}\n\n{json.dumps(edit(2))}"


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("a.json", LIST, 2),
        ("a.jsonl", LIST, 2),
        ("a.json", LINES, 2),
        ("a.jsonl", LINES, 2),
        ("a.json", json.dumps({"data": [edit(1), edit(2)]}), 2),
        ("a.json", json.dumps({"a": edit(1), "b": edit(2)}), 2),
        ("a.json", json.dumps(edit(1)), 1),
        ("a.json", "\ufeff" + json.dumps([edit(1)], indent=1).replace("\n", "\r\n"), 1),
    ],
)
def test_shapes_of_json(name: str, text: str, count: int, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert len(list(rows(tmp_path / name))) == count


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[{"prompt": "a", "prompt": "b"}]', "the key `prompt` twice"),
        ('[{"prompt": "\\ud83d"}]', "half of a character"),
        ('[["prompt"]]', "a.json item 0: found list; expected an object"),
        ("[" * 100_000, "no JSON"),
        ('[{"id": ' + "9" * 5000 + "}]", "no JSON"),
        ('[{"prompt": "a"},\n {"prompt": }]', "a.json:2"),
        ("", "no JSON"),
        ("7", "found int"),
    ],
)
def test_json_that_cannot_be_read(text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=fault):
        list(rows(tmp_path / "a.json"))
