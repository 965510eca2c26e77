"""A base that was found on another machine: its files are looked for here, and taken for their content."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from einfluence.bases.load import find_base, load_base
from einfluence.embedded import data_folder
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EINFLUENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EINFLUENCE_BASES", raising=False)


def elsewhere(gpt2_folder: Path, name: str = "mine") -> BaseInfo:
    """As a machine says it that has the folder in a place that this one lacks."""
    return replace(find_base(str(gpt2_folder), "test"), folder=f"/on/another/machine/{name}", label=name)


def other(folder: Path, place: Path) -> Path:
    """The model with one weight that differs."""
    shutil.copytree(folder, place)
    weights = load_file(place / "model.safetensors")
    weights["transformer.ln_f.bias"] += 1
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    return place


def test_of_folders_of_its_name_the_one_with_its_content_is_taken(
    gpt2_folder: Path, gpt2: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other(gpt2_folder, tmp_path / "wrong" / "mine")
    right = shutil.copytree(gpt2_folder, tmp_path / "right" / "mine")
    shutil.copytree(gpt2_folder, tmp_path / "right" / "another name")
    roots = [tmp_path / "missing", tmp_path / "wrong", tmp_path / "right"]
    monkeypatch.setenv("EINFLUENCE_BASES", os.pathsep.join(map(str, roots)))
    for info in (elsewhere(gpt2_folder), elsewhere(gpt2_folder).beginning("always")):
        found = load_base(info)
        assert (found.info.folder, found.info.base_id) == (str(right), info.base_id)
        for name, value in gpt2.model.state_dict().items():
            assert torch.equal(found.model.state_dict()[name], value)
    in_place = replace(elsewhere(gpt2_folder), folder=str(other(gpt2_folder, tmp_path / "changed" / "mine")))
    assert load_base(in_place).info.folder == str(right)


def test_where_none_has_its_content_all_that_were_tried_are_told(
    gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other(gpt2_folder, tmp_path / "wrong" / "mine")
    (tmp_path / "empty" / "mine").mkdir(parents=True)
    monkeypatch.setenv("EINFLUENCE_BASES", f"{tmp_path / 'wrong'}{os.pathsep}{tmp_path / 'empty'}")
    with pytest.raises(InputError) as told:
        load_base(elsewhere(gpt2_folder))
    assert told.value.where == "mine" and "EINFLUENCE_BASES" in told.value.fix
    assert told.value.found.startswith("/on/another/machine/mine (no such folder); ")
    assert (
        f"; {tmp_path}/wrong/mine (others, or changed since they were found); {tmp_path}/empty/mine ("
        in told.value.found
    )
    assert "no config.json" in told.value.found and "cache" not in told.value.found


def test_an_embedded_base_is_taken_from_this_machines_package() -> None:
    name = next(path.parent.name for path in sorted((data_folder() / "models").glob("*/config.json")))
    info = find_base(f"embedded:{name}", "test")
    moved = replace(info, folder=f"/another/python/einfluence/_data/models/{name}")
    for there in (moved, moved.beginning("never")):
        assert load_base(there).info.folder == info.folder


def test_a_base_of_the_hub_is_taken_from_this_machines_cache(
    gpt2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / commit
    shutil.copytree(gpt2_folder, snapshot)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    tail = f"models--org--name/snapshots/{commit}"
    moved = replace(elsewhere(gpt2_folder), folder=f"/home/other/{tail}", label="org/name")
    assert load_base(moved).info.folder == str(snapshot)
    shutil.rmtree(snapshot)
    with pytest.raises(InputError, match="org/name.*cannot be reached"):
        load_base(moved)


def test_a_base_that_was_trained_is_taken_by_what_its_files_hold(gpt2_folder: Path, tmp_path: Path) -> None:
    info = elsewhere(gpt2_folder, "trained-0")
    trained = replace(info, base_id="of the training", content=info.base_id, label="embedded:x, trained on a")
    with pytest.raises(InputError, match="no such folder"):
        load_base(trained)
    shutil.copytree(gpt2_folder, tmp_path / "cache" / "models" / "trained-0")
    assert load_base(trained).info.base_id == "of the training"
    config = tmp_path / "cache" / "models" / "trained-0" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "n_head": 4}))
    with pytest.raises(InputError, match="others, or changed"):
        load_base(trained)
