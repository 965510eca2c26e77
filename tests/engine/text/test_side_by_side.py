"""Queries of its own for each training, held against the serial definition, which reads all of them."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest

from einfluence.engine import definition
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.measurement import Scores, TextItem
from einfluence.engine.schedule import as_training
from einfluence.engine.text.engine import TextEngine
from einfluence.engine.text.lora import LoraEngine
from einfluence.engine.text.low_rank_sgd import LowRankSgdEngine
from einfluence.engine.text.one_by_one import OneByOneEngine
from einfluence.engine.text.packing import PackedRows, pack_each
from einfluence.spec import Adam, Full, Last, Lora, Recipe, Sgd
from tests.engine.random_models import CONFIGS, FULL_PRECISION, text_base, texts

pytestmark = pytest.mark.filterwarnings("ignore:fan_in_fan_out", "ignore:.*is_gradient_checkpointing")

PROBES = [[text] for text in texts(1, 3)] + [texts(2, 2)]
QUERIES = [
    *texts(3, 4, opening=(5, 6, 7, 8, 9, 10)),
    *texts(4, 2, opening=(5, 6, 7, 8, 11)),
    *texts(5, 3),
    TextItem((5, 6, 7, 8, 9, 10, 20, 21), 1),
    TextItem((5, 6, 7, 8, 9, 10, 20, 22), 1),  # read where the one before it is
    TextItem((5, 6, 7, 8, 9, 10, 20, 21, 30), 2),
]
OWN = [[0, 1, 2, 3, 6, 9], [], [11, 10, 9, 2], [7]]
RECIPES = {
    "lora": Recipe(adapter=Lora(r=2), optimizer=Sgd(lr=0.05), steps=2, dtype="float64"),
    "upper lora": Recipe(adapter=Lora(r=2, layers=(2,)), optimizer=Sgd(lr=0.5), steps=2, dtype="float64"),
    "full": Recipe(adapter=Full(), optimizer=Sgd(lr=0.02), steps=2, dtype="float64"),
    "last": Recipe(adapter=Last(), optimizer=Adam(lr=0.01), steps=2, dtype="float64"),
}


@cache
def defined(name: str, kind: str) -> tuple[np.ndarray, list[Scores | None]]:
    """The log-probabilities before, and the scores after each training."""
    before, rows = definition.measure(text_base(name), RECIPES[kind], PROBES, QUERIES, 1)
    return before.logprob, [row.after for row in rows]


def assert_equal(engine: TextEngine, kind: str, name: str, tolerance: float) -> None:
    """That each training's own queries have the scores that the definition gives them."""
    before, truth = defined(name, kind)
    tuned = engine.train_all([as_training(probe, engine.recipe.steps) for probe in PROBES])
    assert engine.reads_each
    found = engine.read_each([one.delta for one in tuned], [[QUERIES[query] for query in own] for own in OWN])
    moved = 0.0
    for own, read, whole in zip(OWN, found, truth, strict=True):
        assert whole is not None
        moved = max(moved, float(np.abs(whole.logprob - before)[own].max(initial=0)))
        np.testing.assert_allclose(read.logprob, whole.logprob[own], rtol=0, atol=tolerance)
        np.testing.assert_array_equal(read.n_tokens, whole.n_tokens[own])
        np.testing.assert_array_equal(read.rank, whole.rank[own])
    assert moved > 0.01, "the case says nothing if nothing happens"


@pytest.mark.parametrize("name", CONFIGS)
def test_queries_of_its_own_have_the_scores_of_the_definition_for_every_architecture(name: str) -> None:
    engine = LoraEngine(text_base(name), RECIPES["lora"], 1, Sizes(train=40, score=60))
    if name == "bloom":  # its texts cannot be laid end to end
        assert not engine.reads_each
        return
    assert_equal(engine, "lora", name, 1e-9 if name in FULL_PRECISION else 1e-4)


@pytest.mark.parametrize("score", [1, 20, 1000])  # a text a batch; several batches for one training; one for all
@pytest.mark.parametrize("share", [True, False])
def test_whatever_the_batches(score: int, share: bool) -> None:
    base = text_base("gpt2")
    assert_equal(LoraEngine(base, RECIPES["lora"], 1, Sizes(score=score), share=share), "lora", "gpt2", 1e-9)
    for alone in (1, 1000):
        sizes = Sizes(score=score, alone=alone)
        assert_equal(LowRankSgdEngine(base, RECIPES["full"], 1, sizes, share=share), "full", "gpt2", 1e-9)


@pytest.mark.parametrize("keep", [0, 1 << 28])
def test_blocks_below_what_is_trained_are_run_once_and_change_nothing(
    keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("einfluence.engine.text.lower_blocks.LowerBlocks.__init__.__defaults__", (keep,))
    base = text_base("gpt-neox")
    one = Sizes(score=30, window=1, alone=1)
    some = {
        "upper lora": LoraEngine(base, RECIPES["upper lora"], 1, Sizes(score=30)),
        "last": OneByOneEngine(base, RECIPES["last"], 1, one),
    }
    for kind, engine in some.items():
        assert engine.network.start == 2
        assert_equal(engine, kind, "gpt-neox", 1e-9)


@pytest.mark.parametrize("budget", [1, 25, 1000])
def test_each_query_is_read_once_by_its_own_training_within_the_budget(budget: int) -> None:
    own = [[QUERIES[query] for query in some] for some in OWN]
    batches, longest = pack_each(own, budget), max(len(item.ids) for item in QUERIES)
    targets = Counter((n, q) for n, some in enumerate(own) for q, item in enumerate(some) for _ in range(item.n_target))
    read = Counter[tuple[int, int]]()
    for batch in batches:
        sizes = Counter[int]()
        for table in batch.tables:
            sizes.update(table.put_to[table.true].tolist())
            read.update((batch.trainings[slot], owner) for slot, owner in _reads(table))
        assert set(sizes) == set(range(len(batch.trainings)))
        assert max(sizes.values()) * len(sizes) <= max(budget, 2 * longest)  # a text or two that begin alike
    assert read == targets


def _reads(table: PackedRows) -> list[tuple[int, int]]:
    rows = table.answers[table.reads] // table.ids.shape[1]
    return list(zip(table.slots[rows].tolist(), table.owner.tolist(), strict=True))
