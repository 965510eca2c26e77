"""Rows of the last block that nobody reads are left out, and padded texts train together, where both are exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.generic import GenericEngine
from einfluence.engine.structure import structure_of
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.encoders import Encoder, MarkedItem
from einfluence.objectives.pictures import ImageItem
from einfluence.objectives.pretrained_images import PretrainedImages
from einfluence.objectives.seq2seq import Seq2Seq, Seq2SeqItem
from einfluence.objectives.sequence_class import SequenceClass, SequenceItem
from einfluence.objectives.token_class import TokenClass
from tests.engine.comparison import assert_equal_to_definition
from tests.engine.random_models import scatter
from tests.engine.test_schedule import ADAPTERS, recipe_of
from tests.objectives.tiny_texts import ENCODERS, SHAPE

LABELS = ("a", "b", "c")
BART = {"d_model": 16, "encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "vocab_size": 40, "max_position_embeddings": 24}
_draw = np.random.default_rng(0)


def ids(length: int) -> tuple[int, ...]:
    return tuple(int(token) for token in _draw.integers(4, 24, length))


def base(kind: str, config: Any, objective: Any) -> Base:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, kind)(config).eval().requires_grad_(False)
        scatter(model)
    return Base(BaseInfo(kind, kind, objective.name, ""), model, objective)


def encoder(name: str, task: str, objective: Any, **more: Any) -> Base:
    shape = {**SHAPE, "num_labels": len(LABELS), **ENCODERS.get(name, {}), **more}
    return base(f"{name}For{task}Classification", getattr(transformers, f"{name}Config")(**shape), objective)


def classifier(name: str, **more: Any) -> tuple[Base, list[Any]]:
    items = [SequenceItem(ids(5 + i), (), i % 3) for i in (0, 3, 1, 0, 2)]
    return encoder(name, "Sequence", SequenceClass(LABELS, pad=0), **more), items


def tagger(name: str) -> tuple[Base, list[Any]]:
    items = [MarkedItem(ids(6 + i), (), (4, 1, 2)[: 1 + i], (0, 2, 1)[: 1 + i]) for i in (0, 2, 1, 0)]
    return encoder(name, "Token", TokenClass(LABELS, Encoder(None))), items


def pictures(pooling: bool = False) -> tuple[Base, list[Any]]:
    size = {"image_size": 8, "patch_size": 4, "num_labels": 3, "hidden_size": 16, "intermediate_size": 24}
    blocks = {"num_hidden_layers": 2, "num_attention_heads": 2}
    kind, more = ("Beit", {"use_mean_pooling": True}) if pooling else ("ViT", {})
    config = getattr(transformers, f"{kind}Config")(**size, **blocks, **more)
    items = [ImageItem(_draw.random((3, 8, 8)).astype(np.float32), i % 3) for i in range(4)]
    nobody: Any = None
    return base(f"{kind}ForImageClassification", config, PretrainedImages(nobody, 3)), items


def writer() -> tuple[Base, list[Any]]:
    items = [Seq2SeqItem(ids(4 + i), (2, *ids(3)), 1 + i, ids(3 - i)) for i in (0, 1, 0)]
    config = transformers.BartConfig(**BART, **HEADS, pad_token_id=1)
    return base("BartForConditionalGeneration", config, Seq2Seq(None, 2, pad=1)), items


def narrowed(engine: GenericEngine) -> set[bool]:
    """Whether the models that an engine has read compute rows alone."""
    return {reader.last is not None for reader in engine._read.values()}


CASES: dict[str, tuple[Callable[[], tuple[Base, list[Any]]], bool]] = {
    **{f"class {name}": (lambda name=name: classifier(name), name != "DebertaV2") for name in ENCODERS},
    "tags Bert": (lambda: tagger("Bert"), True),
    "tags Roberta": (lambda: tagger("Roberta"), True),
    "pictures": (pictures, True),
    "pictures, pooled": (lambda: pictures(True), False),
    "decoder": (lambda: classifier("GPT2", n_embd=16, n_layer=2, n_head=2, bos_token_id=2, eos_token_id=3), False),
    "encoder and decoder": (writer, False),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_the_definition_says(case: str) -> None:
    """Under LoRA, whose queries are read merged and beside their weights."""
    make, able = CASES[case]
    made, items = make()
    recipe, probes = recipe_of(ADAPTERS["lora"], "adam"), [[items[0]], [items[1]], items[2:]]
    for score in (1, 4000):
        engine = GenericEngine(made, recipe, 1, Sizes(score=score))
        assert_equal_to_definition(engine, made, recipe, probes, items, 1, 1e-9)
        assert narrowed(engine) == {able}
    assert len(engine._read) == 1 and structure_of(made.model).narrows
    assert [*structure_of(made.model).records.values()] == [[True]]


@pytest.mark.parametrize("adapter", ["full", "last"])
def test_without_adapters_too(adapter: str) -> None:
    made, items = classifier("Bert")
    recipe, engine = recipe_of(adapter, "sgd"), GenericEngine(made, recipe_of(adapter, "sgd"), 1)
    assert_equal_to_definition(engine, made, recipe, [[item] for item in items], items, 1, 1e-9)
    assert narrowed(engine) == {True} and structure_of(made.model).masks == (True, 8)


def test_a_head_of_zeros_hides_no_row_that_is_read() -> None:
    made, items = pictures(True)
    torch.nn.init.zeros_(made.objective.head(made.model).weight)  # pyright: ignore
    engine = GenericEngine(made, recipe_of("last", "sgd"), 1)
    engine.collated(items[:1])
    assert narrowed(engine) == {False}


def test_texts_longer_than_a_window_are_not_padded_and_shorter_ones_are() -> None:
    made, _ = classifier("ModernBert")
    engine = GenericEngine(made, recipe_of("full", "sgd"), 1)
    short, middle, long = (SequenceItem(ids(length), (), 0) for length in (3, 4, 12))
    assert engine._masks(short, middle)
    assert not engine._masks(short, long) and not engine._masks(short, middle)
