"""Models that read a whole text and say something at its tokens: what they are given, and where they predict."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from einfluence.errors import InputError
from einfluence.models.base import Batch
from einfluence.objectives.tokenizing import check_known, check_length

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float, Int64


@dataclass(frozen=True)
class MarkedItem:
    """A text with targets at some of its tokens.

    Args:
        ids: Token ids, with the special tokens that the tokenizer puts around a text.
        kinds: The token types of them; empty where the model does not ask.
        places: Indices of the tokens at which targets are predicted, in order.
        targets: The target at each of them: a class, or a token.
    """

    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    places: tuple[int, ...]
    targets: tuple[int, ...]

    @property
    def n_target(self) -> int:
        """Targets."""
        return len(self.targets)

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.ids)


@dataclass(frozen=True)
class Encoder:
    """What a model reads.

    Args:
        tokenizer: Its tokenizer.
        max_length: The longest text in tokens that the model takes; None where it has no limit.
        vocabulary: How many token ids the model can read; None where that is not known.
        pad: The token that a batch is padded with.
        kinds: Whether the model takes token types.
        label: What error messages call the base.
    """

    tokenizer: Any
    max_length: int | None = None
    vocabulary: int | None = None
    pad: int = 0
    kinds: bool = False
    label: str = "the base"

    @classmethod
    def of(cls, model: Any, tokenizer: Any, label: str) -> Encoder:
        """What is known of a model of transformers.

        Raises:
            InputError: For a tokenizer that does not say which letters its tokens come from.
        """
        from einfluence.models import loaded

        if not tokenizer.is_fast:
            fix = "save it again with a recent transformers, which writes tokenizer.json"
            raise InputError(label, "a tokenizer without tokenizer.json", "one that says where its tokens are", fix)
        limits = loaded.context_length(model), loaded.vocabulary(model)
        pad = getattr(model.config.get_text_config(), "pad_token_id", None)
        asks = "token_type_ids" in inspect.signature(model.forward).parameters
        return cls(tokenizer, *limits, pad or 0, asks and "token_type_ids" in tokenizer("a"), label)

    def item(self, encoded: Any, where: str, places: Sequence[int], ids: Sequence[int], targets: Sequence[int]) -> Any:
        """What the tokenizer made of a text, with other ``ids`` where they are hidden, and targets at some places.

        Raises:
            InputError: For a text that the model cannot read.
        """
        check_length(self.max_length, ids, where)
        check_known(self.tokenizer, self.vocabulary, ids, self.label, where)
        kinds = tuple(int(kind) for kind in encoded["token_type_ids"]) if self.kinds else ()
        return MarkedItem(tuple(ids), kinds, tuple(places), tuple(targets))

    def collate(self, items: Sequence[MarkedItem]) -> Batch:
        """Texts (B, L) and their targets (B, T), padded on the right; an attention mask where a text is padded."""
        import torch

        inputs = padded(items, self.pad, kinds=self.kinds)
        most = max(item.n_target for item in items)

        def rows(values: Callable[[MarkedItem], Sequence[int]]) -> Int64[torch.Tensor, "B T"]:
            return torch.tensor([[*values(item), *[0] * (most - item.n_target)] for item in items])

        counts = torch.arange(most)[None] < torch.tensor([[item.n_target] for item in items])
        return Batch(inputs, rows(lambda item: item.places), rows(lambda item: item.targets), counts)


def padded(items: Sequence[Any], pad: int, *, kinds: bool) -> dict[str, Int64[torch.Tensor, "B L"]]:
    """``input_ids`` (B, L) of items with ``ids``, their ``token_type_ids`` and, where any is padded, a mask."""
    import torch

    width = max(len(item.ids) for item in items)

    def rows(values: Callable[[Any], Sequence[int]], fill: int) -> Int64[torch.Tensor, "B L"]:
        return torch.tensor([[*values(item), *[fill] * (width - len(item.ids))] for item in items])

    inputs = {"input_ids": rows(lambda item: item.ids, pad)}
    if any(len(item.ids) < width for item in items):
        inputs["attention_mask"] = rows(lambda item: [1] * len(item.ids), 0)
    if kinds:
        inputs["token_type_ids"] = rows(lambda item: item.kinds, 0)
    return inputs


def logits_at(
    call: Callable[..., Any], inputs: Mapping[str, torch.Tensor], places: Int64[torch.Tensor, "B T"]
) -> Float[torch.Tensor, "B T classes"]:
    """(B, T, classes): what a model says at places (B, T)."""
    import torch

    return widened(torch.take_along_dim(call(**inputs).logits, places[..., None], 1))


def widened(logits: Float[torch.Tensor, "*shape"]) -> Float[torch.Tensor, "*shape"]:
    """Logits in float32 at least: half precision is enough for a network's inside, not for a log-softmax over words."""
    import torch

    return logits if logits.dtype == torch.float64 else logits.float()
