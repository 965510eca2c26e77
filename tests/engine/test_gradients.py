"""Gradients of single samples: held against autograd of one sample, whatever the layers and the batch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from einfluence.engine import definition
from einfluence.engine.gradients import collector as collecting
from einfluence.engine.gradients import features
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point, logprob_gradient
from einfluence.engine.gradients.features import dot_products, paired
from einfluence.engine.gradients.trajectory import moments
from einfluence.engine.schedule import Step, Training
from einfluence.models.base import Base
from einfluence.recipe import Recipe
from tests.engine.random_models import Odd, digits_like, image_base, images, text_base, texts

RECIPES = {
    "full": Recipe.model_validate({"adapter": "full", "dtype": "float64"}),
    "lora": Recipe.model_validate({"adapter": {"kind": "lora", "r": 2}, "dtype": "float64"}),
    "last": Recipe.model_validate({"adapter": "last", "dtype": "float64"}),
}


def case(name: str) -> tuple[Base, list[Any]]:
    if name in ("odd", "digits"):
        base = image_base(Odd() if name == "odd" else digits_like())
        return base, [*images(1, 5)]
    return text_base(name), [*texts(1, 6)]


@pytest.mark.parametrize(
    ("name", "adapter"),
    [(name, adapter) for name in ("gpt2", "llama-tied", "gemma2", "digits") for adapter in RECIPES] + [("odd", "full")],
)
def test_gradients_are_those_of_each_sample_alone(name: str, adapter: str) -> None:
    base, items = case(name)
    point = Point.start(base, RECIPES[adapter], 0)
    with torch.no_grad():
        for value in point.trained.values():  # B of LoRA is 0 at first, and with it every gradient of A
            value += 0.1 * torch.randn(value.shape, generator=torch.Generator().manual_seed(1), dtype=value.dtype)
    found = Collector(point).collect(items)
    for place, item in enumerate(items):
        right = logprob_gradient(point, item)
        scale = max(float(value.abs().max()) for value in right.values())
        for key, value in right.items():
            rows, columns = found[key].matrix
            own = found[key].rows(0, rows)[place].view(rows, columns)
            loose = 1e-10 if name in ("gpt2", "odd", "digits") else 1e-4  # norms of the others are float32
            assert float((own - value.reshape(rows, columns)).abs().max()) <= loose * scale, key


@pytest.mark.parametrize("name", ["gpt2", "llama-tied", "odd"])
def test_layers_of_known_kinds_need_no_definition(name: str) -> None:
    base, items = case(name)
    some = Collector(Point.start(base, RECIPES["full"], 0))
    some.collect(items)
    assert not some.slow


def test_a_parameter_that_is_used_past_its_layer_is_left_to_the_definition() -> None:
    class Past(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = torch.nn.Linear(64, 10), torch.nn.Linear(64, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x.flatten(1)
            return self.two(x) + torch.nn.functional.linear(x, self.one.weight)

    base = image_base(Past())
    point, items = Point.start(base, RECIPES["full"], 0), [*images(1, 3)]
    some = Collector(point)
    found = some.collect(items)
    assert some.slow == {"one.weight"}
    for key, value in logprob_gradient(point, items[2]).items():
        assert torch.allclose(found[key].rows(0, found[key].matrix[0])[2].reshape(value.shape), value)


@pytest.mark.parametrize("tokens", [1, 12, 1000])
def test_what_stands_in_a_batch_together_changes_no_gradient(tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collecting, "TOKENS", tokens)
    base = text_base("gpt2")
    items = [*texts(1, 7, low=3, high=12)]
    point = Point.start(base, RECIPES["full"], 0)
    there, back = Collector(point).collect(items), Collector(point).collect(items[::-1])
    for key, value in there.items():
        own, other = (each.rows(0, each.matrix[0]) for each in (value, back[key]))
        assert torch.allclose(own, other.flip(0), atol=1e-12)


def test_products_by_factors_are_those_of_gradients_laid_out() -> None:
    base = text_base("llama-tied")
    point = Point.start(base, RECIPES["full"], 0)
    one, other = (Collector(point).collect([*texts(seed, 4, low=3, high=9)]) for seed in (1, 2))
    for key, value in one.items():
        laid_out = value.rows(0, value.matrix[0]).flatten(1) @ other[key].rows(0, value.matrix[0]).flatten(1).T
        assert torch.allclose(dot_products(value, other[key]), laid_out, atol=1e-9), key
        assert torch.allclose(paired(value, other[key]), laid_out, atol=1e-9), key
        if value.parts and value.whole is None:
            both = torch.zeros_like(laid_out)
            for a in value.parts:
                for b in other[key].parts:
                    both.index_put_((a.index[:, None], b.index), a.products(b), accumulate=True)
            assert torch.allclose(both, laid_out, atol=1e-9), key


def test_products_in_lots_are_those_of_all_gradients_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    point = Point.start(text_base("llama-tied"), RECIPES["full"], 0)
    one, other = (Collector(point).collect([*texts(seed, 7, low=3, high=9)]) for seed in (1, 2))
    whole = {name: paired(value, other[name]) for name, value in one.items()}
    monkeypatch.setattr(features, "LOT", 1)
    taken: list[int] = []
    rows = features.Factors.rows

    def noted(self: features.Factors, begin: int, end: int) -> torch.Tensor:
        taken.append(len(self.index))
        return rows(self, begin, end)

    monkeypatch.setattr(features.Factors, "rows", noted)
    for name, value in one.items():
        taken.clear()
        found = paired(value, other[name])
        assert torch.allclose(found, whole[name], rtol=0, atol=1e-12), name
        assert not value.apart or taken.count(1) >= value.n, name
    assert {value.apart for value in one.values()} == {True, False}  # tied embeddings are used twice


def test_groups_are_weighted_sums_of_their_samples() -> None:
    base = text_base("llama-tied")
    found = Collector(Point.start(base, RECIPES["full"], 0)).collect([*texts(1, 4)])
    weight, group = torch.tensor([1.0, 2.0, -1.0, 0.5], dtype=torch.float64), torch.tensor([1, 0, 1, 1])
    for value in found.values():
        rows = value.rows(0, value.matrix[0])
        right = torch.stack([2 * rows[1], rows[0] - rows[2] + 0.5 * rows[3]])
        assert torch.allclose(value.grouped(weight, group, 2).rows(0, value.matrix[0]), right)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_moments_go_the_way_of_the_definition(optimizer: str) -> None:
    recipe = Recipe.model_validate(
        {"adapter": {"kind": "lora", "r": 2}, "optimizer": optimizer, "lr": 0.01, "dtype": "float64", "clip": 0.5}
    )
    base, items = text_base("gpt2"), texts(1, 4)
    training: Training[Any] = Training(tuple(items), ((Step((0, 1)), Step((2, 3), rate=0.5), Step((1,))),))
    point = Point.start(base, recipe, 0)
    seen = [moment.step for moment in moments(point, recipe, training)]
    right = definition.train(base, recipe, training, 0)
    assert seen == list(training.steps)
    assert all(torch.allclose(point.trained[name], value, atol=1e-9) for name, value in right.delta.items())


def test_drawn_targets_are_the_same_where_a_parameter_is_left_to_one_sample_at_a_time() -> None:
    base, items = text_base("gpt2"), [*texts(1, 4, low=3, high=9)]
    point = Point.start(base, RECIPES["full"], 0)
    fast, slow = Collector(point), Collector(point)
    there = fast.collect(items, seed=3)
    slow.slow = set(point.trained)
    for key, value in slow.collect(items, seed=3).items():
        own, other = (each.rows(0, each.matrix[0]) for each in (value, there[key]))
        assert torch.allclose(own, other, atol=1e-12), key
    assert not fast.slow and any(float((there[k].rows(0, 1) - v.rows(0, 1)).abs().max()) > 1e-3
                                 for k, v in fast.collect(items).items())  # fmt: skip
