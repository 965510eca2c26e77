"""The plan names the engine that then runs, and its sizes bound what is held at once."""

from __future__ import annotations

import pytest

from einfluence import engine
from einfluence.spec import Adam, AdamW, Adapter, Full, Lora, Optimizer, Recipe, Sgd
from tests.engine.random_models import digits_like, image_base, images, text_base, texts


@pytest.mark.parametrize(
    ("adapter", "optimizer", "path"),
    [
        (Lora(r=2), AdamW(), "batched lora"),
        (Full(), Sgd(), "low-rank sgd"),
        (Full(), Adam(), "one by one"),
    ],
)
def test_texts_are_planned_by_adapter_and_optimizer(adapter: Adapter, optimizer: Optimizer, path: str) -> None:
    recipe = Recipe(adapter=adapter, optimizer=optimizer, steps=1)
    found = engine.forecast(text_base("gpt2"), recipe, [[t] for t in texts(0, 5)], texts(1, 6))
    assert found.path == path
    assert 0 < found.max_trainings <= 5
    assert found.seconds > 0 and found.bytes > 0


def test_images_are_planned() -> None:
    recipe = Recipe(adapter=Full(), optimizer=Sgd(lr=0.1), steps=1)
    found = engine.forecast(image_base(digits_like()), recipe, [[i] for i in images(0, 3)], images(1, 4))
    assert found.path == "images" and "batched form" in str(found)


def test_why_no_faster_engine_is_taken_is_said() -> None:
    base = text_base("llama")
    base.model.config.num_local_experts = 4
    found = engine.forecast(base, Recipe(adapter=Lora(r=2), steps=1), [[t] for t in texts(0, 2)], texts(1, 2))
    assert (found.path, found.why) == ("generic", "a mixture of experts")
