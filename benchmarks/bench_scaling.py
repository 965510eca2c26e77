"""How cost grows with probes, queries, steps and layers, beside the arithmetic; and a large run with its peak memory.

    python benchmarks/bench_scaling.py [--json] [--large PROBES QUERIES]

The arithmetic is `text_flops` of bench_engine.py. Processor seconds on one thread.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import resource
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from bench_engine import PeftLoop, gemm_peak, llama, text_flops, texts, timed

from einfluence import engine
from einfluence.bases.load import find_base, load_base
from einfluence.models.base import Base
from einfluence.spec import AdamW, Lora, Recipe

WORLD = Path(__file__).parents[1] / "data" / "models" / "world"


def once(base: Base, recipe: Recipe, probes: Any, queries: Any) -> float:
    def run() -> None:
        for _ in engine.measure(base, recipe, probes, queries, 0)[1]:
            pass

    return timed(run)


def curve(name: str, points: list[tuple[Any, Base, Recipe, int, int]], peak: float) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for label, base, recipe, n, m in points:
        vocabulary = base.model.config.vocab_size
        probes, queries = [[t] for t in texts(n, 12, 12, vocabulary, 1)], texts(m, 12, 12, vocabulary, 2)
        once(base, recipe, probes[:2], queries[:8])
        seconds, work = once(base, recipe, probes, queries), text_flops(base, recipe, probes, queries)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        row = {"curve": name, "at": label, "seconds": round(seconds, 3), "gflop": round(work / 1e9, 1)}
        row |= {"peak_fraction": round(work / seconds / peak, 3), "peak_mb": memory}
        rows.append(row)
        print(
            f"{name:8} {label:>6} {seconds:9.2f} s {work / 1e9:9.1f} GFLOP {row['peak_fraction']:6.0%} {memory:6d} MB",
            flush=True,
        )
        gc.collect()
    return rows


def large(probes: int, queries: int) -> dict[str, Any]:
    """The embedded language model, and the loop on 20 probes beside it."""
    base = load_base(find_base(str(WORLD), "benchmark"))
    vocabulary = base.model.config.vocab_size
    recipe = Recipe(adapter=Lora(r=8), optimizer=AdamW(lr=3e-3), steps=10)
    many, asked = (
        [[t] for t in texts(probes, 7, 10, vocabulary, 1, target=1)],
        texts(queries, 7, 10, vocabulary, 2, target=1),
    )
    plan = engine.forecast(base, recipe, many, asked)
    begin, wall = time.process_time(), time.perf_counter()
    half = 0
    for index, _, _ in engine.measure(base, recipe, many, asked, 0)[1]:
        if index == probes // 4:
            half = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds, wall = time.process_time() - begin, time.perf_counter() - wall
    end = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    loop = {}
    for batch, count in ((1, 20), (32, 20)):
        slow = PeftLoop(base, recipe, batch)
        loop[f"qb{batch}"] = timed(lambda slow=slow, count=count: slow.run(many[:count], asked[:100])) / count
    trained = timed(lambda: [slow.train(probe) for probe in many[:20]]) / 20
    per_probe = {name: trained + (s - trained) * queries / 100 for name, s in loop.items()}
    return {
        "probes": probes, "queries": queries, "cpu_seconds": round(seconds, 1), "wall_seconds": round(wall, 1),
        "planned_seconds": round(plan.seconds, 1), "planned_mb": plan.bytes // 2**20,
        "peak_mb_at_a_quarter": half, "peak_mb": end,
        "loop_qb1_seconds_extrapolated_from_20_probes_100_queries": round(per_probe["qb1"] * probes, 1),
        "loop_qb32_seconds_extrapolated_from_20_probes_100_queries": round(per_probe["qb32"] * probes, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="all rows as the last line")
    parser.add_argument("--large", type=int, nargs=2, metavar=("PROBES", "QUERIES"))
    given = parser.parse_args()
    transformers.logging.set_verbosity_error()
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    if given.large:
        print(json.dumps(large(*given.large), indent=None if given.json else 2))
        return
    peak = gemm_peak()
    recipe = Recipe(adapter=Lora(r=8), optimizer=AdamW(lr=3e-3), steps=4)
    base = llama(128, 4096)
    rows = curve("probes", [(n, base, recipe, n, 64) for n in (16, 32, 64, 128)], peak)
    rows += curve("queries", [(m, base, recipe, 16, m) for m in (32, 64, 128, 256)], peak)
    rows += curve("steps", [(k, base, recipe.model_copy(update={"steps": k}), 32, 16) for k in (2, 4, 8, 16)], peak)
    rows += curve("layers", [(x, llama(128, 4096, layers=x), recipe, 16, 64) for x in (2, 4, 8)], peak)
    if given.json:
        print(json.dumps(rows))


if __name__ == "__main__":
    main()
