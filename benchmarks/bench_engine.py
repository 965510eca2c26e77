"""Speed of the engines beside the loops that people write, in one process.

    python benchmarks/bench_engine.py [--quick] [--json] [--threads 1] [--only PATTERN]

Baselines (peft, one probe at a time): qb1 reads one query at a time, qb32 reads them in padded batches of 32. Both keep
one model and put each probe's start values back, which is kinder than loading it anew. "serial" is the definition
itself, which copies the model for each probe. Seconds are of the processor (user and system), so that other work counts
little; each figure is the median over interleaved rounds. "GEMM" is the arithmetic that a probe needs at least,
over the engine's time, as a share of what a product of two 1024 x 1024 matrices reaches.
"""

from __future__ import annotations

import argparse
import json
import logging
import re
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
import transformers
from torch import nn

from einfluence import engine
from einfluence.engine import definition
from einfluence.engine.generic import GenericEngine
from einfluence.engine.measurement import ImageItem, Item, TextItem
from einfluence.engine.schedule import Step, Training, probe_training
from einfluence.engine.text.lora import LoraEngine
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import CausalLM
from einfluence.objectives.image_class import ImageClass
from einfluence.spec import AdamW, Full, Lora, Optimizer, Recipe, Sgd

LOOP_PROBES = 8  # probes that the slow loops are timed on; seconds are per probe


@dataclass
class Case:
    """One row of the table: what is compared, with the aims for the ratio."""

    name: str
    floor: float
    stretch: float
    fast: Callable[[], Any]
    slow: Callable[[], Any]
    fast_probes: int
    slow_probes: int
    check: Callable[[], float]
    serial: Callable[[], Any]  # the definition, on one probe
    work: float  # FLOPs of a probe


def llama(hidden: int, vocabulary: int, layers: int = 4, full: bool = False) -> Base:
    """A random Llama, weights large enough that influence is well above rounding."""
    config = transformers.LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        num_key_value_heads=hidden // 32,
        max_position_embeddings=512,
        tie_word_embeddings=not full,
    )
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.08 if hidden <= 128 else 0.06)
    return Base(
        BaseInfo(f"llama-{hidden}-{vocabulary}", f"llama-{hidden}", "causal_lm", ""),
        model.requires_grad_(False),
        CausalLM(),
    )


def texts(
    count: int, low: int, high: int, vocabulary: int, seed: int, shared: int = 0, target: int = 2
) -> list[TextItem]:
    """Random texts of ``low`` to ``high`` tokens after ``shared`` tokens that all of them begin with."""
    draw = np.random.default_rng(seed)
    opening = tuple(int(token) for token in draw.integers(3, vocabulary, shared))
    return [
        TextItem(
            opening + tuple(int(t) for t in draw.integers(3, vocabulary, int(draw.integers(low, high + 1)))), target
        )
        for _ in range(count)
    ]


class PeftLoop:
    """The loop that people write, with the model kept between probes."""

    def __init__(self, base: Base, recipe: Recipe, batch: int) -> None:
        self.base, self.recipe, self.batch = base, recipe, batch
        self.model, self.trained = definition.trainable_copy(base, recipe, 0)
        self.start = {name: value.detach().clone() for name, value in self.trained.items()}

    def reset(self) -> None:
        """Puts the start values back."""
        with torch.no_grad():
            for name, value in self.trained.items():
                value.copy_(self.start[name])

    def train(self, probe: Sequence[Item]) -> None:
        """Trains on one probe."""
        self.reset()
        optimizer = definition.make_optimizer(self.recipe, list(self.trained.values()))
        for _ in range(self.recipe.steps):
            loss = -torch.cat(
                [definition.target_logprobs(self.base.objective, self.model, item) for item in probe]
            ).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    @torch.inference_mode()
    def read(self, queries: Sequence[Item]) -> np.ndarray:
        """Log-probabilities (Q,)."""
        if self.batch == 1:
            return np.array([definition._score(self.base.objective, self.model, query)[0] for query in queries])
        parts = [queries[i : i + self.batch] for i in range(0, len(queries), self.batch)]
        return np.concatenate(
            [self.read_images(p) if isinstance(p[0], ImageItem) else self.read_texts(p) for p in parts]
        )

    def read_texts(self, part: Sequence[Any]) -> np.ndarray:
        """One padded batch."""
        width, device = max(len(item.ids) for item in part), next(self.model.parameters()).device
        ids, mask = torch.zeros(len(part), width, dtype=torch.long), torch.zeros(len(part), width, dtype=torch.long)
        for row, item in enumerate(part):
            ids[row, : len(item.ids)] = torch.tensor(item.ids)
            mask[row, : len(item.ids)] = 1
        ids, mask = ids.to(device), mask.to(device)
        logprob = self.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1].float().log_softmax(-1)
        said = logprob.gather(-1, ids[:, 1:, None])[..., 0]
        return np.array(
            [said[row, len(i.ids) - i.n_target - 1 : len(i.ids) - 1].sum().item() for row, i in enumerate(part)]
        )

    def read_images(self, part: Sequence[Any]) -> np.ndarray:
        """One batch."""
        pixels = torch.from_numpy(np.stack([item.pixels for item in part]))
        labels = torch.tensor([item.label for item in part])
        return self.model(pixels).log_softmax(-1).gather(-1, labels[:, None])[:, 0].double().numpy()

    def run(self, probes: Sequence[Sequence[Item]], queries: Sequence[Item]) -> np.ndarray:
        """Log-probabilities (N, Q)."""
        rows = []
        for probe in probes:
            self.train(probe)
            rows.append(self.read(queries))
        return np.array(rows)


def fast_rows(base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], queries: Sequence[Item]) -> np.ndarray:
    _, found = engine.measure(base, recipe, probes, queries, 0)
    return np.array([after.logprob for _, _, after in found if after is not None])


def difference(base: Base, recipe: Recipe, probes: Sequence[Sequence[Item]], queries: Sequence[Item]) -> float:
    """Largest difference of influence from the serial definition, over the largest influence; three probes."""
    few, some = list(probes[:3]), list(queries[:8])
    found: list[np.ndarray] = []
    for kind in ("serial", "auto"):
        before, rows = engine.measure(base, recipe, few, some, 0, engine=kind)
        found.append(np.array([after.logprob - before.logprob for _, _, after in rows if after is not None]))
    return float(np.abs(found[0] - found[1]).max() / np.abs(found[0]).max())


def text_flops(base: Base, recipe: Recipe, probes: Any, queries: Any, first: int = 0, last_rows: bool = True) -> float:
    """Of all probes on all queries, attention left out.

    A probe trains with k [T (4 P + 6 p) + 4 V H R] and each query takes 2 (P + p) T + 2 V H R, where P are the blocks'
    weights from the first changed block on, p what the adapter (or the factors of full-parameter SGD, rank k T) adds,
    R answer rows. Of the last block only keys and values need every token.
    """
    config: Any = base.model.config
    named = [(n, p.shape) for n, p in base.model.named_parameters() if ".layers." in n and p.dim() == 2]
    named = [(n, shape) for n, shape in named if int(n.split(".layers.")[1].split(".")[0]) >= first]
    last = f".layers.{config.num_hidden_layers - 1}."

    def all_rows(name: str) -> bool:
        return not last_rows or last not in name or any(w in name for w in ("q_proj", "k_proj", "v_proj"))

    def cost(rank: int) -> tuple[int, int, int, int]:
        every = [shape for n, shape in named if all_rows(n)]
        some = [shape for n, shape in named if not all_rows(n)]
        sizes = [sum(a * b for a, b in group) for group in (every, some)]
        return sizes[0], rank * sum(map(sum, every)), sizes[1], rank * sum(map(sum, some))

    words = config.vocab_size * config.hidden_size
    total = 0.0
    for probe in probes:
        tokens, answers = sum(len(i.ids) - 1 for i in probe), sum(i.n_target for i in probe)
        rank = recipe.adapter.r if recipe.adapter.kind == "lora" else recipe.steps * tokens
        big, low, late, late_low = cost(rank)
        total += recipe.steps * (tokens * (4 * big + 6 * low) + answers * (4 * late + 6 * late_low + 4 * words))
        for query in queries:
            rows = query.n_target
            total += 2 * (big + low) * (len(query.ids) - 1) + 2 * (late + late_low + words) * rows
    return total


def image_flops(base: Base, recipe: Recipe, probes: int, queries: int) -> float:
    """Of N probes on Q queries: three times a forward pass a step, and a forward pass a query."""
    seen: list[int] = []

    def note(module: nn.Module, _: object, out: torch.Tensor) -> None:
        seen.append(2 * module.weight[0].numel() * out.numel())

    hooks = [m.register_forward_hook(note) for m in base.model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    base.model(torch.zeros(1, *cast("ImageClass", base.objective).shape))
    for hook in hooks:
        hook.remove()
    return probes * sum(seen) * (3 * recipe.steps + queries)


def total_case(
    name: str, base: Base, recipe: Recipe, probes: Any, queries: Any, batch: int, floor: float, stretch: float
) -> Case:
    loop = PeftLoop(base, recipe, batch)
    few = probes[: LOOP_PROBES if batch > 1 else 2]
    return Case(
        name,
        floor,
        stretch,
        lambda: fast_rows(base, recipe, probes, queries),
        lambda: loop.run(few, queries),
        len(probes),
        len(few),
        lambda: difference(base, recipe, probes, queries),
        lambda: list(definition.measure(base, recipe, probes[:1], queries, 0)[1]),
        image_flops(base, recipe, 1, len(queries))
        if "pixels" in base.objective.can
        else text_flops(base, recipe, probes, queries, min(getattr(recipe.adapter, "layers", None) or (0,)))
        / len(probes),
    )


def train_case(name: str, base: Base, recipe: Recipe, probes: Any, floor: float, stretch: float) -> Case:
    loop = PeftLoop(base, recipe, 32)
    few = probes[:LOOP_PROBES]
    query = probes[0]

    def slow() -> None:
        for probe in few:
            loop.train(probe)

    return Case(
        name,
        floor,
        stretch,
        lambda: engine.train(base, recipe, probes, 0),
        slow,
        len(probes),
        len(few),
        lambda: difference(base, recipe, probes, query),
        lambda: definition.train(base, recipe, probes[0], 0),
        text_flops(base, recipe, probes, ()) / len(probes),
    )


def sharing_case(name: str, shared: int, rest: int, floor: float, stretch: float) -> Case:
    base = llama(128, 4096)
    recipe = Recipe(adapter=Lora(r=8), optimizer=AdamW(lr=3e-3), steps=1)
    probes = [[text] for text in texts(32, 12, 12, 4096, 1)]
    queries = texts(64, rest, rest, 4096, 2, shared=shared, target=2)

    reading = recipe.model_copy(update={"steps": 0})

    trainings = [probe_training(probe, 0) for probe in probes]

    def run(share: bool) -> None:
        list(LoraEngine(base, reading, 0, share=share).measure(trainings, queries, {}).rows)

    return Case(
        name,
        floor,
        stretch,
        lambda: run(True),
        lambda: run(False),
        len(probes),
        len(probes),
        lambda: difference(base, recipe, probes, queries),
        lambda: list(definition.measure(base, reading, probes[:1], queries, 0)[1]),
        text_flops(base, reading, [()], texts(64, rest, rest, 4096, 2)),
    )


def cases(quick: bool) -> list[Callable[[], Case]]:
    """What is measured, made one at a time."""
    n = 32 if quick else 64
    lora = Recipe(adapter=Lora(r=8), optimizer=AdamW(lr=3e-3), steps=5)
    sgd = Recipe(adapter=Full(), optimizer=Sgd(lr=0.05), steps=3)
    upper = Recipe(adapter=Lora(r=8, layers=(2, 3)), optimizer=AdamW(lr=3e-3), steps=5)

    def probes(vocabulary: int) -> list[list[TextItem]]:
        return [[text] for text in texts(n, 10, 16, vocabulary, 1)]

    def text(name: str, hidden: int, vocabulary: int, recipe: Recipe, m: int, batch: int, floor: float, stretch: float):
        base = llama(hidden, vocabulary)
        queries = texts(m, 10, 16, vocabulary, 2)
        return total_case(name, base, recipe, probes(vocabulary), queries, batch, floor, stretch)

    made: list[Callable[[], Case]] = [
        lambda: train_case("LoRA train, hidden 128", llama(128, 4096), lora, probes(4096), 2.8, 5),
        lambda: train_case("LoRA train, hidden 256", llama(256, 4096), lora, probes(4096), 2.8, 5),
        lambda: text("LoRA total M=64 vs qb32, vocab 4096", 256, 4096, lora, 64, 32, 1.8, 2.3),
        lambda: text("LoRA total M=64 vs qb32, vocab 8192", 256, 8192, lora, 64, 32, 2.6, 3.5),
        lambda: text("LoRA total M=64 vs qb1, vocab 4096", 256, 4096, lora, 64, 1, 5, 8),
        lambda: text("LoRA total M=64 vs qb1, vocab 8192", 256, 8192, lora, 64, 1, 7, 10),
        lambda: text("LoRA total M=8 vs qb32, hidden 128", 128, 4096, lora, 8, 32, 3.2, 4.5),
        lambda: text("LoRA upper half M=64 vs qb32", 256, 4096, upper, 64, 32, 2.5, 3.3),
        lambda: sharing_case("prefix shared vs not, 24+8 tokens", 24, 8, 2.8, 3.3),
        lambda: sharing_case("prefix shared vs not, 64+4 tokens", 64, 4, 4.5, 7),
        lambda: train_case("full SGD train, hidden 128", llama(128, 4096), sgd, probes(4096), 2.8, 5),
        lambda: text("full SGD total M=64 vs qb32, hidden 128", 128, 4096, sgd, 64, 32, 1.4, 2),
        lambda: text("full SGD total M=8 vs qb32, hidden 128", 128, 4096, sgd, 8, 32, 2.7, 4),
        lambda: image_case("CNN full SGD total M=512 vs qb32", n, Sgd(lr=0.05), 2.7, 5, False),
        lambda: image_case("CNN full AdamW total M=512 vs qb32", n, AdamW(lr=1e-3), 2.7, 5, False),
        lambda: image_case("CNN full SGD total vs qb32, loop in channels-last", n, Sgd(lr=0.05), 1, 2, True),
        lambda: generic_case("generic vs definition, LoRA, hidden 64", lora),
        lambda: generic_case("generic vs definition, full SGD, hidden 64", sgd),
        lambda: retraining_case("32 retrainings of 64 texts, 2 epochs, batch 8", lora),
    ]
    return made


def generic_case(name: str, recipe: Recipe) -> Case:
    """64 probes on 64 queries by the engine that is made for no model, beside the definition on 8 of them."""
    base = llama(64, 512, 2)
    probes, queries = [[text] for text in texts(64, 8, 16, 512, 1)], texts(64, 8, 16, 512, 2)
    trainings: list[Training[Item]] = [probe_training(probe, recipe.steps) for probe in probes]

    def fast(some: Sequence[Training[Item]] = trainings) -> np.ndarray:
        before, rows = GenericEngine(base, recipe, 0).measure(some, queries, {})
        return np.array([row.after.logprob - before.logprob for row in rows if row.after is not None])

    def slow(few: Sequence[Training[Item]] = trainings[:LOOP_PROBES]) -> np.ndarray:
        before, rows = definition.measure(base, recipe, few, queries, 0)
        return np.array([row.after.logprob - before.logprob for row in rows if row.after is not None])

    def off() -> float:
        truth = slow(trainings[:3])
        return float(np.abs(fast(trainings[:3]) - truth).max() / np.abs(truth).max())

    work = text_flops(base, recipe, probes, queries, last_rows=False) / len(probes)
    return Case(name, 3, 5, fast, slow, len(probes), LOOP_PROBES, off, lambda: slow(trainings[:1]), work)


def retraining_case(name: str, recipe: Recipe) -> Case:
    """Trainings on one set that differ in the weight of one text each, beside the definition on two of them."""
    base, items = llama(128, 4096), texts(64, 8, 16, 4096, 1)
    draw = np.random.default_rng(0)
    order = [int(index) for _ in range(2) for index in draw.permutation(len(items))]
    stage = tuple(Step(tuple(order[start : start + 8])) for start in range(0, len(order), 8))
    whole: Training[Item] = Training(tuple(items), (stage,))
    trainings = [whole.weighted({left_out: 0.0}) for left_out in range(32)]

    def slow(few: Sequence[Training[Item]] = trainings[:2]) -> list[Any]:
        return [definition.train(base, recipe, training, 0) for training in few]

    def off() -> float:
        pairs = zip(engine.train(base, recipe, trainings[:2], 0), slow(), strict=True)
        return max(abs(one.update_norm - other.update_norm) / other.update_norm for one, other in pairs)

    used = [[items[index] for index in order]]
    work = text_flops(base, recipe.model_copy(update={"steps": 1}), used, ())
    fast = partial(engine.train, base, recipe, trainings, 0)
    return Case(name, 2, 3, fast, slow, len(trainings), 2, off, lambda: slow(trainings[:1]), work)


def image_case(name: str, n: int, optimizer: Optimizer, floor: float, stretch: float, channels_last: bool) -> Case:
    torch.manual_seed(0)
    model = nn.Sequential(  # 108k parameters
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10),
    ).eval()  # fmt: skip
    base = Base(BaseInfo("cnn", "cnn", "image_class", ""), model, ImageClass((1, 28, 28), 10))
    draw = np.random.default_rng(0)

    def images(count: int) -> list[ImageItem]:
        return [ImageItem(draw.random((1, 28, 28)).astype(np.float32), int(draw.integers(10))) for _ in range(count)]

    recipe = Recipe(adapter=Full(), optimizer=optimizer, steps=5)
    case = total_case(name, base, recipe, [[image] for image in images(n)], images(512), 32, floor, stretch)
    if channels_last:
        loop = PeftLoop(base, recipe, 32)
        loop.model.to(memory_format=torch.channels_last)
        probes, queries = [[image] for image in images(LOOP_PROBES)], images(512)
        case.slow = lambda: loop.run(probes, queries)
    return case


def timed(run: Callable[[], Any]) -> float:
    begin = time.process_time()
    run()
    return time.process_time() - begin


def gemm_peak() -> float:
    """FLOP/s of a 1024 x 1024 float32 product."""
    a = torch.randn(1024, 1024)
    a @ a
    return 2 * 1024**3 / min(timed(lambda: a @ a) for _ in range(10))


def measure_case(case: Case, rounds: int, peak: float) -> dict[str, Any]:
    fast: list[float] = []
    slow: list[float] = []
    case.fast()
    for _ in range(rounds):
        fast.append(timed(case.fast) / case.fast_probes)
        slow.append(timed(case.slow) / case.slow_probes)
    ratio = statistics.median(s / f for s, f in zip(slow, fast, strict=True))
    engine_seconds = statistics.median(fast)
    return {
        "case": case.name,
        "serial_ms": round(1e3 * timed(case.serial), 1),
        "loop_ms": round(1e3 * statistics.median(slow), 3),
        "engine_ms": round(1e3 * engine_seconds, 3),
        "ratio": round(ratio, 2),
        "floor": case.floor,
        "stretch": case.stretch,
        "peak_fraction": round(case.work / engine_seconds / peak, 3),
        "max_rel_diff": float(f"{case.check():.2g}"),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds on fewer probes")
    parser.add_argument("--json", action="store_true", help="a list of all rows as the last line")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", default="", help="regular expression on the case's name")
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    torch.set_num_threads(given.threads)
    peak = gemm_peak()
    print(f"float32 product: {peak / 1e9:.0f} GFLOP/s on {given.threads} thread(s); torch {torch.__version__}")
    print(
        f"{'case':52} {'serial ms':>9} {'loop ms':>9} {'engine ms':>9} {'ratio':>6} {'floor':>6} {'stretch':>7} "
        f"{'GEMM':>5} {'rel diff':>9} {'MB':>6}"
    )
    rows: list[dict[str, Any]] = []
    for make in cases(given.quick):
        case = make()
        if not re.search(given.only, case.name):
            continue
        row = measure_case(case, 3 if given.quick else 5, peak)
        rows.append(row)
        print(
            f"{row['case']:52} {row['serial_ms']:9.1f} {row['loop_ms']:9.2f} {row['engine_ms']:9.2f} "
            f"{row['ratio']:6.2f} {row['floor']:6.1f} {row['stretch']:7.1f} {row['peak_fraction']:5.0%} "
            f"{row['max_rel_diff']:9.1e} {row['peak_mb']:6d}",
            flush=True,
        )
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
