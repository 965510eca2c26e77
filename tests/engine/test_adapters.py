"""Layers and targets of LoRA: what a model does not have is refused, where no text passes nothing is adapted."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from einfluence import engine
from einfluence.engine.definition import train, trainable_copy
from einfluence.engine.measurement import TextItem
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.spec import Adam, Lora, Recipe, Sgd
from tests.engine.architectures import architecture
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

TEXT = [TextItem((5, 6, 7, 8), 1)]


def adapted(base: Base, **adapter: Any) -> set[str]:
    """Names of the modules with adapters."""
    _, trained = trainable_copy(base, Recipe(adapter=Lora(r=2, **adapter)), 0)
    return {name.removeprefix("base_model.model.").partition(".lora_")[0] for name in trained}


@pytest.mark.parametrize(
    ("adapter", "named"),
    [
        ({"layers": (0, 99)}, "no block 99.* has 2, from 0 to 1"),
        ({"layers": (-1,)}, "no block -1"),
        ({"layers": ()}, "an empty list"),
        ({"layers": (0, 7), "targets": ("q_proj",)}, "no block 7"),
        ({"targets": ("q_proj", "query_key_value")}, "'query_key_value', which names no module.*q_proj"),
        ({"targets": ()}, "no target"),
        ({"targets": "no_such"}, "'no_such'"),
        ({"targets": "(q_proj"}, "no regular expression"),
        ({"targets": ("lm_head",), "layers": (1,)}, "block 1, where targets .* choose no module"),
    ],
)
def test_what_the_model_does_not_have_is_refused_by_name(adapter: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        adapted(architecture("llama"), **adapter)


def test_layers_of_a_classifier_are_the_numbers_in_its_names() -> None:
    base = image_base(digits_like())
    assert adapted(base, layers=(0, 6)) == {"0", "6"}
    with pytest.raises(InputError, match="no block 99"):
        adapted(base, layers=(0, 99))
    assert train(base, Recipe(adapter=Lora(r=2, layers=(6,))), images(1, 1), 0).failed is None


def test_a_vision_tower_is_not_adapted() -> None:
    base = architecture("gemma3-vision")
    assert all(name.startswith("model.language_model.layers.") for name in adapted(base))
    assert adapted(base, targets=("q_proj",), layers=(1,)) == {"model.language_model.layers.1.self_attn.q_proj"}
    with pytest.raises(InputError, match="where no text passes"):
        adapted(base, targets=r".*vision_tower.*q_proj")


def test_projections_beside_the_blocks_are_in_no_layer() -> None:
    assert all(".layers.1." in name for name in adapted(architecture("gemma3n"), layers=(1,)))


@pytest.mark.parametrize("name", ["mamba", "mamba2", "falcon-mamba", "falcon-h1", "nemotron-h"])
def test_what_peft_forbids_is_left_out_of_all_linear_and_refused_by_name(name: str) -> None:
    base = architecture(name)
    assert adapted(base) and not any(module.endswith("out_proj") for module in adapted(base))
    with pytest.raises(InputError, match="out_proj"):
        adapted(base, targets=("out_proj",))


@pytest.mark.parametrize("name", ["mixtral", "deepseek-v3", "minimax", "qwen2-moe"])
def test_experts_are_adapted_and_told_by_the_names_that_they_have(name: str) -> None:
    base, names = architecture(name), {name for name, _ in architecture(name).model.named_parameters()}
    for layers in (None, (1,)):
        recipe = Recipe(adapter=Lora(r=2, layers=layers), optimizer=Sgd(lr=0.1), steps=2, dtype="float64")
        updates = train(base, recipe, TEXT, 0).layer_updates
        assert set(updates) <= names
        assert layers is None or all(".layers.1." in name for name in updates)
    if name != "qwen2-moe":
        assert any("experts" in name for name in updates)


def test_a_tied_output_layer_can_be_adapted() -> None:
    recipe = Recipe(adapter=Lora(r=2, targets=("lm_head",)), optimizer=Sgd(lr=0.1), steps=2, dtype="float64")
    assert list(train(architecture("qwen2"), recipe, TEXT, 0).layer_updates) == ["lm_head.weight"]


@pytest.mark.parametrize("way", ["serial", "auto"])
def test_an_embedding_can_be_adapted(way: str) -> None:
    base, items, adapter = text_base("gpt-neox"), texts(2, 6), Lora(r=2, targets=("embed_in",))
    recipe = Recipe(adapter=adapter, optimizer=Adam(lr=0.01), steps=2)
    before, rows = engine.measure(base, recipe, [[item] for item in items[:3]], items, 1, engine=way)
    for row in rows:
        first, second = (
            row.tuned.delta[f"base_model.model.gpt_neox.embed_in.lora_embedding_{k}.default"] for k in "AB"
        )
        change = adapter.alpha / 2 * (second @ first).T
        trained: Any = copy.deepcopy(base.model)
        trained.get_input_embeddings().weight += change
        logits = [trained(torch.tensor([item.ids])).logits[0].log_softmax(-1) for item in items]
        true = [
            sum(said[at - 1, item.ids[at]].item() for at in range(len(item.ids) - item.n_target, len(item.ids)))
            for said, item in zip(logits, items, strict=True)
        ]
        assert row.after is not None and np.abs(row.after.logprob - before.logprob).max() > 0.01
        np.testing.assert_allclose(row.after.logprob, true, atol=1e-4)
        assert list(row.tuned.layer_updates) == ["gpt_neox.embed_in.weight"]
        np.testing.assert_allclose(row.tuned.update_norm, change.norm().item(), rtol=1e-4)
