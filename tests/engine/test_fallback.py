"""An engine that is wrong, or that fails, is found out, and the definition measures instead: planted faults."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from torch import nn

from einfluence import engine
from einfluence.engine import check, definition, select
from einfluence.engine.image.engine import ImageEngine
from einfluence.engine.measurement import Item, TextItem
from einfluence.engine.schedule import Probe
from einfluence.engine.text.lora import LoraEngine
from einfluence.engine.text.lora_weights import LoraWeights
from einfluence.engine.text.one_by_one import OneByOneEngine
from einfluence.engine.text.scoring import BaseScorer
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.spec import Full, Last, Lora, Recipe, Sgd
from tests.engine.comparison import influences, sequence
from tests.engine.random_models import image_base, images, text_base, texts

LORA = Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.05), steps=2)
FULL = Recipe(adapter=Full(), optimizer=Sgd(lr=0.02), steps=2)
Patch = pytest.MonkeyPatch


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: Patch) -> None:
    """Nothing is known of any base, and behind the engines made by hand comes the definition."""
    monkeypatch.setattr(check, "_KNOWN", WeakKeyDictionary())
    by_hand = tuple(candidate for candidate in select.CANDIDATES if candidate.name != "generic")
    monkeypatch.setattr(select, "CANDIDATES", by_hand)


@pytest.fixture(scope="module")
def llama() -> Base:
    return text_base("llama")


def measured(base: Base, recipe: Recipe, probes: Sequence[Probe], queries: Sequence[Item]) -> Any:
    """Influence, the engines' names and the fallbacks that were told, and the warnings."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        before, rows = engine.measure(base, recipe, probes, queries, 0)
        found = list(rows)
    moved = np.array([after.logprob - before.logprob for _, _, after in found])
    told = [str(one.message) for one in heard if one.category is engine.FallbackWarning]
    return moved, [tuned.engine for _, tuned, _ in found], [tuned.fallback for _, tuned, _ in found], told


def assert_fell_back(base: Base, recipe: Recipe, probes: Sequence[Probe], queries: Sequence[Item], reason: str) -> None:
    moved, names, fallbacks, told = measured(base, recipe, probes, queries)
    assert set(names) == {"definition"}
    assert all(reason in fallback for fallback in fallbacks)
    assert len(told) == 1 and reason in told[0]
    assert base.info.label in told[0] and recipe.label in told[0]
    np.testing.assert_array_equal(moved, influences(definition.measure(base, recipe, probes, queries, 0)))


def singles(count: int, seed: int = 0) -> list[list[Item]]:
    return [[item] for item in texts(seed, count)]


def spoiled(monkeypatch: Patch, spoil: Callable[[LoraEngine, Any, list[Any]], None]) -> None:
    """Lets what LoRA's engine trained be changed behind its back: ``spoil(engine, probes, tuned)``."""
    right = LoraEngine.train

    def train(self: LoraEngine, probes: Any) -> Any:
        tuned = right(self, probes)
        spoil(self, probes, tuned)
        return tuned

    monkeypatch.setattr(LoraEngine, "train", train)


def doubled(tuned: Any) -> None:
    for name, value in tuned.delta.items():
        if ".lora_B." in name:
            value.mul_(2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_engine_that_is_wrong_in_the_second_slot_alone(llama: Base, dtype: Any, monkeypatch: Patch) -> None:
    spoiled(monkeypatch, lambda self, probes, tuned: [doubled(one) for one in tuned[1:]] and None)
    assert_fell_back(llama, LORA.model_copy(update={"dtype": dtype}), singles(3), texts(1, 3), "influence is off by")


def test_an_engine_that_gives_the_second_slot_what_the_first_learned(llama: Base, monkeypatch: Patch) -> None:
    def spoil(self: LoraEngine, probes: Any, tuned: list[Any]) -> None:
        for one in tuned[1:]:
            one.delta.update({name: value.clone() for name, value in tuned[0].delta.items()})

    spoiled(monkeypatch, spoil)
    assert_fell_back(llama, LORA, singles(3), texts(1, 3), "influence is off by")


def test_one_probe_alone_is_tried_beside_another(llama: Base, monkeypatch: Patch) -> None:
    spoiled(monkeypatch, lambda self, probes, tuned: [doubled(one) for one in tuned[1:]] and None)
    assert_fell_back(llama, LORA, singles(1), texts(1, 3), "influence is off by")


def test_an_engine_that_is_wrong_for_sequences_alone(llama: Base, monkeypatch: Patch) -> None:
    spoiled(
        monkeypatch,
        lambda self, probes, tuned: (
            [doubled(t) for p, t in zip(probes, tuned, strict=True) if p.kind == "sequential"] and None
        ),
    )
    items = texts(2, 4)
    together, turns = [items[:2], items[2:]], [sequence(items[:2], LORA), sequence(items[2:], LORA)]
    assert measured(llama, LORA, together, items)[1] == ["batched lora"] * 2
    assert_fell_back(llama, LORA, turns, items, "influence is off by")
    mixed = measured(llama, LORA, [together[0], turns[0], together[1]], items)
    assert mixed[1] == ["batched lora", "definition", "batched lora"]


def test_an_engine_that_is_wrong_for_bundles_alone(llama: Base, monkeypatch: Patch) -> None:
    spoiled(
        monkeypatch,
        lambda self, probes, tuned: (
            [doubled(t) for p, t in zip(probes, tuned, strict=True) if len(p.items) > 1] and None
        ),
    )
    assert measured(llama, LORA, singles(2), texts(1, 3))[1] == ["batched lora"] * 2
    assert_fell_back(llama, LORA, [*singles(2), texts(3, 2), texts(4, 2)], texts(1, 3), "influence is off by")


def test_an_engine_that_is_wrong_with_layers_alone(llama: Base, monkeypatch: Patch) -> None:
    spoiled(monkeypatch, lambda self, probes, tuned: [doubled(t) for t in tuned if self.network.start] and None)
    upper = LORA.model_copy(update={"adapter": Lora(r=2, layers=(1, 2))})
    assert measured(llama, LORA, singles(2), texts(1, 3))[1] == ["batched lora"] * 2
    assert_fell_back(llama, upper, singles(2), texts(1, 3), "influence is off by")


def test_an_engine_that_is_wrong_with_longer_texts_alone(llama: Base, monkeypatch: Patch) -> None:
    def spoil(self: LoraEngine, probes: Any, tuned: list[Any]) -> None:
        if max(item.size for probe in probes for item in probe.items) > 15:
            for one in tuned:
                doubled(one)

    spoiled(monkeypatch, spoil)
    assert measured(llama, LORA, singles(2), texts(1, 3))[1] == ["batched lora"] * 2
    long = [[item] for item in texts(0, 2, low=16, high=20)]
    assert_fell_back(llama, LORA, long, texts(1, 3), "influence is off by")


@pytest.mark.parametrize("lr", [1e-9, 0.0])
def test_an_engine_that_is_wrong_at_a_learning_rate_that_moves_nothing(
    llama: Base, lr: float, monkeypatch: Patch
) -> None:
    spoiled(monkeypatch, lambda self, probes, tuned: [doubled(one) for one in tuned] and None)
    assert_fell_back(llama, LORA.with_lr(lr), singles(2), texts(1, 3), "influence is off by")


def test_a_right_engine_is_believed_at_every_learning_rate(llama: Base) -> None:
    for lr in (0.0, 1e-9, 0.05, 5.0):
        for recipe in (LORA, FULL):
            _, names, fallbacks, told = measured(llama, recipe.with_lr(lr), singles(2), texts(1, 3))
            assert "definition" not in names and not told and set(fallbacks) == {None}


def test_an_engine_that_scores_wrongly(llama: Base, monkeypatch: Patch) -> None:
    right = LoraWeights.put

    def wrong(self: LoraWeights, values: Any) -> None:
        right(self, values)
        self.layers[0].scale = 1.2

    monkeypatch.setattr(LoraWeights, "put", wrong)
    assert_fell_back(llama, LORA, singles(2), texts(1, 3), "batched lora: ")


def test_an_engine_that_cannot_read_an_earlier_training(llama: Base, monkeypatch: Patch) -> None:
    right = LoraEngine.measure

    def wrong(self: LoraEngine, probes: Any, queries: Any, kept: Any) -> Any:
        return right(self, probes, queries, {i: {n: 2 * v for n, v in delta.items()} for i, delta in kept.items()})

    monkeypatch.setattr(LoraEngine, "measure", wrong)
    probes, queries = singles(2), texts(1, 3)
    assert measured(llama, LORA, probes, queries)[1] == ["batched lora"] * 2
    kept = {0: definition.train(llama, LORA, probes[0], 0).delta}
    with pytest.warns(engine.FallbackWarning, match="where an earlier training is read again, influence is off"):
        found = influences(engine.measure(llama, LORA, probes, queries, 0, kept=kept))
    np.testing.assert_array_equal(found, influences(definition.measure(llama, LORA, probes, queries, 0)))


@pytest.mark.parametrize("error", [KeyError("full_attention"), RuntimeError("not used in the graph"), IndexError("5")])
def test_an_engine_that_cannot_be_built(llama: Base, error: Exception, monkeypatch: Patch) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(LoraEngine, "__init__", broken)
    assert_fell_back(llama, LORA, singles(2), texts(1, 3), type(error).__name__)


def test_an_engine_that_fails_on_its_way(llama: Base, monkeypatch: Patch) -> None:
    """The check has passed; the third batch of probes is what it cannot do."""
    right, seen = LoraEngine.train, list[int]()

    def train(self: LoraEngine, probes: Any) -> Any:
        if len(probes[0].steps) == 4 and (seen.append(1) or len(seen)) > 1:
            raise RuntimeError("shape mismatch")
        return right(self, probes)

    monkeypatch.setattr(LoraEngine, "train", train)
    recipe, probes, queries = LORA.model_copy(update={"steps": 4}), [*singles(2), texts(3, 2)], texts(1, 3)
    monkeypatch.setattr("einfluence.engine.text.lora.default_sizes", lambda *_: _one_at_a_time())
    moved, names, _, told = measured(llama, recipe, probes, queries)
    assert names == ["batched lora", "definition", "definition"]
    assert len(told) == 1 and "shape mismatch" in told[0]
    np.testing.assert_allclose(moved, influences(definition.measure(llama, recipe, probes, queries, 0)), atol=1e-4)


def test_earlier_trainings_are_read_by_the_definition_too_where_an_engine_fails_on_its_way(
    llama: Base, monkeypatch: Patch
) -> None:
    probes, queries = [*singles(2), texts(3, 1)], texts(1, 3)
    first = list(engine.measure(llama, LORA, probes, queries, 0).rows)
    right, done = LoraEngine.measure, list[int]()

    def measure(self: LoraEngine, probes: Any, queries: Any, kept: Any) -> Any:
        if len(kept) == 3:
            raise RuntimeError("out of memory")
        return right(self, probes, queries, kept)

    monkeypatch.setattr(LoraEngine, "measure", measure)
    monkeypatch.setattr(definition, "train", lambda *_: done.append(1))
    monkeypatch.setattr(check.Trial, "disagreement", lambda *_: "")
    kept = {i: row.tuned.delta for i, row in enumerate(first)}
    with pytest.warns(engine.FallbackWarning, match="out of memory"):
        before, rows = engine.measure(llama, LORA, probes, queries, 0, kept=kept)
        again = list(rows)
    assert not done and [row.tuned.engine for row in again] == ["definition"] * 3
    truth = influences(definition.measure(llama, LORA, probes, queries, 0, kept=kept))
    np.testing.assert_array_equal(influences((before, again)), truth)


def test_what_is_planned_and_trained_goes_on_with_the_definition_too(llama: Base, monkeypatch: Patch) -> None:
    """The check has passed with two probes; three at once are what the engine cannot do."""
    right = LoraEngine.train_all

    def train_all(self: LoraEngine, probes: Any) -> Any:
        if len(probes) > 2:
            raise RuntimeError("no more than two")
        return right(self, probes)

    monkeypatch.setattr(LoraEngine, "train_all", train_all)
    probes = [*singles(2), texts(3, 1)]
    with pytest.warns(engine.FallbackWarning, match="no more than two"):
        plan = engine.forecast(llama, LORA, probes, texts(1, 3))
    assert (plan.path, plan.why) == ("definition", "RuntimeError: no more than two") and plan.seconds > 0
    for found, probe in zip(engine.train(llama, LORA, probes, 0), probes, strict=True):
        assert found.losses == definition.train(llama, LORA, probe, 0).losses


def _one_at_a_time() -> Any:
    from einfluence.engine.batch_sizes import Sizes

    return Sizes(window=1)


def test_the_next_engine_is_tried_before_the_definition(llama: Base, monkeypatch: Patch) -> None:
    from einfluence.engine.text.low_rank_sgd import LowRankSgdEngine

    monkeypatch.setattr(LowRankSgdEngine, "train", lambda self, probes: 1 / 0)
    _, names, fallbacks, told = measured(llama, FULL, singles(2), texts(1, 3))
    assert names == ["one by one"] * 2 and "ZeroDivisionError" in fallbacks[0]
    assert len(told) == 1 and "`one by one`" in told[0]
    monkeypatch.setattr(OneByOneEngine, "train", lambda self, probes: 1 / 0)
    monkeypatch.setattr(check, "_KNOWN", WeakKeyDictionary())
    assert_fell_back(llama, FULL, singles(2), texts(1, 3), "one by one: ZeroDivisionError")


def test_image_engines_are_checked_and_replaced_too(monkeypatch: Patch) -> None:
    base = image_base(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))
    probes: list[list[Item]] = [[image] for image in images(0, 3)]
    assert measured(base, FULL, probes, images(1, 4))[1] == ["images"] * 3
    right = ImageEngine.train

    def train(self: ImageEngine, some: Any) -> Any:
        tuned = right(self, some)
        for one in tuned[1:]:
            for value in one.delta.values():
                value.mul_(1.5)
        return tuned

    monkeypatch.setattr(ImageEngine, "train", train)
    monkeypatch.setattr(check, "_KNOWN", WeakKeyDictionary())
    assert_fell_back(base, FULL, probes, images(1, 4), "influence is off by")


class WritesItsWeights(nn.Module):
    """A head whose forward changes its own weights in place, once."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear, self.done = linear, False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.done:
            with torch.no_grad():
                self.linear.weight.div_(2)
            self.done = True
        return self.linear(x)


def test_an_engine_under_which_the_base_would_change_never_touches_it() -> None:
    base = image_base(nn.Sequential(nn.Flatten(), WritesItsWeights(nn.Linear(64, 10))))
    weights = [parameter.clone() for parameter in base.model.parameters()]
    probes: list[list[Item]] = [[image] for image in images(0, 2)]
    assert_fell_back(base, FULL, probes, images(1, 3), "changes the base's weights")
    for now, then in zip(base.model.parameters(), weights, strict=True):
        assert torch.equal(now, then)


def test_a_reader_that_is_wrong_or_fails_leaves_it_to_the_definition(llama: Base, monkeypatch: Patch) -> None:
    items, plain = texts(3, 4), FULL.model_copy(update={"steps": 0})
    truth = definition.evaluate(llama, plain, items).logprob
    right = BaseScorer.score

    def wrong(self: BaseScorer, some: Any) -> Any:
        found = right(self, some)
        found.logprob[-1] += 0.1
        return found

    def broken(self: BaseScorer, some: Any) -> Any:
        raise KeyError("sliding_attention")

    for read, reason in ((wrong, "off by 0.1"), (broken, "KeyError")):
        monkeypatch.setattr(BaseScorer, "score", read)
        monkeypatch.setattr(check, "_KNOWN", WeakKeyDictionary())
        reader = engine.CheckedScorer(llama)
        with pytest.warns(engine.FallbackWarning, match=reason):
            np.testing.assert_array_equal(reader(items).logprob, truth)
        assert reader.engine == "definition" and reason in (reader.fallback or "")
        np.testing.assert_array_equal(reader(items).logprob, truth)  # and warns no more


def test_a_reader_is_checked_again_when_texts_grow_long(llama: Base, monkeypatch: Patch) -> None:
    right = BaseScorer.score

    def wrong(self: BaseScorer, some: Any) -> Any:
        found = right(self, some)
        found.logprob[[len(item.ids) > 20 for item in some]] += 0.1
        return found

    monkeypatch.setattr(BaseScorer, "score", wrong)
    reader = engine.CheckedScorer(llama)
    reader(texts(3, 4))
    assert (reader.engine, reader.fallback) == ("shared prefixes", None)
    with pytest.warns(engine.FallbackWarning, match="off by"):
        reader(texts(3, 2, low=30, high=40))


class Unreadable(nn.Module):
    """No model at all."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)  # images are not flattened


def test_a_base_that_cannot_be_run_is_refused_by_name() -> None:
    base = image_base(Unreadable())
    with pytest.raises(
        InputError, match=r"base random classifier: found a model that cannot be run in float32 \(Runtime"
    ):
        engine.measure(base, FULL, [[image] for image in images(0, 2)], images(1, 3), 0)


def test_a_probe_that_the_definition_cannot_train_fails_alone(llama: Base, monkeypatch: Patch) -> None:
    right = definition.train

    def train(base: Base, recipe: Recipe, probe: Any, *more: Any) -> Any:
        if len(probe.items[0].ids) == 9:
            raise RuntimeError("out of memory")
        return right(base, recipe, probe, *more)

    monkeypatch.setattr(definition, "train", train)
    probes = [*singles(2), [TextItem(tuple(range(3, 12)), 1)]]
    _, rows = engine.measure(llama, LORA, probes, texts(1, 3), 0, engine="serial")
    assert [tuned.failed for _, tuned, _ in rows] == [None, None, "RuntimeError: out of memory"]


def test_an_earlier_training_by_another_engine_is_not_read_but_done_again(llama: Base) -> None:
    probes, queries = singles(2), texts(1, 3)
    fast = {i: tuned.delta for i, tuned, _ in engine.measure(llama, FULL, probes, queries, 0)[1]}
    slow = {i: tuned.delta for i, tuned, _ in definition.measure(llama, FULL, probes, queries, 0)[1]}
    truth = influences(definition.measure(llama, FULL, probes, queries, 0))
    by_definition = engine.measure(llama, FULL, probes, queries, 0, kept=fast, engine="serial")
    np.testing.assert_array_equal(influences(by_definition), truth)
    mixed = {0: fast[0], 1: slow[1]}
    found = influences(engine.measure(llama, FULL, probes, queries, 0, kept=mixed))
    np.testing.assert_allclose(found, truth, atol=1e-4)


def test_the_last_layer_of_a_model_without_one_is_refused() -> None:
    base = image_base(nn.Sequential(nn.Conv2d(1, 10, 8), nn.Flatten()))
    last = FULL.model_copy(update={"adapter": Last()})
    with pytest.raises(InputError, match="`last` for random classifier, which has no Linear layer"):
        engine.measure(base, last, [[image] for image in images(0, 2)], images(1, 3), 0)
    convolutions = FULL.model_copy(update={"adapter": Lora(r=2)})
    assert measured(base, convolutions, [[image] for image in images(0, 2)], images(1, 3))[1][0] is not None
