"""The engine made for no kind of model equals the definition, whatever the model, adapter, optimizer and schedule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.generic import GenericEngine
from einfluence.engine.generic_scoring import QueryScorer
from einfluence.engine.measurement import TextItem
from einfluence.engine.schedule import probe_training
from einfluence.engine.select import choose
from einfluence.models.base import Base
from tests.engine.architectures import architecture
from tests.engine.comparison import ask, assert_equal_to_definition, influences
from tests.engine.random_models import Odd, image_base, images, text_base, texts
from tests.engine.test_schedule import ADAPTERS, OPTIMIZERS, RHYTHMS, recipe_of, schedules


class Gated(nn.Module):
    """A layer of somebody's own: parameters without a Linear, one of them read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(16))
        self.mix = nn.Parameter(torch.randn(16, 16) / 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.mix).sigmoid() * (x * self.scale) @ self.mix


def own_layers() -> Base:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        gated = Gated()
    return image_base(nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.PReLU(16), gated, nn.Linear(16, 10)))


PATTERN = {"kind": "match", "pattern": "mix|scale|1.weight"}
NORMS = {"kind": "match", "pattern": "ln_|norm|bias"}


def probes_of(items: Any, steps: int = 2) -> list[Any]:
    """Alone, together, in turn and scheduled."""
    bundle, sequence = list(items[2:4]), probe_training(items[:2], steps, sequential=True)
    return [[items[0]], [items[1]], bundle, sequence, *schedules(items, 5, RHYTHMS[1:3])]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_texts_under_every_adapter_and_optimizer(adapter: str, optimizer: str) -> None:
    base, items, recipe = text_base("gpt2"), texts(2, 6), recipe_of(ADAPTERS[adapter], optimizer)
    fast = GenericEngine(base, recipe, 1, Sizes(train=60, score=40, window=4))
    assert_equal_to_definition(fast, base, recipe, probes_of(items), texts(3, 5), 1, 1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("adapter", [*ADAPTERS.values(), PATTERN])
def test_layers_that_no_engine_by_hand_knows(adapter: Any, optimizer: str) -> None:
    base, items, recipe = own_layers(), images(2, 6), recipe_of(adapter, optimizer)
    if adapter != ADAPTERS["lora"]:
        assert_equal_to_definition(
            GenericEngine(base, recipe, 1), base, recipe, probes_of(items), images(3, 5), 1, 1e-9
        )
    assert choose(base, recipe, 1).name == ("generic" if adapter in ("full", PATTERN) else "images")


@pytest.mark.parametrize("adapter", ["full", "last"])
def test_convolutions_and_norms_of_all_kinds(adapter: str) -> None:
    base, items, recipe = image_base(Odd()), images(2, 6), recipe_of(adapter, "sgd")
    assert_equal_to_definition(GenericEngine(base, recipe, 0), base, recipe, probes_of(items), images(3, 5), 0, 1e-9)


@pytest.mark.parametrize("name", ["mixtral", "qwen2-moe", "gemma3", "mamba", "llama-bos-pads"])
@pytest.mark.parametrize("adapter", ["lora on two", "full"])
def test_architectures(name: str, adapter: str) -> None:
    """Mixtures of experts among them; the padding token stands in the texts."""
    base = architecture(name)
    items = [TextItem(tuple(3 + token % 27 for token in text.ids), text.n_target) for text in texts(2, 5)]
    items.append(TextItem((5, 0, 6, 1, 7, 8), 2))
    two = [
        n
        for n, m in base.model.named_modules()
        if isinstance(m, nn.Linear) and m is not base.objective.head(base.model)
    ]
    recipe = recipe_of({"kind": "lora", "r": 2, "targets": two[:2]} if adapter != "full" else "full", "adam")
    recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"weight_decay": 0.0})})
    few = probes_of([*items[:3], items[-1]])[:4]
    assert_equal_to_definition(GenericEngine(base, recipe, 0), base, recipe, few, items[2:], 0, 1e-4)


@pytest.mark.parametrize("change", [{"steps": 0}, {"lr": 0.0}])
def test_a_probe_that_changes_nothing_has_influence_exactly_zero(change: dict[str, Any]) -> None:
    for base, items in ((text_base("llama-tied"), texts(2, 6)), (own_layers(), images(2, 6))):
        for adapter in ADAPTERS.values():
            if adapter == ADAPTERS["lora"] and base.info.label == "random classifier":
                continue
            recipe = recipe_of(adapter, "adam", "float32")
            recipe = recipe.with_lr(0.0) if "lr" in change else recipe.model_copy(update=change)
            recipe = recipe.model_copy(update={"optimizer": recipe.optimizer.model_copy(update={"weight_decay": 0.0})})
            fast = GenericEngine(base, recipe, 0, Sizes(score=30, window=3))
            assert (influences(ask(fast, [[item] for item in items[:5]], items)) == 0).all()


def test_earlier_trainings_are_read_and_the_base_stays_as_it_is() -> None:
    base, items, recipe = own_layers(), images(2, 6), recipe_of("full", "adam", "float32")
    weights = {name: value.clone() for name, value in base.model.state_dict().items()}
    probes = [[item] for item in items[:3]]
    trained = list(ask(GenericEngine(base, recipe, 0), probes, items).rows)
    again = list(ask(GenericEngine(base, recipe, 0), probes, items, {1: trained[1].tuned.delta}).rows)
    by_definition = {1: definition.train(base, recipe, probes[1], 0).delta}
    fast = GenericEngine(base, recipe, 0)
    assert fast.accepts(by_definition[1]) and again[1].tuned.losses == []
    np.testing.assert_array_equal(again[1].after.logprob, trained[1].after.logprob)  # type: ignore[union-attr]
    found = list(ask(fast, probes, items, by_definition).rows)[1].after
    np.testing.assert_allclose(found.logprob, trained[1].after.logprob, atol=1e-4)  # type: ignore[union-attr]
    assert all(torch.equal(value, weights[name]) for name, value in base.model.state_dict().items())


def test_losses_are_told_in_full_where_parameters_are_held_in_half() -> None:
    """Of trainings whose items are read apart as well as side by side."""
    base, recipe = text_base("gpt2"), recipe_of("last", "sgd", "bfloat16")
    probes = [[texts(2, 1)[0]], texts(3, 3)]
    found = list(ask(GenericEngine(base, recipe, 0), probes, texts(2, 2)).rows)
    for row, probe in zip(found, probes, strict=True):
        loss = row.tuned.losses[0]
        assert abs(loss - definition.train(base, recipe, probe, 0).losses[0]) < 0.05
        assert torch.tensor(loss).bfloat16().item() != loss


def test_large_pictures_are_read_a_few_at_a_time_and_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    base, items, recipe = own_layers(), images(2, 6), recipe_of("full", "sgd")
    together = GenericEngine(base, recipe, 0)
    truth = influences(ask(together, [items[:1], items[1:3]], items))
    assert (together.sizes.train, together.sizes.score) == (2048, 1024)
    monkeypatch.setenv("EINFLUENCE_MEMORY", "10KB")
    few = GenericEngine(base, recipe, 0)
    np.testing.assert_allclose(influences(ask(few, [items[:1], items[1:3]], items)), truth, rtol=1e-9)
    assert few.sizes.train == 1 and 1 <= few.sizes.score <= 4


@pytest.mark.parametrize("name", ["gpt2", "llama-tied"])
@pytest.mark.parametrize("adapter", [*ADAPTERS, "norms"])
def test_one_training_left_in_a_plain_model_says_what_stacked_parameters_say(adapter: str, name: str) -> None:
    base, items, recipe = text_base(name), texts(2, 6), recipe_of(ADAPTERS.get(adapter, NORMS), "adam")
    merged, beside = (GenericEngine(base, recipe, 1, Sizes(score=40)) for _ in range(2))
    assert merged.merged is not None
    beside.merged = None
    probes = [[item] for item in items[:3]]
    weights = {name: value.clone() for name, value in merged.model.state_dict().items() if "lora" not in name}
    found = influences(ask(merged, probes, items))
    np.testing.assert_allclose(found, influences(ask(beside, probes, items)), rtol=1e-9, atol=1e-12)
    assert abs(found).max() > 1e-3
    assert all(torch.equal(merged.model.state_dict()[name], value) for name, value in weights.items())


def test_large_blocks_alone_are_merged_and_what_is_held_in_half_is_not() -> None:
    base, items = text_base("gpt2"), texts(2, 6)
    fast = GenericEngine(base, recipe_of(ADAPTERS["lora"], "adam"), 1, Sizes(score=40))
    assert True in {block.read is not None for block in QueryScorer(fast, items, 4).blocks}
    few = GenericEngine(base, recipe_of(ADAPTERS["lora"], "adam"), 1, Sizes(score=4000))
    assert {block.read is not None for block in QueryScorer(few, items, 4).blocks} == {False}
    for adapter in ADAPTERS.values():
        assert not GenericEngine(base, recipe_of(adapter, "adam", "bfloat16"), 1).merged


class LooksIntoItsInput(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (2.0 if x.sum().item() > 0 else 1.0)


@pytest.mark.parametrize(("score", "merged"), [(1, True), (1 << 20, False)])
def test_what_cannot_run_for_many_at_once_is_refused_however_queries_are_read(score: int, merged: bool) -> None:
    layers = [nn.Flatten(), nn.Linear(64, 8), nn.PReLU(8), nn.Linear(8, 10)]
    fast = GenericEngine(image_base(nn.Sequential(*layers)), recipe_of(ADAPTERS["lora"], "sgd"), 0, Sizes(score=score))
    assert {block.read is not None for block in QueryScorer(fast, images(1, 3), 2).blocks} == {merged}
    base = image_base(nn.Sequential(*layers[:3], LooksIntoItsInput(), layers[3]))
    fast = GenericEngine(base, recipe_of(ADAPTERS["lora"], "sgd"), 0, Sizes(score=score))
    with pytest.raises(RuntimeError, match="vmap"):
        QueryScorer(fast, images(1, 3), 2)


def test_a_model_that_looks_into_its_data_is_left_to_the_definition() -> None:
    base = image_base(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.PReLU(8), LooksIntoItsInput(), nn.Linear(8, 10)))
    recipe, probes = recipe_of("full", "sgd"), [[image] for image in images(0, 2)]
    with pytest.warns(engine.FallbackWarning, match=r"`definition`.*generic: .*vmap"):
        before, rows = engine.measure(base, recipe, probes, images(1, 3), 0)
        found = list(rows)
    assert {row.tuned.engine for row in found} == {"definition"}
    truth = influences(definition.measure(base, recipe, probes, images(1, 3), 0))
    np.testing.assert_array_equal(influences((before, found)), truth)


def test_one_that_is_wrong_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    right = GenericEngine.train_all

    def train_all(self: GenericEngine, probes: Any) -> Any:
        tuned = right(self, probes)
        for one in tuned[1:]:
            for value in one.delta.values():
                value.mul_(1.2)
        return tuned

    monkeypatch.setattr(GenericEngine, "train_all", train_all)
    with pytest.warns(engine.FallbackWarning, match="generic: influence is off by"):
        found = list(
            engine.measure(own_layers(), recipe_of("full", "sgd"), [[i] for i in images(0, 3)], images(1, 3), 0).rows
        )
    assert {row.tuned.engine for row in found} == {"definition"}
