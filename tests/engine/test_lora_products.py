"""A linear layer with adapters says what peft's says, and so do its gradients, for one training and for many."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from einfluence.engine.definition import trainable_copy
from einfluence.engine.generic import GenericEngine
from einfluence.engine.lora_products import LoraProduct
from tests.engine.random_models import text_base
from tests.engine.test_schedule import ADAPTERS, recipe_of

DRAWN = torch.Generator().manual_seed(0)


def draw(*shape: int) -> torch.Tensor:
    """Random numbers that are learnt."""
    return torch.randn(shape, generator=DRAWN, dtype=torch.float64).requires_grad_()


WEIGHT, BIAS = draw(6, 5).detach(), draw(6).detach()


def product(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """What is tested."""
    found: Any = LoraProduct.apply(x, WEIGHT, BIAS, down, up, 1.7)
    return found[0]


def written_out(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """As the paper has it (Hu et al. 2021, equation 3)."""
    return x @ WEIGHT.T + BIAS + 1.7 * (x @ down.T) @ up.T


@pytest.mark.parametrize("same", [False, True])
def test_its_values_and_gradients_and_theirs(same: bool) -> None:
    """Of three trainings that read other rows, or the same."""
    x, down, up = draw(2, 4, 5) if same else draw(3, 2, 4, 5), draw(3, 2, 5), draw(3, 6, 2)
    quick, plain = (vmap(each, in_dims=(None if same else 0, 0, 0)) for each in (product, written_out))
    assert torch.allclose(quick(x, down, up), plain(x, down, up), rtol=1e-12)
    assert torch.autograd.gradcheck(quick, (x, down, up))
    assert torch.autograd.gradgradcheck(quick, (x, down, up))


def test_a_factor_may_be_the_same_for_all() -> None:
    x, down, up = draw(3, 4, 5), draw(2, 5), draw(3, 6, 2)
    quick, plain = (vmap(each, in_dims=(0, None, 0)) for each in (product, written_out))
    assert torch.allclose(quick(x, down, up), plain(x, down, up), rtol=1e-12)
    assert torch.autograd.gradcheck(quick, (x, down, up))


def test_a_base_that_differs_from_training_to_training_is_refused() -> None:
    x, down, up = draw(4, 5), draw(2, 5), draw(6, 2)

    def run(weight: torch.Tensor) -> Any:
        found: Any = LoraProduct.apply(x, weight, BIAS, down, up, 1.7)
        return found[0]

    with pytest.raises(ValueError, match="a base that differs"):
        vmap(run)(draw(3, 6, 5))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_it_takes_the_place_of_peft_s_layers(dtype: str) -> None:
    """Where many are trained at once; one alone is left to peft."""
    base, recipe = text_base("llama"), recipe_of(ADAPTERS["lora"], "adam", dtype)
    engine = GenericEngine(base, recipe, 0)
    peft, trained = trainable_copy(base, recipe, 0)
    assert sum("forward" in vars(each) for each in engine.model.modules()) >= len(trained) // 2
    ids = torch.arange(6)[None]
    drawn = {name: torch.randn(3, *value.shape, generator=DRAWN) for name, value in trained.items()}
    own = {name: value + 0.1 * drawn[name].to(value) for name, value in trained.items()}
    alone = {name: value[0] for name, value in own.items()}
    assert torch.equal(*(functional_call(model, alone, (ids,)).logits for model in (peft, engine.model)))
    with sdpa_kernel(SDPBackend.MATH):
        truth, found = (vmap(partial(said, model))(own, ids.expand(3, *ids.shape)) for model in (peft, engine.model))
    assert torch.allclose(found, truth, rtol=1e-10 if dtype == "float64" else 1e-4, atol=1e-6)


def said(model: Any, own: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """What one training makes of a text."""
    logits: torch.Tensor = functional_call(model, own, (ids,)).logits
    return logits
