"""Undoing one layer's change, held against a network that was put together by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.structure import layer_of
from einfluence.spec import Adam, AdamW, Full, Lora, Recipe, Sgd
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

RECIPES = {
    "LoRA": Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=0.01), steps=3),
    "full SGD": Recipe(adapter=Full(), optimizer=Sgd(lr=0.05), steps=3),
    "full SGD with decay": Recipe(adapter=Full(), optimizer=Sgd(lr=0.05, weight_decay=0.1), steps=2),
    "full Adam": Recipe(adapter=Full(), optimizer=Adam(lr=0.003), steps=2),
}


def by_hand(base: Any, recipe: Recipe, probe: Any, queries: Any, layer: int | None) -> np.ndarray:
    """Log-probabilities after training, with the layer of a copy of the trained network changed back in place."""
    trained = definition.train(base, recipe, probe, 0).delta
    model, parameters = definition.trainable_copy(base, recipe, 0)
    own = dict(base.model.named_parameters())
    with torch.no_grad():
        for name, value in trained.items():
            parameters[name].copy_(value)
        for name, module in model.named_modules():
            if isinstance(module, LoraLayer) and layer_of(base.model, name) == layer:
                module.scaling["default"] = 0.0  # another way than B = 0
        if recipe.adapter.kind != "lora":
            for name, parameter in model.named_parameters():
                if layer_of(base.model, name) == layer:
                    parameter.copy_(own[name])
        return np.array([definition.target_logprobs(base.objective, model, query).sum().item() for query in queries])


@pytest.mark.parametrize("way", ["serial", "auto"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("kind", ["text", "tied text", "image"])
def test_a_restored_layer_is_the_bases_and_all_others_are_as_trained(kind: str, recipe: Recipe, way: str) -> None:
    base = image_base(digits_like()) if kind == "image" else text_base("llama-tied" if kind == "tied text" else "gpt2")
    items = images(3, 6) if kind == "image" else texts(3, 6)
    probes, queries = [[items[0]], [items[1]]], [items[:3], items[1:6]]
    found = list(engine.ablate_layers(base, recipe, probes, queries, 0, engine=way))
    assert [(index, failed) for index, _, failed in found] == [(0, None), (1, None)]
    for index, told, _ in found:
        assert told is not None
        outside = recipe.adapter.kind == "full" and kind != "image"
        untouched = kind == "image" and recipe.adapter.kind == "lora"  # peft leaves the output layer alone
        assert len(told.without) == (4 if kind == "image" else 3) + outside - untouched
        moved = np.abs(told.after.logprob - told.before.logprob).max()
        assert moved > 0.01
        for layer, scores in told.without.items():
            expected = by_hand(base, recipe, probes[index], queries[index], layer)
            assert np.abs(scores.logprob - expected).max() <= 2e-4 * max(moved, 1.0), layer
        most = max(np.abs(scores.logprob - told.after.logprob).max() for scores in told.without.values())
        assert most > 0.01, "the case says nothing if no change mattered"


@pytest.mark.parametrize("way", ["serial", "auto"])
def test_what_an_embeddings_adapter_changed_is_undone(way: str) -> None:
    base, items = text_base("gpt2"), texts(3, 4)
    recipe = Recipe(adapter=Lora(r=2, targets=("wte", "c_attn")), optimizer=Adam(lr=0.01), steps=3)
    ((_, told, _),) = engine.ablate_layers(base, recipe, [[items[0]]], [items], 0, engine=way)
    assert told is not None
    assert set(told.without) == {None, 0, 1, 2}
    for layer, scores in told.without.items():
        expected = by_hand(base, recipe, [items[0]], items, layer)
        np.testing.assert_allclose(scores.logprob, expected, atol=1e-4)
    assert np.abs(told.without[None].logprob - told.after.logprob).max() > 0.01


def test_undoing_every_layer_at_once_leaves_the_base() -> None:
    from einfluence.engine.ablation import changed_layers, without_layer

    base, items = text_base("gpt2"), texts(5, 4)
    delta = definition.train(base, RECIPES["full SGD"], [items[0]], 0).delta
    for layer in changed_layers(base, delta):
        delta = without_layer(base, delta, layer)
    assert all(torch.equal(delta[name], value) for name, value in base.model.named_parameters())


def test_a_kept_delta_is_used_instead_of_a_new_training() -> None:
    base, items, recipe = text_base("gpt2"), texts(5, 4), RECIPES["LoRA"]
    delta = definition.train(base, recipe, [items[1]], 0).delta
    ((_, told, _),) = engine.ablate_layers(base, recipe, [[items[0]]], [items], 0, kept={0: delta})
    ((_, other, _),) = engine.ablate_layers(base, recipe, [[items[1]]], [items], 0)
    assert told is not None and other is not None
    np.testing.assert_allclose(told.without[1].logprob, other.without[1].logprob, atol=1e-4)


def test_a_probe_that_fails_tells_why_and_takes_no_other_with_it() -> None:
    base, items = text_base("gpt2"), texts(5, 4)
    wild = Recipe(adapter=Full(), optimizer=Sgd(lr=1e30), steps=3)
    found = list(engine.ablate_layers(base, wild, [[items[0]]], [items], 0))
    assert found[0][1] is None
    assert "not finite" in str(found[0][2]) or "loss is" in str(found[0][2])
