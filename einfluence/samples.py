"""Samples, probes and the pairs of them that a run measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.joint import gap, plain_gap
from einfluence.keys import content_hash

CAUSAL_LM, IMAGE_CLASS = "causal_lm", "image_class"  # the objectives of samples that do not name theirs
TRAINED = ("sample", "chat", "bundle")  # kinds of probes that a training set has


@dataclass(frozen=True)
class Sample:
    """One thing that a model is queried with, with what is known about it.

    A text to be continued (prompt, target), an image and its class (pixels, label), or what another objective asks
    (inputs, target).

    Only what the model sees goes into :attr:`sample_id`: the same text under another name, domain or source
    is the same sample.

    Args:
        name: The id that the user or the curation gave it.
        prompt: Text before the target; may be empty. Of other objectives, how the inputs read.
        target: What is predicted, in words: the text whose log-probability is watched, or the class of an input.
        pixels: float32 array of shape (channels, height, width), values in [0, 1]; None for a text, and for an image
            that cannot be read.
        label: Index of the class.
        label_name: What the base, or else the data, calls that class; None where it is just the number.
        domain: The group that results are compared by.
        cluster: What is resampled together in the bootstrap (the entity); defaults to the sample's own id.
        template: The template that made the text.
        source: Where it came from, e.g. ``samples.jsonl:12``; error messages name it.
        parent_id: For a noisy or flipped image, the clean one's ``sample_id``.
        noise: Noise family of a noisy image, ``label_flip`` for bad data.
        level: Noise level; grows with damage.
        join: What stands between prompt and target; None takes the rule of :func:`einfluence.joint.gap`.
        unreadable: Whether it is an image that could not be read.
        objective: Name of the objective that asks it; by default ``image_class`` for an image, else ``causal_lm``.
        inputs: What the model sees beside the target, as plain data, where that is neither a prompt nor pixels.
    """

    name: str
    prompt: str = ""
    target: str = ""
    pixels: npt.NDArray[np.float32] | None = field(default=None, compare=False)
    label: int | None = None
    label_name: str | None = None
    domain: str = ""
    cluster: str = ""
    template: str | None = None
    source: str = ""
    parent_id: str | None = None
    noise: str | None = None
    level: float | None = None
    join: str | None = None
    unreadable: bool = False
    objective: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any], compare=False)

    def __post_init__(self) -> None:
        if not self.objective:
            image = self.pixels is not None or self.unreadable
            object.__setattr__(self, "objective", IMAGE_CLASS if image else CAUSAL_LM)
        if self.inputs and not self.prompt:
            object.__setattr__(self, "prompt", _read_out(self.inputs))
        if self.objective not in (CAUSAL_LM, IMAGE_CLASS):
            content: tuple[object, ...] = (self.objective, dict(self.inputs), self.target)
        elif self.pixels is not None:
            content = ("image", np.asarray(self.pixels, dtype=np.float32), self.label)
        elif self.unreadable:
            content = ("unreadable", self.name, self.label)
        elif self.gap == plain_gap(self.prompt, self.target):
            content = ("text", self.prompt, self.target)
        else:  # named only where it differs, so that every other text keeps its id
            content = ("text", self.prompt, self.target, self.gap)
        object.__setattr__(self, "sample_id", content_hash(content))

    sample_id: str = field(init=False, repr=False, default="")

    @property
    def gap(self) -> str | None:
        """What the model sees between prompt and target; None where it does not see them as one text."""
        return gap(self.prompt, self.target, self.join) if self.objective == CAUSAL_LM else None

    @property
    def text(self) -> str:
        """Prompt and target as the model sees them; the target alone where it does not see them as one text."""
        return f"{self.prompt}{self.gap or ''}{self.target}"

    @property
    def modality(self) -> str:
        """``text`` or ``image``: how reports show it."""
        return "image" if self.pixels is not None or self.unreadable else "text"


def _read_out(inputs: Mapping[str, Any]) -> str:
    """Inputs in words: their texts, and lists of texts, one behind the other."""
    values = (value if isinstance(value, list | tuple) else [value] for value in inputs.values())
    return " ".join(str(word) for words in values for word in cast("Sequence[object]", words))


@dataclass(frozen=True)
class Probe:
    """What a copy of the model is fine-tuned on: the ``sample_id`` of one sample, or of several.

    Args:
        name: The id that the user or the curation gave it.
        members: sample_ids, in order.
        kind: ``sample``, ``chat`` (all answers of one row, trained together), ``bundle`` (others trained together),
            ``sequence`` (one after the other), ``noisy`` or ``control``.
        control: Of a control, which: ``shuffled words`` or ``length-matched``.
    """

    name: str
    members: tuple[str, ...]
    kind: str = "sample"
    control: str | None = None

    @property
    def probe_id(self) -> str:
        """Content hash of the members in order, and of how they are trained."""
        return content_hash(("sequence" if self.kind == "sequence" else "probe", self.members))


@dataclass(frozen=True)
class ProbeSamples:
    """The samples of a probe, in order, and whether they are trained one after the other instead of together."""

    samples: tuple[Sample, ...]
    in_turn: bool = False


@dataclass(frozen=True)
class Curated:
    """What one part of a spec is to measure, as the tables of :mod:`einfluence.store.schema`.

    ``relations`` has one row for every wanted (probe, query) pair, so it is also the list of wanted pairs; the ids of
    pairs may be dictionary-coded. ``report`` counts what was made and what the quality gates found: rows of (gate,
    count, example). ``later`` are the samples of a training set's second stage, by sample_id in order.
    """

    samples: pa.Table
    probes: pa.Table
    probe_members: pa.Table
    relations: pa.Table
    distances: pa.Table
    report: pa.Table
    later: tuple[str, ...] = ()
