"""The ladder: forms of growing difficulty, each trained until it is mastered, the earlier ones kept in the mix."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pretraining.corpus import Corpus, Document, Level
from pretraining.language import PAD, Language
from pretraining.network import Parameters, Shape, answer_loss, initialise
from pretraining.optimizer import Optimizer

log = logging.getLogger(__name__)

BUCKETS = (16, 32, 48, 64, 96, 128)
"""Documents are padded to the next of these lengths, and batched with their like; longer ones are dropped."""


@dataclass(frozen=True)
class Rung:
    """One step of the ladder: left when every kind named in `goal` reaches it, or after `tokens` million tokens."""

    name: str
    level: Level
    tokens: float
    goal: dict[str, float] = field(default_factory=dict[str, float])
    rate: float = 1.0
    """Learning rate, as a share of the plan's."""
    final_rate: float | None = None
    """If set, the rate falls linearly to this over the rung's tokens."""


@dataclass(frozen=True)
class Plan:
    """Everything that determines a trained model, besides the facts file."""

    rungs: tuple[Rung, ...]
    hidden: int = 256
    heads: int = 4
    head_dim: int = 64
    intermediate: int = 512
    layers: int = 4
    seed: int = 1
    batch_tokens: int = 6144
    muon_rate: float = 0.02
    adam_rate: float = 3e-3
    free_weight: float = 0.1
    """Weight of the tokens that are not answers."""


@dataclass
class _Batch:
    ids: Tensor
    at: Tensor
    targets: Tensor
    weights: Tensor
    kinds: list[str]
    tokens: int


@dataclass
class Progress:
    """Where a run stands; written beside each checkpoint."""

    rung: int = 0
    step: int = 0
    tokens: float = 0.0
    rung_tokens: float = 0.0
    seconds: float = 0.0
    accuracy: dict[str, float] = field(default_factory=dict[str, float])
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def batches(corpus: Corpus, level: Level, batch_tokens: int, free_weight: float) -> Iterator[_Batch]:
    """Endless batches of equal shape within each bucket (so that a compiled step is reused)."""
    waiting: dict[int, list[Document]] = {length: [] for length in BUCKETS}
    pick = np.random.default_rng(corpus.random.getrandbits(32))
    while True:
        document = corpus.document(level)
        length = next((bucket for bucket in BUCKETS if len(document.ids) <= bucket), None)
        if length is None:
            continue
        queue = waiting[length]
        queue.append(document)
        if len(queue) == batch_tokens // length:
            yield _pack(queue, length, pick, free_weight)
            queue.clear()


def _pack(documents: list[Document], length: int, pick: np.random.Generator, free_weight: float) -> _Batch:
    ids = np.full((len(documents), length), PAD, dtype=np.int64)
    answered = np.zeros(ids.shape, dtype=bool)
    kinds: list[str] = []
    for row, document in enumerate(documents):
        ids[row, : len(document.ids)] = document.ids
        for position, kind in document.answers:
            answered[row, position] = True
            kinds.append(kind)
    answers = np.flatnonzero(answered)
    free = np.flatnonzero((ids != PAD) & ~answered & (np.arange(length) > 0))
    wanted = len(documents) * (3 + length // 8) - len(answers)
    free = pick.choice(free, size=wanted, replace=len(free) < wanted)
    targets = np.concatenate([answers, free])
    weights = np.full(len(targets), free_weight / max(1, len(free)))
    weights[: len(answers)] = 1 / max(1, len(answers))
    flat = ids.reshape(-1)
    # Answers are listed row by row, as flatnonzero finds them: each document's are in the order of its positions.
    return _Batch(
        torch.from_numpy(ids),
        torch.from_numpy(targets - 1),
        torch.from_numpy(flat[targets]),
        torch.from_numpy(weights.astype(np.float32)),
        kinds,
        int((ids != PAD).sum()),
    )


def train(
    language: Language, plan: Plan, folder: Path, *, compile: bool = True, every: int = 400
) -> tuple[Parameters, Shape, Progress]:
    """Climb the ladder, or continue where `folder` stands.

    Args:
        language: what documents are about.
        plan: sizes, rates and rungs.
        folder: checkpoints go here (`weights.safetensors`, `optimizer.safetensors`, `progress.json`).
        compile: fuse the step with `torch.compile` (1.5 times as fast; needs a C++ compiler). Changes rounding only.
        every: steps between checkpoints; the corpus is reseeded there, so that a resumed run sees the same documents.

    Returns:
        Parameters (float32), their shape and the record of the run.
    """
    parameters, shape, progress, optimizer = _begin(language, plan, folder)
    step: Callable[..., tuple[Tensor, Tensor]] = _loss
    if compile:
        torch._dynamo.config.cache_size_limit = 64  # pyright: ignore # one graph for each bucket and depth
        step = torch.compile(_loss, dynamic=False)
    while progress.rung < len(plan.rungs):
        rung = plan.rungs[progress.rung]
        corpus = Corpus(language, plan.seed * 1_000_003 + progress.step)
        started, before = time.monotonic(), progress.tokens
        source = batches(corpus, rung.level, plan.batch_tokens, plan.free_weight)
        done = False
        for batch in source:
            share = progress.rung_tokens / (rung.tokens * 1e6)
            rate = rung.rate if rung.final_rate is None else rung.rate + (rung.final_rate - rung.rate) * min(1.0, share)
            rate *= min(1.0, (optimizer.step_count + 1) / 50)
            loss, predicted = step(parameters, shape, batch.ids, batch.at, batch.targets, batch.weights)
            loss.backward()
            gradients: Parameters = {}
            for name, value in parameters.items():
                assert value.grad is not None
                gradients[name] = value.grad
                value.grad = None
            optimizer.step(gradients, plan.muon_rate * rate, plan.adam_rate * rate)
            _record(progress, batch, predicted)
            done = share >= 1 or (bool(rung.goal) and share > 0.02 and _reached(progress, rung))
            if done or progress.step % every == 0:
                break
        spent = time.monotonic() - started
        progress.seconds += spent
        log.info("%s: step %d, %.2f M tokens, %.0f/s, %s", rung.name, progress.step, progress.tokens / 1e6,
                 (progress.tokens - before) / spent, _shown(progress.accuracy))  # fmt: skip
        if done:
            progress.history.append(
                {"rung": rung.name, "tokens": progress.tokens, "seconds": round(progress.seconds), **_rounded(progress)}
            )
            progress.rung, progress.rung_tokens = progress.rung + 1, 0.0
        _save(folder, parameters, optimizer, progress)
    return {name: value.detach() for name, value in parameters.items()}, shape, progress


def _loss(
    parameters: Parameters, shape: Shape, ids: Tensor, at: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    half = {name: value.to(torch.bfloat16) for name, value in parameters.items()}
    losses, predicted = answer_loss(half, shape, ids, at, targets)
    return (losses * weights).sum(), predicted


def _record(progress: Progress, batch: _Batch, predicted: Tensor) -> None:
    right = (predicted == batch.targets)[: len(batch.kinds)].tolist()
    by_kind: dict[str, list[bool]] = {}
    for kind, correct in zip(batch.kinds, right, strict=True):
        by_kind.setdefault(kind, []).append(correct)
    for kind, results in by_kind.items():
        mean, weight = sum(results) / len(results), min(0.2, len(results) / 2000)
        progress.accuracy[kind] = progress.accuracy.get(kind, 0.0) * (1 - weight) + mean * weight
    progress.step += 1
    progress.tokens += batch.tokens
    progress.rung_tokens += batch.tokens


def _reached(progress: Progress, rung: Rung) -> bool:
    return all(progress.accuracy.get(kind, 0.0) >= wanted for kind, wanted in rung.goal.items())


def _shown(accuracy: dict[str, float]) -> str:
    return " ".join(f"{kind} {value:.3f}" for kind, value in sorted(accuracy.items()))


def _rounded(progress: Progress) -> dict[str, Any]:
    return {"accuracy": {kind: round(value, 4) for kind, value in sorted(progress.accuracy.items())}}


def _require(parameters: Parameters) -> None:
    for value in parameters.values():
        value.requires_grad_(True)


def _begin(language: Language, plan: Plan, folder: Path) -> tuple[Parameters, Shape, Progress, Optimizer]:
    shape = Shape(len(language.words), plan.layers, plan.hidden, plan.heads, plan.head_dim, plan.intermediate)
    if not (folder / "progress.json").exists():
        parameters = initialise(shape, plan.seed)
        _require(parameters)
        return parameters, shape, Progress(), Optimizer(parameters)
    saved = json.loads((folder / "progress.json").read_text(encoding="utf-8"))
    steps = saved.pop("optimizer_steps")
    progress = Progress(**saved)
    parameters = load_file(folder / "weights.safetensors")
    _require(parameters)
    optimizer = Optimizer(parameters)
    optimizer.load(load_file(folder / "optimizer.safetensors"), steps)
    return parameters, shape, progress, optimizer


def _save(folder: Path, parameters: Parameters, optimizer: Optimizer, progress: Progress) -> None:
    """Write under other names, then rename; the record comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"weights": {name: value.detach() for name, value in parameters.items()}, "optimizer": optimizer.state()}
    for name, group in tensors.items():
        save_file({key: value.contiguous() for key, value in group.items()}, folder / f".{name}.tmp")
        os.replace(folder / f".{name}.tmp", folder / f"{name}.safetensors")
    record = {**asdict(progress), "optimizer_steps": optimizer.step_count}
    (folder / ".progress.tmp").write_text(json.dumps(record, indent=1), encoding="utf-8")
    os.replace(folder / ".progress.tmp", folder / "progress.json")
