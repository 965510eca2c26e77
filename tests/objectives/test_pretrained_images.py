"""Image classifiers of transformers: what its own processor and loop say of many architectures, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers import AutoImageProcessor

import einfluence
from einfluence import engine
from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.samples import Sample
from einfluence.spec import Recipe
from tests.engine.random_models import scatter
from tests.models.folders import change_config, change_weights
from tests.objectives.tiny_texts import hold_against_the_definition

LABELS = ["bird", "cat", "dog"]
_PATCHES = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
_VIT = {**_PATCHES, "image_size": 16, "patch_size": 8}
_SWIN = {"embed_dim": 8, "depths": [1, 2], "num_heads": [2, 2], "window_size": 2, "image_size": 16, "patch_size": 2}
_CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
_MOBILE = {"min_depth": 4, "image_size": 16}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "ViT": _VIT,
    "DeiT": _VIT,
    "Swin": _SWIN,
    "ConvNext": _CONVNEXT,
    "ResNet": _RESNET,
    "MobileNetV1": {**_MOBILE, "depth_multiplier": 0.125},
    "MobileNetV2": {**_MOBILE, "depth_multiplier": 0.1, "depth_divisible_by": 4},
}
PROCESSOR = {"size": {"shortest_edge": 18}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True}


def save(folder: Path, name: str, labels: Sequence[str] = LABELS) -> Path:
    """A random classifier beside its processor, as `save_pretrained` writes them; norms of batches hold statistics."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        names = {"id2label": dict(enumerate(labels)), "label2id": {label: at for at, label in enumerate(labels)}}
        config = getattr(transformers, f"{name}Config")(**ARCHITECTURES[name], **names)
        model = getattr(transformers, f"{name}ForImageClassification")(config)
        scatter_all(model)
    model.save_pretrained(folder)
    transformers.MobileNetV2ImageProcessorPil(**PROCESSOR).save_pretrained(folder)
    return folder


def scatter_all(model: torch.nn.Module) -> None:
    """Draws the parameters of a model, and the statistics of its norms of batches."""
    scatter(model)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.normal_(module.running_mean, 0, 0.3)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)


def load(folder: Path) -> Base:
    return load_base(find_base(str(folder), "test"))


@pytest.fixture(scope="module", params=ARCHITECTURES)
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    return load(save(tmp_path_factory.mktemp("classifier"), request.param))


@pytest.fixture
def vit(tmp_path: Path) -> Path:
    return save(tmp_path / "vit", "ViT")


def pictures(count: int) -> list[np.ndarray]:
    """8-bit pictures of different sizes, (height, width, 3)."""
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (20 + 3 * at, 30, 3), dtype=np.uint8) for at in range(count)]


def fitted(base: Base, picture: np.ndarray, label: int) -> Sample:
    pixels = (np.moveaxis(picture, -1, 0) / 255).astype(np.float32)
    return Sample("a", pixels=base.objective.curation()["fit"](pixels), label=label)


def by_transformers(folder: str, adapter: str, probe: int) -> Iterator[float]:
    """Influence as transformers' own processor, loss and logits have it: two steps of SGD in eval mode."""
    processor: Any = AutoImageProcessor.from_pretrained(folder, backend="pil")
    model: Any = transformers.AutoModelForImageClassification.from_pretrained(folder).double().eval()
    head = [module for module in model.modules() if isinstance(module, torch.nn.Linear)][-1]
    trained = model if adapter == "full" else head
    inputs = [processor(Image.fromarray(each), return_tensors="pt")["pixel_values"].double() for each in pictures(4)]

    @torch.no_grad()
    def logprobs() -> list[float]:
        return [float(model(pixels).logits.log_softmax(-1)[0, at % 3]) for at, pixels in enumerate(inputs)]

    before = logprobs()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.02)
    for _ in range(2):
        loss = model(inputs[probe], labels=torch.tensor([probe % 3])).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (after - start for after, start in zip(logprobs(), before, strict=True))


@pytest.mark.parametrize("adapter", ["full", "last"])
def test_influence_is_what_a_loop_of_transformers_says(base: Base, adapter: str) -> None:
    hold_against_transformers(base, adapter)


def hold_against_transformers(base: Base, adapter: str) -> None:
    """Influence by the generic engine is that of :func:`by_transformers`."""
    recipe = Recipe.model_validate({"adapter": adapter, "optimizer": "sgd", "lr": 0.02, "steps": 2, "dtype": "float64"})
    items = [encode(base, each) for each in fitted_pictures(base)]
    found = engine.measure(base, recipe, [[items[0]], [items[2]]], items, 0)
    for probe, row in zip((0, 2), found.rows, strict=True):
        assert row.after is not None and row.tuned.engine == "generic"
        wanted = np.array(list(by_transformers(base.info.folder, adapter, probe)))
        assert np.abs(wanted).max() > 1e-3
        np.testing.assert_allclose(row.after.logprob - found.before.logprob, wanted, rtol=1e-3, atol=1e-5)


def fitted_pictures(base: Base) -> list[Sample]:
    return [fitted(base, picture, at % 3) for at, picture in enumerate(pictures(4))]


def test_adapters_are_trained_as_the_definition_says_and_leave_the_base_alone(base: Base) -> None:
    hold_against_the_definition(base, fitted_pictures(base))


def test_a_pattern_of_parameters_is_trained_as_the_definition_says(vit: Path) -> None:
    base = load(vit)
    hold_against_the_definition(base, fitted_pictures(base), {"kind": "match", "pattern": "bias"})


def test_pictures_of_any_size_in_folders_are_measured_to_the_store(vit: Path) -> None:
    for at, picture in enumerate(pictures(6)):
        place = vit.parent / "pictures" / LABELS[at % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{at}.png")
    spec = vit.parent / "spec.yaml"
    images = {"source": "pictures", "probes": 3, "queries": 6, "noise": {"gaussian": [-10]}, "label_flip": True}
    arms = [{"recipe": {"adapter": "last", "optimizer": "sgd", "lr": 0.1, "steps": 1}}]
    spec.write_text(json.dumps({"base": "vit", "images": images, "arms": arms}))
    result = einfluence.measure(spec, vit.parent / "store")
    assert (result.computed, result.failed) == (9 * 6, 0)
    with einfluence.Store(vit.parent / "store").connect() as connection:
        shapes = connection.sql("select distinct shape, objective from samples").fetchall()
        names = connection.sql("select distinct label_name from samples order by 1").fetchall()
        distances = connection.sql("select count(distance) from relations").fetchall()
    assert shapes == [([3, 16, 16], "image_class")]
    assert [name for (name,) in names] == LABELS and distances == [(54,)]


def test_grey_digits_get_the_colours_and_the_size_of_the_model(tmp_path: Path) -> None:
    save(tmp_path / "vit", "ViT", [str(digit) for digit in range(10)])
    spec = tmp_path / "spec.yaml"
    arms = [{"recipe": {"adapter": "last", "optimizer": "sgd", "lr": 0.1, "steps": 1}}]
    spec.write_text(json.dumps({"base": "vit", "images": {"probes": 1, "queries": 3}, "arms": arms}))
    assert einfluence.measure(spec, tmp_path / "store", report=False).computed == 3
    with einfluence.Store(tmp_path / "store").connect() as connection:
        assert connection.sql("select distinct shape from samples").fetchall() == [([3, 16, 16],)]


def test_the_settings_of_the_processor_are_in_the_name_of_the_base(vit: Path) -> None:
    first = find_base(str(vit), "test").base_id
    (vit / "notes.json").write_text("{}")
    assert find_base(str(vit), "test").base_id == first
    file = vit / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"image_mean": [0.4, 0.5, 0.5]}))
    assert find_base(str(vit), "test").base_id != first


def change_processor(folder: Path, **changes: Any) -> None:
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_processor_that_is_missing_is_told(vit: Path) -> None:
    (vit / "preprocessor_config.json").unlink()
    with pytest.raises(InputError, match=r"no preprocessor_config\.json; expected the model's image processor"):
        load(vit)


def test_a_processor_that_gives_pictures_of_several_sizes_is_refused(vit: Path) -> None:
    change_processor(vit, do_center_crop=False)
    with pytest.raises(InputError, match=r"pictures of 3 x 18 x 28 and 3 x 21 x 18; expected pictures of one size"):
        load(vit)


def test_a_processor_of_another_size_than_the_models_is_told(vit: Path) -> None:
    change_processor(vit, crop_size={"height": 12, "width": 12})
    with pytest.raises(InputError, match=r"fail on a picture of \(3, 12, 12\) .*doesn't match model"):
        load(vit)


def test_a_classifier_without_its_head_is_refused(vit: Path) -> None:
    change_weights(vit, lambda old: {name: value for name, value in old.items() if "classifier" not in name})
    with pytest.raises(InputError, match=r"classifier\.bias, classifier\.weight are missing"):
        load(vit)


def test_another_number_of_classes_than_the_weights_have_is_refused(vit: Path) -> None:
    change_config(vit, id2label={"0": "a", "1": "b"}, label2id={"a": 0, "b": 1})
    with pytest.raises(InputError, match="2 classes, and weights of a head of 3"):
        load(vit)
