"""Turn-over dropout: the half that a sample never moved, the half that it did, and what they say."""

from __future__ import annotations

import numpy as np
import torch

from einfluence.engine import definition
from einfluence.engine.schedule import Step, Training, probe_training
from einfluence.engine.unrolling import Trajectory
from einfluence.estimators import turn_over
from einfluence.spec import Lora, Recipe
from tests.engine.random_models import text_base, texts


def test_of_one_sample_the_other_half_is_the_base_and_its_own_a_lora_of_half_the_ranks() -> None:
    base, probe, queries = text_base("gpt2"), texts(0, 1), texts(1, 4)
    how = Recipe(adapter=Lora(r=8, alpha=4.0), optimizer="adamw", lr=0.01, weight_decay=0.01, dtype="float64", steps=3)
    path = Trajectory(base, how, probe_training(probe, 3), 5)
    halves = turn_over.drawn(path, ["z"], 0)
    own, other = turn_over.two_halves(path, turn_over.trained(path, halves), halves, 0)
    before = definition.evaluate(base, how, queries)
    assert (definition.evaluate(base, how, queries, other).logprob == before.logprob).all()

    small = Recipe(
        adapter=Lora(r=4, alpha=4.0), optimizer="adamw", lr=0.01, weight_decay=0.01, dtype="float64", steps=3
    )
    model, trained = definition.trainable_copy(base, small, 5)
    columns = {name.replace("lora_B", "lora_A"): rows[0].bool() for name, rows in halves.items()}
    with torch.no_grad():
        for name, kept in columns.items():
            trained[name].copy_(path.engine.start[name][kept])
    tuned = definition.train(base, small, probe, 5, (model, trained))
    after = definition.evaluate(base, small, queries, tuned.delta)
    found = definition.evaluate(base, how, queries, own).logprob
    assert np.allclose(found, after.logprob, atol=1e-10)
    influence = turn_over.influence(path, queries, ["z"], draws=1)
    assert np.allclose(influence[0], after.logprob - before.logprob, atol=1e-10) and np.abs(influence).max() > 0.1


def test_halves_follow_from_the_samples_names_and_differ_by_draw_and_layer() -> None:
    base, how = text_base("gpt2"), Recipe(adapter=Lora(r=16))
    path = Trajectory(base, how, probe_training(texts(0, 3), 1), 0)
    first, again = turn_over.drawn(path, ["a", "b", "c"], 0), turn_over.drawn(path, ["c", "a"], 0)
    for name, rows in first.items():
        assert (rows.sum(1) == 16).all() and set(rows.flatten().tolist()) == {0.0, 2.0}
        assert rows[[2, 0]].equal(again[name])
    one, two = list(first)[:2]
    assert not first[one].equal(first[two]) and not first[one].equal(turn_over.drawn(path, ["a", "b", "c"], 1)[one])


def test_a_batch_is_read_sample_by_sample_each_with_its_own_half() -> None:
    base, items = text_base("gpt2"), texts(0, 3)
    how = Recipe(adapter=Lora(r=4), optimizer="sgd", lr=0.1, dtype="float64")
    steps = (Step((0, 1)), Step((1, 2, 0)))
    path = Trajectory(base, how, Training(tuple(items), (steps,)), 0)
    halves = turn_over.drawn(path, ["a", "b", "c"], 0)
    values = [value.clone() for value in path.start().values]
    for step in steps:
        leaves = [value.requires_grad_() for value in values]
        halved = [
            [v * halves[n][i] if n in halves else v for n, v in zip(path.names, leaves, strict=True)]
            for i in step.batch
        ]
        nats = sum(path.logprobs(own, [items[i]])[0] for own, i in zip(halved, step.batch, strict=True))
        found = torch.autograd.grad(-nats / sum(items[i].n_target for i in step.batch), leaves)
        values = [(v - 0.1 * g).detach() for v, g in zip(leaves, found, strict=True)]
    end = turn_over.trained(path, halves)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(end.values, values, strict=True))
