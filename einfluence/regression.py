"""Ridge regression in closed form."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def coefficients(
    inclusion: npt.NDArray[np.float64], logprob: npt.NDArray[np.float64], ridge: float
) -> npt.NDArray[np.float64]:
    """Ridge regression with an intercept that is not penalised.

    Args:
        inclusion: (R, N).
        logprob: (R, Q).
        ridge: Penalty on the sum of squared coefficients.

    Returns:
        (N, Q).
    """
    x, y = inclusion - inclusion.mean(0), logprob - logprob.mean(0)
    if len(x) < x.shape[1]:  # the smaller of the two equal systems
        return x.T @ np.linalg.solve(x @ x.T + ridge * np.eye(len(x)), y)
    return np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
