"""The key of a curation covers what curation reads, byte for byte, and nothing else."""

import json
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from einfluence import digests
from einfluence.curate.key import data_key
from einfluence.spec import Part, Spec


def picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    if path.suffix == ".npy":
        np.save(path, array)
    else:
        Image.fromarray(array).save(path)


def key(folder: Path, **data: Any) -> str:
    part = Part.model_validate({"base": "unused", **data})
    return data_key(part, Spec(parts=(part,), folder=folder))


@pytest.mark.parametrize(
    "name", ["beside.png", "beside.pgm", "sub/a.jpg", "../other.png", "absolute", "sub\\b.png", "c.npy"]
)
@pytest.mark.parametrize("column", ["image", "file_name"])
def test_a_picture_that_the_table_names_counts_wherever_it_stands(tmp_path: Path, name: str, column: str) -> None:
    tables = tmp_path / "tables"
    tables.mkdir()
    file = tmp_path / "elsewhere" / "a.png" if name == "absolute" else tables / name.replace("\\", "/")
    picture(file, 1)
    row = {"id": "a", column: str(file) if name == "absolute" else name, "label": 1}
    (tables / "s.jsonl").write_text(json.dumps(row) + "\n")
    before = key(tmp_path, samples="tables/s.jsonl")
    os.utime(file, (1, 1))
    picture(tables / "figure.png", 3)
    assert key(tmp_path, samples="tables/s.jsonl") == before
    picture(file, 2)
    assert key(tmp_path, samples="tables/s.jsonl") != before
    file.unlink()
    assert key(tmp_path, samples="tables/s.jsonl") != before


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_tables_of_every_kind_name_pictures(tmp_path: Path, ending: str) -> None:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    picture(tmp_path / "a.png", 1)
    rows = pa.table({"id": ["a"], "image": ["a.png"], "label": [0]})
    write = pq.write_table if ending == "parquet" else pyarrow.csv.write_csv
    write(rows, str(tmp_path / f"s.{ending}"))
    before = key(tmp_path, samples=f"s.{ending}")
    picture(tmp_path / "a.png", 2)
    assert key(tmp_path, samples=f"s.{ending}") != before


def test_another_picture_of_the_same_size_and_time_counts_and_so_does_what_a_link_points_to(tmp_path: Path) -> None:
    for seed, name in ((1, "real"), (2, "other")):
        Image.fromarray(np.full((4, 4), seed, np.uint8)).save(tmp_path / f"{name}.bmp")
    (tmp_path / "a.bmp").symlink_to("real.bmp")
    (tmp_path / "s.jsonl").write_text('{"id": "a", "image": "a.bmp", "label": 1}\n')
    about = (tmp_path / "real.bmp").stat()
    before = key(tmp_path, samples="s.jsonl")
    (tmp_path / "real.bmp").write_bytes((tmp_path / "other.bmp").read_bytes())
    os.utime(tmp_path / "real.bmp", ns=(about.st_atime_ns, about.st_mtime_ns))
    assert (tmp_path / "real.bmp").stat().st_size == about.st_size
    assert key(tmp_path, samples="s.jsonl") != before


def test_texts_and_facts_do_not_care_for_what_stands_beside_them(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"id": "a", "prompt": "an image of", "target": "bird"}\n')
    (tmp_path / "facts.yaml").write_text("name: x\n")
    before = key(tmp_path, samples="s.jsonl"), key(tmp_path, facts="facts.yaml"), key(tmp_path, facts="world")
    picture(tmp_path / "figure.png", 1)
    (tmp_path / "world").write_text("not the shipped one")
    assert before == (key(tmp_path, samples="s.jsonl"), key(tmp_path, facts="facts.yaml"), key(tmp_path, facts="world"))
    (tmp_path / "facts.yaml").write_text("name: y\n")
    assert key(tmp_path, facts="facts.yaml") != before[1]


Change = Callable[[Path], Any]
FOLDER = {"test/cat/0.png": 1, "test/dog/0.png": 2, "train/cat/0.png": 3, "train/dog/0.png": 4}


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        (lambda root: picture(root / "test/cat/0.png", 9), True),
        (lambda root: picture(root / "test/cat/1.png", 9), True),
        (lambda root: (root / "test/dog/0.png").rename(root / "test/cat/1.png"), True),
        (lambda root: (root / "test/metadata.csv").write_text("file_name,label\ncat/0.png,dog\n"), True),
        (lambda root: picture(root / "train/cat/0.png", 9), False),
        (lambda root: picture(root / "test/.thumbs/0.png", 9), False),
        (lambda root: picture(root / "test/.ipynb_checkpoints/0.png", 9), False),
        (lambda root: (root / "test/cat/notes.txt").write_text("x"), False),
        (lambda root: os.utime(root / "test/cat/0.png", (1, 1)), False),
    ],
)
def test_of_a_folder_the_pictures_of_the_split_count(tmp_path: Path, change: Change, matters: bool) -> None:
    for name, seed in FOLDER.items():
        picture(tmp_path / "set" / name, seed)
    images = {"source": "set", "split": "test"}
    before = key(tmp_path, images=images)
    change(tmp_path / "set")
    assert (key(tmp_path, images=images) != before) == matters
    assert key(tmp_path, images={"source": "set", "split": "train"}) != before


def test_of_other_sources_what_is_read_counts(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr("cat/0.png", b"x")
    zipped, digits = {"source": "set.zip"}, {"source": "digits"}
    before = key(tmp_path, images=zipped), key(tmp_path, images=digits), key(tmp_path, images={"source": "org/set"})
    with zipfile.ZipFile(tmp_path / "set.zip", "a") as archive:
        archive.writestr("cat/1.png", b"x")
    (tmp_path / "digits").mkdir()
    picture(tmp_path / "digits" / "0" / "a.png", 1)
    assert key(tmp_path, images=zipped) != before[0]
    assert key(tmp_path, images=digits) == before[1]
    assert len({*before, key(tmp_path, images={"source": "org/set@abc"})}) == 4
    assert key(tmp_path, images=zipped, classes=["cat"]) != key(tmp_path, images=zipped)


def test_of_a_published_set_its_data_count_and_figures_do_not(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    clone.mkdir()
    (clone / "train.json").write_text("[]")
    source = {"name": "counterfact", "path": "clone"}
    before = key(tmp_path, source=source)
    picture(clone / "figure.png", 1)
    (clone / ".git").mkdir()
    (clone / ".git" / "index").write_text("x")
    assert key(tmp_path, source=source) == before
    (clone / "train.json").write_text("[{}]")
    assert key(tmp_path, source=source) != before


def test_the_encoder_of_a_distance_counts(tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "model.safetensors").write_bytes(b"1")
    before = key(tmp_path, facts="world", distance=f"embedder:{encoder}")
    (encoder / "model.safetensors").write_bytes(b"2")
    assert key(tmp_path, facts="world", distance=f"embedder:{encoder}") != before


def test_a_file_is_read_once_a_process_unless_it_changed_a_moment_ago(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    digest = digests.file_digest
    monkeypatch.setattr(digests, "file_digest", lambda path: (read.append(path), digest(path))[1])
    for number in range(3):
        picture(tmp_path / "set" / "cat" / f"{number}.png", number)
    settings = {"images": {"source": "set"}}
    first, second = key(tmp_path, **settings), key(tmp_path, **settings)
    assert first == second and len(read) == 6
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 3_000_000_000)
    key(tmp_path, **settings)
    key(tmp_path, **settings)
    assert len(read) == 9
    monkeypatch.setattr(digests, "LARGE", 1)
    picture(tmp_path / "set" / "cat" / "0.png", 7)
    assert key(tmp_path, **settings) != first and len(read) == 10
    digests._known.clear()  # pyright: ignore[reportPrivateUsage]
    assert key(tmp_path, **settings) != first and len(read) == 12  # of one there is a note on the disk


@pytest.mark.parametrize(
    "table", ["{broken", '{"id": "a", "image": 3}\n', '{"id": "a", "image": "a\\u0000b.png"}\n', ""]
)
def test_a_table_that_cannot_be_curated_has_a_key(tmp_path: Path, table: str) -> None:
    (tmp_path / "s.jsonl").write_text(table)
    assert key(tmp_path, samples="s.jsonl") and key(tmp_path, samples="absent.jsonl")
