"""The samples that a curvature is taken over: which of them have no gradient, and whether they are enough.

**Enough for a damping.** (1/n) tr C (C + lambda)^-1 is the mean over the samples of (1/n) g_zᵀ (C + lambda)^-1 g_z, the
leverage of a sample: what it says of itself by the formula of leave-one-out. The trace counts directions that stand out
of the damping. In least squares, where the formula can be followed to its end, leaving a sample out of leverage h
changes what it says of itself by 1 / (1 - h) times as much (Cook and Weisberg 1982, "Residuals and influence in
regression", chapter 2): from a half on by more than twice, and a whole is more than any sample can have there.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from einfluence.predictors import Curved
from einfluence.samples import Sample

MOST_LEVERAGE = 0.5  # of a sample on average, from which on the first-order formula is off by a factor of two


class SmallSetWarning(UserWarning):
    """A curvature is taken over too few samples for its damping."""


class NoNumbersError(ArithmeticError):
    """A gradient is no number, of the sample at a place of those that a curvature is taken over."""

    def __init__(self, place: int) -> None:
        super().__init__(f"gradients that are no numbers, of sample {place} of those that the curvature is taken over")
        self.place = place


@contextmanager
def naming(samples: Sequence[Sample]) -> Generator[None]:
    """Lets an error name the sample that has no gradient.

    Args:
        samples: Those that a curvature is taken over, in order.

    Raises:
        ArithmeticError: When one of them has none.
    """
    try:
        yield
    except NoNumbersError as error:
        found = samples[error.place]
        where = f"{found.source} (sample {found.name})" if found.source else f"sample {found.name}"
        fix = "leave it out, or take `dtype: float64`"
        raise ArithmeticError(
            f"{where}: gradients that are no numbers, over which no curvature can be taken; {fix}"
        ) from error


def too_few(arm: Curved, n: int, numbers: int, directions: float) -> str | None:
    """What outcomes say, and a warning, where a set is too small for its damping; None where it is not.

    Args:
        arm: The estimate.
        n: Samples that the curvature is taken over.
        numbers: The numbers that it is of.
        directions: tr C (C + lambda)^-1.
    """
    if not directions > MOST_LEVERAGE * n:
        return None
    note = (
        f"curvature over {n:,} samples of {numbers:,} numbers, of which damping {arm.recipe.damping:g} leaves "
        f"{directions:,.0f} directions, {directions / n:.1f} a sample and at most {MOST_LEVERAGE:g}: compare ranks and "
        "not nats, or take more samples, more `damping`, or fewer parameters by `adapter`"
    )
    warnings.warn(f"{arm.estimator} for {arm.of.estimator}: {note}", SmallSetWarning, stacklevel=3)
    return note
