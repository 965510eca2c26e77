"""Speed of trainings of a set beside a plain loop that takes one copy after the other, in one process.

    python -m benchmarks.bench_training [--only PATTERN] [--threads 1]

Both train with the batches as given, each sample that is left out without its term in the loss, and read all queries
afterwards. The loop keeps one model, puts its start values back, and reads a whole batch, or 32 queries, at once.
Seconds are of the processor, a training; the loop is timed on a few of the trainings, in turns with the engine.
"""

from __future__ import annotations

import argparse
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.bench_engine import PeftLoop, fast_rows
from einfluence.engine.definition import make_optimizer
from einfluence.engine.measurement import Item
from einfluence.engine.schedule import Training
from einfluence.estimators.training import whole_training
from einfluence.inputs import curated_part, part_base
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.recipe import AdamW, Recipe
from einfluence.session import Session
from einfluence.spec import Facts, Images, Part, Spec
from einfluence.store.curations import sample_rows
from einfluence.training_set import Members, Schedule, Variant, subset, without

ROUNDS, LOOPED = 3, 4  # trainings that the loop is timed on


@dataclass(frozen=True)
class Case:
    """Trainings of one set, and the aim for the ratio."""

    name: str
    aim: float
    base: Base
    items: Sequence[Item]
    queries: Sequence[Item]
    schedule: Schedule
    variants: Sequence[Variant]

    @property
    def trainings(self) -> list[Training[Item]]:
        """What each copy is trained on."""
        whole = whole_training(self.items, self.schedule, 0)
        return [whole.weighted(dict.fromkeys(each.left_out, 0.0)) for each in self.variants]


class SetLoop(PeftLoop):
    """One copy after the other."""

    def train(self, training: Training[Item]) -> None:
        """Takes one training."""
        self.reset()
        optimizer = make_optimizer(self.recipe, list(self.trained.values()))
        for step in training.steps:
            batch = [training.items[index] for index in step.batch]
            collated = self.base.objective.collate(batch)
            logits = self.base.objective.logits(self.model, collated)
            logprob = logits.log_softmax(-1).gather(-1, collated.targets[..., None])[..., 0]
            weights = torch.tensor(step.weights or (1.0,) * len(batch))[:, None] * collated.counts
            loss = -(logprob * weights).sum() / sum(item.n_target for item in batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def data(part: Part, session: Session, most: int, asked: int) -> tuple[Base, list[Item], list[Item]]:
    """A base, so many single samples of a part's probes, and so many of its queries."""
    curated = curated_part(Spec(parts=(part,)), part, session)
    samples = {sample.sample_id: sample for sample in sample_rows(curated.samples)}
    single = {row["probe_id"] for row in curated.probes.to_pylist() if row["kind"] == "sample"}
    rows = curated.probe_members.to_pylist()
    members = [row["sample_id"] for row in rows if row["probe_id"] in single][:most]
    queries = list(dict.fromkeys(curated.relations["query_id"].to_pylist()))[:asked]
    base = session.base(part_base(Spec(parts=(part,)), part), False)
    return (
        base,
        list(encode_all(base, [samples[m] for m in members])),
        list(encode_all(base, [samples[q] for q in queries])),
    )


def cases() -> list[Case]:
    """Leave-one-out of 96 texts, halves of them, halves of 500 digits."""
    session = Session()
    base, items, queries = data(Part(base="embedded:world", facts=Facts()), session, 96, 106)
    members = Members.of({str(index): [str(index)] for index in range(len(items))})
    each = [without(members, name) for name in members.probes]
    halves = [subset(members, number, 0.5, 0) for number in range(200)]
    texts = (base, items, queries)
    digits = data(Part(base="embedded:digits", images=Images(probes=500, queries=700)), session, 500, 200)
    pixels = Members.of({str(index): [str(index)] for index in range(len(digits[1]))})
    return [
        Case("texts, leave-one-out, batch 1, 4 epochs", 4, *texts, Schedule(epochs=4, batch_size=1), each),
        Case("texts, leave-one-out, batch 8, 4 epochs", 2, *texts, Schedule(epochs=4, batch_size=8), each),
        Case("texts, leave-one-out, batch 1, 1 epoch", 3, *texts, Schedule(epochs=1, batch_size=1), each),
        Case("texts, 200 halves, batch 8, 4 epochs", 3, *texts, Schedule(epochs=4, batch_size=8), halves),
        Case(
            "digits, 200 halves, batch 20, 3 epochs", 4, *digits, Schedule(epochs=3, batch_size=20),
            [subset(pixels, number, 0.5, 0) for number in range(200)],
        ),
    ]  # fmt: skip


def seconds(run: Callable[..., Any], *given: Any) -> float:
    """Processor seconds."""
    begun = time.process_time()
    run(*given)
    return time.process_time() - begun


def main() -> None:
    """Prints a line a case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--most", type=int, default=1000, help="trainings that the engine takes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    recipe = Recipe(optimizer=AdamW(lr=1e-3))
    for case in cases():
        if not re.search(given.only, case.name):
            continue
        trainings = case.trainings[: given.most]
        loop = SetLoop(case.base, recipe, 32)
        few = trainings[:: -(-len(trainings) // LOOPED)]
        off = np.abs(fast_rows(case.base, recipe, few, case.queries) - loop.run(few, case.queries)).max()
        rounds = [
            (
                seconds(fast_rows, case.base, recipe, trainings, case.queries) / len(trainings),
                seconds(loop.run, few, case.queries) / len(few),
            )
            for _ in range(ROUNDS)
        ]
        ours, theirs = (median(each) for each in zip(*rounds, strict=True))
        print(
            f"{case.name}: {1000 * ours:.0f} ms a training beside {1000 * theirs:.0f} ms: {theirs / ours:.2f} x "
            f"(aim {case.aim:g} x); largest difference {off:.1g} nats",
            flush=True,
        )


if __name__ == "__main__":
    main()
