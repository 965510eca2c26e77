"""The truth within a training set: what a query gains when a probe's samples are in it.

Influence is log p(query; trained on all) - log p(query; trained with the probe's samples at weight 0), everything else
kept: order, batches, start values, and what a step's loss is divided by (the trajectory-specific leave-one-out of Wang
et al. 2024, "Capturing the temporal dependence of training data influence").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from einfluence.arms import LeaveOneOut
from einfluence.estimators.within import Attributed, TrainingScores
from einfluence.training_set import FULL, Members, Variant, without


def variants(arm: LeaveOneOut, members: Members, seed: int, probe_ids: Sequence[str]) -> list[Variant]:
    """See :class:`einfluence.estimators.within.Within`: the whole set, and all but each probe."""
    return [FULL, *(without(members, name) for name in probe_ids)]


def attributed(
    arm: LeaveOneOut, members: Members, seed: int, probe_ids: Sequence[str], scores: TrainingScores
) -> Iterator[Attributed]:
    """See :class:`einfluence.estimators.within.Within`."""
    for index in range(1, len(probe_ids) + 1):
        reason = scores.failed.get(0, scores.failed.get(index))
        if reason:
            which = "on the whole set" if 0 in scores.failed else "without the probe"
            yield Attributed(None, f"the training {which} failed: {reason}")
            continue
        yield Attributed(
            {
                "influence": scores.logprob[0] - scores.logprob[index],
                "logprob_before": scores.logprob[index],
                "logprob_after": scores.logprob[0],
                "n_tokens": scores.n_tokens,
                "rank_before": scores.rank[index],
                "rank_after": scores.rank[0],
            }
        )
