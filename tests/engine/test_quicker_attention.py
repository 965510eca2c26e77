"""Attention of recorded operations that is done in another way gives what torch's own gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from einfluence.engine.generic import GenericEngine
from einfluence.engine.merged import Adapted
from einfluence.engine.recorded import Recording, record
from tests.engine.test_read_rows import CASES
from tests.engine.test_recorded import LORA, recorded

HEADS, WIDTH = 2, 8


def attends(length: int, rows: int, *, bias: bool = True, **how: Any) -> tuple[Recording, float]:
    """A recording of attention of some rows to all, and how far it is off for other weights."""
    drawn = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return 0.3 * torch.randn(shape, generator=drawn, dtype=torch.float64)

    size = HEADS * WIDTH
    x, weights, biases = draw(3, length, size), [draw(size, size) for _ in range(4)], [draw(size) for _ in range(3)]
    adapted = [Adapted(each, each.clone(), draw(1, size), draw(size, 1), 1.0) for each in weights]

    def heads(value: torch.Tensor, place: int) -> torch.Tensor:
        made = F.linear(value, weights[place], biases[place] if bias else None)
        return made.view(*made.shape[:2], HEADS, WIDTH).transpose(1, 2)

    def run() -> torch.Tensor:
        hidden = F.linear(x, weights[3])
        return F.scaled_dot_product_attention(heads(hidden[:, :rows], 0), heads(hidden, 1), heads(hidden, 2), **how)

    found, _ = record(run, adapted)
    for each in adapted:
        each.merged.copy_(each.weight + each.up @ each.down)
    return found, float((found() - run()).abs().max())


def names(found: Recording) -> list[str]:
    """What is run."""
    return [each.run.__name__ for each in found.operations]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("length", "rows"), [(13, 1), (16, 1), (40, 3)])
def test_few_rows_attend_without_keys_and_values(length: int, rows: int, bias: bool) -> None:
    found, off = attends(length, rows, bias=bias, scale=0.7)
    assert off < 1e-12
    assert "_of_few_rows" in names(found)
    assert names(found).count("linear.default") == 1  # queries


@pytest.mark.parametrize(("length", "short"), [(8, False), (9, True), (15, True), (16, False), (17, False), (29, True)])
def test_short_texts_attend_to_as_many_rows_as_are_taken_at_once(length: int, short: bool) -> None:
    found, off = attends(length, length)
    assert off < 1e-12
    assert ("_of_short_texts" in names(found)) == short
    assert ("scaled_dot_product_attention.default" in names(found)) != short


def test_masked_attention_is_done_as_it_was() -> None:
    for how in ({"is_causal": True}, {"attn_mask": torch.rand(13, 13) > 0.2}, {"enable_gqa": True}):
        found, off = attends(13, 13, **how)
        assert off < 1e-12
        assert "scaled_dot_product_attention.default" in names(found)
    found, off = attends(13, 1, attn_mask=torch.rand(1, 13) > 0.2)
    assert off < 1e-12
    assert "scaled_dot_product_attention.default" in names(found)


def test_a_classifier_s_last_block_has_neither_keys_nor_values() -> None:
    made, items = CASES["class Bert"][0]()
    found, _ = recorded(GenericEngine(made, LORA, 1), items[:1])
    assert names(found).count("_of_few_rows") == 1
