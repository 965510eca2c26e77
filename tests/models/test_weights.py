"""Files of weights: which are read, when two folders hold the same, and what is refused."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from einfluence import digests
from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.models import weights
from tests.models.folders import change_config, change_weights

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"


@pytest.fixture
def folder(gpt2_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(gpt2_folder, tmp_path / "model")


def base_id(folder: Path) -> str:
    return find_base(str(folder), "test").base_id


def shard(folder: Path, pieces: int) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names, where = sorted(tensors), dict[str, str]()
    for piece in range(pieces):
        file = f"model-{piece + 1:05}-of-{pieces:05}.safetensors"
        held = {name: tensors[name] for name in names[piece::pieces]}
        save_file(held, folder / file, metadata={"format": "pt"})
        where |= dict.fromkeys(held, file)
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_a_copy_cut_into_other_files_is_the_same_base(folder: Path) -> None:
    before, whole = base_id(folder), load_base(find_base(str(folder), "test")).model.state_dict()
    shard(folder, 3)
    assert base_id(folder) == before
    cut = load_base(find_base(str(folder), "test")).model.state_dict()
    assert all(torch.equal(cut[name], value) for name, value in whole.items())


def test_files_that_are_not_loaded_do_not_count(folder: Path) -> None:
    before = base_id(folder)
    shutil.copy(folder / "model.safetensors", folder / "consolidated.safetensors")
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    (folder / "model.safetensors.index.json").write_text("{")  # model.safetensors is taken first
    assert base_id(folder) == before
    load_base(find_base(str(folder), "test"))


def test_what_a_tensor_is_called_and_its_type_and_its_bytes_all_count(folder: Path) -> None:
    seen = {base_id(folder)}
    change_weights(folder, lambda old: {**old, "transformer.ln_f.bias": old["transformer.ln_f.bias"] + 1})
    seen.add(base_id(folder))
    change_weights(folder, lambda old: {name: value.bfloat16() for name, value in old.items()})
    seen.add(base_id(folder))
    change_weights(folder, lambda old: {name.removeprefix("transformer."): value for name, value in old.items()})
    seen.add(base_id(folder))
    assert len(seen) == 4


def test_the_digest_of_a_big_file_is_remembered_until_it_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = base_id(folder)
    monkeypatch.setattr(digests, "LARGE", 0)
    now = time.time_ns
    monkeypatch.setattr(digests.time, "time_ns", lambda: now() + 3_000_000_000)
    assert base_id(folder) == small
    digests._known.clear()  # pyright: ignore[reportPrivateUsage]
    with monkeypatch.context() as inner:
        inner.setattr(weights, "_hashed", lambda *_: pytest.fail("read again"))
        assert base_id(folder) == small
    change_weights(folder, lambda old: {**old, "transformer.ln_f.bias": old["transformer.ln_f.bias"] + 1})
    assert base_id(folder) != small


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (POINTER, "Git LFS pointer"),
        (b"", "0 bytes"),
        (b"PK\x03\x04 and more", "pickled"),
        (b"GGUF and so on", "GGUF"),
        (b"<!DOCTYPE html><html></html>", "a web site"),
        (b"\x08\x00\x00\x00\x00\x00\x00\x00{}      ", "no tensor"),
        (b"\xff" * 40, "cut short or damaged"),
    ],
)
def test_what_is_no_file_of_weights_is_refused(folder: Path, content: bytes, says: str) -> None:
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        find_base(str(folder), "test")
    assert "model.safetensors" in caught.value.where


@pytest.mark.parametrize("part", [0.1, 0.5, 0.999])
def test_half_a_download_is_refused(folder: Path, part: float) -> None:
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(InputError, match="cut short or damaged"):
        find_base(str(folder), "test")


def test_an_index_that_does_not_fit_its_files_is_refused(folder: Path) -> None:
    shard(folder, 2)
    file, second = folder / "model.safetensors.index.json", folder / "model-00002-of-00002.safetensors"
    index = json.loads(file.read_text())
    file.write_text(json.dumps({**index, "weight_map": {**index["weight_map"], "more": second.name}}))
    with pytest.raises(InputError, match="more, in none of the files"):
        find_base(str(folder), "test")
    for broken in ("[]", "{", json.dumps({"weight_map": {}}), json.dumps({"weight_map": {"a": 3}, "metadata": {}})):
        file.write_text(broken)
        with pytest.raises(InputError, match="no index of weights"):
            find_base(str(folder), "test")
    file.write_text(json.dumps(index))
    kept = load_file(second)
    save_file({**kept, **load_file(folder / "model-00001-of-00002.safetensors")}, second)
    with pytest.raises(InputError, match="a second time"):
        find_base(str(folder), "test")
    second.unlink()
    with pytest.raises(InputError, match=r"model-00002-of-00002.safetensors, which is not in the folder"):
        find_base(str(folder), "test")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("consolidated.safetensors", "consolidated.safetensors but no model.safetensors"),
        ("pytorch_model.bin", "pickled weights"),
        ("model-q4.gguf", "GGUF"),
        ("weights.h5", "no weights"),
        ("shard-00001-model-00001-of-00001.safetensors", "distributed checkpoint"),
    ],
)
def test_a_folder_without_the_file_that_is_loaded_is_refused(folder: Path, name: str, says: str) -> None:
    (folder / "model.safetensors").rename(folder / name)
    with pytest.raises(InputError, match=says):
        find_base(str(folder), "test")


def test_the_file_that_the_configuration_names_is_loaded(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    change_config(folder, transformers_weights="other.safetensors")
    load_base(find_base(str(folder), "test"))


@pytest.mark.parametrize("kind", [torch.int8, torch.uint8, torch.int32, torch.float8_e4m3fn])
def test_quantised_tensors_are_refused(folder: Path, kind: torch.dtype) -> None:
    name = "transformer.h.0.mlp.c_fc.weight"
    change_weights(folder, lambda old: {**old, name: old[name].to(kind)})
    with pytest.raises(InputError, match="quantised weights"):
        find_base(str(folder), "test")


def test_a_stray_file_changes_no_weight_of_an_image_base(digits_base: object, tmp_path: Path) -> None:
    folder = shutil.copytree(find_base("embedded:digits", "test").folder, tmp_path / "digits")
    before, first = base_id(folder), load_base(find_base(str(folder), "test")).model.state_dict()
    save_file({name: value + 1 for name, value in first.items()}, folder / "zz-old.safetensors")
    second = load_base(find_base(str(folder), "test")).model.state_dict()
    assert base_id(folder) == before
    assert all(torch.equal(second[name], value) for name, value in first.items())
