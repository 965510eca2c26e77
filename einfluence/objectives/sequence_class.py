"""Text classification: the log-probability of the class of a text, or of a pair of texts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from einfluence.curate.files import Rows
from einfluence.curate.records import text_field
from einfluence.curate.sources.sentiment import labelled, sides
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo, Batch, Capability, Tokens
from einfluence.models.kinds import built_for, refuse_quantised
from einfluence.objectives.encoders import padded, widened
from einfluence.objectives.heads import last_with
from einfluence.objectives.pairs import check_pairs
from einfluence.objectives.tokenizing import check_known, check_length
from einfluence.samples import Sample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

EXPECTED = "a text classifier of transformers (…ForSequenceClassification)"
_OTHER_LOSSES = ("regression", "multi_label_classification")


@dataclass(frozen=True)
class SequenceItem:
    """An encoded text or pair of texts.

    Args:
        ids: Token ids, with the special tokens that the tokenizer puts around and between texts.
        kinds: For each of them, which of the two texts it belongs to; empty where the model does not ask.
        label: Index of the class.
    """

    ids: tuple[int, ...]
    kinds: tuple[int, ...]
    label: int
    n_target: int = field(default=1, init=False)

    @property
    def size(self) -> int:
        """Tokens."""
        return len(self.ids)


@dataclass(frozen=True)
class SequenceClass:
    """The objective of a text classifier of transformers.

    Args:
        labels: Names of its classes, in order (``id2label``).
        tokenizer: Its tokenizer.
        max_length: The longest text in tokens that the model takes; None where it has no limit.
        vocabulary: How many token ids the model can read; None where that is not known.
        pad: The token that a batch is padded with, by which some models find the last token of a text; None where
            the model has none, so that texts cannot be padded.
        kinds: Whether the model takes which of two texts a token belongs to.
        label: What error messages call the base.
    """

    name: ClassVar[str] = "sequence_class"
    modality: ClassVar[str] = "text"
    can: ClassVar[frozenset[Capability]] = frozenset()

    labels: tuple[str, ...]
    tokenizer: Any = None
    max_length: int | None = None
    vocabulary: int | None = None
    pad: int | None = None
    kinds: bool = False
    label: str = "the base"

    @classmethod
    def claims(cls, config: Mapping[str, Any]) -> bool:
        """A configuration whose architectures are text classifiers."""
        return built_for(config, "ForSequenceClassification")

    @classmethod
    def reads(cls, config: Mapping[str, Any]) -> Sequence[str]:
        """Whatever a tokenizer may be made of."""
        return ("*",)

    @classmethod
    def check(cls, folder: Path, config: Mapping[str, Any]) -> None:
        """Refuses quantised weights, regressions and classifiers of several labels at once."""
        refuse_quantised(folder, config)
        problem = config.get("problem_type")
        if problem in _OTHER_LOSSES:
            expected = "a classifier of one class a text (single_label_classification)"
            raise InputError(f"{folder / 'config.json'} problem_type", repr(problem), expected)

    @classmethod
    def load(cls, info: BaseInfo, *, trust_remote_code: bool, device: str) -> Base:
        """A model of transformers with its trained head, and its tokenizer."""
        from einfluence.models import loaded
        from einfluence.objectives.pretrained import label_names, load_texts, quiet

        auto, what = "AutoModelForSequenceClassification", "a text classifier"
        with quiet():
            model, tokenizer = load_texts(info, auto, trust_remote_code, device, what=what, expected=EXPECTED)
            labels = label_names(model, info, "classes")
            loaded.try_classes(model, len(labels), info.label, EXPECTED)
        limits = loaded.context_length(model), loaded.vocabulary(model)
        pad = getattr(model.config.get_text_config(), "pad_token_id", None)
        # As in `model(**tokenizer(text))`: GPT-2 would take them too, but its tokenizer gives none.
        asks = "token_type_ids" in inspect.signature(model.forward).parameters
        kinds = asks and "token_type_ids" in tokenizer("a")
        return Base(info, model, cls(labels, tokenizer, *limits, pad, kinds, info.label))

    def encode(self, sample: Sample, where: str) -> SequenceItem:
        """The tokens of the text, or of both, as the tokenizer puts them together."""
        texts = [sample.inputs[name] for name in ("text", "text_b") if name in sample.inputs]
        encoded: Any = self.tokenizer(*texts)
        ids = tuple(int(token) for token in encoded["input_ids"])
        kinds = tuple(int(kind) for kind in encoded["token_type_ids"]) if self.kinds else ()
        if not any(self.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts):
            raise InputError(f"{where} text", f"{texts[0]!r:.60}, which tokenizes to nothing", "at least one token")
        check_length(self.max_length, ids, where)
        check_known(self.tokenizer, self.vocabulary, ids, self.label, where)
        return SequenceItem(ids, kinds, self.labels.index(sample.target))

    def tokens(self, item: SequenceItem) -> Tokens:
        """The text, and its class."""
        return Tokens(self.tokenizer, item.ids, behind=[self.labels[item.label]])

    def collate(self, items: Sequence[SequenceItem]) -> Batch:
        """Texts (B, L), padded on the right, with an attention mask where any is padded; one target each."""
        import torch

        if self.pad is None and len({len(item.ids) for item in items}) > 1:
            raise ValueError(f"{self.label} has no padding token, so its texts cannot stand in one batch")

        inputs = padded(items, self.pad or 0, kinds=self.kinds)
        targets = torch.tensor([[item.label] for item in items])
        return Batch(inputs, torch.zeros_like(targets), targets, torch.ones_like(targets, dtype=torch.bool))

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[torch.Tensor, "B 1 classes"]:
        """(B, 1, classes)."""
        return widened(call(**batch.inputs).logits[:, None])

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """The last Linear that gives one number a class: `classifier`, `classifier.out_proj`, `score`."""
        return last_with(model, len(self.labels))

    def curation(self) -> Mapping[str, Any]:
        """Rows of {id, text, label}, and `text_b` where there are two texts; and sentences with their sentiment."""
        own, together = {"sentiment": self._sentiment}, partial(check_pairs, labels=self.labels)
        return {"rows": Rows(self.name, ("text", "label"), self._row, ("text_b",), own, together=together)}

    def _sentiment(
        self, place: Any, gates: Any
    ) -> Sequence[tuple[str, Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
        """Sentences of a data set, each with the base's class for its sentiment."""
        classes = sides(self.labels, self.label)
        return [
            (where, self._row(where, {"text": sentence.strip(), "label": classes[side]}), ())
            for _, where, sentence, side in labelled(place, gates)
        ]

    def _row(self, where: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        texts = {name: text_field(where, fields, name) for name in ("text", "text_b") if name in fields}
        if not texts.get("text_b", "-").strip():
            raise InputError(f"{where} text_b", "an empty second text", "text, or no `text_b` (null in JSON)")
        label = self._class(f"{where} label", fields["label"])
        name = self.labels[label]
        return {"inputs": texts, "target": name, "label": label, "label_name": name, "domain": name}

    def _class(self, where: str, value: object) -> int:
        """The class that a row means: by its name, else by its index where no name is another class's index."""
        text = str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
        if text in self.labels:
            return self.labels.index(text)
        index = text.removesuffix(".0")  # pandas writes whole numbers so where a cell is empty
        shown = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
        fix = "`id2label` in config.json names the classes of the base"
        if any(name.isdecimal() and name != str(place) for place, name in enumerate(self.labels)):
            raise InputError(where, f"{value!r:.80}", f"{shown}, by name, as these names look like indices", fix)
        if index.isdecimal() and index.isascii() and int(index) < len(self.labels):
            return int(index)
        raise InputError(where, f"{value!r:.80}", f"{shown}, or an index from 0 to {len(self.labels) - 1}", fix)
