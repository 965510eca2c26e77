"""Texts of 4,096 tokens are measured as the definition measures them, in memory that more of them do not raise."""

from __future__ import annotations

import sys
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.memory import held
from einfluence.engine.text.scoring import QueryScorer
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import CausalLM, TextItem
from einfluence.spec import Adam, Full, Lora, Recipe, Sgd
from tests.engine.comparison import influences
from tests.engine.random_models import VOCABULARY, scatter

LONG = 4096
RECIPES = {
    "LoRA": Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.03), steps=1),
    "full by Adam": Recipe(adapter=Full(), optimizer=Adam(lr=0.003), steps=1),
}


@cache
def base() -> Base:
    shape: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 24,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    }
    tokens: dict[str, Any] = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = transformers.LlamaConfig(**shape, **tokens, max_position_embeddings=LONG)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        scatter(model)
    return Base(BaseInfo("long", "long", "causal_lm", ""), model.requires_grad_(False), CausalLM(max_length=LONG))


def long_texts(seed: int, count: int) -> list[TextItem]:
    tokens = np.random.default_rng(seed).integers(3, VOCABULARY, (count, LONG)).tolist()
    return [TextItem(tuple(text), 2) for text in tokens]


@pytest.mark.parametrize("kind", RECIPES)
def test_influence_is_that_of_the_definition(kind: str) -> None:
    probes, queries = [[text] for text in long_texts(1, 2)], long_texts(2, 3)
    wanted = influences(definition.measure(base(), RECIPES[kind], probes, queries, 0))
    before, rows = engine.measure(base(), RECIPES[kind], probes, queries, 0)
    told = list(rows)
    assert {row.tuned.fallback for row in told} == {None}
    found = influences((before, told))
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()
    assert np.abs(wanted).max() > 0.01


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
def test_beyond_what_may_be_kept_memory_does_not_grow_with_the_number_of_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # At most 268 MB of what first blocks make of queries are kept; one megabyte here, so that 24 texts are beyond it.
    monkeypatch.setattr("einfluence.engine.text.engine.QueryScorer", partial(QueryScorer, keep=1_000_000))
    probes, queries = [[text] for text in long_texts(1, 1)], long_texts(2, 24)

    def most(count: int) -> int:
        with held(torch.device("cpu")) as found:
            influences(engine.measure(base(), RECIPES["LoRA"], probes, queries[:count], 0))
        assert found.bytes is not None
        return found.bytes

    most(6)  # what is made once is there from now on
    few, many = most(6), most(24)
    one_each = 18 * 4 * LONG * (16 * 6 + 24 * 3)  # what the rows of 18 more texts take in the layer: 50 MB
    assert many - few < one_each / 4
