"""Pre-memorisation accuracy of arrays as Kang et al. 2024 keep them.

Run: ``python -m benchmarks.kang RUN [RUN ...]``, each the folder of one fine-tuning by the authors' programs
(github.com/katiekang1998/reasoning_generalization). It has a folder ``checkpoint-STEP`` for each epoch with
``train_perplexities.npy`` (n,), of each training answer as it was written; ``train_answer_types*.npy`` (n, k), of k
answers that the model gave to each training question, 0 where it is right; and ``test_answer_types*.npy`` of the test
questions. The formula is that of ``einfluence/metrics/desiderata/pre_memorisation.sql``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from einfluence.errors import InputError

Floats = npt.NDArray[np.float64]
LOG_TAUS = (-4.0, -3.0, -2.3, -1.7, -1.0, 0.0)
FIXED = -2.3  # e to it is the 0.1 nats a token that the desideratum has


class Run(NamedTuple):
    """One fine-tuning.

    Args:
        accuracy: (epochs, n), share of the answers to each training question that are right.
        nats: (epochs, n), nats a token of the training answers.
        test: Share of the answers to test questions that are right, after the last epoch.
    """

    accuracy: Floats
    nats: Floats
    test: float


def pre_memorised(accuracy: Floats, nats: Floats, tau: float) -> Floats:
    """The pre-memorisation accuracy of each sample at the end, (n,); see :class:`Run`."""
    return np.minimum((accuracy * (nats >= tau)).max(0), accuracy[-1])


def read_run(folder: Path) -> Run:
    """Reads the arrays of one fine-tuning.

    Raises:
        InputError: When one is missing or has another shape.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.name.partition("-")[2].isdigit()]
    checkpoints = sorted(found, key=lambda path: int(path.name.partition("-")[2]))
    if not checkpoints:
        raise InputError(str(folder), "no folder checkpoint-STEP", "one for each epoch, with the arrays of it")
    accuracy = np.stack([_right(path, "train_answer_types*.npy") for path in checkpoints])
    nats = np.log(np.stack([_array(path / "train_perplexities.npy") for path in checkpoints]))
    if nats.shape != accuracy.shape:
        raise InputError(str(folder), f"perplexities {nats.shape} beside answers {accuracy.shape}", "as many of both")
    return Run(accuracy, nats, float(_right(checkpoints[-1], "test_answer_types*.npy").mean()))


def _right(folder: Path, pattern: str) -> Floats:
    """The share of right answers to each question, of the file with the most answers."""
    arrays = [_array(path) for path in sorted(folder.glob(pattern))]
    if not arrays or any(array.ndim != 2 for array in arrays):
        found = "another shape than (questions, answers)" if arrays else f"no {pattern}"
        raise InputError(str(folder), found, "an array of (questions, answers), 0 where one is right")
    return (max(arrays, key=lambda array: array.shape[1]) == 0).mean(1)


def _array(path: Path) -> npt.NDArray[np.float64]:
    try:
        return np.load(path).astype(np.float64)
    except (OSError, ValueError) as error:
        raise InputError(str(path), str(error).splitlines()[0], "an array that NumPy saved") from error


def explained(predicted: Floats, test: Floats) -> float:
    """R² of a prediction as it is, without a line fitted to it."""
    return float(1 - np.square(test - predicted).sum() / np.square(test - test.mean()).sum())


def main() -> None:
    """Prints the accuracies of each run, and of three runs or more how well they say test accuracy."""
    parser = argparse.ArgumentParser(description="Pre-memorisation accuracy of arrays as Kang et al. keep them.")
    parser.add_argument("runs", nargs="+", type=Path)
    folders: list[Path] = parser.parse_args().runs
    runs = [read_run(folder) for folder in folders]
    test, train = np.array([run.test for run in runs]), np.array([run.accuracy[-1].mean() for run in runs])
    means = {
        at: np.array([pre_memorised(run.accuracy, run.nats, np.exp(at)).mean() for run in runs]) for at in LOG_TAUS
    }
    for place, folder in enumerate(folders):
        print(f"{folder}: test {test[place]:.3f}, train {train[place]:.3f}, before {means[FIXED][place]:.3f}")
    if len(runs) > 2:
        print(f"train accuracy: R² {explained(train, test):.3f}")
        for at, found in means.items():
            mark = " (fixed beforehand)" if at == FIXED else ""
            print(f"log τ {at:g}, τ {np.exp(at):.3f}: R² {explained(found, test):.3f}{mark}")


if __name__ == "__main__":
    main()
