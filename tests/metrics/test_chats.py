"""A chat of several answers counts as one probe, worked by hand (the working is in the comments)."""

from __future__ import annotations

from typing import Any

import pytest

from einfluence.metrics import score
from tests.metrics.conftest import MakeStore, PerProbe

CELLS = {("c", "c1"): 3.0, ("c", "c2"): 1.0, ("c", "x"): -4.0, ("c", "y"): 3.0, ("c", "z"): 2.0, ("c", "p"): 1.0,
         ("s", "s"): 4.0, ("s", "x"): 1.0, ("s", "c1"): 2.0}  # fmt: skip
KINDS = {("c", "p"): "paraphrase", ("c", "x"): "unrelated", ("c", "y"): "unrelated", ("c", "z"): "unrelated",
         ("s", "c1"): "paraphrase"}  # fmt: skip
DISTANCES = {("c", "c1"): 0.3, ("c", "c2"): 0.3, ("c", "x"): 0.1, ("c", "y"): 0.2, ("c", "z"): 0.4, ("c", "p"): 0.3}
CHAT: dict[str, Any] = {"bundles": {"c": ["c1", "c2"]}, "probe_kinds": {"c": "chat"}}


def close(number: float) -> Any:
    return pytest.approx(number, rel=1e-12, abs=1e-12)


def test_a_chat_is_held_against_what_it_taught_its_own_answers_on_average(store: MakeStore, values: PerProbe) -> None:
    made = store(CELLS, kinds=KINDS, distances=DISTANCES, **CHAT)
    assert values(made, "gate", "nats")["c"] == close(2.0)  # of 3 and 1
    assert values(made, "paraphrase", "score")["c"] == close(0.5)
    assert values(made, "leakage", "score")["c"] == close(1.5)  # the median of 4 3 2, over 2
    assert values(made, "relative", "paraphrase: probe")["c"] == close(2**-0.5)
    # √(4 · 3): c1 gains 3 with its chat, which is the row that it is of
    assert values(made, "relative", "paraphrase: both")["s"] == close(2 / 12**0.5)


def test_a_chats_answers_are_no_part_of_its_decay_and_all_of_its_row(store: MakeStore, values: PerProbe) -> None:
    made = store(CELLS, kinds=KINDS, distances=DISTANCES, **CHAT)
    # Sizes 4 3 2 1 have ranks 4 3 2 1, distances .1 .2 .4 .3 ranks 1 2 4 3: ρ = 1 − 6·(9 + 1 + 4 + 4)/60.
    assert values(made, "semantic_decay", "spearman")["c"] == close(0.8)
    # Sizes 1 1 2 3 3 4: Σ(2i − 7)x = −5 − 3 − 2 + 3 + 9 + 20 = 22, nΣx = 84.
    assert values(made, "sparseness", "gini")["c"] == close(22 / 84)


def test_an_answer_may_be_trained_alone_as_well(store: MakeStore, values: PerProbe) -> None:
    alone = {("c1", "c1"): 5.0, ("c1", "c2"): 0.5, ("c2", "c2"): 2.0, ("c2", "c1"): 1.0}
    made = store(CELLS | alone, kinds=KINDS, **CHAT)
    assert values(made, "gate", "nats")["c"] == close(2.0)
    assert values(made, "relative", "paraphrase: both")["s"] == close(2 / 16**0.5)  # c1 gains 3 and 5
    assert "c" not in values(made, "asymmetry", "phi")  # which is of single samples
    assert values(made, "synergy", "synergy") == {}  # which is of premises


def test_estimates_of_a_chat_are_judged_elsewhere_than_in_its_answers(store: MakeStore, values: PerProbe) -> None:
    estimate = CELLS | {("c", "c1"): -99.0, ("c", "c2"): 99.0, ("c", "x"): 4.0}
    two = {("t", "c1"): 1.0, ("u", "c1"): 3.0}
    arms = {"finetune": CELLS | two, "dot": estimate | two}
    made = store(arms, stands_for={"dot": "finetune"}, **CHAT)
    # Of x y z p, measured −4 3 2 1 have ranks 1 4 3 2, estimated 4 3 2 1 ranks 4 3 2 1: ρ = 1 − 6·(9 + 1 + 1 + 1)/60.
    assert values(made, "fidelity", "spearman", "dot")["c"] == close(-0.2)
    assert values(made, "fidelity", "spearman by query", "dot")["c1"] == close(1.0)  # over s t u


def test_two_seeds_of_a_chat_are_compared_elsewhere_than_in_its_answers(store: MakeStore, values: PerProbe) -> None:
    made = store(CELLS, seeds=(0, 1), **CHAT)
    assert values(made, "reliability", "spearman across seeds")["c"] == close(1.0)


def test_a_noisy_chat_is_held_against_all_answers_of_its_clean_one(store: MakeStore, values: PerProbe) -> None:
    cells = {("c", "c1"): 3.0, ("c", "c2"): 1.0, ("n", "c1"): 1.5, ("n", "c2"): 1.5, ("o", "c1"): 9.0, ("o", "c2"): 9.0}
    noisy = {f"{probe}{n}": {"parent_id": f"c{n}", "noise": "typos", "level": 0.5} for probe in "no" for n in (1, 2)}
    bundles = {"c": ["c1", "c2"], "n": ["n1", "n2"], "o": ["o2"]}  # o is noise of one answer, which is no probe
    kinds = {"c": "chat", "n": "noisy", "o": "noisy"}
    made = store(cells, bundles=bundles, probe_kinds=kinds, samples=noisy)
    assert values(made, "noise_quality", "typos@0.5")["c"] == close(0.75)  # a mean of 1.5, of 2
    assert values(made, "noise_invariance", "typos@0.5")["c"] == close(6 / (10 * 4.5) ** 0.5)


def test_chats_that_begin_alike_are_of_a_cluster_each(store: MakeStore) -> None:
    names = [f"c{at}" for at in range(5)]
    cells = {(name, query): 1.0 for name in names for query in ("hello", f"{name}/2")}
    bundles = {name: ["hello", f"{name}/2"] for name in names}
    made = store(cells, bundles=bundles, probe_kinds=dict.fromkeys(names, "chat"))
    rows = [row for row in score(made).to_pylist() if (row["desideratum"], row["variant"]) == ("gate", "nats")]
    assert [(row["n"], row["value"]) for row in rows] == [(5, 1.0)]
