from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives.image_class import ImageClass, build_classifier


def test_the_digits_base_reads_at_least_97_percent_of_unseen_scans(digits_base: Base) -> None:
    marks = json.loads((Path(digits_base.info.folder) / "evaluation.json").read_text())
    assert marks["accuracy"] >= 0.97
    assert digits_base.objective == ImageClass((1, 8, 8), 10)


def test_the_digits_base_is_the_same_whenever_it_is_trained(digits_base: Base, tmp_path: Path) -> None:
    from einfluence.bases.digits import train_digits

    train_digits(tmp_path)
    again = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in digits_base.model.state_dict().items())


def test_a_base_is_named_by_content(gpt2_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(gpt2_folder, tmp_path / "elsewhere")
    name = find_base(str(gpt2_folder), "test").base_id
    assert find_base(str(copy), "test").base_id == name
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(dict(reversed(config.items())) | {"transformers_version": "0"}))
    assert find_base(str(copy), "test").base_id == name
    weights = load_file(copy / "model.safetensors")
    first = next(iter(weights))
    weights[first] = torch.nextafter(weights[first], torch.tensor(9.0))
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert find_base(str(copy), "test").base_id != name


@pytest.mark.parametrize("name", ["embedded:nothing", "./no/such/folder", "some/deep/path", "not a model"])
def test_what_is_no_model_is_told(name: str) -> None:
    with pytest.raises(InputError, match=r"spec.yaml:1 base"):
        find_base(name, "spec.yaml:1 base")


def test_a_hub_id_while_offline_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="cannot be reached"):
        find_base("openai-community/gpt2@main", "base")


def test_a_folder_without_weights_or_with_pickles_only_is_told(gpt2_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(gpt2_folder, tmp_path / "m")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match="pickled weights"):
        find_base(str(folder), "base")
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match="no config.json"):
        find_base(str(folder), "base")


def test_an_image_classifier_from_a_documented_config(tmp_path: Path) -> None:
    config = {
        "modality": "image",
        "input_shape": [3, 4, 4],
        "classes": 5,
        "layers": [["Flatten", {}], ["Linear", {"in_features": 48, "out_features": 5}]],
    }
    model = build_classifier(config, "test")
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    base = load_base(find_base(str(tmp_path), "test"))
    pixels = torch.from_numpy(np.random.default_rng(0).random((2, 3, 4, 4), np.float32))
    assert torch.equal(base.model(pixels), model(pixels))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"layers": [["LSTM", {}]]}, "LSTM"),
        ({"layers": [["Linear", {"in": 3}]]}, "arguments of torch.nn.Linear"),
        ({"layers": []}, "no `layers`"),
        ({"input_shape": [3, 4]}, r"\[channels, height, width\]"),
        ({"classes": "ten"}, "number of classes"),
        ({"layers": [["Flatten", {}], ["Linear", {"in_features": 47, "out_features": 5}]]}, "do not fit the layers"),
    ],
)
def test_a_wrong_classifier_config_is_told(tmp_path: Path, change: dict[str, object], says: str) -> None:
    good = {"modality": "image", "input_shape": [3, 4, 4], "classes": 5, "layers": [["Flatten", {}]]}
    linear = torch.nn.Linear(48, 5)
    save_file({"1.weight": linear.weight.data, "1.bias": linear.bias.data}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(good | change))
    with pytest.raises(InputError, match=says):
        load_base(find_base(str(tmp_path), "test"))
