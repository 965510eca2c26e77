"""Some cells of a block, held against all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from einfluence import engine
from einfluence.engine.measurement import TextItem
from einfluence.engine.pieces import Piece, only, wanted
from einfluence.spec import Adam, Adapter, Full, Lora, Match, Optimizer, Recipe, Sgd
from tests.engine.random_models import VOCABULARY, digits_like, image_base, images, text_base, texts

PIECES = [Piece((0, 2), (0, 3, 5)), Piece((1,), (1, 2)), Piece((0, 1, 2), (4,))]
RECIPES = {
    "LoRA": Recipe(adapter=Lora(r=2), optimizer=Adam(lr=0.01), steps=2),
    "full SGD": Recipe(adapter=Full(), optimizer=Sgd(lr=0.05), steps=2),
    "full Adam": Recipe(adapter=Full(), optimizer=Adam(lr=0.003), steps=2),
}


def test_pieces_are_counted_anew_for_some_of_the_trainings_and_joined_where_these_are_the_same() -> None:
    assert only(PIECES, [2, 1]) == [Piece((0,), (0, 3, 5)), Piece((1,), (1, 2)), Piece((0, 1), (4,))]
    assert only(PIECES, [1]) == [Piece((0,), (1, 2, 4))]
    assert only(PIECES, []) == []


@pytest.mark.parametrize("way", ["serial", "auto"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES.keys())
@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_cell_in_a_piece_is_what_it_is_in_the_whole_block(kind: str, recipe: Recipe, way: str) -> None:
    base = image_base(digits_like()) if kind == "image" else text_base("gpt2")
    items = images(3, 6) if kind == "image" else texts(3, 6)
    probes = [[item] for item in items[:3]]
    whole = engine.measure(base, recipe, probes, items, 0, engine=way)
    some = engine.measure(base, recipe, probes, items, 0, engine=way, pieces=PIECES)
    np.testing.assert_allclose(some.before.logprob, whole.before.logprob, atol=1e-5)
    cells = wanted(PIECES, 3, 6)
    assert cells.sum() == 11
    for row, other in zip(some.rows, whole.rows, strict=True):
        assert row.after is not None and other.after is not None and row.probe == other.probe
        read = cells[row.probe]
        assert (np.isfinite(row.after.logprob) == read).all()
        np.testing.assert_allclose(row.after.logprob[read], other.after.logprob[read], atol=1e-4)
        assert (row.after.rank[read] == other.after.rank[read]).all()
        assert row.tuned.losses == pytest.approx(other.tuned.losses, rel=1e-5)
        assert (row.tuned.noise_rms is None) == (other.tuned.noise_rms is None)


def test_what_was_trained_before_is_not_trained_again_and_a_failure_is_its_own() -> None:
    base, items = text_base("gpt2"), texts(3, 6)
    bad = Recipe(adapter=Full(), optimizer=Sgd(lr=1e30), steps=2)
    rows = list(engine.measure(base, bad, [[item] for item in items[:3]], items, 0, pieces=PIECES).rows)
    assert all(row.tuned.failed and row.after is None for row in rows)
    recipe = RECIPES["LoRA"]
    trained = engine.train(base, recipe, [[items[0]]], 0)[0]
    found = engine.measure(base, recipe, [[items[0]]], items, 0, kept={0: trained.delta}, pieces=[Piece((0,), (2, 3))])
    (row,) = found.rows
    whole = next(engine.measure(base, recipe, [[items[0]]], items, 0).rows)
    assert row.after is not None and whole.after is not None and not row.tuned.losses
    np.testing.assert_allclose(row.after.logprob[[2, 3]], whole.after.logprob[[2, 3]], atol=1e-4)


@pytest.mark.parametrize("change", [{"steps": 0}, {"optimizer": Sgd(lr=0.0)}])
@pytest.mark.parametrize("adapter", [Lora(r=2), Full()])
def test_what_changes_nothing_has_no_influence_in_a_piece_either(adapter: Adapter, change: dict[str, Any]) -> None:
    base, items = text_base("gpt2"), texts(3, 6)
    recipe = Recipe(adapter=adapter, optimizer=Sgd(lr=0.1), steps=2).model_copy(update=change)
    before, rows = engine.measure(base, recipe, [[item] for item in items[:3]], items, 0, pieces=PIECES)
    for row, read in zip(rows, wanted(PIECES, 3, 6), strict=True):
        assert row.after is not None and (row.after.logprob == before.logprob)[read].all()


@pytest.mark.parametrize("optimizer", [Sgd(lr=0.3), Adam(lr=0.01)])  # of which the one trains factors, the other rows
@pytest.mark.parametrize("name", ["llama", "llama-tied"])
def test_embeddings_alone_reach_the_same_queries_as_by_the_definition(name: str, optimizer: Optimizer) -> None:
    base, recipe = text_base(name), Recipe(adapter=Match(pattern="embed_tokens"), optimizer=optimizer, steps=2)
    draw = np.random.default_rng(0)

    def text(low: int, high: int, length: int) -> TextItem:
        return TextItem(tuple(draw.integers(low, high, length).tolist()), 1)

    probes = [[text(3, 15, length)] for length in (6, 9, 12)]
    queries = [text(12, VOCABULARY, int(draw.integers(3, 14))) for _ in range(60)]
    queries[7] = TextItem((40, 41, 42, probes[0][0].ids[0]), 1)  # a changed token that nothing reads
    pieces = [Piece((0,), (1, 7, 9, 11)), Piece((1,), tuple(range(20, 35))), Piece((2,), tuple(range(15, 60)))]
    read = wanted(pieces, 3, 60)
    before, rows = engine.measure(base, recipe, probes, queries, 0, pieces=pieces)
    truth, defined = engine.measure(base, recipe, probes, queries, 0, engine="serial")
    for row, true, own in zip(rows, defined, read, strict=True):
        assert row.after is not None and true.after is not None
        assert row.tuned.engine in ("low-rank sgd", "one by one")
        moved, wanted_move = row.after.logprob - before.logprob, true.after.logprob - truth.logprob
        still = wanted_move == 0
        assert (still & own).any() == (name == "llama") and (~still & own).any()
        assert (moved[still & own] == 0).all() and np.isnan(moved[~own]).all()
        np.testing.assert_allclose(moved[own], wanted_move[own], rtol=1e-3, atol=1e-5)
        np.testing.assert_array_equal(row.after.rank[own], true.after.rank[own])
