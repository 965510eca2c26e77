"""The engines on a CUDA GPU beside the peft loop, on shapes of real models with random weights. Needs no download.

    python benchmarks/bench_cuda.py [--only PATTERN] [--probes 128] [--queries 128] [--profile] [--json FILE]

Each section prints a line when it is done, and goes into the JSON file then, so that what a time limit cuts off loses
nothing that was measured. Times are of the wall with the GPU's work included, after a first call of each kind. The loop
keeps one peft model, trains one probe at a time and reads queries in padded batches of 32; it is timed on 4 probes.
"Utilisation" is the arithmetic that reading takes at least, over the time, as a share of a product of two 8192 x 8192
matrices in the same precision. ``--device cpu --tiny`` tries the script itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import re
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
import transformers
from bench_engine import PeftLoop, llama, text_flops, texts

from einfluence import engine
from einfluence.engine.measurement import TextItem
from einfluence.engine.schedule import probe_training
from einfluence.engine.text.lora import LoraEngine
from einfluence.models.base import Base, BaseInfo
from einfluence.objectives.causal_lm import CausalLM
from einfluence.spec import AdamW, Full, Lora, Recipe, Sgd

LOOP_PROBES = 4
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3-3.8b": ("Phi3Config", {}),
    "qwen2.5-0.5b": ("Qwen2Config", {"vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
                                     "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
                                     "tie_word_embeddings": True}),
    "llama3-8b": ("LlamaConfig", {"vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
                                  "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8}),
}  # fmt: skip
TINY = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "vocab_size": 500}  # fmt: skip


def shaped(name: str, dtype: torch.dtype, device: str, tiny: bool) -> Base:
    """A model of a known shape with random weights, made on the device."""
    kind, shape = SHAPES[name]
    config = getattr(transformers, kind)(**{**shape, "pad_token_id": 0, **(TINY if tiny else {})})
    with torch.device(device):
        old = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        torch.set_default_dtype(old)
    return Base(BaseInfo(name, name, "causal_lm", ""), model.requires_grad_(False), CausalLM(max_length=4096))


def seconds(run: Callable[[], Any]) -> float:
    """Wall time, the GPU's work included."""
    wait()
    begin = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - begin


def wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def product_peak(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a product of two 8192 x 8192 matrices (512 on a CPU)."""
    size = 8192 if device == "cuda" else 512
    a = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / float(np.median([seconds(lambda: a @ a) for _ in range(10)]))


def ceilings(device: str) -> dict[str, float]:
    """TFLOP/s of products in each precision, TB/s of a copy (bytes read and written)."""
    found = {
        f"{name} TFLOP/s": product_peak(getattr(torch, name), device) / 1e12
        for name in ("bfloat16", "float32", "float64")
    }
    source = torch.empty((1 << 32) if device == "cuda" else 1 << 24, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    moved = float(np.median([seconds(lambda: target.copy_(source)) for _ in range(10)]))
    return {**found, "copy TB/s": 2 * source.numel() / moved / 1e12}


def precision(device: str) -> dict[str, float]:
    """Root mean square error of influence over the root mean square influence, against float64."""
    base = llama(128, 4096)
    base.model.to(device)
    probes, queries = [[t] for t in texts(16, 10, 16, 4096, 1)], texts(32, 10, 16, 4096, 2)

    def influence(dtype: str, tf32: bool = False) -> np.ndarray:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        recipe = Recipe(adapter=Lora(r=8), optimizer=AdamW(lr=3e-3), steps=3, dtype=dtype)  # pyright: ignore[reportArgumentType]
        before, rows = engine.measure(base, recipe, probes, queries, 0)
        found = np.array([after.logprob - before.logprob for _, _, after in rows if after is not None])
        torch.backends.cuda.matmul.allow_tf32 = False
        return found

    truth = influence("float64")
    scale = np.sqrt((truth**2).mean())
    kinds = {"float32": ("float32", False), "tf32": ("float32", True), "bfloat16": ("bfloat16", False)}
    return {name: float(np.sqrt(((influence(*kind) - truth) ** 2).mean()) / scale) for name, kind in kinds.items()}


def asked(count: int, vocabulary: int, shared: int) -> list[TextItem]:
    """Queries of 32 tokens, the first ``shared`` of which all of them begin with."""
    return texts(count, 32 - shared, 32 - shared, vocabulary, 2, shared)


def by_loop(base: Base, recipe: Recipe, probes: Any, queries: Any) -> tuple[float, float]:
    """Milliseconds a probe that the peft loop trains and reads."""
    loop = PeftLoop(base, recipe, 32)
    loop.train(probes[0])
    loop.read(queries[:32])
    train = seconds(lambda: [loop.train(probe) for probe in probes[:LOOP_PROBES]]) / LOOP_PROBES
    return train * 1e3, seconds(lambda: loop.read(queries)) * 1e3


def lora(name: str, device: str, given: argparse.Namespace) -> dict[str, float]:
    """LoRA r=16 on every linear layer, 3 AdamW steps, texts of 32 tokens."""
    dtype = given.dtype
    base = shaped(name, getattr(torch, dtype), device, given.tiny)
    vocabulary = base.model.config.vocab_size
    probes, queries = [[t] for t in texts(given.probes, 32, 32, vocabulary, 1)], asked(given.queries, vocabulary, 0)
    begun = asked(given.queries, vocabulary, 24)
    recipe = Recipe(adapter=Lora(r=16), optimizer=AdamW(lr=1e-3), steps=3, dtype=dtype)
    row = dict(
        zip(("loop train, ms a probe", "loop read, ms a probe"), by_loop(base, recipe, probes, queries), strict=True)
    )
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    fast, trainings = LoraEngine(base, recipe, 0), [probe_training(probe, recipe.steps) for probe in probes]
    fast.train_all(trainings[:8])
    row["train, ms a probe"] = seconds(lambda: fast.train_all(trainings)) / len(probes) * 1e3
    for what, some in (("read", queries), ("read with common beginnings", begun)):
        list(fast.measure(trainings[:8], some, {})[1])
        whole = seconds(partial(all_of, fast, trainings, some))
        row[f"{what}, ms a probe"] = whole / len(probes) * 1e3 - row["train, ms a probe"]
    read = row["read, ms a probe"]
    work = text_flops(base, recipe.model_copy(update={"steps": 0}), probes, queries) / len(probes)
    row["train ratio"] = row["loop train, ms a probe"] / row["train, ms a probe"]
    loops = row["loop train, ms a probe"] + row["loop read, ms a probe"]
    row["whole ratio"] = loops / (row["train, ms a probe"] + read)
    row["whole ratio, common beginnings"] = loops / (
        row["train, ms a probe"] + row["read with common beginnings, ms a probe"]
    )
    row["read utilisation"] = work / read * 1e3 / product_peak(getattr(torch, dtype), device)
    if device == "cuda":
        row["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    if given.profile:
        print(name, row, flush=True)  # what follows may take longer than there is time
        deltas = {i: tuned.delta for i, tuned in enumerate(fast.train_all(trainings[:16]))}
        profiled("training", lambda: fast.train_all(trainings[:64]))
        profiled("reading", lambda: all_of(fast, trainings[:16], queries, deltas))
    return row


def guarded(name: str, device: str, given: argparse.Namespace) -> dict[str, float]:
    """What the check of the engine and the noise add to a run: ``engine.measure`` as a user calls it, first call."""
    base = shaped(name, getattr(torch, given.dtype), device, given.tiny)
    vocabulary = base.model.config.vocab_size
    probes, queries = [[t] for t in texts(32, 32, 32, vocabulary, 1)], asked(32, vocabulary, 0)
    recipe = Recipe(adapter=Lora(r=16), optimizer=AdamW(lr=1e-3), steps=3, dtype=given.dtype)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()

    def run() -> None:
        told.extend(tuned for _, tuned, _ in engine.measure(base, recipe, probes, queries, 0)[1])

    told: list[Any] = []
    first = seconds(run)
    second = seconds(run)
    row: dict[str, Any] = {"first, s": first, "second, s": second, "engine": told[-1].engine, "why": told[-1].fallback}
    row["noise, nats"] = told[0].noise_rms
    if device == "cuda":
        row["peak GB"] = torch.cuda.max_memory_allocated() / 1e9
    return row


def full(device: str, given: argparse.Namespace) -> dict[str, float]:
    """Full-parameter SGD on the 0.5B shape in float32, 32 probes x 32 queries."""
    base = shaped("qwen2.5-0.5b", torch.float32, device, given.tiny)
    vocabulary = base.model.config.vocab_size
    probes, queries = [[t] for t in texts(32, 32, 32, vocabulary, 1)], asked(32, vocabulary, 0)
    recipe = Recipe(adapter=Full(), optimizer=Sgd(lr=1e-3), steps=3)
    slow = sum(by_loop(base, recipe, probes, queries)) / 1e3
    list(engine.measure(base, recipe, probes[:4], queries, 0)[1])
    fast = seconds(lambda: list(engine.measure(base, recipe, probes, queries, 0)[1])) / len(probes)
    return {"loop, ms a probe": slow * 1e3, "engine, ms a probe": fast * 1e3, "ratio": slow / fast}


def all_of(fast: LoraEngine, probes: Any, queries: Any, deltas: Any = MappingProxyType({})) -> None:
    """Measures, keeping nothing; what is in ``deltas`` is trained already."""
    for _ in fast.measure(probes, queries, deltas)[1]:
        pass


def profiled(what: str, run: Callable[[], Any]) -> None:
    """Prints what took the GPU's time."""
    from torch.profiler import ProfilerActivity, profile

    kind = ProfilerActivity.CUDA if torch.cuda.is_available() else ProfilerActivity.CPU
    with profile(activities=[kind]) as seen:  # a GPU's alone: what was asked of it takes far longer to go through
        run()
        wait()
    by = "self_device_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
    for event in sorted(seen.key_averages(), key=lambda event: -getattr(event, by, 0))[:16]:
        print(f"{what}: {event.key[:90]:90} {getattr(event, by) / 1e3:10.1f} ms {event.count:7d} calls", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="sections whose name matches this pattern")
    parser.add_argument("--probes", type=int, default=128)
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small shapes, to try the script itself")
    parser.add_argument("--tf32", action="store_true", help="float32 products in TF32")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--json", type=Path, help="what was measured, written after each section")
    given = parser.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU here")
    torch.backends.cuda.matmul.allow_tf32 = given.tf32
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore", engine.NoiseWarning)
    sections: dict[str, Callable[[], dict[str, Any]]] = {
        "ceilings": partial(ceilings, given.device),
        "precision": partial(precision, given.device),
        **{f"lora {name}": partial(lora, name, given.device, given) for name in SHAPES},
        **{f"guarded {name}": partial(guarded, name, given.device, given) for name in SHAPES},
        "full 0.5b": partial(full, given.device, given),
    }
    found: dict[str, Any] = {"device": torch.cuda.get_device_name() if given.device == "cuda" else "cpu"}
    found["torch"], found["transformers"] = torch.__version__, transformers.__version__
    print(found, flush=True)
    for name, run in sections.items():
        if not re.search(given.only, name):
            continue
        begin = time.perf_counter()
        try:
            found[name] = run()
        except Exception as error:  # the next section may run
            found[name] = {"error": f"{type(error).__name__}: {str(error)[:400]}"}
        found[name]["section, s"] = time.perf_counter() - begin
        told = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in found[name].items()}
        print(name, json.dumps(told), flush=True)
        gc.collect()
        if given.device == "cuda":
            torch.cuda.empty_cache()
        if given.json:
            given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
