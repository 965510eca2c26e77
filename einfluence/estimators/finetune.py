"""The truth: a copy of the model is fine-tuned on each probe, and every query read before and after."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from einfluence import engine
from einfluence.arms import FineTune
from einfluence.engine.measurement import Measurement
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.recipe import Recipe
from einfluence.samples import ProbeSamples, Sample


def block(
    base: Base,
    arm: FineTune,
    seed: int,
    probes: Sequence[ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[int], Path | None] = lambda _: None,
    state: Mapping[str, Tensor] | None = None,
    pieces: Sequence[engine.Piece] | None = None,
) -> Measurement:
    """See :class:`einfluence.estimators.measure.Implementation`; where a training was kept, it is not done again.

    Only cells in ``pieces`` have to be measured, where they are given.
    """
    deltas = kept_trainings(map(kept, range(len(probes))))
    items = [encode_probe(base, arm.recipe, probe) for probe in probes]
    queried = list(encode_all(base, queries))
    return engine.measure(base, arm.recipe, items, queried, seed, kept=deltas, engine=arm.engine, pieces=pieces)


def kept_trainings(files: Iterable[Path | None]) -> dict[int, dict[str, Tensor]]:
    """What earlier trainings changed, by the index of the probe; those without a file are left out."""
    from safetensors.torch import load_file

    return {index: load_file(path) for index, path in enumerate(files) if path is not None}


def encode_probe(base: Base, recipe: Recipe, probe: ProbeSamples) -> engine.Training[engine.Item]:
    """The training of a probe.

    Raises:
        InputError: When one of its samples does not fit.
    """
    items = list(encode_all(base, probe.samples))
    return engine.probe_training(items, recipe.steps, sequential=probe.in_turn)
