"""On Apple's GPUs, which have no float64, engines give in float32 what the definition gives on the CPU."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.engine.precise import doubled, has_float64
from einfluence.errors import InputError
from einfluence.models.base import Base
from einfluence.spec import Full, Lora, Recipe, Sgd
from tests.engine.comparison import influences
from tests.engine.random_models import digits_like, image_base, images, text_base, texts

RECIPES = {
    "LoRA": Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.5), steps=2),
    "full": Recipe(adapter=Full(), optimizer=Sgd(lr=0.03), steps=2),
}


@pytest.fixture
def device() -> str:
    """``mps``, or what the environment variable names: on the CPU the tests say whether they themselves are right."""
    named = os.environ.get("EINFLUENCE_TEST_DEVICE")
    if not named and not torch.backends.mps.is_available():
        pytest.skip("no GPU of Apple here (EINFLUENCE_TEST_DEVICE=cpu tries these tests on the CPU)")
    return named or "mps"


@pytest.mark.parametrize("how", ["auto", "serial"])
@pytest.mark.parametrize("kind", RECIPES)
@pytest.mark.parametrize("name", ["gpt2", "digits"])
def test_influence_is_that_of_the_definition_on_the_cpu(device: str, name: str, kind: str, how: str) -> None:
    base = image_base(digits_like()) if name == "digits" else text_base(name)
    items = images(1, 11) if name == "digits" else [*texts(1, 4), *texts(2, 7)]
    probes, queries = [[items[0]], [items[1]], items[2:4]], items[4:]
    exact = RECIPES[kind].model_copy(update={"dtype": "float64"})
    wanted = influences(definition.measure(base, exact, probes, queries, 0))
    found = influences(engine.measure(moved(base, device), RECIPES[kind], probes, queries, 0, engine=how))
    assert np.abs(wanted).max() > 0.01
    assert np.abs(found - wanted).max() <= 1e-4 * np.abs(wanted).max()


def test_float64_is_refused_by_name_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    base, recipe = text_base("gpt2"), RECIPES["full"].model_copy(update={"dtype": "float64"})
    assert [has_float64(torch.device(name)) for name in ("mps", "cpu", "cuda")] == [False, True, True]
    point = Point.start(base, RECIPES["full"], 0)

    def nowhere(device: torch.device) -> bool:
        return False

    for module in ("precise", "gradients.collector"):
        monkeypatch.setattr(f"einfluence.engine.{module}.has_float64", nowhere)
    with pytest.raises(InputError, match="recipe.dtype: found float64 on cpu, which has none"):
        engine.measure(base, recipe, [texts(1, 1)], texts(2, 2), 0)
    with pytest.raises(InputError, match="device: found cpu, which has no float64 for gradient estimators"):
        Collector(point)


def test_sums_in_float64_are_made_on_the_cpu_where_the_device_has_none(device: str) -> None:
    found = doubled(torch.ones(2, device=device))
    assert found.dtype == torch.float64 and found.device.type == ("cpu" if device == "mps" else device)


def moved(base: Base, device: str) -> Base:
    return replace(base, model=copy.deepcopy(base.model).to(device))
