"""What learning would take that actions need before their trainings: a part of it is done, and the rest is counted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from copy import copy
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor

from einfluence import engine
from einfluence.actions.attempt import Rehearsed
from einfluence.actions.influence_step import arm_of, gradient_of
from einfluence.engine.batch_sizes import memory_budget
from einfluence.engine.forecast import STEPS, peak, shortened, spread, timed
from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.curvature import Curvature
from einfluence.engine.gradients.definition import Point
from einfluence.engine.measurement import Item
from einfluence.engine.metagradient import at_end, mean_logprob, metagradient
from einfluence.engine.schedule import Training
from einfluence.engine.trained import parameters, trained_copy
from einfluence.engine.unrolling import Trajectory
from einfluence.estimators.exact import MOST, solve
from einfluence.estimators.inverted import damped_curvature
from einfluence.estimators.point import recipe_of, set_training
from einfluence.estimators.training import with_steps
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.recipe import Recipe, Tuning
from einfluence.unlearning import InfluenceStep

LONGEST = 20.0  # seconds that a training is gone through before an influence step is tried
QUERIES = 64  # whose log-probability is read
TIMED = 256  # samples of the rest that a product is timed of
CURVED = 96  # ... and that an inverse is tried of
READ = 1024  # samples among which those to be forgotten are looked for
TRIED = 64  # products with the curvature for one try of an inverse
HARDER = 16.0  # what the damping is multiplied by where so many were not enough


def of_weights(path: Trajectory, queries: Sequence[Item], n: int, steps: int) -> Rehearsed:
    """What :func:`einfluence.actions.weights.learn` would take.

    The first steps of the training are gone through, forwards and back, and what a step takes is counted for all.

    Args:
        path: The training, as written.
        queries: At least one.
        n: Samples that get a weight.
        steps: Of learning.

    Raises:
        ArithmeticError: When the training diverges.
    """
    short = Trajectory(path.base, path.recipe, shortened(path.training, STEPS), path.seed, path.engine)
    few = spread(queries, QUERIES)
    metagradient(Trajectory(path.base, path.recipe, path.training.until(1), path.seed, path.engine), few[:1])
    ended = short.end()
    forwards = timed(short.end)
    ending = timed(lambda: at_end(short, ended, few)) / len(few)
    reading = max(timed(lambda: mean_logprob(short, few)) - forwards, 0.0) / len(few)
    back = max(timed(lambda: metagradient(short, few)) - ending * len(few) - forwards * short.runs_back, 0.0)
    longer = sum(len(at.step.batch) for at in path.steps) / sum(len(at.step.batch) for at in short.steps)
    each = longer * (back + forwards * path.runs_back) + ending * len(queries)
    seconds = steps * each + 4 * longer * forwards + reading * len(queries)  # three times for the metasmoothness
    more = (path.states_held - short.states_held) * path.bytes_per_state
    how = f"{steps} derivatives through {len(path)} steps by {len(queries)} queries"
    return Rehearsed(seconds, peak() + max(more, 0), 8 * (n + steps + 2), how)


def of_step(
    base: Base, recipe: Tuning, seed: int, within: TrainedSet, parts: Sequence[Sequence[int]], method: InfluenceStep
) -> Rehearsed:
    """What :func:`einfluence.actions.influence_step.influence_step` would take, whose arguments it has.

    The step is taken of a few samples behind the first steps of the training.

    Raises:
        ArithmeticError: When gradients are no numbers.
        RuntimeError: When the training fails.
    """
    arm, items = arm_of(recipe, method), list(encode_all(base, within.samples))
    gone = {place for part in parts for place in part}
    rest = [item for place, item in enumerate(items) if place not in gone]
    collector, training = _trained_on(base, recipe_of(arm, within), seed, within)
    timed_on = spread(rest, TIMED)
    damping = timed(lambda: damped_curvature(collector, timed_on, arm))
    gradient = gradient_of(collector, spread([items[place] for place in parts[0]], CURVED))
    curvature = damped_curvature(collector, timed_on, arm)
    product = timed(lambda: curvature.product(gradient))
    products = foreseen_products(damped_curvature(collector, spread(rest, CURVED), arm), gradient)
    seconds = training + len(parts) * (damping + products * product) * len(rest) / len(timed_on)
    held = _features(collector, rest) - _features(collector, timed_on)
    trained = sum(value.numel() * value.element_size() for value in collector.point.trained.values())
    how = f"about {products * len(parts)} products with the curvature of {len(rest)} samples"
    return Rehearsed(seconds, peak() + held, trained, how)


def like_memorised(
    base: Base, recipe: Tuning, within: TrainedSet, sizes: Sequence[int], which: Literal["most", "least"]
) -> list[list[int]]:
    """Positions of samples that come near those that a training learns by heart, or does not, before it is taken.

    They are those that the base gives the least log-probability, or the most; in parts of some sizes, the least
    memorised first.
    """
    places = spread(range(len(within.samples)), max(READ, sum(sizes)))
    items = list(encode_all(base, [within.samples[place] for place in places]))
    whole = with_steps(recipe, within.schedule, len(within.samples))
    nats = engine.measure(base, whole, [], items, seed=0).before.logprob  # of the base alone, whatever the recipe
    by_memory = [places[at] for at in np.argsort(-nats, kind="stable")]
    chosen = by_memory[-sum(sizes) :] if which == "most" else by_memory[: sum(sizes)]
    return [sorted(chosen[low:high]) for low, high in pairwise(np.cumsum([0, *sizes]).tolist())]


def foreseen_products(curvature: Curvature, b: npt.NDArray[np.float64]) -> int:
    """About how many products conjugate gradients take to the inverse.

    Where it takes more than a few, the damping is raised until it does not, and their number counted on: it grows with
    the root of the largest number of the curvature over the smallest, which is the damping.

    Args:
        curvature: Of a few samples, damped.
        b: Right side.

    Raises:
        ArithmeticError: Where a number is not finite.
    """
    times, damped = 1.0, copy(curvature)
    while True:
        damped.added = curvature.added * times
        found = solve(damped, b, most=TRIED)
        if not np.isfinite(found.residual):
            raise ArithmeticError("gradients that are no numbers")
        if found.products <= TRIED:
            return min(round(found.products * times**0.5), MOST + 1)
        times *= HARDER


def _trained_on(base: Base, recipe: Recipe, seed: int, within: TrainedSet) -> tuple[Collector, float]:
    """What as much of the training as :data:`LONGEST` allows leaves behind, and the seconds that all of it would take.

    How many products an inverse takes depends on how well the rest is known by then, so the end is best.
    """
    whole = set_training(base, within, seed)
    part = shortened(whole, STEPS)
    seconds, left = _taken(base, recipe, seed, part)
    if part != whole and 2 * seconds < LONGEST:
        part = shortened(whole, int(STEPS * LONGEST / max(seconds, 1e-9)))
        seconds, left = _taken(base, recipe, seed, part)
    longer = sum(len(step.batch) for step in whole.steps) / sum(len(step.batch) for step in part.steps)
    return Collector(Point(base, *trained_copy(base, recipe, left))), longer * seconds


def _taken(base: Base, recipe: Recipe, seed: int, training: Training[Item]) -> tuple[float, dict[str, Tensor]]:
    """The seconds of a training, and the parameters that it leaves behind."""
    begun = time.perf_counter()
    [tuned] = engine.train(base, recipe, [training], seed)
    seconds = time.perf_counter() - begun
    if tuned.failed:
        raise RuntimeError(f"the training failed: {tuned.failed}")
    return seconds, parameters(base, recipe, tuned.delta)


def _features(collector: Collector, items: Sequence[Item]) -> int:
    """Bytes of the gradients that are held at once where those of some samples are collected."""
    each = [found.bytes for found in collector.collect([max(items, key=lambda item: item.size)]).values()]
    room = memory_budget(collector.device) // 4
    return min(sum(each) * len(items), max(room, max(each) * len(items)))
