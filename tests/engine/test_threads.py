"""Blocks that are computed in threads at once get the numbers that they get alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from einfluence.engine.text.lora import LoraEngine
from einfluence.spec import AdamW, Lora, Recipe
from tests.engine.comparison import ask, influences
from tests.engine.random_models import text_base, texts


def test_threads_on_one_base_do_not_disturb_each_other() -> None:
    base, queries = text_base("llama"), texts(1, 5)
    recipe = Recipe(adapter=Lora(r=2), optimizer=AdamW(lr=1e-2), steps=3)

    def run(seed: int) -> np.ndarray:
        return influences(ask(LoraEngine(base, recipe, seed), [[t] for t in texts(seed, 3)], queries))

    alone = [run(seed) for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(run, range(6)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
