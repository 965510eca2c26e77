"""Trainings of one set that have been the same so far are taken as one: a training without z is the full one until z.

What is stacked is a row for each history. Where the next step differs between trainings of one row, the row is forked:
parameters and what the optimizer remembers are copied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from einfluence.engine.definition import make_optimizer
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Rhythm, Step, Training
from einfluence.spec import Recipe


class Histories:
    """Which row of a stack each of N trainings is in.

    Args:
        trainings: Of one rhythm. Those whose items are one and the same tuple begin in one row.
    """

    def __init__(self, trainings: Sequence[Training[Item]]) -> None:
        begins: dict[int, int] = {}
        self.rows = [begins.setdefault(id(training.items), len(begins)) for training in trainings]

    @property
    def firsts(self) -> list[int]:
        """A training of each row."""
        found: dict[int, int] = {}
        for training, row in enumerate(self.rows):
            found.setdefault(row, training)
        return [found[row] for row in range(len(found))]

    def step(self, steps: Sequence[Step]) -> list[int]:
        """Puts trainings of one row whose next steps differ into rows of their own, behind the others.

        What most of a row's trainings do stays in it.

        Args:
            steps: The next of each training.

        Returns:
            The rows that are forked, once for each new one.
        """
        alike = Counter(zip(self.rows, steps, strict=True))
        known: dict[tuple[int, Step], int] = {}
        stays: set[int] = set()
        forked: list[int] = []
        rows = len(set(self.rows))
        for (row, step), _ in alike.most_common():
            known[row, step] = rows + len(forked) if row in stays else row
            forked += [row] if row in stays else []
            stays.add(row)
        self.rows = [known[row, step] for row, step in zip(self.rows, steps, strict=True)]
        return forked


class Stack:
    """The rows of the trainings that differ so far, at the beginning of memory that has room for all N.

    Args:
        values: Stacked parameters (N, ...) that are all at their start; the list holds those of the rows from now on.
        histories: Of the N trainings.
    """

    def __init__(self, values: list[Tensor], histories: Histories) -> None:
        self._values, self._histories = values, histories
        self._whole = [value.detach() for value in values]
        self._remembered: dict[tuple[int, str], Tensor] = {}
        self._show()

    def _show(self) -> None:
        rows = len(set(self._histories.rows))
        if rows < len(self._whole[0]):
            self._values[:] = [whole[:rows].requires_grad_() for whole in self._whole]
        elif len(self._values[0]) < rows:
            self._values[:] = [whole.detach().requires_grad_() for whole in self._whole]

    def fork(self, recipe: Recipe, optimizer: torch.optim.Optimizer, rows: Sequence[int]) -> torch.optim.Optimizer:
        """Copies rows behind the others, with what the optimizer remembers of them.

        Args:
            recipe: Whose optimizer it is.
            optimizer: Of the rows so far.
            rows: See :meth:`Histories.step`.

        Returns:
            The optimizer of all rows.
        """
        if not rows:
            return optimizer
        before, wanted = list(self._values), list(rows)
        begin = len(before[0])
        end = begin + len(wanted)
        for whole in self._whole:
            whole[begin:end] = whole[wanted]
        self._show()
        made = make_optimizer(recipe, self._values, fused=True)
        for index, (old, new) in enumerate(zip(before, self._values, strict=True)):
            state = optimizer.state.get(old) or {}
            for name, kept in state.items():
                if not isinstance(kept, Tensor) or kept.shape != old.shape:
                    made.state[new][name] = kept
                    continue
                whole = self._remembered.get((index, name))
                if whole is None or whole.data_ptr() != kept.data_ptr():  # of this stage's first fork
                    whole = self._remembered[index, name] = kept.new_empty(self._whole[index].shape)
                    whole[:begin] = kept
                whole[begin:end] = whole[wanted]
                made.state[new][name] = whole[:end]
        return made

    def spread(self) -> None:
        """Gives each training a row of its own, in the order of the trainings."""
        rows = self._histories.rows
        if rows != list(range(len(self._whole[0]))):
            self._values[:] = [value.detach()[rows] for value in self._values]


def reads(trainings: Sequence[Training[Item]], at_once: int) -> int:
    """What trainings read, each sample by its size, and once where trainings share a step.

    Args:
        trainings: Of any rhythms.
        at_once: How many of one rhythm are taken side by side.
    """
    alike: dict[Rhythm, list[Training[Item]]] = {}
    for training in trainings:
        alike.setdefault(training.rhythm, []).append(training)
    windows = (some[begin : begin + at_once] for some in alike.values() for begin in range(0, len(some), at_once))
    return sum(_read(training, step) for window in windows for training, step in _taken(window))


def _read(training: Training[Item], step: Step) -> int:
    weights = step.weights or (1.0,) * len(step.batch)
    return sum(training.items[i].size for i, weight in zip(step.batch, weights, strict=True) if weight)


def _taken(trainings: Sequence[Training[Item]]) -> Iterator[tuple[Training[Item], Step]]:
    """The steps of trainings of one rhythm, each once where it is shared."""
    histories = Histories(trainings)
    for steps in zip(*(training.steps for training in trainings), strict=True):
        histories.step(steps)
        for first in histories.firsts:
            yield trainings[first], steps[first]


def apart(training: Training[Item]) -> Training[Item]:
    """The same training, which shares nothing with others of its set."""
    return Training(tuple([*training.items]), training.stages)
