"""Noise is calibrated in dB, seeded by the sample alone; image parts are balanced and say what they claim."""

import gzip
import io
import struct
import zipfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pytest
from PIL import Image

from einfluence.curate import curate
from einfluence.curate.images.corrupt import FAMILIES, UNITS, add_noise, ratio_db
from einfluence.curate.images.draw import MISSED, UNREADABLE
from einfluence.curate.images.rows import FRAMES, TWO_CLASSES
from einfluence.curate.versions import wrong_label
from einfluence.errors import InputError
from einfluence.samples import Curated, Sample
from einfluence.spec import Images, Part, Spec

RAMP = np.clip(np.add.outer(np.arange(16), np.arange(16)) / 30 + 0.3 * np.sin(np.arange(256).reshape(16, 16)), 0, 1)[
    None
].astype(np.float32)


def made_of(images: Images, folder: Path = Path("."), **options: Any) -> Curated:
    part = Part(base="x", images=images)
    return curate(part, Spec(parts=(part,), folder=folder), **options)


def test_ratio_is_noise_power_over_signal_variance_in_db() -> None:
    clean = np.array([[[0.0, 1.0]]], np.float32)  # variance 0.25
    assert ratio_db(clean, clean + 0.05) == pytest.approx(10 * np.log10(0.0025 / 0.25), abs=1e-4)
    assert ratio_db(clean, clean) == -np.inf


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("level", [-15.0, -8.0, -3.0])
def test_each_family_reaches_its_level(family: str, level: float) -> None:
    noisy, reached = add_noise(RAMP, "id", family, level, 0)
    assert noisy.shape == RAMP.shape and noisy.dtype == np.float32
    assert noisy.min() >= 0 and noisy.max() <= 1
    assert reached == pytest.approx(level, abs=0.5)
    assert ratio_db(RAMP, noisy) == pytest.approx(reached, abs=1e-6)


def test_pixels_depend_on_sample_family_level_and_seed_alone() -> None:
    one = add_noise(RAMP, "id", "gaussian", -5.0, 0)[0]
    assert (add_noise(RAMP, "id", "gaussian", -5.0, 0)[0] == one).all()
    for other in (("other", "gaussian", -5.0, 0), ("id", "gaussian", -5.0, 1), ("id", "gaussian", -6.0, 0)):
        assert (add_noise(RAMP, *other)[0] != one).any()


def test_every_family_has_its_unit() -> None:
    assert {*UNITS} == {*FAMILIES, "label_flip"}
    assert {UNITS[family] for family in FAMILIES} == {"dB"} and UNITS["label_flip"] == ""


def test_shuffled_pixels_keep_the_histogram() -> None:
    noisy = FAMILIES["pixel_shuffle"](RAMP, 1.0, np.random.default_rng(0))
    assert sorted(noisy.ravel()) == sorted(RAMP.ravel())


def test_wrong_label_is_another_class_and_all_classes_come() -> None:
    drawn = Counter(wrong_label(str(index), 3, list(range(10)), 0) for index in range(900))
    assert 3 not in drawn and set(drawn) == set(range(10)) - {3}


def test_digits_are_balanced_and_claims_are_complete() -> None:
    made = made_of(Images(probes=20, queries=50, noise={"gaussian": (-10.0, -5.0), "blur": (-10.0,)}, label_flip=True))
    assert Counter(made.probes["kind"].to_pylist()) == {"sample": 20, "noisy": 80}
    assert made.relations.num_rows == 100 * 50
    samples = {row["sample_id"]: row for row in made.samples.to_pylist()}
    probe = {row["probe_id"]: samples[row["sample_id"]] for row in made.probe_members.to_pylist()}
    queries = [samples[key] for key in dict.fromkeys(made.relations["query_id"].to_pylist())]
    assert set(Counter(row["label"] for row in queries).values()) == {5}
    assert [row["noise"] for row in queries] == [None] * 50
    for row in made.relations.to_pylist():
        one, other = probe[row["probe_id"]], samples[row["query_id"]]
        if one["noise"] is None:
            same = "self" if one is other else "neighbour" if one["label"] == other["label"] else "unrelated"
            assert (row["kind"], row["level"]) == (same, None)
        elif one["parent_id"] == other["sample_id"]:
            assert (row["kind"], row["level"]) == ("noisy", one["level"])
        else:
            assert row["kind"] is None
    flipped = [row for row in samples.values() if row["noise"] == "label_flip"]
    assert len(flipped) == 20
    assert all(row["label"] != samples[row["parent_id"]]["label"] and row["level"] == 1 for row in flipped)
    assert all(row["pixels"] == samples[row["parent_id"]]["pixels"] for row in flipped)
    assert all(row["cluster"] == row["parent_id"] for row in samples.values() if row["noise"])


def test_more_probes_leave_the_pixels_of_the_others_alone() -> None:
    few, many = (made_of(Images(probes=n, queries=40, noise={"shot": (-5.0,)})) for n in (10, 20))
    assert set(few.samples["sample_id"].to_pylist()) <= set(many.samples["sample_id"].to_pylist())


def test_levels_out_of_reach_are_counted() -> None:
    made = made_of(Images(probes=10, queries=10, noise={"contrast": (20.0,)}))
    assert {row["gate"]: row["count"] for row in made.report.to_pylist()}[MISSED] == 10


def test_faults() -> None:
    for fields, fault in [
        ({"noise": {"fog": (1.0,)}}, "'fog'; expected one of gaussian"),
        ({"noise": {"label_flip": (1.0,)}}, "label_flip: true"),
        ({"noise": {"blur": ()}}, "images.noise.blur"),
        ({"probes": 10, "queries": 5}, "images.queries"),
        ({"queries": 5000}, "at least 5000"),
        ({"split": "valid"}, "train, test or all"),
        ({"source": "a_name_that_is_nowhere"}, "images.source"),
    ]:
        with pytest.raises(InputError, match=fault):
            made_of(Images(**{"probes": 5, "queries": 10, **fields}))
    with pytest.raises(InputError, match="expected a class from 0 to 4"):
        made_of(Images(probes=5, queries=10), n_classes=5)
    with pytest.raises(InputError, match="1 x 8 x 8 .*expected 1 x 28 x 28"):
        made_of(Images(probes=5, queries=10), shape=(1, 28, 28))


def test_digits_are_split_three_to_two_and_the_test_part_is_the_default() -> None:
    from einfluence.curate.images.sources import digits

    parts = {split: set(digits(split)[2].tolist()) for split in ("train", "test", "all")}
    assert parts["train"] | parts["test"] == parts["all"] == set(range(1797))
    assert not parts["train"] & parts["test"] and len(parts["test"]) == 718
    names = {
        int(name.removeprefix("digit")) for name in made_of(Images(probes=5, queries=50)).samples["name"].to_pylist()
    }
    assert names <= parts["test"]


def test_folders_of_classes_and_zips(tmp_path: Path) -> None:
    for split, kind, shade in [("train", "cat", 10), ("train", "dog", 90), ("test", "cat", 11), ("test", "dog", 91)]:
        folder = tmp_path / "set" / split / kind
        folder.mkdir(parents=True)
        for index in range(3):
            Image.new("L", (4, 4), shade + 20 * index).save(folder / f"{index}.png")
    made = made_of(Images(source="set", split="test", probes=2, queries=6), tmp_path)
    assert Counter(made.samples["domain"].to_pylist()) == {"cat": 3, "dog": 3}
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in sorted((tmp_path / "set" / "train").rglob("*.png")):
            archive.write(file, file.relative_to(tmp_path / "set" / "train"))
    packed = made_of(Images(source="set.zip", probes=2, queries=6), tmp_path)
    assert Counter(packed.samples["domain"].to_pylist()) == {"cat": 3, "dog": 3}


def test_moving_pictures_are_counted_and_equal_first_frames_of_two_classes_are_told(tmp_path: Path) -> None:
    frames = [Image.new("L", (4, 4), shade) for shade in (0, 120, 250)]
    for place, kind in enumerate(["cat", "dog"]):
        folder = tmp_path / "set" / kind
        folder.mkdir(parents=True)
        frames[0].save(folder / "moves.gif", save_all=True, append_images=frames[1 + place :])
        Image.new("L", (4, 4), 30 + place).save(folder / "still.png")
    made = made_of(Images(source="set", probes=2, queries=4), tmp_path, n_classes=2, shape=(1, 4, 4))
    gates = {row["gate"]: (row["count"], row["example"]) for row in made.report.to_pylist()}
    assert gates[FRAMES][0] == 2 and "moves.gif" in gates[FRAMES][1]
    assert gates[TWO_CLASSES][0] == 1 and gates[TWO_CLASSES][1].count("moves.gif") == 2
    assert made.samples.num_rows == 4


def idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def test_idx_files_gzipped_and_not(tmp_path: Path) -> None:
    pixels = np.arange(6 * 9).reshape(6, 3, 3) * 4
    for prefix in ("train", "t10k"):
        idx(tmp_path / f"{prefix}-images-idx3-ubyte.gz", pixels)
        idx(tmp_path / f"{prefix}-labels-idx1-ubyte", np.array([0, 1] * 3))
    made = made_of(Images(source=str(tmp_path), split="test", probes=2, queries=6))
    assert made.samples.num_rows == 6 and set(made.samples["label"].to_pylist()) == {0, 1}
    first = next(row for row in made.samples.to_pylist() if row["name"] == "t10k1")
    assert first["pixels"] == pytest.approx((pixels[1] / 255).ravel().tolist())
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x06\0")
    with pytest.raises(InputError, match="1 bytes of data; expected 6"):
        made_of(Images(source=str(tmp_path), split="test", probes=2, queries=6))


def test_archives_of_medmnists_kind(tmp_path: Path) -> None:
    pixels, labels = np.arange(6 * 27, dtype=np.uint8).reshape(6, 3, 3, 3), np.array([[0], [1]] * 3, np.uint8)
    file = tmp_path / "some.npz"
    np.savez(file, train_images=pixels + 1, train_labels=labels, test_images=pixels, test_labels=labels)
    made = made_of(Images(source=str(file), split="test", probes=2, queries=6))
    first = next(row for row in made.samples.to_pylist() if row["name"] == "test_1")
    assert made.samples.num_rows == 6 and (first["label"], first["shape"]) == (1, [3, 3, 3])
    assert first["pixels"] == pytest.approx((np.moveaxis(pixels[1], -1, 0) / 255).ravel().tolist())
    assert made_of(Images(source=str(file), split="training", probes=2, queries=6)).samples.num_rows == 6


FAULTS: list[tuple[dict[str, np.ndarray], str]] = [
    ({"train_images": np.zeros((2, 3, 3)), "test_images": np.zeros((2, 3, 3))}, "the arrays train_images, test_images"),
    ({"images": np.zeros((2, 3, 3)), "labels": np.zeros((2, 14), int)}, "one class index an image"),
    ({"images": np.zeros((2, 3, 3)), "labels": np.zeros(2)}, "float64 of shape"),
    ({"images": np.zeros((2, 3, 3, 4)), "labels": np.zeros(2, int)}, "volumes are not read"),
    ({"images": np.full((2, 3, 3), 7.0), "labels": np.zeros(2, int)}, "values from 7 to 7"),
    ({"images": np.array([None, None]), "labels": np.zeros(2, int)}, "a file that cannot be read"),
]


@pytest.mark.parametrize(("arrays", "says"), FAULTS)
def test_archives_that_are_no_pictures_of_one_class_each(
    tmp_path: Path, arrays: dict[str, np.ndarray], says: str
) -> None:
    np.savez(tmp_path / "some.npz", **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=says):
        made_of(Images(source=str(tmp_path / "some.npz"), probes=2, queries=2))


def test_of_several_splits_of_an_archive_one_is_named(tmp_path: Path) -> None:
    both = {f"{split}_{kind}": np.zeros((2, 3, 3)[:at], np.uint8) for split in ("a", "b") for kind, at in
            (("images", 3), ("labels", 1))}  # fmt: skip
    np.savez(tmp_path / "some.npz", **both)
    for split, says in ((None, "found nothing; expected one of a, b"), ("c", "found 'c'; expected one of a, b")):
        with pytest.raises(InputError, match=says):
            made_of(Images(source=str(tmp_path / "some.npz"), split=split, probes=2, queries=2))
    (tmp_path / "some.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match="a file that cannot be read"):
        made_of(Images(source=str(tmp_path / "some.npz"), split="a", probes=2, queries=2))


def test_image_sets_of_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "kind": datasets.ClassLabel(names=["cat", "dog"]),
            "note": datasets.Value("string"),
        }
    )
    rows = [{"picture": Image.new("L", (4, 4), 10 * index), "kind": index % 2, "note": ""} for index in range(6)]
    table = datasets.Dataset.from_list(rows, features=features)
    datasets.DatasetDict({"test": table}).save_to_disk(tmp_path / "pets")
    made = made_of(Images(source=str(tmp_path / "pets"), probes=2, queries=6))
    assert Counter(made.samples["domain"].to_pylist()) == {"cat": 3, "dog": 3}
    assert sorted(row[0] for row in made.samples["pixels"].to_pylist()) == pytest.approx(
        [i * 10 / 255 for i in range(6)]
    )
    with pytest.raises(InputError, match="'train'; expected one of test"):
        made_of(Images(source=str(tmp_path / "pets"), split="train", probes=2, queries=6))


def test_an_image_that_cannot_be_read_is_no_query_and_stays_a_probe(tmp_path: Path) -> None:
    images = Images(source="set", probes=6, queries=6)
    for place in range(6):
        folder = tmp_path / "set" / ("cat" if place % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4), 20 * place).save(folder / f"{place}.png")
    whole = made_of(images, tmp_path, base_features=flat)
    (tmp_path / "set" / "cat" / "3.png").write_bytes((tmp_path / "set" / "cat" / "3.png").read_bytes()[:40])
    made = made_of(images, tmp_path, base_features=flat)
    gates = {row["gate"]: row for row in made.report.to_pylist()}
    assert gates[UNREADABLE]["count"] == 1 and "3.png: an image that cannot be read" in gates[UNREADABLE]["example"]
    bad = next(row for row in made.samples.to_pylist() if row["pixels"] is None)
    assert (bad["name"], bad["modality"], bad["domain"], bad["shape"]) == ("cat/3", "image", "cat", None)
    probe = next(row["probe_id"] for row in made.probe_members.to_pylist() if row["sample_id"] == bad["sample_id"])
    pairs = [row for row in made.relations.to_pylist() if row["probe_id"] == probe]
    assert len(pairs) == 5 and made.relations.num_rows == 30 and bad["sample_id"] not in {p["query_id"] for p in pairs}
    assert {row["distance"] for row in pairs} == {None} and not made.distances.filter(pc.field("probe_id") == probe)
    others = {row["sample_id"] for row in whole.samples.to_pylist()}
    assert len({row["sample_id"] for row in made.samples.to_pylist()} & others) == 5
    for file in (tmp_path / "set").rglob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(InputError, match="6 images, none of which can be read"):
        made_of(images, tmp_path)


def flat(samples: Sequence[Sample]) -> np.ndarray:
    return np.stack([sample.pixels.ravel() for sample in samples if sample.pixels is not None])


@pytest.mark.parametrize("kind", ["zip", "datasets"])
def test_one_damaged_image_spoils_neither_a_zip_nor_a_table(tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    shades = [Image.new("L", (4, 4), 20 * index) for index in range(6)]
    encoded: list[bytes] = []
    for image in shades:
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        encoded.append(buffer.getvalue())
    encoded[3] = encoded[3][:40]
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "set.zip", "w", zipfile.ZIP_STORED) as archive:
            for index, data in enumerate(encoded):
                archive.writestr(f"{index % 2}/{index}.png", data)
        damaged = (tmp_path / "set.zip").read_bytes().replace(encoded[2], encoded[2][::-1])  # fails its checksum
        (tmp_path / "set.zip").write_bytes(damaged)
        source, bad = "set.zip", 2
    else:
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a", "b"])})
        rows = [{"image": {"bytes": data, "path": None}, "label": i % 2} for i, data in enumerate(encoded)]
        datasets.DatasetDict({"test": datasets.Dataset.from_list(rows, features=features)}).save_to_disk(tmp_path / "d")
        source, bad = "d", 1
    made = made_of(Images(source=source, probes=6, queries=6), tmp_path)
    assert made.probes.num_rows == 6 and made.samples["pixels"].null_count == bad


def test_real_mnist_and_omniglot(real_data: Any) -> None:
    made = made_of(
        Images(source=str(real_data("mnist")), split="test", probes=20, queries=60, noise={"rotate": (-3.0,)})
    )
    assert Counter(row["label"] for row in made.samples.to_pylist() if row["noise"] is None) == dict.fromkeys(
        range(10), 6
    )
    archive = real_data("omniglot") / "images_background_small1.zip"
    drawn = made_of(Images(source=str(archive), probes=5, queries=20))
    assert drawn.samples["shape"][0].as_py() == [1, 105, 105]
