"""Samples, probes and the pairs of them that a run measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from einfluence.joint import gap, plain_gap
from einfluence.keys import content_hash

S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True)
class Sample:
    """One text (prompt, target) or one image (pixels, label), with what is known about it.

    Only what the model sees goes into :attr:`sample_id`: the same text under another name, domain or source
    is the same sample.

    Args:
        name: The id that the user or the curation gave it.
        prompt: Text before the target; may be empty.
        target: Text whose log-probability is watched.
        pixels: float32 array of shape (channels, height, width), values in [0, 1]; None for a text, and for an image
            that cannot be read.
        label: Class index of an image.
        label_name: What the base, or else the data, calls that class; None where it is just the number.
        domain: The group that results are compared by.
        cluster: What is resampled together in the bootstrap (the entity); defaults to the sample's own id.
        template: The template that made the text.
        source: Where it came from, e.g. ``samples.jsonl:12``; error messages name it.
        parent_id: For a noisy or flipped image, the clean one's ``sample_id``.
        noise: Noise family of a noisy image, ``label_flip`` for bad data.
        level: Noise level; grows with damage.
        join: What stands between prompt and target; None takes the rule of :func:`einfluence.joint.gap`.
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

    def __post_init__(self) -> None:
        if self.pixels is not None:
            content: tuple[object, ...] = ("image", np.asarray(self.pixels, dtype=np.float32), self.label)
        elif self.unreadable:
            content = ("unreadable", self.name, self.label)
        elif self.gap == plain_gap(self.prompt, self.target):
            content = ("text", self.prompt, self.target)
        else:  # named only where it differs, so that every other text keeps its id
            content = ("text", self.prompt, self.target, self.gap)
        object.__setattr__(self, "sample_id", content_hash(content))

    sample_id: str = field(init=False, repr=False, default="")

    @property
    def gap(self) -> str:
        """What the model sees between prompt and target."""
        return gap(self.prompt, self.target, self.join)

    @property
    def text(self) -> str:
        """Prompt and target as the model sees them."""
        return f"{self.prompt}{self.gap}{self.target}"

    @property
    def modality(self) -> str:
        """``text`` or ``image``."""
        return "image" if self.pixels is not None or self.unreadable else "text"

    @property
    def unreadable(self) -> bool:
        """Whether it is an image that could not be read: only an image has a class."""
        return self.pixels is None and self.label is not None


class InTurn(tuple[T, ...]):
    """The samples of a probe that are trained one after the other instead of together."""


def mapped(probe: Sequence[S], change: Callable[[S], T]) -> Sequence[T]:
    """Each sample of a probe changed; whether they are trained together or in turn stays."""
    changed = [change(sample) for sample in probe]
    return InTurn(changed) if isinstance(probe, InTurn) else changed


@dataclass(frozen=True)
class Probe:
    """What a copy of the model is fine-tuned on: the ``sample_id`` of one sample, or of several.

    Args:
        name: The id that the user or the curation gave it.
        members: sample_ids, in order.
        kind: ``sample``, ``bundle`` (trained together), ``sequence`` (one after the other), ``noisy`` or ``control``.
    """

    name: str
    members: tuple[str, ...]
    kind: str = "sample"

    @property
    def probe_id(self) -> str:
        """Content hash of the members in order, and of how they are trained."""
        return content_hash(("sequence" if self.kind == "sequence" else "probe", self.members))


@dataclass(frozen=True)
class Curated:
    """What one part of a spec is to measure, as the tables of :mod:`einfluence.store.schema`.

    ``relations`` has one row for every wanted (probe, query) pair, so it is also the list of wanted pairs; the ids of
    pairs may be dictionary-coded. ``report`` counts what was made and what the quality gates found: rows of (gate,
    count, example).
    """

    samples: pa.Table
    probes: pa.Table
    probe_members: pa.Table
    relations: pa.Table
    distances: pa.Table
    report: pa.Table
