"""The engines on a model that was really trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from einfluence.engine import definition
from einfluence.engine.measurement import TextItem
from einfluence.engine.text.lora import LoraEngine
from einfluence.engine.text.low_rank_sgd import LowRankSgdEngine
from einfluence.models.base import Base
from einfluence.spec import AdamW, Full, Lora, Recipe, Sgd
from tests.conftest import RealData
from tests.engine.comparison import assert_equal_to_definition
from tests.engine.stories import encode, stories_base

STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
NAMES = ("Tim", "Anna", "Max", "Lucy", "Ben")


@pytest.fixture(scope="module")
def folder(real_data: RealData) -> Path:
    return real_data("stories260K")


@pytest.fixture(scope="module")
def base(folder: Path) -> Base:
    return stories_base(folder)


def test_the_converted_model_knows_how_stories_begin(folder: Path, base: Base) -> None:
    ids = encode(folder, STORY)
    item = TextItem(ids, len(ids) - 1)
    scores = definition.evaluate(base, Recipe(adapter=Full()), [item])
    assert -scores.logprob[0] / item.n_target < 1.0  # nats a token; guessing is 6.2


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_engines_equal_serial(folder: Path, base: Base, kind: str) -> None:
    def item(name: str, ending: str) -> TextItem:
        prompt = encode(folder, f"Once upon a time, there was a little dog named {name}. {name} liked to")
        whole = encode(folder, f"Once upon a time, there was a little dog named {name}. {name} liked to {ending}")
        shared = next(i for i, pair in enumerate(zip(whole, [*prompt, -1], strict=False)) if pair[0] != pair[1])
        return TextItem(whole, len(whole) - shared)

    probes = [[item(name, "swim")] for name in NAMES[:2]]
    queries = [item(name, ending) for name in NAMES[1:] for ending in ("swim", "run")]
    if kind == "lora":
        recipe = Recipe(adapter=Lora(r=4), optimizer=AdamW(lr=3e-3), steps=4)
        engine = LoraEngine(base, recipe, 0)
    else:
        recipe = Recipe(adapter=Full(), optimizer=Sgd(lr=0.05), steps=4)
        engine = LowRankSgdEngine(base, recipe, 0)
    assert_equal_to_definition(engine, base, recipe, probes, queries, 0, 1e-4)
