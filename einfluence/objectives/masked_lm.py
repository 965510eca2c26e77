"""Masked language models: the log-probability of the words behind a mask, by all that stands around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from einfluence.curate.files import Rows
from einfluence.curate.records import text_field
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo, Batch, Capability, Tokens
from einfluence.models.kinds import built_for, refuse_quantised
from einfluence.objectives.encoders import Encoder, MarkedItem, logits_at
from einfluence.objectives.heads import output_layer
from einfluence.samples import Sample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

EXPECTED = "a masked language model of transformers (…ForMaskedLM)"
MASK = "[MASK]"
"""Where the target stands in a text, whatever the tokenizer's own mask is called."""
_STOPS = tuple(".!?。！？…")


@dataclass(frozen=True)
class MaskedLM:
    """The objective of a masked language model of transformers.

    Args:
        encoder: What the model reads.
        mask: The token that hides another.
    """

    name: ClassVar[str] = "masked_lm"
    modality: ClassVar[str] = "text"
    can: ClassVar[frozenset[Capability]] = frozenset()

    encoder: Encoder
    mask: int

    @classmethod
    def claims(cls, config: Mapping[str, Any]) -> bool:
        """A configuration whose architectures are masked language models."""
        return built_for(config, "ForMaskedLM")

    @classmethod
    def reads(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """Whatever a tokenizer may be made of."""
        return ("*",)

    @classmethod
    def check(cls, folder: Path, config: Mapping[str, Any]) -> None:
        """Refuses quantised weights, and what is configured to read from left to right alone."""
        refuse_quantised(folder, config)
        if config.get("is_decoder") is True:
            fix = 'leave it out, or write a class for causal language models into "architectures"'
            raise InputError(f"{folder / 'config.json'} is_decoder", "true", "a model that reads both ways", fix)

    @classmethod
    def load(cls, info: BaseInfo, *, trust_remote_code: bool, device: str) -> Base:
        """A model of transformers, and its tokenizer with a mask."""
        from einfluence.models import loaded
        from einfluence.objectives.pretrained import load_texts, quiet

        auto, what = "AutoModelForMaskedLM", "a masked language model"
        with quiet():
            model, tokenizer = load_texts(info, auto, trust_remote_code, device, what=what, expected=EXPECTED)
            if tokenizer.mask_token_id is None:
                raise InputError(info.folder, "a tokenizer without a mask token", "one with `mask_token`")
            loaded.try_tokens(model, None, info.label, EXPECTED)
        return Base(info, model, cls(Encoder.of(model, tokenizer, info.label), int(tokenizer.mask_token_id)))

    def encode(self, sample: Sample, where: str) -> MarkedItem:
        """The tokens of the text with the target in it, those that reach into the target hidden and predicted."""
        before, after = self._around(sample.inputs["text"], where)
        text, start = f"{before}{sample.target}{after}", len(before)
        encoded: Any = self.encoder.tokenizer(text, return_offsets_mapping=True)
        end = start + len(sample.target)
        places = [
            place
            for place, (first, last) in enumerate(encoded["offset_mapping"])
            if first < end and last > start and text[max(first, start) : min(last, end)].strip()
        ]
        if not places:
            found = f"the target {sample.target!r:.60}, which the tokenizer turns into nothing"
            raise InputError(where, found, "a target of at least one token")
        ids: list[int] = [int(token) for token in encoded["input_ids"]]
        self.encoder.item(encoded, where, places, ids, [])  # the target's tokens must be known, too
        targets = [ids[place] for place in places]
        for place in places:
            ids[place] = self.mask
        return self.encoder.item(encoded, where, places, ids, targets)

    def _around(self, text: str, where: str) -> tuple[str, str]:
        """What stands before the mask and behind it."""
        own = str(self.encoder.tokenizer.mask_token)
        parts = text.replace(own, MASK).split(MASK)
        if len(parts) != 2:
            found = f"{len(parts) - 1} masks in {text!r:.80}" if len(parts) > 2 else f"{text!r:.80}, without a mask"
            names = f"`{MASK}`" if own == MASK else f"`{MASK}` or `{own}`"
            fix = "one mask stands for the whole target, however many tokens that has"
            raise InputError(where, found, f"one {names} where the target stands", fix)
        return parts[0], parts[1]

    def tokens(self, item: MarkedItem) -> Tokens:
        """The text, with what is hidden by each mask."""
        return Tokens(self.encoder.tokenizer, item.ids, dict(zip(item.places, item.targets, strict=True)))

    def collate(self, items: Sequence[MarkedItem]) -> Batch:
        """Texts (B, L), with an attention mask where any is padded, and their targets."""
        return self.encoder.collate(items)

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[torch.Tensor, "B T classes"]:
        """(B, T, vocabulary): each target by itself, given the text in which all of them are hidden."""
        return logits_at(call, batch.inputs, batch.places)

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """What transformers calls the output embeddings, else the last Linear."""
        return output_layer(model)

    def curation(self) -> Mapping[str, Any]:
        """Rows of {text, target}; texts to be continued become texts whose end is hidden."""
        return {"rows": Rows(self.name, ("text", "target"), self._row), "adopt": cloze}

    def _row(self, where: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        text, target = text_field(where, fields, "text"), text_field(where, fields, "target")
        if not target.strip():
            raise InputError(f"{where} target", "an empty target", "the words behind the mask")
        self._around(text, f"{where} text")
        return {"inputs": {"text": text}, "target": target}


def cloze(sample: Sample) -> Mapping[str, Any]:
    """A text to be continued as a text with a mask, closed by a full stop where the target brings none.

    Without it such models expect one in the place of the mask.
    """
    stop = "" if sample.target.rstrip().endswith(_STOPS) else "."
    return {"objective": MaskedLM.name, "inputs": {"text": f"{sample.prompt}{sample.gap or ''}{MASK}{stop}"}}
