"""One small model: from its rows to a folder that transformers loads, with its accuracy on rows held out."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pretraining.examples.rows import Row
from pretraining.examples.tasks import NOT_A_TARGET, Task
from pretraining.language import Language

BATCH, WARM_UP = 64, 50


def make(task: Task, language: Language, folder: Path) -> dict[str, float]:
    """Trains a task's model and writes its folder.

    Deterministic on one machine and version of torch: weights and order follow from the task's seed.

    Args:
        task: Which.
        language: Of the world.
        folder: Gets config.json, model.safetensors, the tokenizer, evaluation.json and README.md.

    Returns:
        What evaluation.json holds: accuracy on the rows held out (of texts, tags, or targets), and parameters.
    """
    rows, tokenizer = task.rows(language, task.seed), task.tokenizer(language)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        model = task.model(tokenizer)
        _fit(model, task, tokenizer, rows.train)
    right = accuracy(model, task, tokenizer, rows.held_out)
    marks = {"accuracy": right, "parameters": sum(one.numel() for one in model.parameters())}
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "evaluation.json").write_text(json.dumps(marks, indent=1) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(task.card(marks, len(rows.train), len(rows.held_out)), encoding="utf-8")
    return marks


def _fit(model: PreTrainedModel, task: Task, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> None:
    """AdamW without dropout, a cosine schedule, rows shuffled anew for each epoch."""
    steps = task.epochs * math.ceil(len(rows) / BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=task.lr, weight_decay=0.01)
    rate = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1.0, step / WARM_UP) * 0.5 * (1.0 + math.cos(math.pi * step / steps))
    )
    model.train()
    for _ in range(task.epochs):
        order = torch.randperm(len(rows)).tolist()
        for start in range(0, len(rows), BATCH):
            batch = task.collate(tokenizer, [rows[place] for place in order[start : start + BATCH]])
            loss: Any = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    model.eval()


@torch.no_grad()
def accuracy(model: Any, task: Task, tokenizer: PreTrainedTokenizerBase, rows: Sequence[Row]) -> float:
    """The share of rows' labels (a text's class, a word's tag, a target without its end) that are the likeliest."""
    right, count, end = 0, 0, tokenizer.eos_token_id or NOT_A_TARGET
    for start in range(0, len(rows), BATCH):
        batch = task.collate(tokenizer, rows[start : start + BATCH])
        labels, logits = batch["labels"], model(**batch).logits
        asked = (labels != NOT_A_TARGET) & (labels != end)
        right += int((logits.argmax(-1)[asked] == labels[asked]).sum())
        count += int(asked.sum())
    return right / count
