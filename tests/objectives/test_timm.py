"""Models of timm: what its own transforms and a loop of transformers say, where it is installed; else the refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.head import Head
from einfluence.models.base import Base
from tests.models.folders import change_config
from tests.objectives.test_pretrained_images import (
    LABELS,
    fitted_pictures,
    hold_against_transformers,
    load,
    scatter_all,
)
from tests.objectives.tiny_texts import hold_against_the_definition

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {  # with the name of its classifier
    "vit_tiny_patch16_224": ("head", {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}),
    "resnet10t": ("fc", {"channels": [8, 8, 8, 16], "stem_width": 8}),
    "convnext_atto": ("head.fc", {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}),
    "mobilenetv3_small_050": ("classifier", {}),
}
PICTURES = {
    "input_size": [3, 32, 32],
    "interpolation": "bicubic",
    "crop_pct": 0.9,
    "mean": [0.4, 0.5, 0.5],
    "std": [0.5] * 3,
}


def save(folder: Path, name: str) -> Path:
    """A random classifier as transformers saves it; norms of batches hold statistics."""
    missing = [
        one for one in ("timm", "torchvision") if not getattr(transformers.utils.import_utils, f"is_{one}_available")()
    ]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {label: at for at, label in enumerate(LABELS)}}
    config = transformers.TimmWrapperConfig(
        architecture=name, model_args=ARCHITECTURES[name][1], pretrained_cfg=PICTURES, **names
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = transformers.TimmWrapperForImageClassification(config)
        scatter_all(model)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(save(tmp_path_factory.mktemp("timm") / request.param, request.param))


@pytest.mark.parametrize("adapter", ["full", "last"])
def test_influence_is_what_a_loop_of_transformers_says(base: Base, adapter: str) -> None:
    hold_against_transformers(base, adapter)


@pytest.mark.parametrize("adapter", [{"kind": "lora", "r": 2}, {"kind": "match", "pattern": "bias"}])
def test_adapters_are_trained_as_the_definition_says_and_leave_the_base_alone(base: Base, adapter: Any) -> None:
    hold_against_the_definition(base, fitted_pictures(base), adapter)


def test_the_last_layer_is_what_timm_calls_the_classifier(base: Base) -> None:
    name, _ = ARCHITECTURES[Path(base.info.folder).name]
    assert base.objective.head(base.model) is base.model.get_submodule(f"timm_model.{name}")


def test_a_new_head_takes_the_place_of_the_classifier(tmp_path: Path) -> None:
    folder = save(tmp_path / "vit", "vit_tiny_patch16_224")
    fresh = load_base(find_base(str(folder), "test", head=Head(labels=("a", "b"))))
    head, body = fresh.objective.head(fresh.model), load(folder).model.state_dict()
    assert head is not None and [tuple(value.shape) for value in head.parameters()] == [(2, 16), (2,)]
    assert all(value.equal(body[name]) for name, value in fresh.model.state_dict().items() if ".head." not in name)
    assert fresh.objective.curation()["class_names"] == {"a": 0, "b": 1}


def test_what_becomes_of_a_picture_is_in_the_name_of_the_base(tmp_path: Path) -> None:
    folder = save(tmp_path / "vit", "vit_tiny_patch16_224")
    first = find_base(str(folder), "test").base_id
    change_config(folder, pretrained_cfg={**PICTURES, "mean": [0.5, 0.5, 0.5]})
    assert find_base(str(folder), "test").base_id != first


def test_a_checkpoint_of_timms_own_is_the_same_model(tmp_path: Path) -> None:
    folder = save(tmp_path / "vit", "vit_tiny_patch16_224")
    own = tmp_path / "own"
    own.mkdir()
    weights = load_file(folder / "model.safetensors")
    save_file({name.removeprefix("timm_model."): value for name, value in weights.items()}, own / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    kept = ("architecture", "model_args", "num_classes", "label_names", "pretrained_cfg")
    (own / "config.json").write_text(json.dumps({name: config[name] for name in kept}))
    one, other = load(folder), load(own)
    assert other.info.objective == "image_class" and other.objective.curation()["class_names"] == {
        name: at for at, name in enumerate(LABELS)
    }
    assert all(value.equal(other.model.state_dict()[name]) for name, value in one.model.state_dict().items())


def test_without_timm_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.utils.import_utils.is_timm_available", lambda: False)
    monkeypatch.setattr("transformers.utils.import_utils.is_torchvision_available", lambda: True)
    config = {"architecture": "resnet10t", "num_classes": 3, "pretrained_cfg": PICTURES}
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file({"fc.weight": torch.zeros(3, 2)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"a model of timm \(resnet10t\), and no timm; .*pip install timm"):
        load(tmp_path)
