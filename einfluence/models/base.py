"""A base: the model before fine-tuning, with what is needed to show it samples."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from einfluence.keys import content_hash

if TYPE_CHECKING:
    import torch

Bos = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class BaseInfo:
    """What is known of a base without loading its weights into a model.

    Args:
        base_id: Content hash of weights, configuration, tokenizer and trusted code.
        label: What a person calls it: hub id or folder name.
        modality: ``text`` or ``image``.
        folder: Where its files lie on this machine.
        config: Its config.json.
        bos: How texts begin: ``auto`` as the tokenizer has it, ``always`` or ``never`` with a beginning-of-text token.
    """

    base_id: str
    label: str
    modality: Literal["text", "image"]
    folder: str
    config: dict[str, Any] = field(default_factory=dict[str, Any], compare=False)
    bos: Bos = "auto"

    def beginning(self, bos: Bos) -> BaseInfo:
        """The same base with texts that begin otherwise: to the numbers another base, so its id differs."""
        if bos == self.bos:
            return self
        return replace(
            self, bos=bos, base_id=content_hash((self.base_id, "bos", bos)), label=f"{self.label}, bos {bos}"
        )


@dataclass(frozen=True)
class Base:
    """A loaded base. The model is in eval mode, on its device, and no engine leaves it changed.

    Args:
        info: Its identity.
        model: A Hugging Face causal LM, or a classifier from (batch, channels, height, width) to class logits.
        tokenizer: The LM's tokenizer; None for images.
        max_length: The longest text in tokens that the model takes; None where it has no limit.
        n_classes: Classes of an image model.
        input_shape: (channels, height, width) of an image model.
        join: What stands between a probe and a query in the same prompt, by default.
        vocabulary: How many token ids the LM can read and say; None where that is not known.
    """

    info: BaseInfo
    model: torch.nn.Module
    tokenizer: Any = None
    max_length: int | None = None
    n_classes: int = 0
    input_shape: tuple[int, int, int] = (0, 0, 0)
    join: str = "\n"
    vocabulary: int | None = None
