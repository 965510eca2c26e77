"""The stacked engine for image classifiers equals the serial definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from einfluence.engine.image.engine import ImageEngine
from einfluence.engine.image.scoring import ImageSizes
from einfluence.errors import InputError
from einfluence.spec import Adam, AdamW, Full, Last, Lora, Match, Optimizer, Recipe, Sgd
from tests.engine.comparison import ask, assert_equal_to_definition, influences
from tests.engine.random_models import Odd, digits_like, image_base, images

PROBES = [[image] for image in images(1, 5)] + [images(2, 2), images(3, 2)]
QUERIES = images(4, 9)
RECIPES = {
    "full sgd": Recipe(adapter=Full(), optimizer=Sgd(lr=0.1, momentum=0.5, weight_decay=0.01), steps=3),
    "full adamw": Recipe(adapter=Full(), optimizer=AdamW(lr=1e-3), steps=3, clip=0.5),
    "last adam": Recipe(adapter=Last(), optimizer=Adam(lr=1e-2), steps=3),
    "match": Recipe(adapter=Match(pattern="bias"), optimizer=Sgd(lr=0.2), steps=3),
    "lora": Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=1e-2), steps=3),
}


@pytest.mark.parametrize("name", RECIPES)
def test_equals_serial(name: str) -> None:
    base = image_base(digits_like())
    for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-9)):
        recipe = RECIPES[name].model_copy(update={"dtype": dtype})
        engine = ImageEngine(base, recipe, 1, ImageSizes(most=3, score=4))
        assert_equal_to_definition(engine, base, recipe, PROBES, QUERIES, 1, tolerance)


@pytest.mark.parametrize("name", ["full sgd", "full adamw", "last adam", "match"])
def test_equals_serial_with_every_layer_type(name: str) -> None:
    base = image_base(Odd())
    recipe = RECIPES[name].model_copy(update={"dtype": "float64"})
    assert_equal_to_definition(ImageEngine(base, recipe, 1), base, recipe, PROBES, QUERIES, 1, 1e-9)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3), nn.MaxPool2d((2, 4)), nn.MaxPool2d(2, stride=1)])
@pytest.mark.parametrize("keep", [0, 1 << 28])
def test_equals_serial_whatever_the_pooling_and_what_is_kept(pool: nn.Module, keep: int) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(), pool, nn.Conv2d(3, 4, 2), nn.ReLU(), nn.Flatten()]
    wide = nn.Sequential(*layers)(torch.zeros(1, 1, 8, 8)).shape[1]
    base = image_base(nn.Sequential(*layers, nn.Linear(wide, 10)))
    for name in ("full sgd", "last adam", "lora"):
        recipe = RECIPES[name].model_copy(update={"dtype": "float64"})
        engine = ImageEngine(base, recipe, 1, ImageSizes(score=4, keep=keep))
        assert_equal_to_definition(engine, base, recipe, PROBES, QUERIES, 1, 1e-9)


@pytest.mark.parametrize("change", [{"steps": 0}, {"optimizer": Sgd(lr=0.0)}])
def test_a_probe_that_changes_nothing_has_influence_exactly_zero(change: dict[str, object]) -> None:
    base = image_base(digits_like())
    for recipe in RECIPES.values():
        engine = ImageEngine(base, recipe.model_copy(update=change), 0)
        assert (influences(ask(engine, PROBES, QUERIES)) == 0).all()


def test_the_base_stays_bit_identical() -> None:
    base = image_base(digits_like())
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    kinds = [type(module) for module in base.model]
    list(ask(ImageEngine(base, RECIPES["full sgd"], 0), PROBES, QUERIES)[1])
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())
    assert [type(module) for module in base.model] == kinds


def test_a_layer_type_that_is_not_known_is_refused() -> None:
    base = image_base(nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.PReLU(8), nn.Linear(8, 10)))
    with pytest.raises(InputError, match="PReLU"):
        ImageEngine(base, RECIPES["full sgd"], 0)


def test_kept_deltas_are_used_instead_of_training() -> None:
    base = image_base(digits_like())
    recipe = RECIPES["full sgd"]
    trained = list(ask(ImageEngine(base, recipe, 0), PROBES, QUERIES)[1])
    again = list(ask(ImageEngine(base, recipe, 0), PROBES, QUERIES, {2: trained[2][1].delta})[1])
    assert again[2][1].losses == []
    np.testing.assert_array_equal(again[2][2].logprob, trained[2][2].logprob)


def test_influence_grows_symmetric_as_the_rate_of_sgd_falls_and_with_adam_it_does_not() -> None:
    base, samples = image_base(digits_like()), images(5, 8)

    def phi(optimizer: Optimizer) -> float:
        recipe = Recipe(adapter=Full(), optimizer=optimizer, steps=1, dtype="float64")
        matrix = influences(ask(ImageEngine(base, recipe, 0), [[one] for one in samples], samples))
        i, j = np.triu_indices(len(samples), 1)
        there, back = matrix[i, j], matrix[j, i]
        return float(((there - back) ** 2).sum() / (2 * (there**2 + back**2).sum()))

    sgd = [phi(Sgd(lr=lr)) for lr in (1e-1, 1e-2, 1e-3)]
    assert sgd[0] > 10 * sgd[1] > 100 * sgd[2]  # the part that is not symmetric falls with lr, and phi is its square
    assert sgd[2] < 1e-6
    assert phi(Adam(lr=1e-5)) > 1e-3  # its first step is lr * sign(g): what remains is no tangent kernel
