"""What an objective, a training or a schedule cannot have is refused in one message, before anything is computed."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.arms import Arm, estimators
from einfluence.errors import InputError
from einfluence.objectives import objectives
from einfluence.predictors import resolved
from einfluence.recipe import Tuning
from tests.test_unlearning import CHEAP, study

ADAPTERS: dict[str, Any] = {
    "lora": {"kind": "lora", "r": 4},
    "odd": {"kind": "lora", "r": 3},
    "full": "full",
    "last": "last",
}
OPTIMIZERS: dict[str, Any] = {"sgd": {"optimizer": "sgd"}, "adamw": {}, "clipped": {"optimizer": "sgd", "clip": 1.0}}
CASES = list(itertools.product(objectives(), ADAPTERS, OPTIMIZERS, (False, True)))
SHIPPED = [name for name in estimators() if name not in ("training", "imported")]

OF_A_POINT = (
    "grad_dot",
    "ekfac",
    "fisher",
    "datainf",
    "exact",
    "lanczos",
)  # may look at other parameters than are trained


def arm_of(name: str, tuning: Tuning, own: dict[str, Any]) -> Arm:
    kind = estimators()[name]
    if not kind.predicts:
        return kind.arm() if name == "in_context" else kind.arm.model_validate({"recipe": dict(tuning)})
    truth = {"estimator": "leave_one_out", "recipe": dict(tuning)}
    [arm] = resolved([kind.arm.model_validate({"stands_for": truth, **own})])
    return arm


def expected(name: str, objective: str, adapter: str, optimizer: str, later: bool, own: bool) -> str | None:
    """What is refused, as the documentation has it."""
    if name == "in_context":
        return None if objective == "causal_lm" else "no prompt"
    if name == "source":
        return "does not know clipped steps" if optimizer == "clipped" else None
    if name == "turn_over":
        return None if adapter == "lora" else "halves the ranks"
    if later and name in ("ekfac", "fisher", "exact", "datainf", "lanczos"):
        if optimizer == "clipped":
            return "in a training of two stages"
        return "behind a second stage" if own and optimizer == "adamw" else None
    return None


@pytest.mark.parametrize("name", SHIPPED)
def test_each_estimator_is_refused_what_it_cannot_have_and_nothing_else(name: str) -> None:
    takes_its_own = (False, True) if name in OF_A_POINT else (False,)
    for (objective, adapter, optimizer, later), own in itertools.product(CASES, takes_its_own):
        tuning = Tuning.model_validate({"adapter": ADAPTERS[adapter], **OPTIMIZERS[optimizer]})
        arm = arm_of(name, tuning, {"recipe": {"adapter": "last"}} if own else {})
        said = expected(name, objective, adapter, optimizer, later, own)
        try:
            arm.check("parts.main.arms", objectives()[objective].can, later)
        except InputError as error:
            assert said is not None and said in str(error) and str(error).startswith("parts.main.arms")
        else:
            assert said is None, (objective, adapter, optimizer, later, own)


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        ("queries: some.txt\n", "found 1 of 2 samples that are probes by themselves and queries"),
        ("probes: pairs.jsonl\n", "found 0 of 2 samples that are probes by themselves and queries"),
    ],
)
def test_what_says_nothing_of_single_samples_cannot_say_which_are_memorised(
    tmp_path: Path, gpt2_folder: Path, beside: str, found: str
) -> None:
    (tmp_path / "some.txt").write_text("a\nb\nc\n")
    (tmp_path / "pairs.jsonl").write_text('{"id": "g", "samples": ["a", "b"]}\n{"id": "h", "samples": ["c", "d"]}\n')
    action = "{samples: forget.txt, by: subsets, method: fine_tune}"
    spec = study(tmp_path, gpt2_folder, action, CHEAP)
    spec.write_text(spec.read_text() + beside)
    with pytest.raises(InputError, match=f"actions.unlearn.by: {found}"):
        einfluence.measure(spec, tmp_path / "store", report=False)
    assert not (tmp_path / "store" / "influence").exists()
