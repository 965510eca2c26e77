"""What is found of a model by running it: blocks, where no text passes, weights that change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.contract import Unsupported
from einfluence.engine.measurement import TextItem
from einfluence.engine.structure import layer_of, shared_copy, structure_of
from einfluence.engine.text.network import Network
from einfluence.errors import InputError
from einfluence.spec import Full, Lora, Recipe, Sgd
from tests.engine.architectures import architecture
from tests.engine.comparison import influences
from tests.engine.random_models import digits_like, image_base, text_base

RECIPE = Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.1), steps=2, dtype="float64")


@pytest.mark.parametrize(
    ("name", "parameter", "layer"),
    [
        ("llama", "model.layers.1.mlp.up_proj.weight", 1),
        ("llama", "base_model.model.model.layers.1.mlp.up_proj.lora_A.default.weight", 1),
        ("llama", "model.norm.weight", None),
        ("gpt2", "transformer.h.0.mlp.c_fc.weight", 0),
        ("mixtral", "model.layers.1.mlp.experts.down_proj", 1),
        ("gemma3-vision", "model.vision_tower.encoder.layers.1.mlp.fc1.weight", None),
        ("gemma3-vision", "model.language_model.layers.1.mlp.up_proj.weight", 1),
        ("gemma3n", "model.altup_projections.1.weight", None),
        ("gemma3n", "model.layers.2.mlp.up_proj.weight", 2),
        ("xlm", "transformer.ffns.1.lin1.weight", 1),
    ],
)
def test_a_layer_is_a_block_of_the_text_model(name: str, parameter: str, layer: int | None) -> None:
    assert layer_of(architecture(name).model, parameter) == layer


def test_a_classifiers_layer_is_the_number_in_its_name() -> None:
    assert layer_of(image_base(digits_like()).model, "6.weight") == 6


def test_no_text_passes_a_vision_tower_but_it_may_pass_any_expert() -> None:
    idle = structure_of(architecture("gemma3-vision").model).idle
    assert any("vision_tower" in name for name in idle) and not any("language_model" in name for name in idle)
    assert not any(name for name in structure_of(architecture("jamba").model).idle if "expert" in name)


def test_a_model_that_changes_its_weights_is_shared_with_nobody_and_stays_as_it_is() -> None:
    base = architecture("rwkv")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    assert structure_of(base.model).settles
    items = [TextItem((5, 6, 7, 8), 1), TextItem((9, 10, 11), 1)]
    first, rows = definition.measure(base, RECIPE, [items[:1]], items, 0)
    rows = list(rows)
    again, _ = definition.measure(base, RECIPE, [items[:1]], items, 0)
    np.testing.assert_array_equal(first.logprob, again.logprob)
    shared_copy(base.model, torch.float32)(input_ids=torch.tensor([[1, 2, 3]]))
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    full = RECIPE.with_lr(0.0).model_copy(update={"adapter": Full()})
    _, rows = definition.measure(base, full, [items[:1]], items, 0)
    tuned, after = next(iter(rows))[1:]
    assert tuned.update_norm == 0 and after is not None
    np.testing.assert_array_equal(after.logprob, first.logprob)


def test_a_model_whose_every_pass_changes_it_is_refused() -> None:
    base = text_base("gpt2", seed=9)

    def halve(module: torch.nn.Module, *_: object) -> None:
        with torch.no_grad():
            module.weight.mul_(0.5)

    base.model.transformer.ln_f.register_forward_pre_hook(halve)
    with pytest.raises(InputError, match="changes its weights"):
        structure_of(base.model)


@pytest.mark.parametrize(("name", "packs"), [("llama", True), ("falcon-h1", False), ("llama4", False), ("lfm2", False)])
def test_texts_are_laid_end_to_end_only_where_none_sees_another(name: str, packs: bool) -> None:
    model = architecture(name).model
    assert Network(shared_copy(model, torch.float32), model).packs == packs


def test_state_that_leaks_is_noticed_though_attention_is_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution beside attention in a model whose configuration does not tell."""
    base = text_base("llama", seed=7)
    norm = base.model.model.layers[1].input_layernorm
    norm.register_forward_hook(
        lambda _m, _a, out: out + 0.1 * out.roll(1, 1) * (torch.arange(out.shape[1]) > 0)[:, None]
    )
    assert not Network(shared_copy(base.model, torch.float32), base.model).packs


def test_a_model_that_looks_ahead_has_no_fast_engine() -> None:
    base = text_base("llama", seed=8)
    norm = base.model.model.norm
    norm.register_forward_hook(lambda _m, _a, out: out + 0.1 * out.roll(-1, 1))
    model = base.model
    with pytest.raises(Unsupported, match="see those after them"):
        Network(shared_copy(model, torch.float32), model)


def test_where_leaking_state_goes_unnoticed_the_check_of_the_engine_finds_it() -> None:
    base = text_base("llama", seed=6)
    norm = base.model.model.layers[1].input_layernorm
    norm.register_forward_hook(
        lambda _m, _a, out: out + 0.5 * out.roll(1, 1) * (torch.arange(out.shape[1]) > 0)[:, None]
    )
    structure_of(base.model).packs = True
    items = [TextItem((5, 6, 7, 8), 1), TextItem((9, 10, 11), 1), TextItem((12, 13, 14, 15, 16), 2)]
    truth = influences(definition.measure(base, RECIPE, [items[:1], items[1:2]], items, 0))
    with pytest.warns(engine.FallbackWarning, match="off by"):
        found = influences(engine.measure(base, RECIPE, [items[:1], items[1:2]], items, 0))
    np.testing.assert_allclose(found, truth, rtol=1e-5)  # its norms are computed in float32
