"""Labels of sentences: words, or 0 and 1; every other scale is refused by name, and what has no label is counted."""

import json
from pathlib import Path

import pytest

from einfluence.curate.sources.sentiment import OTHER
from einfluence.errors import InputError

from .sources import gates, probes, read

UNREADABLE = "item without what a probe needs"


def labels(path: Path) -> list[str]:
    return [target for _, target in probes(read("sentiment", path))]


def jsonl(folder: Path, rows: list[dict[str, object]]) -> Path:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([1, 0], ["positive", "negative"]),
        (["1", "0"], ["positive", "negative"]),
        ([1.0, 0.0], ["positive", "negative"]),
        (["Positive", "neg "], ["positive", "negative"]),
        ([-1, 1, 0], ["positive", "negative"]),
        ([None, 1, ""], ["positive"]),
        (["positive", "neutral", "very negative"], ["positive"]),
    ],
)
def test_labels_that_can_be_told(found: list[object], expected: list[str], tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"text": f"Film {n}.", "label": label} for n, label in enumerate(found)])
    assert labels(path) == expected
    counted = gates(read("sentiment", path))
    assert counted[UNREADABLE] + counted[OTHER] == len(found) - len(expected)


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        ([1, 3, 5], "rows.jsonl:2 label: found 3, of a scale of 1, 3, 5"),
        ([1, 2], "rows.jsonl:2 label: found 2"),
        ([1, -1], "of a scale of -1, 1"),
        ([1, 1], None),
        ([-1, -1], "choose another split"),
        ([0.9, 0.1], "rows.jsonl:1 label: found 0.9"),
        ([True, False], "label: found True"),
        (["true", "false"], "label: found true"),
        (["joy", "anger"], "the labels anger, joy"),
        ([[1], [0]], r"label: found \[1\]"),
        ([{"a": 1}, 0], "label: found"),
        (["9" * 400, 0], "label: found"),
    ],
)
def test_scales_that_would_have_to_be_guessed_are_refused(found: list[object], fault: str, tmp_path: Path) -> None:
    path = jsonl(tmp_path, [{"text": f"Film {n}.", "label": label} for n, label in enumerate(found)])
    if fault is None:
        assert labels(path) == ["positive", "positive"]
    else:
        with pytest.raises(InputError, match=fault):
            read("sentiment", path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.csv", "review,sentiment\nFine.,positive\n", ["positive"]),
        ("a.csv", "id,Sentence,Label\n7,Fine.,0\n", ["negative"]),
        ("a.tsv", 'sentence\tlabel\na "lovely film\t1\ndull\t0\n', ["positive", "negative"]),
        ("a.tsv", 'sentence\tlabel\n"a ""lovely"" film"\t1\n', ["positive"]),
        ("a.txt", "Fine.\t1\r\nDull.\t0\r\n", ["positive", "negative"]),
        ("a.tsv", "Fine.\tpositive\n", ["positive"]),
    ],
)
def test_columns_and_files(name: str, text: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode())
    assert labels(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_two_columns_of_labels_must_not_contradict_each_other(name: str, tmp_path: Path) -> None:
    def write(*rows: str) -> Path:
        text = "\n".join(["text,label,sentiment", *rows])
        (tmp_path / name).write_text(text.replace(",", "\t") if name == "a.tsv" else text)
        return tmp_path / name

    assert labels(write("Fine.,1,Positive", "Dull.,0,neg")) == ["positive", "negative"]
    with pytest.raises(InputError, match=r":3: found labels that contradict each other \(label 1, sentiment neg\)"):
        labels(write("Fine.,1,pos", "Dull.,1,neg"))


def test_quotation_marks_in_tabbed_files(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('sentence\tlabel\na "lovely film\t1\n"a ""dull"" film"\t0\n')
    prompts = [prompt for prompt, _ in probes(read("sentiment", tmp_path / "a.tsv"))]
    assert prompts == ['a "lovely film The sentiment is', 'a "dull" film The sentiment is']


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a.csv", "quality,score\nFine.,1\n", "found the columns quality, score; expected a text"),
        ("a.tsv", "index\tsentence\n1\tFine.\n", r"a.tsv:1: found 'index\\tsentence'"),
        ("a.tsv", "sentence\tlabel\nFine.\t1\t2\n", "a.tsv:2: found 3 columns; expected 2"),
        ("a.txt", "7\tFine.\t1\n", "a.txt:1"),
        ("a.csv", "text,label\n,\n", "found"),
    ],
)
def test_other_columns_are_named(name: str, text: str, fault: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=fault):
        read("sentiment", tmp_path / name)


@pytest.mark.parametrize("names", [["negative", "positive"], ["pos", "neg"]])
def test_named_classes_are_read_by_their_names(names: list[str], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=names)})
    table = datasets.Dataset.from_dict({"text": ["Fine.", "Dull."], "label": [0, 1]}, features=features)
    table.save_to_disk(tmp_path / "saved")
    (tmp_path / "parquet").mkdir()
    table.to_parquet(tmp_path / "parquet" / "train-00000-of-00001.parquet")
    expected = ["negative", "positive"] if names[0] == "negative" else ["positive", "negative"]
    assert labels(tmp_path / "saved") == labels(tmp_path / "parquet") == expected
