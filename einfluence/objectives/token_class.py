"""Token classification: the log-probability of the tags of a sentence's words, or of those of one mention in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from einfluence.curate.files import Rows
from einfluence.curate.records import COLUMNS
from einfluence.curate.sources.conll import is_tag, mentions, sentences, tagged
from einfluence.errors import InputError
from einfluence.models.base import Base, BaseInfo, Batch, Capability, Tokens
from einfluence.models.kinds import built_for, refuse_quantised
from einfluence.objectives.encoders import Encoder, MarkedItem, logits_at
from einfluence.objectives.heads import last_with
from einfluence.samples import Sample

if TYPE_CHECKING:
    import torch
    from jaxtyping import Float

EXPECTED = "a tagger of tokens of transformers (…ForTokenClassification)"
NO_TARGET = -100
"""As in transformers, the tag of a word that is no target; None is the same."""


@dataclass(frozen=True)
class TokenClass:
    """The objective of a tagger of transformers.

    Args:
        labels: Its tags, in order (``id2label``).
        encoder: What the model reads.
    """

    name: ClassVar[str] = "token_class"
    modality: ClassVar[str] = "text"
    can: ClassVar[frozenset[Capability]] = frozenset()

    labels: tuple[str, ...]
    encoder: Encoder

    @classmethod
    def claims(cls, config: Mapping[str, Any]) -> bool:
        """A configuration whose architectures are taggers of tokens."""
        return built_for(config, "ForTokenClassification")

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
        """A model of transformers with its trained head, and its tokenizer."""
        from einfluence.models import loaded
        from einfluence.objectives.pretrained import label_names, load_texts, quiet

        auto, what = "AutoModelForTokenClassification", "a tagger of tokens"
        with quiet():
            model, tokenizer = load_texts(info, auto, trust_remote_code, device, what=what, expected=EXPECTED)
            tokenizer = _for_words(tokenizer, info)
            labels = label_names(model, info, "tags")
            loaded.try_tokens(model, len(labels), info.label, EXPECTED)
        return Base(info, model, cls(labels, Encoder.of(model, tokenizer, info.label)))

    def encode(self, sample: Sample, where: str) -> MarkedItem:
        """The tokens of the words; a word's tag is predicted at its first token, its others are no target."""
        words: list[str] = sample.inputs["tokens"]
        tags: list[str | None] = sample.inputs["tags"]
        encoded: Any = self.encoder.tokenizer(words, is_split_into_words=True)
        first: dict[int, int] = {}
        for place, word in enumerate(encoded.word_ids()):
            if word is not None:
                first.setdefault(word, place)
        wanted = [word for word, tag in enumerate(tags) if tag is not None]
        lost = next((word for word in wanted if word not in first), None)
        if lost is not None:
            found = f"{words[lost]!r:.60}, which the tokenizer turns into nothing"
            fix = "give it the tag null, which is no target, or leave the word out"
            raise InputError(f"{where} tokens.{lost}", found, "words of at least one token", fix)
        places = [first[word] for word in wanted]
        targets = [self.labels.index(cast("str", tags[word])) for word in wanted]
        return self.encoder.item(encoded, where, places, encoded["input_ids"], targets)

    def tokens(self, item: MarkedItem) -> Tokens:
        """The sentence, with a tag at the first token of each word that has one."""
        tags = [self.labels[target] for target in item.targets]
        return Tokens(self.encoder.tokenizer, item.ids, dict(zip(item.places, tags, strict=True)))

    def collate(self, items: Sequence[MarkedItem]) -> Batch:
        """Sentences (B, L), with a mask where any is padded, and their targets."""
        return self.encoder.collate(items)

    def logits(self, call: Callable[..., Any], batch: Batch) -> Float[torch.Tensor, "B T classes"]:
        """(B, T, tags)."""
        return logits_at(call, batch.inputs, batch.places)

    def head(self, model: torch.nn.Module) -> torch.nn.Module | None:
        """The last Linear that gives one number a tag."""
        return last_with(model, len(self.labels))

    def curation(self) -> Mapping[str, Any]:
        """Rows of {tokens, tags}, also in columns; and sentences with mentions in the columns of `conll`."""
        files = dict.fromkeys(COLUMNS, self._file)
        rows = Rows(self.name, ("tokens", "tags"), self._row, sources={"conll": self._conll}, files=files)
        return {"rows": rows}

    def _row(self, where: str, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        words, tags = (_listed(where, fields, key) for key in ("tokens", "tags"))
        odd = next((index for index, word in enumerate(words) if not isinstance(word, str) or not word), None)
        if odd is not None:
            raise InputError(f"{where} tokens.{odd}", f"{words[odd]!r:.60}", "a word")
        if not words:
            raise InputError(f"{where} tokens", "no tokens", "a sentence of at least one word")
        if len(words) != len(tags):
            raise InputError(where, f"{len(words)} tokens and {len(tags)} tags", "a tag for each of the tokens")
        named = [self._tag(f"{where} tags.{index}", tag) for index, tag in enumerate(tags)]
        if not any(named):
            raise InputError(f"{where} tags", "no tag that is a target", "at least one")
        kinds = {tag[2:] for tag in named if tag is not None and tag != "O" and is_tag(tag)}
        return {**_sample(cast("list[str]", words), named), "domain": kinds.pop() if len(kinds) == 1 else ""}

    def _tag(self, where: str, value: object) -> str | None:
        """The tag that a row means: by its name, else by its index."""
        if value is None or value == NO_TARGET:
            return None
        if isinstance(value, str) and value in self.labels:
            return value
        if type(value) is int and 0 <= value < len(self.labels):
            return self.labels[value]
        shown = ", ".join(self.labels[:10]) + (", …" if len(self.labels) > 10 else "")
        expected = f"{shown}, an index from 0 to {len(self.labels) - 1}, or null for a word that is no target"
        raise InputError(where, f"the tag {value!r:.60}", expected, "`id2label` in config.json names the base's tags")

    def _file(self, file: Path, fields: Mapping[str, str], gates: Any) -> Sequence[tuple[str, dict[str, Any]]]:
        """Sentences of a file of columns; tags of mentions are written in the base's own scheme."""
        found = list(sentences(file, fields, gates))
        every = {tag for _, _, tags in found for tag in tags}
        if all(map(is_tag, every)) and any(is_tag(label) and label != "O" for label in self.labels):
            spans = mentions(str(file), [(where, tags) for where, _, tags in found], gates)
            rows = zip(found, spans, strict=True)
            return [
                (where, {"tokens": words, "tags": self._written(len(words), some)}) for (where, words, _), some in rows
            ]
        return [
            (where, {"tokens": words, "tags": [None if tag == "_" else tag for tag in tags]})
            for where, words, tags in found
        ]

    def _written(self, length: int, spans: Sequence[tuple[int, int, str]]) -> list[str | None]:
        """The tags of a sentence in the base's own scheme."""
        tags: list[str | None] = ["O"] * length
        for start, end, kind in spans:
            tags[start:end] = written(kind, end - start, self.labels)
        return tags

    def _conll(self, place: Any, gates: Any) -> Sequence[tuple[str, Mapping[str, Any], Sequence[Mapping[str, Any]]]]:
        """Sentences of a data set in the base's own scheme of tags, each with its mentions alone."""
        found: list[tuple[str, Mapping[str, Any], Sequence[Mapping[str, Any]]]] = []
        for where, words, spans in tagged(place, gates):
            tags, alone = self._written(len(words), spans), list[Mapping[str, Any]]()
            for tag in tags:
                self._tag(where, tag)
            for start, end, kind in spans:
                own = [tag if start <= at < end else None for at, tag in enumerate(tags)]
                alone.append({**_sample(words, own), "domain": kind})
            found.append((where, _sample(words, tags), alone))
        return found


def written(kind: str, length: int, labels: Sequence[str]) -> list[str]:
    """The tags of a mention in the scheme of a base, which its tags show: BIOES, BILOU, BMES, IOB2, or I alone."""
    places = {label[0] for label in labels if label[1:2] in ("-", "_")}
    dash = next((label[1] for label in labels if label[1:2] in ("-", "_")), "-")
    last, single = next(((e, s) for e, s in (("E", "S"), ("L", "U")) if {e, s} & places), ("I", "B"))
    inner = "M" if "M" in places else "I"
    first = "B" if "B" in places else inner
    single = single if single in places else first
    letters = [single] if length == 1 else [first, *[inner] * (length - 2), last]
    return [f"{letter}{dash}{kind}" for letter in letters]


def _sample(words: Sequence[str], tags: Sequence[str | None]) -> dict[str, Any]:
    shown = " ".join(tag for tag in tags if tag is not None)
    return {"inputs": {"tokens": [*words], "tags": [*tags]}, "prompt": " ".join(words), "target": shown}


_LISTS = {"tokens": "one item a word", "tags": "one item for each of the tokens"}


def _listed(where: str, fields: Mapping[str, Any], key: str) -> list[Any]:
    value = fields[key]
    if not isinstance(value, list):
        fix = "Lists stand in JSON Lines and Parquet, not in a CSV; or take a file of columns (.conll)"
        raise InputError(f"{where} {key}", f"{value!r:.60}", f"a list: {_LISTS[key]}", fix)
    return cast("list[Any]", value)


def _for_words(tokenizer: Any, info: BaseInfo) -> Any:
    """A tokenizer that takes words: those of RoBERTa's kind need to be told to put a blank before each."""
    from transformers import AutoTokenizer

    from einfluence.objectives.pretrained import refusing

    with refusing(info, "a tokenizer that takes sentences in words"):
        try:
            tokenizer(["a", "b"], is_split_into_words=True)
        except Exception:
            options: Any = {"add_prefix_space": True, "local_files_only": True}
            tokenizer = AutoTokenizer.from_pretrained(info.folder, **options)
            tokenizer(["a", "b"], is_split_into_words=True)
    return tokenizer
