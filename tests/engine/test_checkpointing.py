"""Gradient checkpointing changes no training and keeps less for the backward pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, XLMConfig, XLMWithLMHeadModel

import einfluence
from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.schedule import as_training
from einfluence.engine.select import choose
from einfluence.engine.text.lora import LoraEngine
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.spec import AdamW, Full, Lora, Recipe, Sgd
from tests.engine.architectures import architecture
from tests.engine.comparison import assert_equal_to_definition
from tests.engine.random_models import digits_like, image_base, text_base, texts

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:.*is_gradient_checkpointing")

PROBES = [[text] for text in texts(1, 3)] + [texts(2, 2), texts(7, 2)]
QUERIES = texts(3, 4)
LORA = Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=0.01), steps=3, clip=1.0, dtype="float64")
TOP = LORA.model_copy(update={"adapter": Lora(r=2, layers=(1, 2))})  # the block below is left out
FULL = Recipe(adapter=Full(), optimizer=Sgd(lr=0.02, momentum=0.5), steps=3, dtype="float64")


def checkpointing(base: Base) -> Base:
    return replace(base, info=replace(base.info, gradient_checkpointing=True))


def kept(run: Any) -> int:
    """Bytes that are kept for backward passes, each tensor as often as it is kept."""
    total = 0

    def keep(value: Tensor) -> Tensor:
        nonlocal total
        total += value.numel() * value.element_size()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        run()
    return total


@pytest.mark.parametrize("recipe", [LORA, TOP])
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "phi3", "bloom"])
def test_lora_is_trained_to_the_same_adapters_with_less_kept(name: str, recipe: Recipe) -> None:
    base = text_base(name)
    probes = [as_training(probe, recipe.steps) for probe in PROBES]
    engines = [LoraEngine(one, recipe, 1, Sizes(train=24, score=60)) for one in (base, checkpointing(base))]
    plain, again = ([tuned.delta for tuned in each.train_all(probes)] for each in engines)
    for one, other in zip(plain, again, strict=True):
        assert max(value.abs().max() for value in one.values()) > 0.01
        for parameter, value in one.items():
            torch.testing.assert_close(other[parameter], value, rtol=0, atol=1e-9)
    most, least = (kept(lambda each=each: each.train_all(probes)) for each in engines)
    assert 3 * least < most
    assert not any("forward" in vars(block) for block in engines[1].checkpointed[1:])


def test_lora_with_checkpointing_equals_the_definition_without() -> None:
    base = text_base("gpt2")
    assert_equal_to_definition(LoraEngine(checkpointing(base), LORA, 1), base, LORA, PROBES, QUERIES, 1, 1e-9)


@pytest.mark.parametrize("recipe", [LORA, FULL])
@pytest.mark.parametrize("name", ["gpt2", "gemma3n", "mixtral", "zamba2"])
def test_the_definition_trains_to_the_same_with_less_kept(name: str, recipe: Recipe) -> None:
    base = architecture(name)
    probe = texts(1, 1)[0]
    probe = replace(probe, ids=tuple(token % 31 for token in probe.ids))

    def train(one: Base) -> dict[str, Tensor]:
        tuned = definition.train(one, recipe, [probe], 1)
        return tuned.delta

    plain, again = train(base), train(checkpointing(base))
    for parameter, value in plain.items():
        torch.testing.assert_close(again[parameter], value, rtol=0, atol=1e-9)
    assert kept(lambda: train(checkpointing(base))) < kept(lambda: train(base))


def test_engines_that_cannot_are_passed_over_by_name() -> None:
    base = checkpointing(text_base("gpt2"))
    found = choose(base, FULL, 0)
    assert (found.name, found.why) == ("one by one", "low-rank sgd: it cannot checkpoint gradients")
    assert choose(base, LORA, 0).name == "batched lora"


def test_a_model_without_blocks_is_refused() -> None:
    base = checkpointing(image_base(digits_like()))
    with pytest.raises(InputError, match="without a list of blocks"):
        engine.measure(base, LORA, [], [], 0)


def test_a_model_that_does_not_support_it_is_refused_before_anything_is_computed(
    tmp_path: Path, gpt2_folder: Path
) -> None:
    words = PreTrainedTokenizerFast.from_pretrained(gpt2_folder)
    config = XLMConfig(vocab_size=len(words), emb_dim=16, n_layers=2, n_heads=2, causal=True)
    words.save_pretrained(tmp_path / "xlm")
    XLMWithLMHeadModel(config).save_pretrained(tmp_path / "xlm")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "dax is a", "target": "bird"}')
    (tmp_path / "spec.yaml").write_text("base: xlm\nsamples: rows.jsonl\ngradient_checkpointing: true\n")
    says = r"parts\..*gradient_checkpointing: found true for xlm, a XLMWithLMHeadModel, which says that it does not"
    with pytest.raises(InputError, match=says):
        einfluence.measure(tmp_path / "spec.yaml", tmp_path / "store", report=False)
    assert not list((tmp_path / "store").rglob("*.parquet"))
