"""Times the generic engine beside the definition and beside a loop, for a base of each objective that it measures.

64 probes on 256 queries, models of 4 layers of hidden 128, LoRA r=8 by 5 steps of AdamW, on one thread; processor
milliseconds a probe. The loop keeps one model with adapters and reads padded batches of 32, as people write it; it and
the definition take a few of the probes, and of its first reading of the queries, which is for all probes, it is charged
a share. Loop and engine are timed in turns, three times, and the medians stand here. Bases of larger shapes are asked
for by name; of them the definition takes one probe and a few queries, for the difference alone.
`python benchmarks/bench_objectives.py [NAME ...]`.
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
from einfluence.models.base import Base, BaseInfo, Batch
from einfluence.objectives.encoders import Encoder, MarkedItem
from einfluence.objectives.masked_lm import MaskedLM
from einfluence.objectives.pictures import ImageItem
from einfluence.objectives.pretrained_images import PretrainedImages
from einfluence.objectives.seq2seq import Seq2Seq, Seq2SeqItem
from einfluence.objectives.sequence_class import SequenceClass, SequenceItem
from einfluence.objectives.token_class import TokenClass
from einfluence.spec import AdamW, Lora, Recipe

PROBES, QUERIES, FEW, BATCH, VOCABULARY, CLASSES = 64, 256, 4, 32, 4096, 9
ROUNDS = 3
BERT = {
    "vocab_size": VOCABULARY, "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_labels": 9,
    "num_attention_heads": 4, "max_position_embeddings": 64,
}  # fmt: skip
WIDE = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
SMALL = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 6, "num_hidden_layers": 12}
VIT = {**{key: BERT[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_labels")}}
VIT["num_attention_heads"] = 4
T5 = {
    "vocab_size": VOCABULARY, "d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 4, "num_heads": 4,
    "decoder_start_token_id": 0,
}  # fmt: skip
RECIPE = Recipe(adapter=Lora(r=8), optimizer=AdamW(lr=3e-3), steps=5)
DECAY = RECIPE.optimizer.model_dump()["weight_decay"]
_draw = np.random.default_rng(0)


def ids(low: int = 10, high: int = 16) -> tuple[int, ...]:
    """A text of random tokens."""
    return tuple(int(token) for token in _draw.integers(5, VOCABULARY, int(_draw.integers(low, high + 1))))


def marked(classes: int) -> MarkedItem:
    """A text with targets at three of its tokens."""
    return MarkedItem(ids(), (), (2, 3, 5), tuple(int(each) for each in _draw.integers(0, classes, 3)))


def vit(**shape: int) -> Base:
    """A vision transformer of 64 x 64 pictures in patches of 16."""
    config = transformers.ViTConfig(**{**VIT, **shape}, image_size=64, patch_size=16)
    nobody: Any = None  # pictures are given as the processor would leave them
    return base("ViTForImageClassification", config, PretrainedImages(nobody, CLASSES))


def base(kind: str, config: Any, objective: Any) -> Base:
    """A random model."""
    torch.manual_seed(0)
    model = getattr(transformers, kind)(config).eval().requires_grad_(False)
    return Base(BaseInfo(kind, kind, objective.name, ""), model, objective)


def bert(task: str, objective: Any, **shape: int) -> Base:
    """A random BERT."""
    return base(f"BertFor{task}", transformers.BertConfig(**{**BERT, **shape}), objective)


def sentences(**shape: int) -> Base:
    """A random classifier of texts."""
    return bert("SequenceClassification", SequenceClass(tuple(map(str, range(CLASSES))), pad=0), **shape)


def tagger(**shape: int) -> Base:
    """A random tagger of tokens."""
    return bert("TokenClassification", TokenClass(tuple(map(str, range(CLASSES))), _encoder), **shape)


def picture() -> ImageItem:
    """A random picture."""
    return ImageItem(_draw.random((3, 64, 64)).astype(np.float32), int(_draw.integers(CLASSES)))


def sentence() -> SequenceItem:
    """A random text with its class."""
    return SequenceItem(ids(), (), int(_draw.integers(CLASSES)))


def seq2seq_item() -> Seq2SeqItem:
    """A prompt, and a target of three tokens."""
    target = ids(3, 3)
    return Seq2SeqItem(ids(), (0, *target[:-1]), 0, target)


_encoder = Encoder(None)
CASES: Mapping[str, tuple[Callable[[], Base], Callable[[], Any]]] = {
    "image_class, ViT": (vit, picture),
    "sequence_class, BERT": (sentences, sentence),
    "token_class, BERT": (tagger, lambda: marked(CLASSES)),
    "masked_lm, BERT": (lambda: bert("MaskedLM", MaskedLM(_encoder, 4)), lambda: marked(VOCABULARY)),
    "seq2seq, T5": (
        lambda: base("T5ForConditionalGeneration", transformers.T5Config(**T5), Seq2Seq(None, 0)),
        seq2seq_item,
    ),
}
# With so many probes and queries that each takes a minute or two.
LARGE: Mapping[str, tuple[Callable[[], Base], Callable[[], Any], int, int]] = {
    "sequence_base, BERT of hidden 768": (lambda: sentences(**WIDE), sentence, 32, 256),
    "token_base, BERT of hidden 768": (lambda: tagger(**WIDE), lambda: marked(CLASSES), 32, 256),
    "image_small, ViT of hidden 384 in 12 layers": (lambda: vit(**SMALL), picture, 64, 256),
}


class Loop:
    """What people write: one model with adapters, reset before each probe; queries in padded batches.

    Args:
        base: The base.
        queries: What is read.
    """

    def __init__(self, base: Base, queries: list[Any]) -> None:
        self.base = base
        self.model, self.trained = definition.trainable_copy(base, RECIPE, 0)
        self.start = {name: value.detach().clone() for name, value in self.trained.items()}
        self.batches = [base.objective.collate(queries[at : at + BATCH]) for at in range(0, len(queries), BATCH)]

    def said(self, batch: Batch) -> torch.Tensor:
        """Log-probabilities of the targets of a batch, 0 where there is none."""
        said = self.base.objective.logits(self.model, batch).log_softmax(-1)
        return torch.where(batch.counts, said.gather(-1, batch.targets[..., None])[..., 0], 0.0)

    @torch.no_grad()
    def read(self) -> np.ndarray:
        """The log-probability of each query."""
        return np.concatenate([self.said(batch).sum(-1).numpy() for batch in self.batches])

    def train(self, probe: Any) -> None:
        """Trains the adapters anew on a probe."""
        with torch.no_grad():
            for name, value in self.start.items():
                self.trained[name].copy_(value)
        optimizer = torch.optim.AdamW(self.trained.values(), lr=RECIPE.optimizer.lr, weight_decay=DECAY)
        batch = self.base.objective.collate([probe])
        for _ in range(RECIPE.steps):
            loss = -self.said(batch).sum() / batch.counts.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def influence(self, probes: list[Any], before: np.ndarray) -> np.ndarray:
        """Influence of a few probes (probes, queries)."""
        rows: list[np.ndarray] = []
        for probe in probes:
            self.train(probe)
            rows.append(self.read() - before)
        return np.array(rows)


def influence(found: Any) -> np.ndarray:
    """Influence (probes, queries) of a measurement."""
    return np.array([row.after.logprob - found.before.logprob for row in found.rows])


def timed(run: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """Processor seconds, and what came out."""
    begin = time.process_time()
    found = run()
    return time.process_time() - begin, found


def row(name: str, made: Base, probes: list[Any], queries: list[Any], few: int, asked: int) -> str:
    """What a case takes by each of the three; the definition takes a few probes, and of the queries those asked for."""
    trainings = [probe_training([probe], RECIPE.steps) for probe in probes]

    def fast(some: list[Any] = trainings) -> np.ndarray:
        return influence(engine.measure(made, RECIPE, some, queries, 0))

    fast(trainings[:2])  # the check of the engine, once a run
    loop, times = Loop(made, queries), list[tuple[float, float]]()
    first, before = timed(loop.read)
    found, looped = np.zeros(0), np.zeros(0)
    for _ in range(ROUNDS if few == FEW else 1):
        took, looped = timed(lambda: loop.influence(probes[:few], before))
        quick, found = timed(fast)
        times.append((1000 * (took / few + first / len(probes)), 1000 * quick / len(probes)))
    slow, truth = timed(lambda: influence(definition.measure(made, RECIPE, trainings[:few], queries[:asked], 0)))
    a, (b, c) = 1000 * slow / few, np.median(times, 0)
    off, off_loop = (np.abs(each[:few, :asked] - truth).max() / np.abs(truth).max() for each in (found, looped))
    whole = asked == len(queries)
    said = f"{a:.0f} | {b:.1f} | {c:.1f} | {a / c:.1f}" if whole else f"| {b:.1f} | {c:.1f} |"
    return f"| {name} | {len(probes)} x {len(queries)} | {said} | {b / c:.2f} | {off:.1e} | {off_loop:.1e} |"


def main(names: list[str]) -> None:
    """Prints a row for each case."""
    torch.set_num_threads(1)
    print("| | | definition, ms | loop, ms | engine, ms | to the definition | to the loop | rel diff | of the loop |")  # noqa: T201
    print("|---|---|---|---|---|---|---|---|---|")  # noqa: T201
    usual = {name: (*case, PROBES, QUERIES) for name, case in CASES.items()}
    for name, (make, item, n, q) in {**usual, **LARGE}.items():
        if name.partition(",")[0] in names or (not names and name in usual):
            few, asked = (FEW, q) if name in usual else (2, 4)
            found = row(name, make(), [item() for _ in range(n)], [item() for _ in range(q)], few, asked)
            print(found, flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
