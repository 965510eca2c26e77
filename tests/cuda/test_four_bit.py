"""Weights that stay in 4 bits give on the GPU what those that they stand for give on the CPU."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from einfluence import engine
from einfluence.models.base import Base
from einfluence.models.four_bit import Packed
from einfluence.models.packed_linear import PackedLinear
from einfluence.spec import Lora, Recipe, Sgd
from tests.engine.random_models import text_base, texts

pytestmark = pytest.mark.cuda


def packed_and_whole() -> tuple[Base, Base]:
    """A Llama whose products have random weights in 4 bits, and the same unpacked."""
    draw = torch.Generator().manual_seed(0)
    base = text_base("llama")
    packed, whole = copy.deepcopy(base.model), copy.deepcopy(base.model)
    for name, layer in base.model.named_modules():
        if not isinstance(layer, nn.Linear) or name.endswith("head"):
            continue
        shape, count = (layer.out_features, layer.in_features), layer.weight.numel()
        weight = Packed(
            torch.randint(0, 256, (-(-count // 2),), generator=draw, dtype=torch.uint8),
            torch.linspace(-1, 1, 16),
            torch.rand(-(-count // 32), generator=draw) / layer.in_features**0.5,
            32,
            shape,
        )
        home, _, last = name.rpartition(".")
        setattr(packed.get_submodule(home), last, PackedLinear(weight, layer.bias))
        whole.get_submodule(name).weight = nn.Parameter(weight.numbers(), requires_grad=False)
    return replace(base, model=packed, info=replace(base.info, keep_packed=True)), replace(base, model=whole)


@pytest.mark.parametrize(("dtype", "within"), [("float64", 1e-9), ("float32", 1e-4)])
def test_packed_weights_on_the_gpu_are_the_numbers_that_they_stand_for(device: str, dtype: Any, within: float) -> None:
    packed, whole = packed_and_whole()
    recipe = Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.1), steps=2, dtype=dtype)
    probes, queries = [[text] for text in texts(0, 3)], texts(1, 5)

    def measured(base: Base) -> np.ndarray:
        before, rows = engine.measure(base, recipe, probes, queries, 0, engine="serial")
        return np.array([row.after.logprob - before.logprob for row in rows if row.after])

    true = measured(whole)
    packed.model.to(device)
    assert np.abs(measured(packed) - true).max() < within * np.abs(true).max()
