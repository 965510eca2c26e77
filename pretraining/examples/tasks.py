"""What the small models are: their rows, their shape and how a batch is put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Config,
    T5ForConditionalGeneration,
)

from pretraining.examples import names, opinions
from pretraining.examples.facts import facts
from pretraining.examples.rows import Row, Rows
from pretraining.examples.tokenizer import BERT, T5, word_tokenizer
from pretraining.language import Language

NOT_A_TARGET = -100
Tokenizer = PreTrainedTokenizerBase


@dataclass(frozen=True)
class Task:
    """One small task and its model.

    Args:
        name: Of the base, ``embedded:NAME``.
        about: What the model does, a sentence.
        rows: The language and a seed to its rows.
        tokenizer: The language to its tokenizer.
        model: A tokenizer to the untrained model; draws from torch's generator.
        collate: Tokenizer and rows to what the model takes, ``labels`` among it.
        lr: AdamW's rate.
        epochs: Over the rows of training.
        seed: Of rows, weights and order.
    """

    name: str
    about: str
    rows: Callable[[Language, int], Rows]
    tokenizer: Callable[[Language], Tokenizer]
    model: Callable[[Tokenizer], PreTrainedModel]
    collate: Callable[[Tokenizer, Sequence[Row]], dict[str, torch.Tensor]]
    lr: float = 2e-3
    epochs: int = 20
    seed: int = 1

    def card(self, marks: dict[str, float], train: int, held_out: int) -> str:
        """The model's README."""
        accuracy = f"{marks['accuracy']:.3f} on {held_out:,} held out"
        text = (
            f"{self.about} It has {marks['parameters']:,} parameters and was trained on {train:,} rows that are drawn "
            f"from the world of `data/facts/world.yaml`; its accuracy is {accuracy}. Made by "
            f"`python -m pretraining.examples {self.name}`, for the specs in `examples/`."
        )
        return (
            f"---\nlicense: mit\nlanguage: en\nlibrary_name: transformers\n---\n\n# {self.name}\n\n{fill(text, 119)}\n"
        )


def _bert(kind: type[Any], **more: Any) -> Callable[[Tokenizer], PreTrainedModel]:
    def made(tokenizer: Any) -> PreTrainedModel:
        config = BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=128,
            max_position_embeddings=64,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            pad_token_id=tokenizer.pad_token_id,
            **more,
        )
        return kind(config)

    return made


def _named(labels: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(labels)), "label2id": {label: index for index, label in enumerate(labels)}}


def _t5(tokenizer: Any) -> PreTrainedModel:
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=64,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        dropout_rate=0.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,  # pyright: ignore[reportCallIssue] # read by generate and the loss
    )
    return T5ForConditionalGeneration(config)


def _texts(tokenizer: Tokenizer, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    read = tokenizer([row["text"] for row in rows], padding=True, return_tensors="pt")
    return {**read, "labels": torch.tensor([opinions.LABELS.index(row["label"]) for row in rows])}


def _tagged(tokenizer: Tokenizer, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    read: Any = tokenizer([row["tokens"] for row in rows], is_split_into_words=True, padding=True, return_tensors="pt")
    labels = torch.full_like(read["input_ids"], NOT_A_TARGET)
    for place, row in enumerate(rows):  # every word is one token, behind [CLS]
        labels[place, 1 : len(row["tags"]) + 1] = torch.tensor([names.LABELS.index(tag) for tag in row["tags"]])
    return {**read, "labels": labels}


def _masked(tokenizer: Tokenizer, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    texts = [f"{row['prompt']} {tokenizer.mask_token}." for row in rows]
    read: Any = tokenizer(texts, padding=True, return_tensors="pt")
    labels = torch.full_like(read["input_ids"], NOT_A_TARGET)
    labels[read["input_ids"] == tokenizer.mask_token_id] = torch.tensor(_targets(tokenizer, rows))
    return {**read, "labels": labels}


def _answered(tokenizer: Tokenizer, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    read = tokenizer([row["prompt"] for row in rows], padding=True, return_tensors="pt")
    end: Any = tokenizer.eos_token_id
    return {**read, "labels": torch.tensor([[target, end] for target in _targets(tokenizer, rows)])}


def _targets(tokenizer: Tokenizer, rows: Sequence[Row]) -> list[int]:
    found: Any = tokenizer.convert_tokens_to_ids([row["target"] for row in rows])
    return found


TASKS = {
    task.name: task
    for task in (
        Task(
            "opinions",
            "A text classifier (BERT) that knows opinions, positive and negative, also denied ones.",
            opinions.opinions,
            lambda language: word_tokenizer(language, opinions.WORDS, BERT),
            _bert(BertForSequenceClassification, **_named(opinions.LABELS)),
            _texts,
        ),
        Task(
            "names",
            "A tagger of tokens (BERT) that finds persons, places and creatures.",
            names.names,
            lambda language: word_tokenizer(language, names.WORDS, BERT),
            _bert(BertForTokenClassification, **_named(names.LABELS)),
            _tagged,
        ),
        Task(
            "cloze",
            "A masked language model (BERT) that knows the stored facts of the world.",
            facts,
            lambda language: word_tokenizer(language, (), BERT),
            _bert(BertForMaskedLM),
            _masked,
            epochs=60,
        ),
        Task(
            "answers",
            "An encoder-decoder (T5) that completes the stored facts of the world and answers questions about them.",
            facts,
            lambda language: word_tokenizer(language, (), T5),
            _t5,
            _answered,
            epochs=200,
        ),
    )
}
