from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from einfluence.errors import InputError
from einfluence.metrics import adjusted


def adjust(values: list[float | None], method: str) -> list[float | None]:
    return adjusted(pa.table({"p_value": pa.array(values, pa.float64())}), method).column("p_adjusted").to_pylist()


def test_holm_by_hand() -> None:
    # Sorted 0.01 0.02 0.03 0.04: times 4 3 2 1 = 0.04 0.06 0.06 0.04, then never falling.
    assert adjust([0.04, None, 0.01, 0.03, 0.02], "holm") == pytest.approx([0.06, None, 0.04, 0.06, 0.06])


def test_bh_agrees_with_scipy() -> None:
    values = np.random.default_rng(0).uniform(size=30) ** 2
    assert adjust(values.tolist(), "bh") == pytest.approx(stats.false_discovery_control(values))


def test_nothing_to_adjust() -> None:
    assert adjust([None, None], "holm") == [None, None]
    with pytest.raises(InputError, match="holm or bh"):
        adjust([0.1], "bonferroni")
