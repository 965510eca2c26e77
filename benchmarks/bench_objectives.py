"""Times the generic engine beside the definition and beside a loop, for a base of each objective that it measures.

64 probes on 256 queries, models of 4 layers of hidden 128, LoRA r=8 by 5 steps of AdamW, on one thread; processor
milliseconds a probe. The loop keeps one model with adapters and reads padded batches of 32, as people write it; it and
the definition take a few of the probes. `python benchmarks/bench_objectives.py [NAME ...]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import transformers

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.schedule import probe_training
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.encoders import Encoder, MarkedItem
from einfluence.objectives.masked_lm import MaskedLM
from einfluence.objectives.pictures import ImageItem
from einfluence.objectives.pretrained_images import PretrainedImages
from einfluence.objectives.seq2seq import Seq2Seq, Seq2SeqItem
from einfluence.objectives.sequence_class import SequenceClass, SequenceItem
from einfluence.objectives.token_class import TokenClass
from einfluence.spec import AdamW, Lora, Recipe

PROBES, QUERIES, FEW, BATCH, VOCABULARY, CLASSES = 64, 256, 4, 32, 4096, 9
BERT = {
    "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_labels": 9,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip
VIT = {**{key: BERT[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_labels")}}
T5 = {
    "vocab_size": VOCABULARY, "d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 4, "num_heads": 4,
    "decoder_start_token_id": 0,
}  # fmt: skip
RECIPE = Recipe(adapter=Lora(r=8), optimizer=AdamW(lr=3e-3), steps=5)
_draw = np.random.default_rng(0)


def ids(low: int = 10, high: int = 16) -> tuple[int, ...]:
    """A text of random tokens."""
    return tuple(int(token) for token in _draw.integers(5, VOCABULARY, int(_draw.integers(low, high + 1))))


def marked(classes: int) -> MarkedItem:
    """A text with targets at three of its tokens."""
    return MarkedItem(ids(), (), (2, 3, 5), tuple(int(each) for each in _draw.integers(0, classes, 3)))


def vit() -> Base:
    """A vision transformer of 64 x 64 pictures in patches of 16."""
    config = transformers.ViTConfig(**VIT, num_attention_heads=4, image_size=64, patch_size=16)
    nobody: Any = None  # pictures are given as the processor would leave them
    return base("ViTForImageClassification", config, PretrainedImages(nobody, CLASSES))


def base(kind: str, config: Any, objective: Any) -> Base:
    """A random model."""
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval().requires_grad_(False)
    return Base(BaseInfo(kind, kind, objective.name, ""), model, objective)


def bert(task: str, objective: Any) -> Base:
    """A random BERT."""
    return base(f"BertFor{task}", transformers.BertConfig(**BERT), objective)


def seq2seq_item() -> Seq2SeqItem:
    """A prompt, and a target of three tokens."""
    target = ids(3, 3)
    return Seq2SeqItem(ids(), (0, *target[:-1]), 0, target)


_encoder = Encoder(None)
CASES: Mapping[str, tuple[Callable[[], Base], Callable[[], Any]]] = {
    "image_class, ViT": (
        vit,
        lambda: ImageItem(_draw.random((3, 64, 64)).astype(np.float32), int(_draw.integers(CLASSES))),
    ),
    "sequence_class, BERT": (
        lambda: bert("SequenceClassification", SequenceClass(tuple(map(str, range(CLASSES))), pad=0)),
        lambda: SequenceItem(ids(), (), int(_draw.integers(CLASSES))),
    ),
    "token_class, BERT": (
        lambda: bert("TokenClassification", TokenClass(tuple(map(str, range(CLASSES))), _encoder)),
        lambda: marked(CLASSES),
    ),
    "masked_lm, BERT": (lambda: bert("MaskedLM", MaskedLM(_encoder, 4)), lambda: marked(VOCABULARY)),
    "seq2seq, T5": (
        lambda: base("T5ForConditionalGeneration", transformers.T5Config(**T5), Seq2Seq(None, 0)),
        seq2seq_item,
    ),
}


def loop(base: Base, probes: list[Any], queries: list[Any]) -> np.ndarray:
    """What people write: one model with adapters, reset before each probe; queries in padded batches."""
    model, trained = copied = definition.trainable_copy(base, RECIPE, 0)
    start = {name: value.detach().clone() for name, value in trained.items()}
    batches = [base.objective.collate(queries[at : at + BATCH]) for at in range(0, len(queries), BATCH)]

    @torch.no_grad()
    def read() -> np.ndarray:
        found: list[np.ndarray] = []
        for batch in batches:
            said = base.objective.logits(model, batch).log_softmax(-1).gather(-1, batch.targets[..., None])[..., 0]
            found.append(torch.where(batch.counts, said, 0.0).sum(-1).numpy())
        return np.concatenate(found)

    before, rows = read(), list[np.ndarray]()
    for probe in probes:
        for name, value in start.items():
            trained[name].data.copy_(value)
        definition.train(base, RECIPE, [probe], 0, copied)
        rows.append(read() - before)
    return np.array(rows)


def influence(found: Any) -> np.ndarray:
    """Influence (probes, queries) of a measurement."""
    return np.array([row.after.logprob - found.before.logprob for row in found.rows])


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Processor seconds, and what came out."""
    begin = time.process_time()
    found = run()
    return time.process_time() - begin, found


def row(name: str, made: Base, probes: list[Any], queries: list[Any]) -> str:
    """What a case takes by each of the three."""
    trainings = [probe_training([probe], RECIPE.steps) for probe in probes]

    def fast(some: list[Any] = trainings) -> np.ndarray:
        return influence(engine.measure(made, RECIPE, some, queries, 0))

    fast(trainings[:2])  # the check of the engine, once a run
    quick, _ = timed(fast)
    slow, truth = timed(lambda: influence(definition.measure(made, RECIPE, trainings[:FEW], queries, 0)))
    looped, _ = timed(lambda: loop(made, probes[:FEW], queries))
    a, b, c = (1000 * each for each in (slow / FEW, looped / FEW, quick / PROBES))
    off = np.abs(fast(trainings[:FEW]) - truth).max() / np.abs(truth).max()
    return f"| {name} | {a:.0f} | {b:.1f} | {c:.1f} | {a / c:.1f} | {b / c:.2f} | {off:.1e} |"


def main(names: list[str]) -> None:
    """Prints a row for each case."""
    torch.set_num_threads(1)
    print("| | definition, ms | loop, ms | engine, ms | to the definition | to the loop | rel diff |")  # noqa: T201
    print("|---|---|---|---|---|---|---|")  # noqa: T201
    for name, (make, item) in CASES.items():
        if not names or name.partition(",")[0] in names:
            found = row(name, make(), [item() for _ in range(PROBES)], [item() for _ in range(QUERIES)])
            print(found, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
