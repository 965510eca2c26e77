"""How much is read at once, in which order and beside what, changes no estimate: for every stand-in for a curvature."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from einfluence.arms import LeaveOneOut, estimators
from einfluence.engine import generic
from einfluence.engine.batch_sizes import Sizes
from einfluence.engine.gradients import collector
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base, Batch
from einfluence.objectives.causal_lm import CausalLM, TextItem
from einfluence.recipe import Tuning
from einfluence.samples import ProbeSamples, Sample
from einfluence.training_set import Schedule
from tests.engine.random_models import text_base, texts
from tests.estimators.softmax import Array

N, QUERIES = 3, 3
FEW = {"kind": "match", "pattern": r"h\.1\.(ln_1|attn\.c_proj)"}  # a matrix, two biases and a norm
FEWER = {"kind": "match", "pattern": r"h\.1\.ln_1"}
ADAM = {"kind": "adamw", "lr": 0.01, "eps": 1e-3}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grad_dot": ({"optimizer": ADAM}, {}),
    "tracin": ({"optimizer": ADAM}, {}),
    "ekfac": ({}, {}),
    "fisher": ({}, {}),
    "datainf": ({}, {}),
    "exact": ({"adapter": FEWER}, {"damping": 100.0}),
    "lanczos": ({"adapter": FEWER}, {"eigenvectors": 3}),
    "source": ({"adapter": FEWER}, {"segments": 1, "states": 1}),
    "data_value": ({"optimizer": ADAM}, {}),
    "unrolled": ({"optimizer": ADAM}, {}),
    "turn_over": ({"adapter": {"kind": "lora", "r": 2}, "optimizer": ADAM}, {"trainings": 1}),
}
# Solutions as far as their residuals, and eigenvectors as far as their tolerance, allow; the rest to rounding.
LOOSE = {"exact": 1e-6, "lanczos": 1e-6}


@dataclass(frozen=True)
class _ByPlace(CausalLM):
    """Texts that samples name by their places, each batch padded as if another text were beside them."""

    items: tuple[TextItem, ...] = ()
    beside: TextItem | None = None

    def encode_all(self, samples: Sequence[Sample], wheres: Sequence[str]) -> list[TextItem]:
        return [self.items[(sample.inputs or {})["place"]] for sample in samples]

    def collate(self, items: Sequence[TextItem]) -> Batch:
        batch = super().collate([*items, *([self.beside] if self.beside else [])])
        rows = len(items)
        return Batch({name: value[:rows] for name, value in batch.inputs.items()}, *(each[:rows] for each in batch[1:]))


@cache
def base() -> Base:
    items = (*texts(0, N, low=3, high=9), *texts(1, QUERIES, low=3, high=9))
    return replace(text_base("gpt2"), objective=_ByPlace(max_length=64, items=items))


def estimated(name: str, on: Base, places: Sequence[int] = range(N), asked: Sequence[int] = range(QUERIES)) -> Array:
    """What an estimator says of leaving out each text of a set that is one batch, in the order of its places."""
    kind, (tuning, recipe) = estimators()[name], KINDS[name]
    trains = Tuning.model_validate(
        {"adapter": FEW, "optimizer": {"kind": "sgd", "lr": 0.05}, "dtype": "float64", **tuning}
    )
    arm: Any = kind.arm.model_validate(
        {"stands_for": LeaveOneOut(recipe=trains), "recipe": {"dtype": "float64", **recipe}}
    )
    samples = [Sample(f"s{place}", objective="causal_lm", inputs={"place": place}) for place in places]
    queries = [Sample(f"q{place}", objective="causal_lm", inputs={"place": N + place}) for place in asked]
    within = TrainedSet(samples, Schedule(epochs=2, batch_size=N), tuple((place,) for place in range(N)))
    module: Any = kind.implementation
    state = module.fit(on, arm, 0, samples, within=within) if kind.fits else None
    probes = [ProbeSamples((sample,)) for sample in samples]
    rows = module.block(on, arm, 0, probes, queries, kept=lambda _: None, state=state, within=within).rows
    return np.stack([row.influence for row in rows])


@cache
def expected(name: str) -> Array:
    return estimated(name, base())


def close(name: str, found: Array) -> bool:
    right = expected(name)
    return bool(np.abs(found - right).max() <= LOOSE.get(name, 1e-9) * np.abs(right).max())


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One text, one parameter, one query and one state at a time."""
    monkeypatch.setattr(collector, "TOKENS", 1)
    monkeypatch.setattr(generic, "default_sizes", lambda *_: Sizes(train=1, score=1, window=1))
    monkeypatch.setenv("EINFLUENCE_MEMORY", "200KB")
    yield


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("name", KINDS)
def test_how_much_is_read_at_once_changes_no_estimate(name: str) -> None:
    assert close(name, estimated(name, base()))


@pytest.mark.parametrize("name", KINDS)
def test_padding_changes_no_estimate(name: str) -> None:
    longer = replace(base().objective, beside=TextItem((*range(3, 20),), 1))  # type: ignore[type-var]
    assert close(name, estimated(name, replace(base(), objective=longer)))


@pytest.mark.parametrize("name", KINDS)
def test_the_order_within_a_batch_changes_no_estimate(name: str) -> None:
    around = {"ekfac": range(N)}.get(name, range(N)[::-1])  # what is drawn for a text goes by its place in the set
    assert close(name, estimated(name, base(), list(around), range(QUERIES)[::-1])[np.argsort(around), ::-1])


def test_all_of_them_say_something() -> None:
    assert {name for name, kind in estimators().items() if kind.predicts} == set(KINDS)
    assert all(np.abs(expected(name)).max() > 1e-4 for name in KINDS)
