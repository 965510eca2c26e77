"""Estimates of 83 facts on 422 queries by the embedded model's gradients, on one thread, beside other libraries.

Run: ``python benchmarks/bench_estimators.py [name ...]``; without names all, those of kronfluence 1.0.1 and dattri-llm
0.1.0 where they are installed. Each has a process of its own, forked once base and samples are there, and says its
seconds, those of the processor, and memory beyond what it began with. Scores of others are held against ours of the
same parameters. ``growth`` says what gradients take by the number of samples.

The floor by arithmetic is about 97 GFLOP of gradients and 100 to 150 of products, whatever computes them.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.estimators.datainf import by_single_inverses
from einfluence.estimators.ekfac import by_factors, factors
from einfluence.estimators.grad_dot import plain
from einfluence.estimators.pushes import Push, Pushes, scores
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.prepare import curated_part, part_base
from einfluence.recipe import Recipe
from einfluence.session import Session
from einfluence.spec import Facts, Part, Spec
from einfluence.store.curations import sample_rows

PROBES, QUERIES = 83, 422
LOT = 106  # queries that a library takes at once whose caller chooses
FULL, LINEAR = {"adapter": "full"}, {"adapter": {"kind": "match", "pattern": "proj"}}
Items = Sequence[Any]
Scores = Callable[[Base, Items, Items], Any]


def _pushes(probes: Items) -> Pushes:
    return Pushes(tuple((Push(1.0, ((item, 1.0 / item.n_target),)),) for item in probes))


def ours(method: str, recipe: dict[str, Any]) -> Scores:
    """Our estimator by the gradients of some parameters."""

    def run(base: Base, probes: Items, queries: Items) -> Any:
        collector = Collector(Point.start(base, Recipe.model_validate(recipe), 0))
        how = plain
        if method == "datainf":
            how = by_single_inverses(collector, probes, 0.1)
        elif method == "ekfac":
            how = by_factors(factors(collector, probes, 0), 0.1)
        return scores(collector, _pushes(probes), queries, how)

    return run


def _padded(items: Sequence[tuple[Sequence[int], int]]) -> dict[str, Tensor]:
    """Tokens, mask and labels of some texts, as long as the longest."""
    longest = max(len(ids) for ids, _ in items)
    blank = torch.zeros(len(items), longest, dtype=torch.long)
    found = {"input_ids": blank, "attention_mask": blank.clone(), "labels": torch.full_like(blank, -100)}
    for row, (ids, targets) in enumerate(items):
        found["input_ids"][row, : len(ids)] = torch.tensor(ids)
        found["attention_mask"][row, : len(ids)] = 1
        found["labels"][row, len(ids) - targets : len(ids)] = torch.tensor(ids[len(ids) - targets :])
    return found


def _loss(model: nn.Module, batch: dict[str, Tensor], *, mean: bool, sample: bool = False) -> Tensor:
    """The texts' losses, added up: each the sum over its targets, or their mean."""
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels, flat = batch["labels"][:, 1:], logits.reshape(-1, logits.shape[-1])
    counts = labels != -100
    if sample:
        drawn = torch.multinomial(flat.detach().softmax(-1), 1).view(labels.shape)
        labels = torch.where(counts, drawn, -100)
    each = cross_entropy(flat, labels.reshape(-1), reduction="none", ignore_index=-100).view(labels.shape)
    return (each / counts.sum(1, keepdim=True).clamp(min=1) if mean else each).sum()


def kronfluence(strategy: str) -> Scores:
    """Kronfluence on the linear layers without the head, with its own defaults."""

    def run(base: Base, probes: Items, queries: Items) -> Any:
        library = importlib.import_module("kronfluence")
        analyzer, arguments = (importlib.import_module(f"kronfluence.{name}") for name in ("analyzer", "arguments"))
        loaders = importlib.import_module("kronfluence.utils.dataset").DataLoaderKwargs

        class Texts(library.Task):
            def compute_train_loss(self, batch: Any, model: nn.Module, sample: bool = False) -> Tensor:
                return _loss(model, batch, mean=True, sample=sample)

            def compute_measurement(self, batch: Any, model: nn.Module) -> Tensor:
                return _loss(model, batch, mean=False)

            def get_influence_tracked_modules(self) -> list[str]:
                linear = (name for name, module in base.model.named_modules() if isinstance(module, nn.Linear))
                return [name for name in linear if "proj" in name]

            def get_attention_mask(self, batch: Any) -> Tensor:
                return batch["attention_mask"]

        task = Texts()
        train, asked = ([(item.ids, item.n_target) for item in some] for some in (probes, queries))
        with tempfile.TemporaryDirectory() as folder:
            model = analyzer.prepare_model(base.model.eval(), task)
            one = analyzer.Analyzer("bench", model, task, cpu=True, disable_tqdm=True, output_dir=folder)
            one.set_dataloader_kwargs(loaders(collate_fn=_padded))
            sizes = {"per_device_train_batch_size": len(train), "per_device_query_batch_size": LOT}
            how = arguments.FactorArguments(strategy=strategy)
            one.fit_all_factors("f", train, per_device_batch_size=len(train), factor_args=how)
            damping = arguments.ScoreArguments(damping_factor=None)  # a tenth of the mean, as ours
            one.compute_pairwise_scores("s", "f", asked, train, **sizes, score_args=damping)
            return one.load_pairwise_scores("s")["all_modules"].numpy()

    return run


def dattri(method: str) -> Scores:
    """dattri-llm on the linear layers without the head, all padded to the longest: it collates no texts of its own."""

    def run(base: Base, probes: Items, queries: Items) -> Any:
        library = importlib.import_module("dattri_llm")
        kept = _padded([(item.ids, item.n_target) for item in [*probes, *queries]])
        every = [dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)]

        def train(model: nn.Module, batch: Any) -> Tensor:
            return _loss(model, batch, mean=True)

        def asked(model: nn.Module, batch: Any) -> Tensor:
            return _loss(model, batch, mean=False)

        base.model.eval().requires_grad_(True)  # of this process alone
        task = library.AttributionTask(loss_func=train, model=base.model, target_func=asked)
        with tempfile.TemporaryDirectory() as folder:
            sizes = {"per_device_train_batch_size": len(probes), "per_device_eval_batch_size": LOT}
            attributor = getattr(library, method)(library.AttributionArguments(output_dir=folder, **sizes), task=task)
            config = library.HookManagerConfig(linear_io=["proj"])
            score = attributor.attribute(every[: len(probes)], every[len(probes) :], hook_config=config)
        return np.asarray(score.agnostic_matrix()[1]).T

    return run


METHODS: dict[str, Scores] = {
    "grad_dot": ours("grad_dot", FULL),
    "ekfac": ours("ekfac", FULL),
    "datainf": ours("datainf", FULL),
    "grad_dot, linear layers": ours("grad_dot", LINEAR),
    "ekfac, linear layers": ours("ekfac", LINEAR),
    "kronfluence identity": kronfluence("identity"),
    "kronfluence ekfac": kronfluence("ekfac"),
    "dattri_llm TracInAttributor": dattri("TracInAttributor"),
    "dattri_llm EKFACAttributor": dattri("EKFACAttributor"),
}
BESIDE = {
    "kronfluence identity": "grad_dot, linear layers",
    "kronfluence ekfac": "ekfac, linear layers",
    "dattri_llm TracInAttributor": "grad_dot, linear layers",
    "dattri_llm EKFACAttributor": "ekfac, linear layers",
}


def _held() -> tuple[int, int]:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    sizes = {name: value.split() for name, value in (line.split(":", 1) for line in lines)}
    return int(sizes["VmRSS"][0]) * 1024, int(sizes["VmHWM"][0]) * 1024


def _apart(do: Callable[[], Any], answers: Any) -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
    held, begun, used = _held()[0], time.perf_counter(), time.process_time()
    found = do()
    seconds, processor = time.perf_counter() - begun, time.process_time() - used
    answers.send((found, seconds, processor, _held()[1] - held))


def apart(do: Callable[[], Any]) -> tuple[Any, float, float, int]:
    """What a function gives in a process of its own; its seconds, those of the processor, and bytes at most beside."""
    context = multiprocessing.get_context("fork")
    answers, told = context.Pipe(duplex=False)
    process = context.Process(target=_apart, args=(do, told))
    process.start()
    told.close()
    try:
        return answers.recv()
    finally:
        process.join()


def growth(base: Base, items: Items) -> None:
    """What the gradients of more and more samples take."""
    collector = Collector(Point.start(base, Recipe.model_validate(FULL), 0))
    collector.collect(items[:2])
    for n in (63, 126, 252, 504):
        begun = time.process_time()
        for names in collector.groups(items[:n]):
            collector.collect(items[:n], names)
        print(f"gradients of {n}: {time.process_time() - begun:.2f} s of the processor", flush=True)


def main(chosen: Sequence[str]) -> None:
    """Prints what each takes, and how alike the scores of others are to ours."""
    torch.set_num_threads(1)
    part = Part(base="embedded:world", facts=Facts(probes=PROBES))
    spec, session = Spec(parts=(part,), folder=Path(".")), Session("cpu", 1)
    samples = list(sample_rows(curated_part(spec, part, session).samples))
    base = session.base(part_base(spec, part), trust_remote_code=False)
    items = sorted(list(encode_all(base, samples))[: PROBES + QUERIES], key=lambda item: item.size)
    order = np.random.default_rng(0).permutation(len(items))
    probes, queries = ([items[i] for i in sorted(some)] for some in (order[:PROBES], order[PROBES:]))
    print(f"{len(probes)} x {len(queries)}, tokens {sum(item.size for item in queries) / len(queries):.1f} a query")
    kept: dict[str, Any] = {}
    for name in chosen or METHODS:
        if name == "growth":
            growth(base, [items[i] for i in order])
        elif name.split()[0] in ("kronfluence", "dattri_llm") and not importlib.util.find_spec(name.split()[0]):
            print(f"{name}: not installed")
        else:
            kept[name], seconds, processor, memory = apart(lambda name=name: METHODS[name](base, probes, queries))
            line = f"{name}: {processor:.1f} s of the processor, {seconds:.1f} s, {memory / 1e6:,.0f} MB"
            other = kept.get(BESIDE.get(name, ""))
            if other is not None:
                rows = zip(other.T, np.asarray(kept[name]).T, strict=True)
                alike = np.mean([float(spearmanr(*pair)[0]) for pair in rows])  # pyright: ignore
                line += f"; rank correlation with ours {alike:.3f}"
            print(f"{line}; load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
