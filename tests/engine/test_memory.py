"""How much memory something takes, whatever ran before it."""

from __future__ import annotations

import sys

import pytest
import torch

from einfluence.engine.memory import held

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
MEGABYTE = 1_000_000
CPU = torch.device("cpu")


def filled(size: int) -> None:
    torch.ones(size).sum()


@pytest.mark.parametrize("time", ("first", "again"))
def test_what_is_held_at_most_is_seen_though_it_is_given_back(time: str) -> None:
    with held(CPU) as found:
        for _ in range(20):
            filled(60 * MEGABYTE)
    assert found.bytes is not None and 200 * MEGABYTE < found.bytes < 300 * MEGABYTE


def test_what_was_held_before_does_not_count() -> None:
    kept = torch.ones(60 * MEGABYTE)
    with held(CPU) as found:
        kept.sum()
    assert found.bytes is not None and found.bytes < 50 * MEGABYTE


def test_a_watch_ends_with_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), held(CPU) as found:
        raise ValueError("inside")
    assert found.bytes is not None
