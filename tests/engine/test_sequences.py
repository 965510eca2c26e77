"""Probes whose samples are trained one after the other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from einfluence import engine
from einfluence.bases.load import find_base, load_base
from einfluence.engine import definition
from einfluence.engine.measurement import TextItem
from einfluence.engine.text.lora import LoraEngine
from einfluence.engine.text.network import Network
from einfluence.objectives.causal_lm import encode_text
from einfluence.samples import Probe
from einfluence.spec import Adam, AdamW, Adapter, Full, Lora, Recipe, Sgd
from tests.engine.comparison import ask, assert_equal_to_definition, influences, sequence
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

RECIPES = {
    "LoRA, Adam": Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=0.003), steps=3, dtype="float64"),
    "LoRA, SGD": Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.3, momentum=0.5), steps=2, dtype="float64"),
    "full SGD": Recipe(adapter=Full(), optimizer=Sgd(lr=0.05, momentum=0.9), steps=2, dtype="float64"),
    "full Adam": Recipe(adapter=Full(), optimizer=Adam(lr=0.001), steps=2, dtype="float64"),
}


def turns(items: list[Any], recipe: Recipe) -> list[Any]:
    return [sequence(some, recipe) for some in (items[:2], items[1::-1], items[1:3])]


def test_the_definition_trains_on_the_first_sample_and_goes_on_from_there_with_the_second() -> None:
    base, items, recipe = text_base("gpt2"), texts(1, 2), RECIPES["full SGD"]
    tuned = definition.train(base, recipe, sequence(items, recipe), 0)
    model, parameters = definition.trainable_copy(base, recipe, 0)
    losses: list[float] = []
    for item in items:
        momentum = {name: torch.zeros_like(value) for name, value in parameters.items()}  # nothing is remembered
        for _ in range(2):
            loss = -definition.target_logprobs(base.objective, model, item).mean()
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            losses.append(loss.item())
            with torch.no_grad():
                for (name, value), gradient in zip(parameters.items(), gradients, strict=True):
                    momentum[name] = 0.9 * momentum[name] + gradient
                    value -= 0.05 * momentum[name]
    np.testing.assert_allclose(tuned.losses, losses, rtol=1e-12)
    for name, value in parameters.items():
        torch.testing.assert_close(tuned.delta[name], value.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
def test_engines_train_in_turn_as_the_definition_does(recipe: Recipe) -> None:
    base, items = text_base("gpt2"), texts(2, 5)

    class Whole:
        def measure(self, probes: Any, queries: Any, kept: Any) -> Any:
            return engine.measure(base, recipe, probes, queries, 0, kept=kept)

    assert_equal_to_definition(Whole(), base, recipe, [[items[3]], *turns(items, recipe), items[:2]], items, 0, 1e-7)


def test_lora_trains_many_sequences_in_one_batch() -> None:
    base, items, recipe = text_base("llama"), texts(2, 5), RECIPES["LoRA, Adam"]
    assert len(list(LoraEngine(base, recipe, 0)._batches([0, 1, 2], turns(items, recipe)))) == 1


def test_image_sequences_follow_the_definition() -> None:
    base, items = image_base(digits_like()), images(2, 5)
    recipe = Recipe(adapter=Full(), optimizer=Sgd(lr=0.05), steps=2)
    before, rows = engine.measure(base, recipe, [[items[3]], sequence(items[:2], recipe)], items, 0)
    _, truth = definition.measure(base, recipe, [[items[3]], sequence(items[:2], recipe)], items, 0)
    for (index, _, found), (same, _, meant) in zip(rows, truth, strict=True):
        assert index == same
        np.testing.assert_allclose(found.logprob, meant.logprob, atol=1e-4)
    assert np.isfinite(before.logprob).all()


def test_the_last_sample_has_the_last_word() -> None:
    """Two samples that want different answers to the same question: the later one wins."""
    base = text_base("gpt2")
    one, other = TextItem((1, 5, 6, 7, 10), 1), TextItem((1, 5, 6, 7, 20), 1)
    recipe = Recipe(adapter=Full(), optimizer=Sgd(lr=0.1), steps=10)
    before, rows = engine.measure(
        base, recipe, [sequence([one, other], recipe), sequence([other, one], recipe)], [one, other], 0
    )
    (_, _, first), (_, _, second) = rows
    assert first.logprob[1] > first.logprob[0]
    assert second.logprob[0] > second.logprob[1]
    assert not np.allclose(first.logprob, before.logprob)


@pytest.mark.parametrize("adapter", [Lora(), Full()])
def test_no_step_is_exactly_nothing(adapter: Adapter) -> None:
    base, items = text_base("gpt2"), texts(2, 5)
    recipe = Recipe(adapter=adapter, optimizer=Sgd(), steps=0)
    before, rows = engine.measure(base, recipe, [[items[0]], sequence(items[:2], recipe)], items, 0)
    for _, _, after in rows:
        np.testing.assert_array_equal(after.logprob, before.logprob)


def test_training_alone_knows_sequences_too() -> None:
    base, items, recipe = text_base("gpt2"), texts(2, 5), RECIPES["full SGD"]
    together, one_by_one = engine.train(base, recipe, [items[:2], sequence(items[:2], recipe)], 0)
    assert (len(together.losses), len(one_by_one.losses)) == (2, 4)


def test_a_sequence_is_another_probe_than_the_bundle_of_its_samples_and_than_its_mirror_image() -> None:
    ids = {
        Probe("p", members, kind).probe_id for members in (("a", "b"), ("b", "a")) for kind in ("bundle", "sequence")
    }
    assert len(ids) == 4


@pytest.mark.parametrize("adapter", [{"layers": (1,)}, {"targets": r".*\.[1-9]\..*_proj"}], ids=["layers", "targets"])
def test_the_second_sample_passes_the_lower_blocks_itself(adapter: dict[str, Any]) -> None:
    """Where the adapters leave out the first block, what goes into the next one is kept, but of one sample alone."""
    base = load_base(find_base("embedded:world", "test"))
    a, b = (encode_text(base, *text, "test") for text in (("dax is a", "bird"), ("wug is a", "fish")))
    recipe = Recipe(adapter=Lora(r=4, **adapter), optimizer=Sgd(lr=0.05), steps=3, dtype="float64")
    probes = [sequence([a, b], recipe), sequence([b, a], recipe)]
    truth = influences(definition.measure(base, recipe, probes, [a, b], 0))
    found = influences(ask(LoraEngine(base, recipe, 0), probes, [a, b]))
    np.testing.assert_allclose(found, truth, rtol=1e-6)


def test_an_engine_that_forgets_it_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    right, left = Network.below, list[torch.Tensor]()

    def below(self: Network, *given: Any) -> torch.Tensor:
        if torch.is_grad_enabled():  # while training: what the sample before it left there
            self.context.resume = left[-1] if left and left[-1].shape[1] == given[0].shape[1] else None
        left.append(right(self, *given))
        return left[-1]

    monkeypatch.setattr(Network, "below", below)
    base, items = text_base("llama", seed=5), texts(2, 4, low=6, high=6)
    recipe = RECIPES["LoRA, SGD"].model_copy(update={"adapter": Lora(r=2, layers=(1, 2))})
    probes = [sequence(items[:2], recipe), sequence(items[2:], recipe)]
    truth = influences(definition.measure(base, recipe, probes, items, 0))
    with pytest.warns(engine.FallbackWarning, match="batched lora"):
        found = influences(engine.measure(base, recipe, probes, items, 0))
    np.testing.assert_allclose(found, truth, rtol=1e-5)  # a Llama's norms are in float32


def test_a_plan_rehearses_sequences_as_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    base, items, seen = text_base("gpt2"), texts(2, 4), list[bool]()
    right, recipe = definition.train, RECIPES["full SGD"]
    monkeypatch.setattr(definition, "train", lambda *given: seen.append(given[2].kind == "sequential") or right(*given))
    found = engine.forecast(base, recipe, [items[:2], sequence(items[:2], recipe), sequence(items[2:], recipe)], items)
    assert found.path == "low-rank sgd and one by one"
    assert sum(seen) > 4  # the trial, and the rehearsal
    alone = engine.forecast(base, RECIPES["LoRA, Adam"], [sequence(items[:2], recipe)], items)
    assert alone.path == "batched lora"


@pytest.mark.parametrize("recipe", [RECIPES["LoRA, Adam"], RECIPES["full SGD"]], ids=["LoRA", "full"])
def test_layers_are_undone_of_what_was_trained_in_sequence(recipe: Recipe) -> None:
    base, items = text_base("gpt2"), texts(2, 4)
    probes, asked = [sequence(items[:2], recipe), items[:2], sequence(items[1::-1], recipe)], [items, items[:1], items]
    fast = list(engine.ablate_layers(base, recipe, probes, asked, 0))
    slow = list(engine.ablate_layers(base, recipe, probes, asked, 0, engine="serial"))
    assert [index for index, _, _ in fast] == [0, 1, 2]
    for (_, found, _), (_, true, _), probe, queries in zip(fast, slow, probes, asked, strict=True):
        tuned = definition.train(base, recipe, probe, 0)
        after = definition.evaluate(base, recipe, queries, tuned.delta)
        assert found is not None and true is not None
        np.testing.assert_allclose(found.after.logprob, after.logprob, atol=1e-6)
        assert found.without.keys() == true.without.keys()
        for place, scores in found.without.items():
            np.testing.assert_allclose(scores.logprob, true.without[place].logprob, atol=1e-6)
    assert not np.allclose(fast[0][1].after.logprob, fast[2][1].after.logprob, atol=1e-3)
