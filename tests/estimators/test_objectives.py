"""Estimates for other objectives, by LoRA or by all parameters: small steps are what leaving a sample out does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from einfluence.arms import LeaveOneOut, estimators
from einfluence.engine import definition
from einfluence.estimators.point import set_training
from einfluence.estimators.training import with_steps
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.recipe import Tuning
from einfluence.samples import ProbeSamples, Sample
from einfluence.training_set import Schedule
from tests.estimators.softmax import Array
from tests.objectives import test_masked_lm, test_seq2seq, test_sequence_class, test_token_class
from tests.objectives.tiny_texts import load, save_encoder

FIRST_ORDER, CURVED = ("grad_dot", "data_value"), ("ekfac",)
FULL, LORA = {"kind": "full"}, {"kind": "lora", "r": 2}
SCHEDULE = Schedule(batch_size=4)
MADE: dict[str, tuple[Callable[[Path], Path], Sequence[Sample]]] = {
    "masked_lm": (lambda folder: save_encoder(folder, "Bert", "MaskedLM"), test_masked_lm.SAMPLES),
    "seq2seq": (lambda folder: test_seq2seq.save(folder, "T5"), test_seq2seq.SAMPLES),
    "sequence_class": (
        lambda folder: test_sequence_class.save(folder, "Bert"),
        [test_sequence_class.sample(*each) for each in test_sequence_class.TEXTS],
    ),
    "token_class": (
        lambda folder: save_encoder(folder, "Bert", "TokenClassification", test_token_class.LABELS),
        test_token_class.SAMPLES,
    ),
}


def left_out(base: Base, tuning: Tuning, within: TrainedSet) -> Array:
    """(N, Q) by trainings, one after the other."""
    items, whole = list(encode_all(base, within.samples)), set_training(base, within, 0)
    how = with_steps(tuning, within.schedule, len(items))
    model = definition.trainable_copy(base, how, 0)

    def after(training: Any) -> Array:
        return definition.evaluate(base, how, items, definition.train(base, how, training, 0).delta, model).logprob

    return np.stack([after(whole) - after(whole.weighted({place: 0.0})) for place in range(len(items))])


@pytest.mark.parametrize(
    ("kind", "adapter"), [("masked_lm", FULL), ("seq2seq", LORA), ("sequence_class", FULL), ("token_class", LORA)]
)
def test_estimates_of_small_steps_are_what_leaving_out_does(kind: str, adapter: Any, tmp_path: Path) -> None:
    save, some = MADE[kind]
    base, samples = load(save(tmp_path)), list(some)[:4]
    tuning = Tuning.model_validate({"adapter": adapter, "optimizer": {"kind": "sgd", "lr": 1e-4}, "dtype": "float64"})
    within = TrainedSet(samples, SCHEDULE, tuple((place,) for place in range(len(samples))))
    probes, truth = [ProbeSamples((sample,)) for sample in samples], left_out(base, tuning, within)
    for name in FIRST_ORDER + CURVED:
        of = estimators()[name]
        arm = of.arm.model_validate({"stands_for": LeaveOneOut(recipe=tuning), "recipe": {"dtype": "float64"}})
        module: Any = of.implementation
        state = module.fit(base, arm, 0, samples, within=within) if of.fits else None
        rows = module.block(base, arm, 0, probes, samples, kept=lambda _: None, state=state, within=within).rows
        found = np.stack([row.influence for row in rows])
        if name in FIRST_ORDER:
            assert np.abs(found - truth).max() < 0.02 * np.abs(truth).max(), name
        assert (found.diagonal() > 0).all(), name
