"""The engine on a CUDA GPU: a 3.8B Phi-3 shape with random weights, beside the peft loop. Needs no download.

    python benchmarks/bench_cuda.py [--probes 256] [--queries 256] [--layers 32] [--dtype bfloat16] [--json]

Prints the train ratio over the serial peft loop, model-FLOP utilisation of evaluation against the measured product,
peak memory, and the error of influence in float32, TF32 and bfloat16 against float64 on a small model.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import transformers
from bench_engine import PeftLoop, llama, texts
from bench_scaling import flops

from einfluence import engine
from einfluence.models.base import Base, BaseInfo
from einfluence.spec import Adapter, Recipe


def phi3(layers: int, dtype: torch.dtype) -> Base:
    """The shape of Phi-3-mini (3.8B parameters with 32 layers), random weights, on the GPU."""
    config = transformers.Phi3Config(num_hidden_layers=layers, pad_token_id=0)
    with torch.device("cuda"):
        old = torch.get_default_dtype()
        torch.set_default_dtype(dtype)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
        torch.set_default_dtype(old)
    return Base(BaseInfo(f"phi3-{layers}", "phi3", "text", ""), model.requires_grad_(False), max_length=4096)


def seconds(run: Callable[[], Any]) -> float:
    """Wall time, the GPU's work included."""
    torch.cuda.synchronize()
    begin = time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - begin


def product_peak(dtype: torch.dtype) -> float:
    """FLOP/s of an 8192 x 8192 product."""
    a = torch.randn(8192, 8192, device="cuda", dtype=dtype)
    return 2 * 8192**3 / min(seconds(lambda: a @ a) for _ in range(10))


def precision() -> dict[str, float]:
    """Root mean square error of influence over the root mean square influence, against float64."""
    base = llama(128, 4096)
    base.model.to("cuda")
    probes, queries = [[t] for t in texts(16, 10, 16, 4096, 1)], texts(32, 10, 16, 4096, 2)

    def influence(dtype: str, tf32: bool = False) -> np.ndarray:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        recipe = Recipe(adapter=Adapter(r=8), lr=3e-3, steps=3, dtype=dtype)
        before, rows = engine.measure(base, recipe, probes, queries, 0)
        found = np.array([after.logprob - before.logprob for _, _, after in rows])
        torch.backends.cuda.matmul.allow_tf32 = False
        return found

    truth = influence("float64")
    scale = np.sqrt((truth**2).mean())
    kinds = {"float32": ("float32", False), "tf32": ("float32", True), "bfloat16": ("bfloat16", False)}
    return {name: float(np.sqrt(((influence(*kind) - truth) ** 2).mean()) / scale) for name, kind in kinds.items()}


def loop_seconds(base: Base, recipe: Recipe, probes: Any) -> float:
    """What the peft loop takes to train one probe."""
    loop = PeftLoop(base, recipe, 32)
    loop.train(probes[0])
    return seconds(lambda: [loop.train(probe) for probe in probes]) / len(probes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--probes", type=int, default=256)
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16")
    parser.add_argument("--json", action="store_true", help="the row as the last line")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU here")
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    dtype = getattr(torch, given.dtype)
    base = phi3(given.layers, dtype)
    vocabulary = base.model.config.vocab_size
    probes = [[text] for text in texts(given.probes, 32, 32, vocabulary, 1)]
    queries = texts(given.queries, 32, 32, vocabulary, 2)
    recipe = Recipe(adapter=Adapter(r=16), lr=1e-3, steps=3, dtype=given.dtype)
    slow = loop_seconds(base, recipe, probes[:8])
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    engine.train(base, recipe, probes[:8], 0)
    fast = seconds(lambda: engine.train(base, recipe, probes, 0)) / len(probes)
    whole = seconds(lambda: list(engine.measure(base, recipe, probes, queries, 0)[1]))
    reading = whole - fast * len(probes)
    work = flops(base, recipe.model_copy(update={"steps": 0}), probes, queries)
    row = {
        "gpu": torch.cuda.get_device_name(), "layers": given.layers, "dtype": given.dtype, "probes": given.probes,
        "queries": given.queries, "loop_train_ms": 1e3 * slow, "engine_train_ms": 1e3 * fast,
        "train_ratio": slow / fast, "read_seconds": reading, "read_utilisation": work / reading / product_peak(dtype),
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9, "relative_error": precision(),
    }  # fmt: skip
    print(json.dumps(row, indent=None if given.json else 2))


if __name__ == "__main__":
    main()
