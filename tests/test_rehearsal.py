"""What learning would take: by a clock that counts the samples read, a rehearsal foresees what is then done."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
import torch

from einfluence.actions import rehearsal
from einfluence.actions.influence_step import arm_of, gradient_of, influence_step
from einfluence.actions.weights import learn
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import Curvature
from einfluence.engine.gradients.definition import Point
from einfluence.engine.schedule import Step, Training
from einfluence.engine.unrolling import State, Trajectory
from einfluence.estimators.exact import solve
from einfluence.estimators.inverted import damped_curvature
from einfluence.estimators.within import TrainedSet
from einfluence.spec import Recipe
from einfluence.training_set import Schedule
from einfluence.unlearning import InfluenceStep
from tests.engine.random_models import text_base, texts
from tests.estimators.softmax import TUNING, problem

SGD = Recipe.model_validate({"adapter": "full", "optimizer": "sgd", "lr": 0.05, "dtype": "float64"})


class Clock:
    """Counts the samples that something reads."""

    def __init__(self) -> None:
        self.read = 0

    def timed(self, run: Callable[[], object]) -> float:
        begun = self.read
        run()
        return float(self.read - begun)


def path_of(steps: int, then: int = 0) -> Trajectory:
    stages = tuple(tuple(Step((i % 4, (i + 1) % 4)) for i in range(n)) for n in (steps, then) if n)
    some = problem(2, n=4)
    return Trajectory(some.base, SGD, Training(tuple(some.items), stages), 0)


@pytest.mark.parametrize(("steps", "then", "room"), [(3, 0, 100), (20, 6, 100), (20, 6, 1)])
def test_learning_weights_is_foreseen(steps: int, then: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, path, logprobs = Clock(), path_of(steps, then), Trajectory.logprobs
    queries = problem(3, n=3).items
    monkeypatch.setenv("EINFLUENCE_MEMORY", f"{8 * path.bytes_per_state * room}B")

    def counted(self: Trajectory, values: object, items: list[object]) -> torch.Tensor:
        clock.read += len(items)
        return logprobs(self, values, items)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(Trajectory, "logprobs", counted)
    monkeypatch.setattr(rehearsal, "timed", clock.timed)
    found = rehearsal.of_weights(path, queries, 4, 2)
    taken = clock.timed(lambda: learn(path, queries, 4, steps=2, lr=0.1))
    assert found.seconds == taken and found.memory > 0
    assert found.how == f"2 derivatives through {steps + then} steps by 3 queries"


@pytest.mark.parametrize("room", [100, 1])
def test_states_that_are_held_on_the_way_back_are_counted(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    path = path_of(20)
    monkeypatch.setenv("EINFLUENCE_MEMORY", f"{8 * path.bytes_per_state * room}B")
    back = path.backwards()
    next(back)  # all of them are there now
    assert 0 <= path.states_held - sum(type(each) is State for each in gc.get_objects()) <= 1
    assert (path.states_held, path.runs_back) == ((21, 1) if room == 100 else (10, 2))


@pytest.mark.parametrize("parts", [[(1, 4, 7)], [(4,), (1, 7)]])
def test_an_influence_step_is_foreseen(parts: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    some, schedule, clock = problem(2, n=30), Schedule(epochs=3, batch_size=10), Clock()
    collect, product = Collector.collect, Curvature.product
    products = 0

    def collected(self: Collector, items: list[object], *args: object) -> object:
        clock.read += len(items) if len(items) > 3 else 0  # those of the rest, not of what is forgotten
        return collect(self, items, *args)  # pyright: ignore[reportArgumentType]

    def counted(self: Curvature, vector: np.ndarray) -> object:
        nonlocal products
        products, clock.read = products + 1, clock.read + len(self.items)
        return product(self, vector)

    monkeypatch.setattr(Curvature, "product", counted)
    monkeypatch.setattr(Collector, "collect", collected)
    monkeypatch.setattr(rehearsal, "timed", clock.timed)
    monkeypatch.setattr(rehearsal.time, "perf_counter", lambda: 0.0)  # the training is not counted here
    about = some.base, TUNING, 0, TrainedSet(some.samples, schedule), parts, InfluenceStep(damping=0.5)
    found = rehearsal.of_step(*about)
    products = 0
    taken = clock.timed(lambda: influence_step(*about))
    foreseen = int(found.how.split()[1])
    assert abs(foreseen - products) <= 2 * len(parts)
    assert found.seconds == pytest.approx(taken, rel=0.2) and found.disk == 8 * 18


def test_products_that_no_short_try_reaches_are_counted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    base, items = text_base("gpt2"), texts(0, 4)
    collector = Collector(Point.start(base, SGD, 0))
    curvature = damped_curvature(collector, items, arm_of(TUNING, InfluenceStep(damping=100.0)))
    gradient = gradient_of(collector, items[:4])
    taken = solve(curvature, gradient).products
    monkeypatch.setattr(rehearsal, "TRIED", taken // 2)
    assert taken > 30 and taken / 1.5 < rehearsal.foreseen_products(curvature, gradient) < 1.5 * taken
    monkeypatch.setattr(rehearsal, "TRIED", taken)
    assert rehearsal.foreseen_products(curvature, gradient) == taken
