"""What an estimate says: influence without a training behind it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

MATH = "attention by torch's math kernel, since the fused one has no second derivative"
"""What an outcome says of estimates that take second derivatives."""


class EstimatedRow(NamedTuple):
    """One probe of :class:`Estimates`.

    Args:
        probe: Which one, counted from 0.
        influence: float64 array (Q,), nats that its training would add to each query's log-probability; None for a
            probe that failed.
        seconds: Wall time spent on it.
        failed: Why it failed; None when it did not.
        note: What else its outcome says.
    """

    probe: int
    influence: npt.NDArray[np.float64] | None
    seconds: float = 0.0
    failed: str | None = None
    note: str | None = None


class Estimates(NamedTuple):
    """What probes would do to queries.

    Args:
        rows: One for each probe, in order; there is one pass over them.
        numbers: How many numbers gradients are taken of; None where that was not counted.
    """

    rows: Iterator[EstimatedRow]
    numbers: int | None = None

    @classmethod
    def failed(cls, count: int, reason: str) -> Estimates:
        """Of so many probes, all of which fail for one reason."""
        return cls(EstimatedRow(index, None, failed=reason) for index in range(count))
