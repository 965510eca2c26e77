"""Trainings on random subsets of a set, and a linear model of what each probe's presence does to a query.

For each query, ridge regression of its log-probability on which samples were in the subset; a coefficient is the nats
that a sample's presence adds, averaged over what else is there (the datamodels of Ilyas et al. 2022, with ridge in the
place of the lasso, and of log-probability). What a group adds is the sum over its samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from einfluence.arms import Subsets
from einfluence.estimators.within import Attributed, TrainingScores
from einfluence.regression import coefficients
from einfluence.training_set import FULL, Members, Variant, subset


def variants(arm: Subsets, members: Members, seed: int, probe_ids: Sequence[str]) -> list[Variant]:
    """See :class:`einfluence.estimators.within.Within`: all subsets, whatever the probes, and the whole set last.

    Nothing is regressed on that one: it is what the set taught, for people and SQL.
    """
    drawn = seed if arm.recipe.draw is None else arm.recipe.draw
    return [*(subset(members, number, arm.recipe.share, drawn) for number in range(arm.recipe.count)), FULL]


def attributed(
    arm: Subsets, members: Members, seed: int, probe_ids: Sequence[str], scores: TrainingScores
) -> Iterator[Attributed]:
    """See :class:`einfluence.estimators.within.Within`; trainings that failed are left out, and the outcome says so."""
    failed = {index: reason for index, reason in scores.failed.items() if index < arm.recipe.count}
    there = [index for index in range(arm.recipe.count) if index not in failed]
    if len(there) < 2:
        reason = next(iter(failed.values()))
        yield from (Attributed(None, f"all but {len(there)} trainings failed: {reason}") for _ in probe_ids)
        return
    lost = arm.recipe.count - len(there)
    note = f"{lost} of {arm.recipe.count} trainings failed: {next(iter(failed.values()))}" if lost else None
    inclusion = included(members, variants(arm, members, seed, probe_ids))[there]
    found = coefficients(inclusion, scores.logprob[there], arm.recipe.ridge)
    for name in probe_ids:
        own = set(members.probes[name])
        units = [index for index, unit in enumerate(members.units) if own.issuperset(unit)]
        yield Attributed({"influence": found[units].sum(0), "n_tokens": scores.n_tokens}, note=note)


def included(members: Members, trainings: Sequence[Variant]) -> npt.NDArray[np.float64]:
    """(trainings, units): 1 where all samples of a unit were trained on, else 0."""
    rows = np.ones((len(trainings), len(members.units)))
    for row, variant in zip(rows, trainings, strict=True):
        gone = set(variant.left_out)
        row[[not gone.isdisjoint(unit) for unit in members.units]] = 0.0
    return rows
