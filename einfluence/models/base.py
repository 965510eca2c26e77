"""A base: the model before fine-tuning, with its objective: what it predicts, and how the answer is scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, runtime_checkable

from einfluence.keys import content_hash

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from einfluence.head import Head
    from einfluence.samples import Sample

Bos = Literal["auto", "always", "never"]
Dtype = Literal["float32", "bfloat16"]
Capability = Literal["causal text", "prompt", "pixels", "one size"]
"""What engines and curations may ask of an objective.

``causal text``: items are :class:`einfluence.objectives.causal_lm.TextItem`, whose targets are the last tokens of a
text that is read from left to right, so that texts can be packed into one row. ``prompt``: samples are texts that can
stand before one another. ``pixels``: items are :class:`einfluence.objectives.image_class.ImageItem`, and the model is
called with their pixels alone. ``one size``: the model makes equally much of every item, as of pictures, so one of them
tells how many fit into a cache. An objective with none of these is measured by what all of them have: collate and
logits.
"""


@dataclass(frozen=True)
class BaseInfo:
    """What is known of a base without loading its weights into a model.

    Args:
        base_id: Content hash of weights, configuration, tokenizer and trusted code.
        label: What a person calls it: hub id or folder name.
        objective: Name of its objective, one of :data:`einfluence.objectives.OBJECTIVES`.
        folder: Where its files lie on this machine.
        config: Its config.json.
        bos: How texts begin: ``auto`` as the tokenizer has it, ``always`` or ``never`` with a beginning-of-text token.
        dtype: What its weights are held in. ``bfloat16`` only where no number can change by it: the files hold nothing
            else, and all recipes want it (:func:`einfluence.bases.load.narrowed`).
        head: A fresh head in place of what the files hold; to the numbers another base, so it is in ``base_id``.
        content: Of a base that was trained here, the content hash that ``base_id`` is of others. That is of the base
            before and of the training, which is the same wherever it is done.
        packed: The tensors of its files that bitsandbytes packed into 4 bits.
        keep_packed: Whether these stay so in memory: the same numbers, by the definition alone.
        gradient_checkpointing: Whether its trainings keep of a block its input alone, and run it again in the backward
            pass: the same numbers in less memory.
    """

    base_id: str
    label: str
    objective: str
    folder: str
    config: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)
    bos: Bos = "auto"
    dtype: Dtype = "float32"
    head: Head | None = None
    content: str = ""
    packed: tuple[str, ...] = ()
    keep_packed: bool = False
    gradient_checkpointing: bool = False

    def beginning(self, bos: Bos) -> BaseInfo:
        """The same base with texts that begin otherwise: to the numbers another base, so its id differs."""
        if bos == self.bos:
            return self
        named = (content_hash((name, "bos", bos)) if name else "" for name in (self.base_id, self.content))
        base_id, content = named
        return replace(self, bos=bos, base_id=base_id, content=content, label=f"{self.label}, bos {bos}")


class Item(Protocol):
    """An encoded sample: what one objective makes of it, and engines hand back to that objective. Hashable."""

    @property
    def n_target(self) -> int:
        """How many targets its log-probability is summed over; at least 1."""
        ...

    @property
    def size(self) -> int:
        """How much of a row of a batch it takes: tokens of a text, 1 for an image.

        Items of one size need no padding together.
        """
        ...


class Batch(NamedTuple):
    """B items side by side, padded; a pytree of tensors, so that ``torch.func.vmap`` takes it as it is.

    Args:
        inputs: What the model is called with, by keyword: (B, ...) each. A mask of padding is among them only where
            something is padded.
        places: int64 (B, T), for each target the row of the model's output that predicts it.
        targets: int64 (B, T), indices of the targets among the model's classes; 0 where padded.
        counts: bool (B, T), which targets count; False where padded.
    """

    inputs: dict[str, torch.Tensor]
    places: torch.Tensor
    targets: torch.Tensor
    counts: torch.Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The batch on a device; what is no index or mask in a dtype."""
        inputs = {
            name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
            for name, value in self.inputs.items()
        }
        return Batch(inputs, *(value.to(device) for value in self[1:]))

    def first(self) -> Batch:
        """Its first item alone."""
        return Batch({name: value[:1] for name, value in self.inputs.items()}, *(value[:1] for value in self[1:]))


class Objective(Protocol):
    """One kind of problem, held for one base: all that the rest of the library must know of it.

    A new one is a class in a file of its own, :class:`Registered` in :mod:`einfluence.objectives`.

    Attributes:
        name: What stores and error messages call it.
        modality: ``text`` or ``image``: how reports show its samples.
        can: What engines may do beyond collating.
    """

    name: ClassVar[str]
    modality: ClassVar[str]
    can: ClassVar[frozenset[Capability]]

    def encode(self, sample: Sample, where: str) -> Item:
        """What the model sees of a sample.

        Raises:
            InputError: With ``where``, for a sample that does not fit the model.
        """
        ...

    def collate(self, items: Sequence[Any]) -> Batch:
        """Several encoded samples as one batch on the CPU, floats in float32."""
        ...

    def logits(self, call: Callable[..., Any], batch: Batch) -> torch.Tensor:
        """The logits (B, T, classes) that predict each target of a batch.

        Args:
            call: The model, or a function that calls it with other parameters.
            batch: From :meth:`collate`, on the model's device.
        """
        ...

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """The output layer, which the adapter ``last`` trains; None where there is none."""
        ...

    def curation(self) -> Mapping[str, Any]:
        """What curation must know of the base: arguments of :func:`einfluence.curate.curate`."""
        ...


class Registered(Objective, Protocol):
    """An objective that knows its bases by their files and loads them."""

    @classmethod
    def claims(cls, config: Mapping[str, Any]) -> bool:
        """Whether a config.json is that of a base of this kind."""
        ...

    @classmethod
    def reads(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """Patterns of the files that are read beside weights and config.json, by which a base is named as well."""
        ...

    @classmethod
    def check(cls, folder: Path, config: Mapping[str, Any]) -> None:
        """Refuses a model's folder by what it says of itself, before weights are fetched or read.

        Raises:
            InputError: When a model of this kind cannot be measured.
        """
        ...

    @classmethod
    def load(cls, info: BaseInfo, *, trust_remote_code: bool, device: str) -> Base:
        """Loads a base in ``info.dtype`` or float32, in eval mode, without gradients.

        Raises:
            InputError: When the files do not hold all of such a model, or more than that.
        """
        ...


@runtime_checkable
class EncodesTogether(Protocol):
    """An objective that encodes several samples faster together than one by one, to the very same items."""

    def encode_all(self, samples: Sequence[Sample], wheres: Sequence[str]) -> Sequence[Item]:
        """As :meth:`Objective.encode` of each.

        Raises:
            InputError: With its ``where``, for the first sample that does not fit the model.
        """
        ...


class Tokens(NamedTuple):
    """What a model is given of a sample, for people to look at; a target is a token's id, or a class in words.

    Args:
        tokenizer: What the ids are of.
        ids: What the model reads.
        marked: Targets by the index in ``ids`` at which they are predicted.
        behind: Targets that are predicted of all that is read.
    """

    tokenizer: Any
    ids: Sequence[int]
    marked: Mapping[int, int | str] = {}
    behind: Sequence[int | str] = ()


@runtime_checkable
class HasTokens(Protocol):
    """An objective whose samples are tokens to the model."""

    def tokens(self, item: Any) -> Tokens:
        """Those of an encoded sample."""
        ...


@dataclass(frozen=True)
class Base:
    """A loaded base. The model is in eval mode, on its device, and no engine leaves it changed.

    Args:
        info: Its identity.
        model: The network.
        objective: What it predicts; holds the tokenizer, the classes and what else that needs.
    """

    info: BaseInfo
    model: torch.nn.Module
    objective: Objective
