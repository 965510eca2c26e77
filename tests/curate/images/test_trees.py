"""Folders, zips, metadata and tables of images: the same pictures are the same classes however they are packed."""

import csv
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from einfluence.curate.builder import Gates
from einfluence.curate.classes import ImageLimits
from einfluence.curate.images.sources import PASSED_OVER, load_pictures
from einfluence.errors import InputError
from einfluence.spec import Images, Part, Spec

Found = dict[int, tuple[int, str]]


def png(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2), shade).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder: Path, files: dict[str, int | bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else png(content))
    return folder


def pack(path: Path, files: dict[str, int | bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content if isinstance(content, bytes) else png(content))
    return path


def read(source: Path, split: str | None = None, gates: Gates | None = None, **limits: Any) -> Found:
    """Class and domain by shade."""
    images, part = Images(source=str(source), split=split), Part(base="x", images=Images())
    found = load_pictures(images, Spec(parts=(part,)), ImageLimits(**limits), gates or Gates())
    return {round(float(one.load().pixels[0, 0, 0]) * 255): (one.label, one.domain) for one in found}


PLAIN: dict[str, int | bytes] = {"cat/0.png": 10, "cat/1.png": 20, "dog/0.png": 30}
PETS = {10: (0, "cat"), 20: (0, "cat"), 30: (1, "dog")}
JUNK: dict[str, int | bytes] = {
    "__MACOSX/cat/._0.png": b"fork", "cat/.ipynb_checkpoints/0-checkpoint.png": 99, ".cache/x/thumb.png": 98,
    "cat/._0.png": b"fork", "@eaDir/cat/0.png": 97, "dog/Thumbs.db": b"x", ".DS_Store": b"x", "cat/.DS_Store": b"x",
}  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(st.sampled_from(["cat", "dog", "Ape", "éclair", "3", "12", "two words"]), min_size=2, unique=True),
    packed=st.booleans(),
    above=st.sampled_from(["", "set/", "a/b/"]),
    below=st.sampled_from(["", "/images"]),
    splits=st.sampled_from([(), ("train",), ("train", "test"), ("Train", "val")]),
    inside=st.booleans(),
    junk=st.sets(st.sampled_from(sorted(JUNK))),
    windows=st.booleans(),
    data=st.data(),
)
def test_classes_are_the_same_however_folders_are_laid_out(
    tmp_path: Path, names: list[str], packed: bool, above: str, below: str, splits: tuple[str, ...], inside: bool,
    junk: set[str], windows: bool, data: st.DataObject,
) -> None:  # fmt: skip
    """Below other folders, within splits or with splits within, with what systems leave behind, in folders and zips."""
    places = [f"{kind}/{part}" if inside else f"{part}/{kind}" for part in splits for kind in names] or names
    files: dict[str, int | bytes] = {}
    for place in places:
        files |= {f"{above}{place}{below if not inside else ''}/{turn}.png": len(files) + turn for turn in range(2)}
    shown = {shade: name for name, shade in files.items()}
    files |= {above + name: JUNK[name] for name in junk}
    root = tmp_path / str(len(list(tmp_path.iterdir())))
    if packed:
        source = pack(root.with_suffix(".zip"), {n.replace("/", "\\") if windows else n: c for n, c in files.items()})
    else:
        source = write(root, files)
    split = data.draw(st.sampled_from(splits)) if splits else None
    known = {name: index for index, name in enumerate(sorted(names))}
    found = read(source, split, n_classes=len(names), names=known)
    expected = {shade for shade, name in shown.items() if split is None or f"/{split}/" in f"/{name}"}
    assert set(found) == expected
    for shade, (label, domain) in found.items():
        parts = str(shown[shade]).split("/")
        assert domain in parts and label == known[domain]
    if len(splits) > 1:
        with pytest.raises(InputError, match=r"images.split: found nothing, and the splits .* write `split: "):
            read(source, n_classes=len(names), names=known)
    if splits:
        with pytest.raises(InputError, match=r"images.split: found no folder 'other'"):
            read(source, "other", n_classes=len(names), names=known)


def test_split_words_are_alike_and_the_very_word_comes_first(tmp_path: Path) -> None:
    source = write(tmp_path, {"train/a/0.png": 1, "train/b/0.png": 2, "valid/a/0.png": 3, "valid/b/0.png": 4})
    assert set(read(source, "validation")) == set(read(source, "valid")) == {3, 4}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"0.png": 1, "cat/1.png": 2}, "2 images, 1 of them without a class folder: 0.png"),
        ({"0.png": 1, "1.png": 2}, "without a class folder.*metadata.csv of `file_name` and `label`"),
        ({"cat/0.png": 1, "cat/kitten/0.png": 2, "dog/0.png": 3}, "the folder 'cat' and in 'cat/kitten' within it"),
        ({"train/0.png": 1, "test/1.png": 2}, "test, train, which hold images and no class folders"),
        ({"train/cat/0.png": 1, "more/cat/1.png": 2}, "nothing, and the split train .*write `split: train`"),
        ({"notes.txt": b"x"}, "with 0 images"),
        ({"cat/0.png": 1, "dog/0.png": 2, "fish/0.png": 3}, "3 classes by name .* for the labels of a base with 2"),
    ],
)
def test_layouts_that_could_mean_two_things_are_refused(
    tmp_path: Path, packed: bool, files: dict[str, int | bytes], message: str
) -> None:
    source = pack(tmp_path / "set.zip", files) if packed else write(tmp_path / "set", files)
    with pytest.raises(InputError, match=message):
        read(source, n_classes=2)


def metadata(kind: str, rows: list[dict[str, Any]]) -> dict[str, bytes]:
    if kind == "parquet":
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows), buffer)
        return {"metadata.parquet": buffer.getvalue()}
    if kind == "jsonl":
        return {"metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows).encode()}
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return {"metadata.csv": text.getvalue().encode()}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("packed", [False, True])
def test_metadata_name_the_classes(tmp_path: Path, kind: str, packed: bool) -> None:
    rows = [{"file_name": f"{n}.png", "label": ("dog", "cat")[n % 2], "caption": "a pet"} for n in range(4)]

    def make(name: str, files: dict[str, Any]) -> Path:
        return pack(tmp_path / f"{name}.zip", files) if packed else write(tmp_path / name, files)

    flat: dict[str, Any] = {f"{n}.png": 10 * n for n in range(5)} | metadata(kind, rows)
    gates = Gates()
    assert read(make("flat", flat), None, gates, n_classes=2) == {
        0: (1, "dog"), 10: (0, "cat"), 20: (1, "dog"), 30: (0, "cat"),
    }  # fmt: skip
    assert gates.rows[PASSED_OVER][0] == 1 and "4.png" in gates.rows[PASSED_OVER][1]
    numbers = [{**row, "label": (7, 3)[n % 2]} for n, row in enumerate(rows)]
    assert read(make("numbers", flat | metadata(kind, numbers)), n_classes=10)[0] == (7, "7")
    splits = {f"{part}/{name}": content for part in ("train", "test") for name, content in flat.items()}
    assert len(read(make("splits", splits), "test", n_classes=2)) == 4
    with pytest.raises(InputError, match="write `split: test`"):
        read(make("again", splits), n_classes=2)
    for changed, message in (
        ({"file_name": "absent.png"}, r"metadata.* file_name: found 'absent.png', which is not there"),
        ({"label": "dog", "file_name": "1.png"}, "label 'dog' for 1.png, which is 'cat'"),
    ):
        with pytest.raises(InputError, match=message):
            read(make("wrong", flat | metadata(kind, [*rows, {**rows[0], **changed}])), n_classes=2)
    captions = [{"file_name": row["file_name"], "caption": "x"} for row in rows]
    with pytest.raises(InputError, match="no `label`"):
        read(make("captions", flat | metadata(kind, captions)), n_classes=2)
    below = PLAIN | metadata(kind, [{"file_name": name, "caption": "x"} for name in PLAIN])
    assert read(make("folders", below), n_classes=2) == PETS


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "real", {"0.png": 10, "1.png": 20})
    source = write(tmp_path / "set", {"dog/0.png": 30})
    (source / "cat").symlink_to(tmp_path / "real")
    (source / "dog" / "circle").symlink_to(source)
    assert read(source, n_classes=2) == PETS


def test_names_that_are_no_text_are_shown_as_far_as_they_are(tmp_path: Path) -> None:
    source = write(tmp_path / "set", PLAIN)
    (source / "cat" / os.fsdecode(b"\xff.png")).write_bytes(png(40))
    assert read(source, n_classes=2) == PETS | {40: (0, "cat")}


def test_files_that_are_no_images_are_counted(tmp_path: Path) -> None:
    gates = Gates()
    read(write(tmp_path / "set", PLAIN | {"cat/1.heic": b"x", "dog/notes.txt": b"y"}), None, gates)
    assert gates.rows[PASSED_OVER] == (2, str(tmp_path / "set" / "cat" / "1.heic"))


def _locked(path: Path) -> None:
    data = bytearray(pack(path, PLAIN).read_bytes())
    for sign, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(sign)
        while start >= 0:
            data[start + at] |= 1
            start = data.find(sign, start + 4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("locked.zip", _locked, "needs a password"),
        ("broken.zip", lambda path: path.write_bytes(b"PK\3\4 no zip"), "expected a zip file"),
        ("set.tar.gz", lambda path: path.write_bytes(b""), "unpack it into a folder"),
        ("set.csv", lambda path: path.write_bytes(b""), "expected a folder, a .zip of folders, a .npz, or a hub id"),
    ],
)
def test_archives_that_cannot_be_read(tmp_path: Path, name: str, make: Callable[[Path], Any], message: str) -> None:
    make(tmp_path / name)
    with pytest.raises(InputError, match=message):
        read(tmp_path / name)


def test_arrays_in_folders_and_zips(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.full((2, 2), 40, np.uint8))
    files = PLAIN | {"cat/a.npy": buffer.getvalue()}
    assert read(write(tmp_path / "set", files)) == read(pack(tmp_path / "set.zip", files)) == PETS | {40: (0, "cat")}


def saved(folder: Path, features: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    import datasets

    table = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    datasets.DatasetDict({"test": table}).save_to_disk(folder)
    return folder


def test_labels_of_tables(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    picture = {"image": datasets.Image()}

    def found(name: str, kind: Any, labels: list[Any], **limits: Any) -> list[int]:
        rows = [{"image": Image.new("L", (2, 2), shade), "label": label} for shade, label in enumerate(labels)]
        return [
            label
            for _, (label, _) in sorted(read(saved(tmp_path / name, picture | {"label": kind}, rows), **limits).items())
        ]

    names = datasets.ClassLabel(names=["3", "7"])
    assert found("numbers", names, [0, 1], n_classes=10) == [3, 7]
    pets = datasets.ClassLabel(names=["dog", "cat"])
    assert found("own order", pets, [0, 1], n_classes=2) == [0, 1]
    assert found("base's order", pets, [0, 1], n_classes=2, names={"cat": 0, "dog": 1}) == [1, 0]
    assert found("indices", datasets.Value("int64"), [7, 3], n_classes=10) == [7, 3]
    assert found("floats", datasets.Value("float64"), [7.0, 3.0], n_classes=10) == [7, 3]
    assert found("words", datasets.Value("string"), ["dog", "cat"], n_classes=2) == [1, 0]
    assert found("digits", datasets.Value("string"), ["7", "3"], n_classes=10) == [7, 3]
    assert found("said", datasets.Value("int64"), [1, 26], n_classes=26, names={"1": 0, "26": 25}, written=True) == [
        0,
        25,
    ]
    for name, kind, labels, limits, message in (
        ("few", pets, [0, 1], {"n_classes": 10}, "2 classes by name"),
        ("none", pets, [0, -1], {"n_classes": 2}, "row 1: found the label -1"),
        ("null", datasets.Value("int64"), [0, None], {}, "row 1: found the label None"),
        ("half", datasets.Value("float64"), [0.0, 0.5], {}, "row 1: found the label 0.5"),
        ("many", datasets.List(datasets.Value("int64")), [[0], [1, 2]], {}, r"row 0: found the label \[0\]"),
        ("letters", datasets.Value("int64"), [1, 26], {"n_classes": 26}, "the label 26; .*they seem to start at 1"),
    ):
        with pytest.raises(InputError, match=message):
            found(name, kind, labels, **limits)


def test_columns_of_tables(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    shade = Image.new("L", (2, 2), 5)
    fine, coarse = datasets.ClassLabel(names=["a", "b", "c"]), datasets.ClassLabel(names=["x", "y"])
    row = {"img": shade, "fine": 2, "coarse": 1}
    both = saved(tmp_path / "both", {"img": datasets.Image(), "fine": fine, "coarse": coarse}, [row])
    assert read(both, n_classes=3) == {5: (2, "c")} and read(both, n_classes=2) == {5: (1, "y")}
    with pytest.raises(InputError, match="rename the columns to `image` and `label`"):
        read(both)
    row = {"image": shade, "mask": shade, "label": 1}
    two = saved(tmp_path / "two", {"image": datasets.Image(), "mask": datasets.Image(), "label": coarse}, [row])
    assert read(two) == {5: (1, "y")}
