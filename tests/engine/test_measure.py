"""What the engine's entry refuses, checks and falls back to."""

from __future__ import annotations

import warnings
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import transformers
from torch import nn

from einfluence import engine
from einfluence.engine import check, definition
from einfluence.engine.contract import Unsupported
from einfluence.engine.measurement import TextItem
from einfluence.engine.select import peculiar
from einfluence.engine.text.lora import LoraEngine
from einfluence.engine.text.one_by_one import OneByOneEngine
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import CausalLM
from einfluence.spec import Adam, AdamW, Adapter, Full, Last, Lora, Recipe, Sgd
from tests.engine.comparison import ask, assert_equal_to_definition, influences
from tests.engine.random_models import image_base, images, text_base, texts

SGD = Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.05), steps=2)


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_KNOWN", WeakKeyDictionary())


def test_quantised_weights_are_refused() -> None:
    base = text_base("llama")
    base.model.config.quantization_config = {"bits": 4}
    with pytest.raises(InputError, match="quantised"):
        engine.measure(base, SGD, [[t] for t in texts(0, 1)], texts(1, 1), 0)


def test_the_check_is_done_once_for_a_base_and_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    base, trained = text_base("llama"), list[int]()
    real = definition.train
    monkeypatch.setattr(definition, "train", lambda *args: trained.append(1) or real(*args))
    for _ in range(2):
        list(engine.measure(base, SGD, [[t] for t in texts(0, 3)], texts(1, 3), 0)[1])
    assert len(trained) == 2


def test_a_mixture_of_experts_is_measured_by_the_generic_engine() -> None:
    shape: dict[str, Any] = {
        "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "max_position_embeddings": 64,
    }  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(transformers.MixtralConfig(**shape)).eval()
    base = Base(BaseInfo("moe", "moe", "causal_lm", ""), model.requires_grad_(False), CausalLM())
    recipe = SGD.model_copy(update={"adapter": Lora(r=2, targets=("q_proj", "v_proj"))})
    assert peculiar(base) == "a mixture of experts"
    probes, queries = [[t] for t in texts(0, 2)], texts(1, 3)
    before, rows = engine.measure(base, recipe, probes, queries, 0)
    found = list(rows)
    assert {(row.tuned.engine, row.tuned.fallback) for row in found} == {("generic", "a mixture of experts")}
    truth = influences(definition.measure(base, recipe, probes, queries, 0))
    np.testing.assert_allclose(influences((before, found)), truth, atol=1e-4)


def test_positions_that_depend_on_the_longest_text_are_left_to_the_definition() -> None:
    base = text_base("phi3")
    base.model.config.rope_parameters["rope_type"] = "longrope"
    base.model.config.rope_parameters["original_max_position_embeddings"] = 10
    assert not check.definition_because(base, texts(0, 3, low=5, high=9))
    assert "position encoding" in check.definition_because(base, texts(0, 3, low=11, high=12))


def test_lora_on_a_subclass_of_linear_is_left_to_the_generic_engine() -> None:
    class Scaled(nn.Linear):
        def forward(self, input: Any) -> Any:
            return 2 * super().forward(input)

    base = text_base("llama")
    old = base.model.model.layers[0].mlp.up_proj
    new = Scaled(old.in_features, old.out_features, bias=False)
    base.model.model.layers[0].mlp.up_proj = new.requires_grad_(False)
    with pytest.raises(Unsupported, match=r"layers.0.mlp.up_proj, a Scaled"):
        LoraEngine(base, SGD, 0)
    probes, queries = [[t] for t in texts(0, 2)], texts(1, 3)
    before, rows = engine.measure(base, SGD, probes, queries, 0)
    found = list(rows)
    assert {row.tuned.engine for row in found} == {"generic"} and "a Scaled" in (found[0].tuned.fallback or "")
    truth = influences(definition.measure(base, SGD, probes, queries, 0))
    np.testing.assert_allclose(influences((before, found)), truth, atol=1e-4)


@pytest.mark.parametrize("adapter", [Full(), Last(), Lora(r=2)])
def test_every_adapter_is_measured_as_the_definition_says(adapter: Adapter) -> None:
    base = text_base("gpt2")
    recipe = Recipe(adapter=adapter, optimizer=Adam(lr=1e-3), steps=2, dtype="float64")
    probes, queries = [[t] for t in texts(0, 3)], texts(1, 4)
    truth = influences(definition.measure(base, recipe, probes, queries, 0))
    found = influences(engine.measure(base, recipe, probes, queries, 0))
    assert np.abs(truth - found).max() <= 1e-9 * np.abs(truth).max()


def test_images_go_through_the_same_call() -> None:
    base = image_base(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    recipe = Recipe(adapter=Full(), optimizer=Sgd(lr=0.1), steps=2)
    found = influences(engine.measure(base, recipe, [[i] for i in images(0, 4)], images(1, 5), 0))
    truth = influences(definition.measure(base, recipe, [[i] for i in images(0, 4)], images(1, 5), 0))
    np.testing.assert_allclose(found, truth, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "bloom", "mistral-window"])
def test_the_reader_scores_as_the_definition_does(name: str) -> None:
    base = text_base(name)
    items = texts(3, 6, opening=tuple(range(5, 14))) + texts(4, 3) + [TextItem((4, 5, 6), 2)]
    said, meant = (
        engine.CheckedScorer(base)(items),
        definition.evaluate(base, SGD.model_copy(update={"adapter": Full()}), items),
    )
    np.testing.assert_allclose(said.logprob, meant.logprob, atol=2e-5)
    np.testing.assert_array_equal(said.rank, meant.rank)


@pytest.mark.parametrize(
    ("name", "adapter"), [("gemma3", Full()), ("bloom", Full()), ("gpt2", Last()), ("llama-tied", Full())]
)
def test_what_is_not_low_rank_is_trained_by_the_definition_and_read_at_once(name: str, adapter: Adapter) -> None:
    base = text_base(name)
    recipe = Recipe(adapter=adapter, optimizer=AdamW(lr=2e-3), steps=2)
    probes, queries = [[t] for t in texts(0, 3)], texts(1, 5)
    fast = OneByOneEngine(base, recipe, 0)
    assert_equal_to_definition(fast, base, recipe, probes, queries, 0, 1e-4)
    none = OneByOneEngine(base, recipe.with_lr(0.0), 0)
    assert (influences(ask(none, probes, queries)) == 0).all()


def test_an_engine_that_does_not_exist_is_refused() -> None:
    with pytest.raises(InputError, match="`auto` or `serial`"):
        engine.measure(text_base("gpt2"), SGD, [], [], 0, engine="fast")


def test_half_precision_tells_its_noise_and_warns_where_that_is_large() -> None:
    base = text_base("llama")
    probes, queries = [[t] for t in texts(0, 4)], texts(1, 6)
    strong = Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=3e-2), steps=5, dtype="bfloat16")
    weak = strong.with_lr(1e-5).model_copy(update={"steps": 1})
    noises: list[float] = []
    for recipe in (strong, weak):
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            rows = list(engine.measure(base, recipe, probes, queries, 0)[1])
        noises.append(rows[0][1].noise_rms or 0.0)
        assert {tuned.noise_rms for _, tuned, _ in rows} == {noises[-1]}
        if recipe is weak:
            assert any(issubclass(one.category, engine.NoiseWarning) for one in heard)
    assert all(noise > 0 for noise in noises)
    exact = Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=3e-2), steps=5)
    exact = engine.measure(base, exact, probes, queries, 0)
    assert next(exact[1])[1].noise_rms is None


def test_adam_in_float32_tells_how_far_rounding_reaches() -> None:
    base, probes, queries = text_base("llama"), [[t] for t in texts(0, 5)], texts(1, 6)
    recipe = Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=3e-2), steps=4)
    exact = recipe.model_copy(update={"dtype": "float64"})
    for way in ("auto", "serial"):
        rows = list(engine.measure(base, recipe, probes, queries, 0, engine=way)[1])
        noises = {tuned.noise_rms for _, tuned, _ in rows}
        assert len(rows) == 5 and len(noises) == 1
    found, truth = (influences(engine.measure(base, one, probes, queries, 0)) for one in (recipe, exact))
    known = float(np.sqrt(((found - truth)[:3] ** 2).mean()))
    (noise,) = {tuned.noise_rms for _, tuned, _ in engine.measure(base, recipe, probes, queries, 0)[1]}
    assert noise == pytest.approx(known, rel=1e-3) and 0 < known < 1e-2
    assert next(engine.measure(base, exact, probes, queries, 0)[1])[1].noise_rms is None


def test_the_noise_is_left_out_where_the_base_does_not_fit_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    base, probes, queries = text_base("llama"), [[t] for t in texts(0, 2)], texts(1, 3)
    monkeypatch.setenv("EINFLUENCE_MEMORY", "100KB")
    _, rows = engine.measure(base, Recipe(adapter=Lora(r=2), steps=1), probes, queries, 0)
    assert {tuned.noise_rms for _, tuned, _ in rows} == {None}
