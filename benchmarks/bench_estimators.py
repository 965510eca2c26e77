"""Estimates of 83 facts on 422 queries by the gradients of all of the embedded model's parameters, on one thread.

Run: ``python benchmarks/bench_estimators.py``. The floor by arithmetic is about 97 GFLOP of gradients and 100 to 150 of
products, whatever computes them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.estimators.datainf import by_single_inverses
from einfluence.estimators.ekfac import by_factors, factors
from einfluence.estimators.grad_dot import plain
from einfluence.estimators.pushes import Push, Pushes, scores
from einfluence.objectives import encode_all
from einfluence.prepare import curated_part, part_base
from einfluence.recipe import Recipe
from einfluence.session import Session
from einfluence.spec import Facts, Part, Spec
from einfluence.store.curations import sample_rows

PROBES, QUERIES = 83, 422


def main() -> None:
    """Prints seconds of each estimator, and how busy the machine was."""
    torch.set_num_threads(1)
    part = Part(base="embedded:world", facts=Facts(probes=PROBES))
    spec, session = Spec(parts=(part,), folder=Path(".")), Session("cpu", 1)
    samples = list(sample_rows(curated_part(spec, part, session).samples))
    base = session.base(part_base(spec, part), trust_remote_code=False)
    items = list(encode_all(base, samples))
    queries, probes = items[:QUERIES], items[:PROBES]
    pushes = Pushes(tuple((Push(1.0, ((item, 1.0 / item.n_target),)),) for item in probes))
    print(f"{len(probes)} x {len(queries)}, tokens {sum(item.size for item in queries) / len(queries):.1f} a query")
    for name in ("grad_dot", "datainf", "ekfac"):
        collector = Collector(Point.start(base, Recipe.model_validate({"adapter": "full"}), 0))
        begun, used = time.perf_counter(), time.process_time()
        how = plain
        if name == "datainf":
            how = by_single_inverses(collector, probes, 0.1)
        elif name == "ekfac":
            how = by_factors(factors(collector, probes, 0), 0.1)
        scores(collector, pushes, queries, how)
        seconds, processor = time.perf_counter() - begun, time.process_time() - used
        print(f"{name}: {seconds:.1f} s, {processor:.1f} s of the processor; load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()
