"""The batched engine for causal LMs equals the serial definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.measurement import TextItem
from einfluence.engine.text.lora import LoraEngine
from einfluence.spec import AdamW, Lora, Recipe, Sgd
from tests.engine.comparison import ask, assert_equal_to_definition, influences
from tests.engine.random_models import CONFIGS, FULL_PRECISION, text_base, texts

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:.*is_gradient_checkpointing")

PROBES = [[text] for text in texts(1, 3)] + [texts(2, 2)]
QUERIES = [
    *texts(3, 4, opening=(5, 6, 7, 8, 9, 10)),
    *texts(4, 2, opening=(5, 6, 7, 8, 11)),
    *texts(5, 3),
    TextItem((5, 6, 7, 8, 9, 10, 20, 21), 1),
    TextItem((5, 6, 7, 8, 9, 10, 20, 22), 1),
    TextItem((5, 6, 7, 8, 9, 10, 20, 21, 30), 2),
]
SGD = Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.05, momentum=0.5, weight_decay=0.01), steps=3)
ADAM = Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=0.01), steps=3, clip=1.0)


@pytest.mark.parametrize("name", CONFIGS)
def test_lora_equals_serial_for_every_architecture(name: str) -> None:
    base = text_base(name)
    precise = SGD.model_copy(update={"dtype": "float64"})
    tolerance = 1e-9 if name in FULL_PRECISION else 1e-5
    for recipe, bound in ((SGD, 1e-4), (precise, tolerance)):
        engine = LoraEngine(base, recipe, 1, Sizes(train=40, score=60))
        assert engine.network.packs == (name != "bloom")
        assert_equal_to_definition(engine, base, recipe, PROBES, QUERIES, 1, bound)


@pytest.mark.parametrize("name", ["gpt2", "opt"])
def test_adam_with_clipping_equals_serial_in_float64(name: str) -> None:
    base = text_base(name)
    recipe = ADAM.model_copy(update={"dtype": "float64"})
    assert_equal_to_definition(LoraEngine(base, recipe, 3), base, recipe, PROBES, QUERIES, 3, 1e-9)


@pytest.mark.parametrize("layers", [(1,), (2,), (1, 2)])
def test_layers_below_the_adapters_are_run_once_and_change_nothing(layers: tuple[int, ...]) -> None:
    base = text_base("gpt2")
    recipe = Recipe(adapter=Lora(r=2, layers=layers), optimizer=Sgd(lr=0.5), steps=3, dtype="float64")
    engine = LoraEngine(base, recipe, 1, Sizes(train=40, score=60))
    assert engine.network.start == layers[0]
    assert_equal_to_definition(engine, base, recipe, PROBES, QUERIES, 1, 1e-9)


@pytest.mark.parametrize("change", [{"steps": 0}, {"optimizer": Sgd(lr=0.0)}])
def test_a_probe_that_changes_nothing_has_influence_exactly_zero(change: dict[str, object]) -> None:
    base = text_base("llama")
    for recipe in (SGD, ADAM):
        engine = LoraEngine(base, recipe.model_copy(update=change), 0, Sizes(score=50, window=3))
        assert (influences(ask(engine, PROBES, QUERIES)) == 0).all()


def test_the_base_stays_bit_identical() -> None:
    base = text_base("llama-tied")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    config = base.model.config.to_dict()
    list(ask(LoraEngine(base, ADAM, 0), PROBES, QUERIES)[1])
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert base.model.config.to_dict() == config
    assert base.model.config._attn_implementation == "sdpa"
    assert not any("forward" in vars(module) for module in base.model.modules())


def test_runs_repeat_bit_for_bit() -> None:
    base = text_base("qwen3")
    first, second = (influences(ask(LoraEngine(base, ADAM, 0), PROBES, QUERIES)) for _ in range(2))
    assert (first == second).all()


def test_a_probe_with_a_loss_that_is_not_finite_fails_alone() -> None:
    base = text_base("gpt2")
    probes = [[text] for text in texts(8, 4, low=5, high=5)]
    recipe = Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.05), steps=3)
    weight = base.model.get_input_embeddings().weight
    token = 60
    probes[2] = [TextItem((3, token, 4, 5), 1)]
    queries = [text for text in texts(9, 4) if token not in text.ids]
    probes = [[TextItem(tuple(t if t != token or i == 2 else 7 for t in item.ids), 1) for item in probe]
              for i, probe in enumerate(probes)]  # fmt: skip
    weight[token] = torch.nan
    base.model.lm_head.weight = torch.nn.Parameter(torch.nan_to_num(weight.clone()), requires_grad=False)
    found = list(ask(LoraEngine(base, recipe, 0), probes, queries)[1])
    assert [tuned.failed is None for _, tuned, _ in found] == [True, True, False, True]
    assert found[2][1].failed == "loss is nan at step 1" and found[2][2] is None
    alone = list(ask(LoraEngine(base, recipe, 0), [probes[3]], queries)[1])
    np.testing.assert_allclose(found[3][2].logprob, alone[0][2].logprob, atol=1e-5)


def test_kept_deltas_are_used_instead_of_training() -> None:
    base = text_base("gpt2")
    trained = list(ask(LoraEngine(base, ADAM, 0), PROBES, QUERIES)[1])
    kept = {1: trained[1][1].delta}
    again = list(ask(LoraEngine(base, ADAM, 0), PROBES, QUERIES, kept)[1])
    assert again[1][1].losses == []
    np.testing.assert_array_equal(again[1][2].logprob, trained[1][2].logprob)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1000),
    train=st.integers(1, 200),
    score=st.integers(1, 200),
    window=st.integers(1, 6),
    opening=st.integers(0, 6),
    name=st.sampled_from(["gpt2", "gpt-neox", "opt"]),
)
def test_no_number_depends_on_the_sizes_of_batches(
    seed: int, train: int, score: int, window: int, opening: int, name: str
) -> None:
    base = text_base(name)
    recipe = SGD.model_copy(update={"dtype": "float64"})
    probes = [[text] for text in texts(seed, 3)] + [texts(seed + 1, 3)]
    queries = texts(seed + 2, 5) + texts(seed + 3, 4, opening=tuple(range(5, 5 + opening)))
    one = influences(ask(LoraEngine(base, recipe, 0, Sizes(1, 1, 1), share=False), probes, queries))
    many = influences(ask(LoraEngine(base, recipe, 0, Sizes(train, score, window)), probes, queries))
    order = np.random.default_rng(seed).permutation(len(queries))
    shuffled = [queries[i] for i in order]
    mixed = influences(ask(LoraEngine(base, recipe, 0, Sizes(train, score, window)), probes, shuffled))
    assert np.abs(one - many).max() <= 1e-9 * np.abs(one).max()
    assert np.abs(one[:, order] - mixed).max() <= 1e-9 * np.abs(one).max()
