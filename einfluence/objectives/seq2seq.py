"""Encoder-decoder models: the log-probability of what the decoder writes, by a prompt that the encoder reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo, Batch, Capability, Tokens
from einfluence.models.kinds import built_for, refuse_quantised
from einfluence.objectives.encoders import logits_at, padded
from einfluence.objectives.heads import output_layer
from einfluence.objectives.tokenizing import check_known, check_length
from einfluence.samples import Sample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

EXPECTED = "an encoder-decoder of transformers for texts (T5, BART, Marian, Pegasus, …)"


@dataclass(frozen=True)
class Seq2SeqItem:
    """An encoded prompt and target.

    Args:
        ids: What the encoder reads.
        decoder: What the decoder reads: its start, then the target as the tokenizer closes it, shifted by one.
        first: The index in ``decoder`` of what predicts the target's first token.
        targets: The target's tokens.
    """

    ids: tuple[int, ...]
    decoder: tuple[int, ...]
    first: int
    targets: tuple[int, ...]

    @property
    def n_target(self) -> int:
        """Targets."""
        return len(self.targets)

    @property
    def size(self) -> int:
        """Tokens of the encoder; what pads the decoder's stands behind a text that is read from left to right."""
        return len(self.ids)


@dataclass(frozen=True)
class Seq2Seq:
    """The objective of an encoder-decoder of transformers.

    Args:
        tokenizer: Its tokenizer.
        start: The token that the decoder begins with.
        pad: The token that batches are padded with.
        max_length: The longest text in tokens of either side; None where there is no limit.
        vocabulary: How many token ids the model can read and say; None where that is not known.
        label: What error messages call the base.
    """

    name: ClassVar[str] = "seq2seq"
    modality: ClassVar[str] = "text"
    can: ClassVar[frozenset[Capability]] = frozenset()

    tokenizer: Any
    start: int
    pad: int = 0
    max_length: int | None = None
    vocabulary: int | None = None
    label: str = "the base"

    @classmethod
    def claims(cls, config: Mapping[str, Any]) -> bool:
        """A configuration of an encoder and a decoder, whose architectures write texts."""
        writes = built_for(config, "ForConditionalGeneration", "MTModel", "WithLMHeadModel")
        return writes and config.get("is_encoder_decoder") is True

    @classmethod
    def reads(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """Whatever a tokenizer may be made of."""
        return ("*",)

    @classmethod
    def check(cls, folder: Path, config: Mapping[str, Any]) -> None:
        """Refuses quantised weights."""
        refuse_quantised(folder, config)

    @classmethod
    def load(cls, info: BaseInfo, *, trust_remote_code: bool, device: str) -> Base:
        """A model of transformers and its tokenizer."""
        from einfluence.models import loaded
        from einfluence.objectives.pretrained import load_texts, quiet

        auto, what = "AutoModelForSeq2SeqLM", "an encoder-decoder of texts"
        with quiet():
            model, tokenizer = load_texts(info, auto, trust_remote_code, device, what=what, expected=EXPECTED)
            start = getattr(model.config, "decoder_start_token_id", None)
            if not isinstance(start, int):
                raise InputError(f"{info.folder}/config.json decoder_start_token_id", repr(start), "a token's index")
            _check_shift(model, start, info)
            loaded.try_pairs(model, start, info.label, EXPECTED)
        limits = loaded.context_length(model), loaded.vocabulary(model)
        return Base(
            info, model, cls(tokenizer, start, getattr(model.config, "pad_token_id", None) or 0, *limits, info.label)
        )

    def encode(self, sample: Sample, where: str) -> Seq2SeqItem:
        """The tokens of the prompt, and those of the target; what opens and closes them is read, and no target."""
        ids: list[int] = self.tokenizer(sample.inputs["prompt"])["input_ids"]
        whole: list[int] = self.tokenizer(text_target=sample.target)["input_ids"]
        body: list[int] = self.tokenizer(text_target=sample.target, add_special_tokens=False)["input_ids"]
        starts = range(len(whole) - len(body) + 1)
        first = next((at for at in starts if body and whole[at : at + len(body)] == body), None)
        if first is None:
            found = f"the target {sample.target!r:.60}, which the tokenizer turns into nothing"
            raise InputError(where, found, "a target of at least one token")
        if not ids:
            raise InputError(where, "a prompt that tokenizes to nothing", "at least one token for the encoder")
        for name, side in (("prompt", ids), ("target", whole)):
            check_length(self.max_length, side, where, f"a {name}")
            check_known(self.tokenizer, self.vocabulary, side, self.label, where)
        decoder = (self.start, *whole[: first + len(body) - 1])
        return Seq2SeqItem(tuple(ids), decoder, first, tuple(body))

    def tokens(self, item: Seq2SeqItem) -> Tokens:
        """The prompt, and the target."""
        return Tokens(self.tokenizer, item.ids, behind=item.targets)

    def collate(self, items: Sequence[Seq2SeqItem]) -> Batch:
        """Prompts (B, L), with a mask where any is padded, and the decoder's texts (B, D), which need none."""
        import torch

        inputs = padded(items, self.pad, kinds=False)
        width, most = max(len(item.decoder) for item in items), max(item.n_target for item in items)
        inputs["decoder_input_ids"] = torch.tensor(
            [[*item.decoder, *[self.pad] * (width - len(item.decoder))] for item in items]
        )
        counts = torch.arange(most)[None] < torch.tensor([[item.n_target] for item in items])
        places = torch.tensor([[item.first] for item in items]) + torch.arange(most)
        targets = torch.tensor([[*item.targets, *[0] * (most - item.n_target)] for item in items])
        return Batch(inputs, torch.where(counts, places, 0), targets, counts)

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[torch.Tensor, "B T classes"]:
        """(B, T, vocabulary)."""
        return logits_at(partial(call, use_cache=False), batch.inputs, batch.places)

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """What transformers calls the output embeddings, else the last Linear."""
        return output_layer(model)

    def curation(self) -> Mapping[str, Any]:
        """Texts to be continued are prompts and targets."""
        return {"adopt": two_texts}


def two_texts(sample: Sample) -> Mapping[str, Any]:
    """A text to be continued, as the encoder's and the decoder's."""
    return {"objective": Seq2Seq.name, "inputs": {"prompt": sample.prompt}}


def _check_shift(model: Any, start: int, info: BaseInfo) -> None:
    """Refuses models whose decoder reads another beginning than its start token, such as a language's code."""
    import torch

    shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
    labels = torch.tensor([[7, 8, 9]])
    if shift is not None:
        found = cast("torch.Tensor", shift(labels=labels))
        if found.tolist() != [[start, 7, 8]]:
            shown = f"{type(model).__name__}, whose decoder does not begin with its start token alone"
            raise InputError(info.label, shown, "a decoder that reads its start token and then the target")
