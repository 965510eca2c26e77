"""What engines take and give: encoded samples in, scores and outcomes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float64, Int64

from einfluence.models.base import Item
from einfluence.objectives.causal_lm import TextItem
from einfluence.objectives.image_class import ImageItem

__all__ = ["ImageItem", "Item", "Scores", "TextItem", "Tuned"]


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of Q queries, in their order.

    Args:
        logprob: Nats, summed over the target's tokens.
        n_tokens: Tokens of the target.
        rank: The largest of the ranks that the target's tokens have in the vocabulary, each at its
            place (or the label's among the classes); 1 is the first choice. Ties count in the target's favour.
    """

    logprob: Float64[npt.NDArray[np.float64], " Q"]
    n_tokens: Int64[npt.NDArray[np.int64], " Q"]
    rank: Int64[npt.NDArray[np.int64], " Q"]


@dataclass(frozen=True)
class Tuned:
    """What training on one probe left behind.

    Args:
        delta: What changed, by name, enough to evaluate again without training (adapter weights, changed parameters,
            or low-rank factors); the engine that made it can read it.
        losses: The loss before each step of all stages: for a probe, mean nats per target token.
        grad_norm: Euclidean norm of the first step's gradient over the trained parameters (before clipping).
        update_norm: Euclidean norm of the change of the effective weights over all layers.
        layer_updates: For each changed parameter of the base: (norm of its change, norm of the parameter before).
        seconds: Wall time spent on this probe (its share of a batch).
        failed: Why it failed; None when it did not.
        engine: What trained and measured it, by the name that :mod:`einfluence.engine.select` has for it.
        fallback: Why that was not a faster one; None where it was the fastest for the recipe.
        note: What else the outcome of one that did not fail says.
        noise_rms: Root mean square error of influence by rounding, in nats, measured on a few probes of the same call:
            of bfloat16 against float32, of float32 with Adam against float64; else None.
    """

    delta: dict[str, torch.Tensor]
    losses: list[float]
    grad_norm: float
    update_norm: float
    layer_updates: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])
    seconds: float = 0.0
    failed: str | None = None
    engine: str | None = None
    fallback: str | None = None
    noise_rms: float | None = None
    note: str | None = None


class MeasuredRow(NamedTuple):
    """One probe of a :class:`Measurement`.

    Args:
        probe: Which one, counted from 0.
        tuned: What training on it left behind.
        after: The scores (Q,) after it; None for a probe that failed.
    """

    probe: int
    tuned: Tuned
    after: Scores | None


class Measurement(NamedTuple):
    """What probes did to queries: influence is ``row.after.logprob - before.logprob``.

    Args:
        before: The scores (Q,) of the base.
        rows: One for each probe, in order; each is computed when it is reached, and there is one pass over them.
    """

    before: Scores
    rows: Iterator[MeasuredRow]
