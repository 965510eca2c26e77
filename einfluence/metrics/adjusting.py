"""P-values corrected for looking at many of them."""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import pyarrow as pa

from einfluence.errors import InputError


def adjusted(scorecard: pa.Table, method: Literal["holm", "bh"] = "holm") -> pa.Table:
    """Adds a column ``p_adjusted`` to a scorecard, over all of its rows that have a p-value.

    Choose the rows first (one domain, the primary variants): the more are looked at, the more each is corrected.

    Args:
        scorecard: Any table with a column ``p_value``.
        method: ``holm`` bounds the chance of a single false discovery (Holm 1979), ``bh`` the expected share of false
            ones among the discoveries (Benjamini and Hochberg 1995).

    Raises:
        InputError: For another method.
    """
    if method not in ("holm", "bh"):
        raise InputError("adjusted", repr(method), "holm or bh")
    values = cast("list[float | None]", scorecard.column("p_value").to_pylist())
    rows = [row for row, value in enumerate(values) if value is not None]
    p = np.array([values[row] for row in rows], dtype=np.float64)
    order = np.argsort(p, kind="stable")
    m, rank = len(p), np.arange(1, len(p) + 1)
    if method == "holm":
        sorted_p = np.maximum.accumulate(p[order] * (m + 1 - rank))
    else:
        sorted_p = np.minimum.accumulate((p[order] * m / rank)[::-1])[::-1]
    result: list[float | None] = [None] * len(values)
    for place, value in zip(order, np.minimum(sorted_p, 1.0), strict=True):
        result[rows[place]] = float(value)
    return scorecard.append_column(pa.field("p_adjusted", pa.float64()), pa.array(result, pa.float64()))
