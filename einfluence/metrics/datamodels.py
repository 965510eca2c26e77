"""What sums of influence predict of trainings on random subsets: the linear datamodelling score (Park et al. 2023).

A run predicts a training by the sum of the influence of the samples that it had. What was itself regressed on those
trainings is fitted anew without a fifth of them, in turn, and predicts that fifth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.regression import coefficients

Floats = npt.NDArray[np.float64]
FOLDS = 5
LEAST_IN_A_FOLD = 4  # trainings; a rank correlation of fewer says nothing

PREDICTIONS = pa.schema(
    [
        ("ensemble", pa.int32()),
        ("query", pa.int32()),
        ("fold", pa.int64()),
        ("predicted", pa.float64()),
        ("logprob", pa.float64()),
    ]
)


def predictions(connection: duckdb.DuckDBPyConnection, select: Callable[..., pa.Table]) -> pa.Table:
    """Rows of (ensemble, query, fold, predicted, logprob), one for each training that a run predicts and query.

    A query counts where all trainings scored it and the run has its cells with every unit of the set. No rows of a
    regression on fewer than :data:`FOLDS` × :data:`LEAST_IN_A_FOLD` trainings. Predictions of one fold compare with one
    another alone: each regression has an intercept of its own.

    Args:
        connection: Has the staged cells.
        select: Runs a model in it, by folder, name and parameters.
    """
    for name in ("mart_ensembles", "mart_drawn", "mart_units"):
        select("marts", name)
    ensembles = connection.table("mart_ensembles").project("ensemble, ridge").order("ensemble").fetchall()
    return pa.concat_tables([PREDICTIONS.empty_table(), *(_of(select, *each) for each in ensembles)])


def _of(select: Callable[..., pa.Table], ensemble: int, ridge: float | None) -> pa.Table:
    scores = select("marts", "mart_drawn_scores", ensemble=ensemble)
    cells = select("marts", "mart_unit_cells", ensemble=ensemble)
    left_out = select("marts", "mart_left_out", ensemble=ensemble)
    units = np.unique(cells["probe"].to_numpy())
    trainings = np.unique(scores["number"].to_numpy())
    queries = np.intersect1d(scores["query"].to_numpy(), cells["query"].to_numpy())
    logprob = _matrix(scores, ("number", trainings), ("query", queries), "logprob")
    influence = _matrix(cells, ("probe", units), ("query", queries), "influence")
    whole = ~np.isnan(logprob).any(0) & ~np.isnan(influence).any(0)
    queries, logprob, influence = queries[whole], logprob[:, whole], influence[:, whole]
    inclusion = np.ones((len(trainings), len(units)))
    number, unit = left_out["number"].to_numpy(), left_out["probe"].to_numpy()
    known = np.isin(number, trainings) & np.isin(unit, units)
    inclusion[np.searchsorted(trainings, number[known]), np.searchsorted(units, unit[known])] = 0.0
    if ridge is None:
        parts = [(np.arange(len(trainings)), inclusion @ influence)]
    else:
        parts = list(crossfitted(inclusion, logprob, ridge))
    return pa.concat_tables(
        [
            PREDICTIONS.empty_table(),
            *(_rows(ensemble, fold, queries, found, logprob[at]) for fold, (at, found) in enumerate(parts)),
        ]
    )


def crossfitted(inclusion: Floats, logprob: Floats, ridge: float) -> Iterator[tuple[npt.NDArray[np.int64], Floats]]:
    """What regressions predict of the trainings that they were not fitted on.

    Args:
        inclusion: (R, N), 1 where a unit was in the training; the rows in an order that says nothing.
        logprob: (R, Q).
        ridge: As for :func:`einfluence.regression.coefficients`.

    Returns:
        Rows of the trainings of each fold, and their predictions (rows, Q) up to a constant for each query; nothing
        where there are too few trainings.
    """
    n = len(inclusion)
    if n < FOLDS * LEAST_IN_A_FOLD:
        return
    fold = np.arange(n) % FOLDS
    for number in range(FOLDS):
        held = np.flatnonzero(fold == number)
        fitted = fold != number
        yield held, inclusion[held] @ coefficients(inclusion[fitted], logprob[fitted], ridge)


def _matrix(
    rows: pa.Table, row: tuple[str, npt.NDArray[np.int64]], column: tuple[str, npt.NDArray[np.int64]], value: str
) -> Floats:
    """A table's values by two of its columns, sorted keys of which are given; NaN where it has none."""
    found = np.full((len(row[1]), len(column[1])), np.nan)
    keys = [rows[name].to_numpy() for name, _ in (row, column)]
    kept = np.isin(keys[0], row[1]) & np.isin(keys[1], column[1])
    at = np.searchsorted(row[1], keys[0][kept]), np.searchsorted(column[1], keys[1][kept])
    found[at] = rows[value].to_numpy()[kept]
    return found


def _rows(ensemble: int, fold: int, queries: npt.NDArray[np.int64], predicted: Floats, logprob: Floats) -> pa.Table:
    n = predicted.size
    columns = {
        "ensemble": np.full(n, ensemble, np.int32),
        "query": np.tile(queries, len(predicted)).astype(np.int32),
        "fold": np.full(n, fold, np.int64),
        "predicted": predicted.ravel(),
        "logprob": logprob.ravel(),
    }
    return pa.table(columns, PREDICTIONS)
