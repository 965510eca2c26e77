"""Full-parameter SGD held as low-rank factors equals the serial definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.measurement import TextItem
from einfluence.engine.text.low_rank_sgd import LowRankSgdEngine
from einfluence.engine.text.low_rank_weights import LowRankMatrix, SgdCoefficients
from einfluence.errors import InputError
from einfluence.spec import Adapter, Full, Last, Match, Recipe, Sgd
from tests.engine.architectures import architecture
from tests.engine.comparison import ask, assert_equal_to_definition, influences
from tests.engine.random_models import FULL_PRECISION, text_base, texts

PROBES = [[text] for text in texts(1, 3)] + [texts(2, 2)]
QUERIES = [*texts(3, 4, opening=(5, 6, 7, 8, 9, 10)), *texts(5, 3)]
FULL = Recipe(adapter=Full(), optimizer=Sgd(lr=0.02), steps=3)


@pytest.mark.parametrize("name", ["llama", "llama-tied", "qwen2", "qwen3", "gemma2", "gpt-neox", "gpt2"])
@pytest.mark.parametrize("alone", [1, 1000])
def test_equals_serial_for_every_architecture(name: str, alone: int) -> None:
    base = text_base(name)
    if name == "gemma2":  # its embedding is a kind of its own
        with pytest.raises(InputError, match="ScaledWordEmbedding"):
            LowRankSgdEngine(base, FULL, 0)
        return
    sizes = Sizes(train=40, score=60, alone=alone)
    assert_equal_to_definition(LowRankSgdEngine(base, FULL, 0, sizes), base, FULL, PROBES, QUERIES, 0, 1e-4)
    precise = FULL.model_copy(update={"dtype": "float64"})
    tolerance = 1e-9 if name in FULL_PRECISION else 1e-5
    assert_equal_to_definition(LowRankSgdEngine(base, precise, 0, sizes), base, precise, PROBES, QUERIES, 0, tolerance)


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": Sgd(lr=0.02, momentum=0.9, weight_decay=0.1)},
        {"clip": 0.5},
        {"clip": 0.5, "optimizer": Sgd(lr=0.02, momentum=0.5)},
        {"adapter": Last()},
        {"adapter": Match(pattern=r"mlp|ln_2")},
        {"adapter": Match(pattern=r"h\.2\.attn")},
        {"adapter": Match(pattern="bias"), "optimizer": Sgd(lr=0.3)},
    ],
)
def test_equals_serial_with_momentum_decay_clipping_and_some_parameters_only(change: dict[str, Any]) -> None:
    base = text_base("gpt2")
    recipe = FULL.model_copy(update={"dtype": "float64", **change})
    for alone in (1, 1000):
        engine = LowRankSgdEngine(base, recipe, 0, Sizes(alone=alone))
        assert_equal_to_definition(engine, base, recipe, PROBES, QUERIES, 0, 1e-9)


@pytest.mark.parametrize("change", [{"steps": 0}, {"optimizer": Sgd(lr=0.0)}])
def test_a_probe_that_changes_nothing_has_influence_exactly_zero(change: dict[str, Any]) -> None:
    base = text_base("llama-tied")
    for alone in (1, 1000):
        engine = LowRankSgdEngine(base, FULL.model_copy(update=change), 0, Sizes(alone=alone))
        assert (influences(ask(engine, PROBES, QUERIES)) == 0).all()


def test_the_base_stays_bit_identical() -> None:
    base = text_base("llama-tied")
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    list(ask(LowRankSgdEngine(base, FULL, 0), PROBES, QUERIES)[1])
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert not any("forward" in vars(module) for module in base.model.modules())


def test_kept_deltas_are_used_instead_of_training() -> None:
    base = text_base("gpt2")
    trained = list(ask(LowRankSgdEngine(base, FULL, 0), PROBES, QUERIES)[1])
    again = list(ask(LowRankSgdEngine(base, FULL, 0), PROBES, QUERIES, {1: trained[1][1].delta})[1])
    assert again[1][1].losses == []
    np.testing.assert_array_equal(again[1][2].logprob, trained[1][2].logprob)


def test_the_schedule_follows_torch_sgd() -> None:
    gradients = np.random.default_rng(0).normal(size=4)
    weight = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=0.3, momentum=0.7, weight_decay=0.2)
    schedule = SgdCoefficients(Sgd(lr=0.3, momentum=0.7, weight_decay=0.2))
    for gradient in gradients:
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        schedule.step()
    assert weight.item() == pytest.approx(schedule.kept * 2.0 + float(np.dot(schedule.shares, gradients)), rel=1e-12)


@pytest.mark.parametrize("adapter", [Full(), Last(), Match(pattern="embed")])
def test_the_padding_tokens_own_row_learns_nothing_where_it_is_read(adapter: Adapter) -> None:
    """torch gives the row of an embedding's `padding_idx` no gradient, also where that token stands in a text."""
    base = text_base("llama-tied")
    assert base.model.get_input_embeddings().padding_idx == 0
    probes = [[TextItem((5, 0, 6, 0, 7, 8), 1)], [TextItem((0, 9, 10, 0), 2)]]
    recipe = Recipe(adapter=adapter, optimizer=Sgd(lr=0.02, weight_decay=0.05), steps=3, dtype="float64")
    assert_equal_to_definition(
        LowRankSgdEngine(base, recipe, 0), base, recipe, probes, [*QUERIES, probes[0][0]], 0, 1e-6
    )


def test_an_engine_that_forgets_it_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = LowRankMatrix.look_up
    monkeypatch.setattr(LowRankMatrix, "look_up", lambda self, ids, padding=None: right(self, ids))
    base, probes = text_base("llama", seed=5), [[TextItem((5, 0, 6, 0, 7, 8), 1)], [TextItem((0, 9, 10, 0), 2)]]
    queries = [item for probe in probes for item in probe]
    truth = influences(definition.measure(base, FULL, probes, queries, 0))
    with pytest.warns(engine.FallbackWarning, match="low-rank sgd"):
        found = influences(engine.measure(base, FULL, probes, queries, 0))
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_a_model_that_writes_into_what_a_product_gave() -> None:
    """OLMo clips queries, keys and values in place."""
    base = architecture("olmo")
    probes = [[TextItem((5, 6, 7, 8, 9), 2)], [TextItem((10, 11, 12), 1)]]
    recipe = FULL.model_copy(update={"dtype": "float64"})
    assert_equal_to_definition(LowRankSgdEngine(base, recipe, 0), base, recipe, probes, probes[0], 0, 1e-5)


@pytest.mark.parametrize("adapter", [Full(), Match(pattern="layernorm.weight")])
@pytest.mark.parametrize("norm", ["the model's own LayerNorm", "RMSNorm of torch"])
def test_a_norm_that_takes_parameters_of_one_shape_alone(norm: str, adapter: Adapter) -> None:
    base = architecture("nemotron")  # whose LayerNorm adds 1 to its weight
    if norm == "RMSNorm of torch":
        for block in base.model.model.layers:
            block.input_layernorm = torch.nn.RMSNorm(16).requires_grad_(False)
    probes = [[TextItem((5, 6, 7, 8, 9), 2)], [TextItem((10, 11, 12), 1), TextItem((5, 9), 1)]]
    recipe = FULL.model_copy(update={"adapter": adapter, "dtype": "float64"})
    for alone in (1, 1000):
        engine = LowRankSgdEngine(base, recipe, 0, Sizes(train=40, score=60, alone=alone))
        assert_equal_to_definition(engine, base, recipe, probes, probes[0], 0, 1e-5)
