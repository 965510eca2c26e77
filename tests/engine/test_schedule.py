"""Trainings: mini-batches, weights and stages in the definition, and every engine equal to it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.descent import split
from einfluence.engine.forecast import shortened
from einfluence.engine.image.engine import ImageEngine
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Step, Training, loss_of, probe_training
from einfluence.engine.text.lora import LoraEngine
from einfluence.engine.text.one_by_one import OneByOneEngine
from einfluence.spec import Recipe
from tests.engine.comparison import assert_equal_to_definition
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.05},
    "adam": {"optimizer": "adam", "lr": 0.003, "weight_decay": 0.05},
    "adamw, clipped": {"optimizer": "adamw", "lr": 0.003, "weight_decay": 0.05, "clip": 0.3},
}
ADAPTERS: dict[str, Any] = {"lora": {"kind": "lora", "r": 2}, "full": "full", "last": "last"}


def recipe_of(adapter: Any, optimizer: str, dtype: str = "float64") -> Recipe:
    given = OPTIMIZERS[optimizer]
    bolder = {"lr": 0.3} if adapter == ADAPTERS["lora"] and optimizer == "sgd" else {}
    bolder |= {"lr": 0.02} if adapter == "last" and optimizer != "sgd" else {}
    return Recipe.model_validate({"adapter": adapter, **given, **bolder, "steps": 2, "dtype": dtype})


def schedules(items: Sequence[Item], seed: int, rhythms: Sequence[Sequence[int]]) -> list[Training[Item]]:
    """Random mini-batches of one to three items, weighted by -1, 0, 0.5, 1 or 2; one step of each training by 0 alone.

    The learning rate falls from step to step.
    """
    draw = np.random.default_rng(seed)
    made: list[Training[Item]] = []
    for rhythm in rhythms:
        stages: list[tuple[Step, ...]] = []
        for count in rhythm:
            batches = [tuple(draw.permutation(len(items))[: draw.integers(1, 4)].tolist()) for _ in range(count)]
            weights = [tuple(draw.choice([-1.0, 0.0, 0.5, 1.0, 2.0], len(b)).tolist()) for b in batches]
            stages.append(
                tuple(Step(b, w, rate=1.5 / (1 + i)) for i, (b, w) in enumerate(zip(batches, weights, strict=True)))
            )
        last = stages[-1][-1]
        stages[-1] = (*stages[-1][:-1], replace(last, weights=(0.0,) * len(last.batch)))
        made.append(Training(tuple(items), tuple(stages)))
    return made


RHYTHMS = ((3, 2), (3, 2), (4,), (3, 2), (1, 1, 2))


def by_hand(model: nn.Module, training: Training[Any], recipe: Recipe, left_out: int = -1) -> list[float]:
    """Trains a model in place: plain torch, the loss written as a sum over the batch."""
    make = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    given = OPTIMIZERS[next(name for name in OPTIMIZERS if name.startswith(recipe.optimizer.kind))]
    options = {name: value for name, value in given.items() if name in ("lr", "momentum", "weight_decay")}
    losses: list[float] = []
    for stage in training.stages:
        optimizer = make[recipe.optimizer.kind](model.parameters(), **options)
        for step in stage:
            optimizer.param_groups[0]["lr"] = options["lr"] * step.rate
            optimizer.zero_grad(set_to_none=False)
            total, tokens = torch.zeros((), dtype=torch.float64), 0
            for index, weight in zip(step.batch, step.weights or [1.0] * len(step.batch), strict=True):
                item = training.items[index]
                tokens += item.n_target
                if index == left_out:
                    continue
                logits = model(input_ids=torch.tensor([item.ids])).logits[0].double()
                for place in range(len(item.ids) - item.n_target, len(item.ids)):
                    row = logits[place - 1]
                    total = total - weight * (row[item.ids[place]] - row.logsumexp(0))
            (total / tokens).backward() if total.requires_grad else None
            if recipe.clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimizer.step()
            losses.append(total.item() / tokens)
    return losses


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_definition_is_a_plain_loop_over_weighted_mini_batches(optimizer: str) -> None:
    base, items, recipe = text_base("gpt2"), texts(1, 5), recipe_of("full", optimizer)
    for training in schedules(items, 3, RHYTHMS):
        model = copy.deepcopy(base.model).double().requires_grad_(True)
        losses = by_hand(model, training, recipe)
        tuned = definition.train(base, recipe, training, 0)
        np.testing.assert_allclose(tuned.losses, losses, rtol=1e-9, atol=1e-12)
        for name, value in model.named_parameters():
            torch.testing.assert_close(tuned.delta[name], value.detach(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("size", [1, 2])
def test_a_weight_of_zero_is_a_loop_without_that_term(optimizer: str, size: int) -> None:
    base, items, recipe = text_base("gpt2"), texts(1, 4), recipe_of("full", optimizer)
    stage = tuple(Step(tuple(range(start, start + size))) for start in (0, 2, 1, 2))
    training: Training[Item] = Training(tuple(items), (stage,))
    model = copy.deepcopy(base.model).double().requires_grad_(True)
    nn.utils.vector_to_parameters(nn.utils.parameters_to_vector(model.parameters()).detach(), model.parameters())
    sum(p.sum() * 0 for p in model.parameters()).backward()  # so that zero_grad leaves zeros, as at every later step
    by_hand(model, training, recipe, left_out=2)
    without = definition.train(base, recipe, training.weighted({2: 0.0}), 0)
    for name, value in model.named_parameters():
        torch.testing.assert_close(without.delta[name], value.detach(), rtol=1e-9, atol=1e-11)


def test_what_has_no_weight_leaves_no_trace() -> None:
    """Another text in its place, as long as the first: the same bits."""
    base, items = text_base("gpt2"), texts(1, 4, low=6, high=6)
    other = type(items[2])(tuple(40 - i for i in range(6)), items[2].n_target)
    stage = (Step((0, 2)), Step((2,)), Step((1, 3)), Step((2, 1)))
    for adapter in ADAPTERS.values():
        for optimizer in ("sgd", "adam"):
            recipe = recipe_of(adapter, optimizer, "float32")
            both = [
                Training((*items[:2], one, items[3]), (stage,)).weighted({2: 0.0, 3: 0.5}) for one in (items[2], other)
            ]
            for tuned in ([definition.train(base, recipe, t, 0) for t in both], engine.train(base, recipe, both, 0)):
                one, another = (each.delta for each in tuned)
                assert all(torch.equal(value, another[name]) for name, value in one.items())


def test_a_set_of_one_sample_is_the_probe() -> None:
    base, items = text_base("gpt2"), texts(1, 2)
    recipe = recipe_of("full", "adam", "float32")
    alone = definition.train(base, recipe, [items[0]], 0)
    of_a_set = definition.train(base, recipe, Training(tuple(items), ((Step((0,)), Step((0,), (1.0,))),)), 0)
    assert alone.losses == of_a_set.losses
    assert all(torch.equal(value, of_a_set.delta[name]) for name, value in alone.delta.items())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", ["gpt2", "bloom"])
def test_lora_on_texts_follows_any_schedule(name: str, optimizer: str) -> None:
    base, items = text_base(name), texts(2, 6)
    recipe = recipe_of(ADAPTERS["lora"], optimizer)
    probes = schedules(items, 5, RHYTHMS)
    tolerance = 1e-9 if name == "gpt2" else 1e-4  # Bloom's softmax is float32 in any precision
    for sizes in (Sizes(train=40, score=60), Sizes(train=1 << 20)):
        assert_equal_to_definition(LoraEngine(base, recipe, 1, sizes), base, recipe, probes, texts(3, 4), 1, tolerance)


def test_lora_in_the_upper_blocks_follows_any_schedule() -> None:
    base, items = text_base("gpt2"), texts(2, 6)
    recipe = recipe_of({"kind": "lora", "r": 2, "layers": [1, 2]}, "sgd")
    fast = LoraEngine(base, recipe, 1, Sizes(train=60))
    assert fast.network.start == 1
    assert_equal_to_definition(fast, base, recipe, schedules(items, 5, RHYTHMS), texts(3, 4), 1, 1e-9)


@pytest.mark.parametrize("layers", [None, [1, 2]])
def test_trainings_that_read_the_same_texts_share_what_no_adapter_reaches(layers: Any) -> None:
    base, items = text_base("gpt2"), texts(2, 6)
    recipe = recipe_of({"kind": "lora", "r": 2, "layers": layers}, "adam")
    stage = (Step((0, 3, 1)), Step((2, 4, 5)), Step((5, 0)))
    whole: Training[Item] = Training(tuple(items), (stage, stage[:1]))
    probes = [whole, *(whole.weighted({index: weight}) for index, weight in ((0, 0.5), (4, 0.0), (3, 2.0)))]
    assert_equal_to_definition(LoraEngine(base, recipe, 1), base, recipe, probes, texts(3, 4), 1, 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("adapter", ["full", "last"])
def test_whole_parameters_on_texts_follow_any_schedule(adapter: str, optimizer: str) -> None:
    base, items, recipe = text_base("gpt2"), texts(2, 6), recipe_of(adapter, optimizer)
    probes = schedules(items, 5, RHYTHMS)
    assert_equal_to_definition(OneByOneEngine(base, recipe, 0), base, recipe, probes, texts(3, 4), 0, 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_images_follow_any_schedule(adapter: str, optimizer: str) -> None:
    base, items, recipe = image_base(digits_like()), images(2, 6), recipe_of(ADAPTERS[adapter], optimizer)
    probes = [*schedules(items, 5, RHYTHMS), probe_training(items[:2], 2, sequential=True)]
    assert_equal_to_definition(ImageEngine(base, recipe, 1), base, recipe, probes, images(3, 5), 1, 1e-9)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_trainings_of_all_ways_are_measured_by_one_call(adapter: str) -> None:
    base, items, recipe = text_base("gpt2"), texts(2, 6), recipe_of(ADAPTERS[adapter], "sgd")
    probes = [[items[0]], *schedules(items, 7, ((2, 2), (3,), (2, 2))), probe_training(items[:2], 2, sequential=True)]

    class Whole:
        def measure(self, some: Any, queries: Any, kept: Any) -> Any:
            return engine.measure(base, recipe, some, queries, 0, kept=kept)

    assert_equal_to_definition(Whole(), base, recipe, probes, texts(3, 4), 0, 1e-7)


def test_texts_are_read_beside_those_of_batches_that_are_as_large() -> None:
    items = texts(1, 8, low=8, high=8)
    whole = Step(tuple(range(8)))
    steps = [Step(whole.batch, tuple(float(i < kept) for i in range(8))) for kept in (8, 2, 7, 0, 2, 8)]
    losses = [loss_of(Training(tuple(items), ((step,),)), step) for step in steps]
    assert [loss.divisor for loss in losses] == [float(sum(item.n_target for item in items))] * 6
    assert split(losses, 1 << 20) == [[1, 4], [0, 2, 5]]
    assert split(losses, 8 * 8 * 2) == [[1, 4], [0, 2], [5]]


@pytest.mark.parametrize(
    ("batch", "weights", "divisor", "found"),
    [
        ((), None, None, "nothing"),
        ((0, 1), (1.0,), None, "1 weights for a batch of 2"),
        ((0,), (float("nan"),), None, "not finite"),
        ((0,), None, 0.0, "a divisor of 0.0"),
    ],
)
def test_a_step_that_means_nothing_is_refused(batch: Any, weights: Any, divisor: Any, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        Step(batch, weights, divisor)


def test_a_step_at_a_rate_that_means_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="a share of -1"):
        Step((0,), rate=-1)


def test_a_training_on_items_that_it_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match="steps on the items 0 to 2 of 2"):
        Training(("a", "b"), ((Step((0, 2)),),))


def test_what_is_rehearsed_of_a_training_are_its_first_steps() -> None:
    items = texts(1, 3)
    long: Training[Item] = Training(tuple(items), ((Step((0, 1)),) * 10, (Step((2,)),) * 10))
    assert [len(stage) for stage in shortened(long, 12).stages] == [10, 2]
    assert [len(stage) for stage in shortened(long, 4).stages] == [4, 1]
    assert shortened(long, 20) == long
