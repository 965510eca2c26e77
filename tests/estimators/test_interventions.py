"""Trainings of a set against what others compute: refits without a sample, and a second stage that takes no step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression

from einfluence import engine
from einfluence.estimators.training import trainings_of, with_steps
from einfluence.samples import Sample
from einfluence.training_set import FULL, Schedule, Variant
from tests.estimators.softmax import SCHEDULE, TUNING, Array, Problem, in_two_stages, problem

DECAY = 0.05


def logprobs(
    some: Problem,
    samples: Sequence[Sample],
    schedule: Schedule,
    variants: Sequence[Variant],
    later: Sequence[Sample] = (),
) -> Array:
    """What trainings say of the queries, (N, Q)."""
    tuning = TUNING.model_copy(
        update={"optimizer": TUNING.optimizer.model_copy(update={"lr": 1.0, "weight_decay": DECAY})}
    )
    trainings = trainings_of(some.base, samples, schedule, 0, variants, later)
    rows = engine.measure(
        some.base, with_steps(tuning, schedule, len(samples), len(later)), trainings, some.asked, 0
    ).rows
    return np.stack([row.after.logprob for row in rows if row.after is not None])


def refitted(some: Problem, kept: Array) -> Array:
    """Log-probabilities of the queries by scikit-learn, fitted to some points alone."""
    wide, asked = (np.c_[x, np.ones(len(x))] for x in (some.x, some.queries[0]))  # its own intercept bears no penalty
    # Sum of losses + |theta|^2 / 2C is n times ours, whatever is left out: a step is divided by the scheduled size.
    model = LogisticRegression(C=1 / (DECAY * len(some.x)), fit_intercept=False, tol=1e-10, max_iter=10_000)
    model.fit(wide[kept], some.y[kept])
    return model.predict_log_proba(asked)[np.arange(len(asked)), some.queries[1]]


def test_leaving_a_sample_out_of_a_training_to_the_end_is_the_refit_without_it() -> None:
    some = problem(3, n=24, width=3, queries=12)
    gone = [(), *((place,) for place in range(0, 24, 4))]
    whole_set = Schedule(epochs=300, batch_size=24)
    found = logprobs(some, some.samples, whole_set, [Variant("without", left_out=places) for places in gone])
    wanted = np.stack([refitted(some, np.isin(np.arange(24), places, invert=True)) for places in gone])
    np.testing.assert_allclose(found[0] - found[1:], wanted[0] - wanted[1:], atol=1e-6)
    assert np.abs(wanted[0] - wanted[1:]).max() > 0.05


def test_a_second_stage_that_takes_no_step_leaves_what_the_first_did() -> None:
    some, first = problem(0, n=40, queries=5), 30
    both = in_two_stages(some, first, batch_size=10, warmup=1)  # one step, at the rate 0 that a warm-up begins with
    variants = [FULL, *(Variant("without", left_out=(place,)) for place in (0, 7, 29))]
    alone = logprobs(some, some.samples[:first], SCHEDULE, variants)
    np.testing.assert_array_equal(
        logprobs(some, some.samples[:first], both.schedule, variants, some.samples[first:]), alone
    )
    assert len(np.unique(alone, axis=0)) == 4
