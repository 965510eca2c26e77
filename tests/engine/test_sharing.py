"""Trainings of a set that are the same so far are taken as one, and each gives what it gives alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from einfluence.engine.forecast import rehearse
from einfluence.engine.generic import GenericEngine
from einfluence.engine.image.engine import ImageEngine
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Step, Training
from einfluence.engine.select import choose
from einfluence.engine.sharing import Histories, apart, reads
from einfluence.engine.text.lora import LoraEngine
from einfluence.spec import Recipe
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

BATCHES = ((0, 1), (2, 3), (4, 5))


def leave_one_out(items: Sequence[Item], batches: Sequence[tuple[int, ...]], epochs: int) -> list[Training[Item]]:
    """The training on all items, and without each."""
    whole = Training(tuple(items), (tuple(Step(batch) for batch in batches) * epochs,))
    return [whole, *(whole.weighted({index: 0.0}) for index in range(len(items)))]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("kind", ["lora", "generic", "images"])
def test_what_is_shared_is_what_each_training_gives_alone(kind: str, optimizer: str) -> None:
    given: dict[str, Any] = {"optimizer": optimizer, "lr": 0.01, "weight_decay": 0.1, "clip": 0.5, "dtype": "float64"}
    given |= {"momentum": 0.9} if optimizer == "sgd" else {}
    given["adapter"] = {"kind": "lora", "r": 2} if kind == "lora" else "full"
    recipe = Recipe.model_validate(given)
    base, items = (image_base(digits_like()), images(1, 6)) if kind == "images" else (text_base("gpt2"), texts(1, 6))
    build = {"lora": LoraEngine, "generic": GenericEngine, "images": ImageEngine}[kind]
    trainings = leave_one_out(items, BATCHES, 2)
    shared = build(base, recipe, 0).train_all(trainings)
    alone = build(base, recipe, 0).train_all([apart(training) for training in trainings])
    for one, other in zip(shared, alone, strict=True):
        torch.testing.assert_close(one.losses, other.losses, rtol=1e-9, atol=1e-11)
        assert one.grad_norm == pytest.approx(other.grad_norm, rel=1e-9)
        for name, value in other.delta.items():
            torch.testing.assert_close(one.delta[name], value, rtol=1e-7, atol=1e-9)
    name = max(shared[0].delta, key=lambda name: shared[0].delta[name].numel())
    assert all((shared[0].delta[name] - one.delta[name]).abs().max() > 1e-6 for one in shared[1:])


def test_a_training_is_forked_where_its_sample_is_first_seen() -> None:
    trainings = leave_one_out(texts(1, 6), BATCHES, 1)
    histories = Histories(trainings)
    assert histories.rows == [0] * 7
    steps = list(zip(*(training.steps for training in trainings), strict=True))
    assert histories.step(steps[0]) == [0, 0] and histories.rows == [0, 1, 2, 0, 0, 0, 0]
    assert histories.firsts == [0, 1, 2]
    assert histories.step(steps[1]) == [0, 0] and histories.rows == [0, 1, 2, 3, 4, 0, 0]
    assert histories.step(steps[2]) == [0, 0] and histories.rows == [0, 1, 2, 3, 4, 5, 6]
    assert histories.step(steps[0]) == []


def test_what_is_shared_and_what_is_left_out_is_not_read() -> None:
    items = images(1, 6)  # each of size 1
    each = [(index,) for index in range(6)]
    trainings = leave_one_out(items, each, 1)
    assert reads(trainings, 64) == 6 * 7 // 2  # at step t the full one, and those without one of the t samples before
    assert reads(trainings, 1) == reads([apart(training) for training in trainings], 64) == 6 + 6 * 5
    whole = trainings[0]
    half = whole.weighted(dict.fromkeys((0, 2, 5), 0.0))
    assert reads([half], 64) * 2 == reads([whole], 64)


def test_what_is_rehearsed_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    base, recipe = image_base(digits_like()), Recipe.model_validate({"adapter": "full", "lr": 0.01})
    choice, rehearsed = choose(base, recipe, 0, "scheduled"), list[int]()
    train_all = choice.engine.train_all

    def counted(probes: Sequence[Training[Item]]) -> Any:
        rehearsed.append(len(Histories(probes).firsts))
        return train_all(probes)

    monkeypatch.setattr(choice.engine, "train_all", counted)
    trainings = leave_one_out(images(1, 20), [(index,) for index in range(20)], 1)
    assert rehearse(choice, trainings, images(2, 1)).seconds > 0
    assert rehearsed == [16]
