"""Desiderata of training sets on a few rows whose answer was worked by hand (the working is in the comments)."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import Ridge

from einfluence.metrics import per_probe, score
from einfluence.metrics.datamodels import crossfitted
from tests.metrics.trained import trained_store


def close(number: float) -> Any:
    return pytest.approx(number, rel=1e-12, abs=1e-12)


# What four trainings on two of the four samples say of them: b owes 2 nats to itself, a nothing.
SUBSETS = {
    "ab": {"a": -1.0, "b": -1.0, "q": -1.0},
    "cd": {"a": -1.0, "b": -3.0, "q": -4.0},
    "ac": {"a": -2.0, "b": -3.0, "q": -3.0},
    "bd": {"a": -2.0, "b": -1.0, "q": -2.0},
}
ANY = {(probe, query): 0.5 for probe in "abcd" for query in "abq"}


def test_memorisation_by_subsets_is_the_difference_of_means_with_and_without_the_sample(values) -> None:
    store = trained_store("abcd", subsets=SUBSETS, cells={"subsets": ANY})
    nats = values(store, "memorisation", "nats", "subsets")
    # a was in ab and ac (−1, −2), not in cd and bd (−1, −2); b in ab and bd (−1, −1), not in cd and ac (−3, −3).
    assert (nats["a"], nats["b"]) == (close(0.0), close(2.0))
    # The null of a is the presence of b, the next by content: (−1 − 2)/2 − (−1 − 2)/2; that of b the presence of c,
    # which was in cd and ac (−3, −3), not in ab and bd (−1, −1).
    assert (nats["null:a"], nats["null:b"]) == (close(0.0), close(-2.0))
    decision = values(store, "memorisation", "decision", "subsets")
    assert (decision["a"], decision["b"]) == (close(0.5 - 0.5), close(1.0))
    assert nats.keys() == {"a", "b", "null:a", "null:b"}  # c and d are no queries


def test_memorisation_by_leaving_out_is_what_the_cell_says(values) -> None:
    cells = {("a", "a"): 1.5, ("b", "a"): 0.25, ("c", "a"): 9.0, ("b", "b"): -0.5, ("c", "b"): 0.125}
    store = trained_store("abc", cells={"leave_one_out": cells}, ranks={("a", "a"): (7, 1), ("b", "a"): (1, 1)})
    nats = values(store, "memorisation", "nats", "leave_one_out")
    assert (nats["a"], nats["b"], nats["null:a"], nats["null:b"]) == (1.5, -0.5, 0.25, 0.125)
    decision = values(store, "memorisation", "decision", "leave_one_out")
    assert (decision["a"], decision["null:a"]) == (1.0, 0.0)  # first choice only with itself; b changed nothing
    assert store.sql("select sample_id, nats, held_out from memorisation order by 1").fetchall() == [
        ("a", 1.5, None), ("b", -0.5, None),
    ]  # fmt: skip


LABELLED = {
    "a": {"label": 0}, "b": {"label": 0}, "c": {"label": 1}, "d": {"label": 1, "noise": "label_flip", "parent_id": "e"},
    "e": {"label": 0}, "q": {"label": 0}, "r": {"label": 1}, "s": {"label": 1},
}  # fmt: skip
OWN = {
    ("a", "a"): 1.0, ("a", "q"): 0.5, ("a", "r"): -9.0, ("a", "s"): -9.0,
    ("b", "b"): 0.5, ("b", "q"): -0.25, ("b", "r"): 3.0, ("b", "s"): 3.0,
    ("c", "c"): -0.5, ("c", "q"): 0.0, ("c", "r"): 0.5, ("c", "s"): -1.0,
    ("d", "d"): 2.0, ("d", "q"): 4.0, ("d", "r"): -1.0, ("d", "s"): -2.0,
}  # fmt: skip


def test_the_sign_of_its_class_elsewhere_says_what_is_memorised(values) -> None:
    store = trained_store("abcd", cells={"leave_one_out": OWN}, samples=LABELLED, modality="image")
    group = values(store, "memorisation", "group", "leave_one_out")
    # Of class 0 the held-out q, of class 1 r and s: c 0.5 − 1, d −1 − 2.
    assert [group[name] for name in "abcd"] == [0.5, -0.25, -0.5, -3.0]
    sign = values(store, "memorisation", "sign", "leave_one_out")
    assert [sign[name] for name in "abcd"] == [0.0, 1.0, 0.0, 1.0]  # a generalises, c does not help itself
    flipped = values(store, "memorisation", "sign, mislabelled", "leave_one_out")
    assert (flipped["d"], flipped["null:d"], len(flipped)) == (1.0, close(1 / 3), 2)  # of the clean, b alone


def test_texts_without_classes_have_no_sign(values) -> None:
    store = trained_store("abcd", cells={"leave_one_out": OWN})
    assert values(store, "memorisation", "sign", "leave_one_out") == {}
    assert values(store, "mislabelled", "memorisation: auc", "leave_one_out") == {}


def test_mislabelled_ranks_the_flipped_before_the_clean_beside_the_plain_log_probability(values) -> None:
    full = {"a": -0.5, "b": -2.0, "c": -0.1, "d": -1.0}
    store = trained_store("abcd", full=full, cells={"leave_one_out": OWN}, samples=LABELLED, modality="image")
    # Self-influence: a 1, b 0.5, c −0.5 behind d's 2. −G: all behind 3. Log-prob: a and c behind d, not b.
    for kind, wanted in (("memorisation", 1.0), ("group", 1.0), ("log-prob", 2 / 3)):
        found = values(store, "mislabelled", f"{kind}: auc", "leave_one_out")
        assert found == {"d": close(wanted), "null:d": 0.5}
    tied = {**OWN, ("d", "d"): 0.5}  # ties with b, before c: (1 + 0.5) / 3
    store = trained_store("abcd", full=full, cells={"leave_one_out": tied}, samples=LABELLED, modality="image")
    assert values(store, "mislabelled", "memorisation: auc", "leave_one_out")["d"] == close(0.5)


def test_auc_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(3)
    names = [chr(97 + place) for place in range(24)]
    wrong = {name: place % 4 == 0 for place, name in enumerate(names)}
    own = {name: float(np.round(draw.normal() + wrong[name], 1)) for name in names}
    samples = {name: {"label": 0, **({"noise": "label_flip"} if wrong[name] else {})} for name in names}
    store = trained_store(
        names, cells={"leave_one_out": {(name, name): own[name] for name in names}}, samples=samples, modality="image"
    )
    [row] = [row for row in score(store, draws=50).to_pylist() if row["variant"] == "memorisation: auc"]
    assert row["value"] == close(roc_auc_score([wrong[name] for name in names], [own[name] for name in names]))
    assert (row["n"], row["null_value"], row["ideal"]) == (6, 0.5, 1.0)


def halves(names: str) -> list[str]:
    return ["".join(some) for some in itertools.combinations(names, len(names) // 2)]


def test_lds_is_the_rank_correlation_of_summed_influence_with_what_trainings_say(values) -> None:
    influence = {("a", "q"): 4.0, ("b", "q"): 2.0, ("c", "q"): 1.0, ("d", "q"): 0.0}
    said = {"ab": 6.0, "ac": 5.0, "ad": 4.0, "bc": 3.5, "bd": 2.0, "cd": 3.0}
    store = trained_store(
        "abcd", subsets={had: {"q": value} for had, value in said.items()}, cells={"leave_one_out": influence}
    )
    # Sums 6 5 4 3 2 1 beside 6 5 4 3.5 2 3: one swap of neighbours, ρ = 1 − 6·2/210.
    found = values(store, "lds", "spearman", "leave_one_out")
    assert found == {"q": close(1 - 12 / 210), "null:q": 0.0}
    [row] = [row for row in per_probe(store).to_pylist() if row["desideratum"] == "lds"]
    assert (row["probe_id"], row["cluster"], row["probe"]) == ("q", "q", "q")


def test_lds_takes_any_estimator_that_has_the_sets_samples_as_probes_and_no_other(values) -> None:
    scores = {had: {"q": float(place), "a": 1.0 + place} for place, had in enumerate(halves("abcd"))}
    some = {(probe, query): float(ord(probe)) for probe in "abcd" for query in "aq"}
    few = {pair: value for pair, value in some.items() if pair[0] != "d"}
    store = trained_store("abcd", subsets=scores, cells={"dot": some, "cosine!": some, "partial": few})
    for arm in ("dot", "cosine"):
        wanted = stats.spearmanr([sum(map(ord, had)) for had in scores], range(6)).statistic
        assert values(store, "lds", "spearman", arm)["q"] == close(wanted)
        assert values(store, "lds", "spearman, in the set", arm)["a"] == close(wanted)
    assert values(store, "lds", "spearman", "partial") == {}
    store.execute("update recipes set training_set = 'another', trainings = 'way' where recipe = 'dot'")
    assert values(store, "lds", "spearman", "dot") == {}  # it may be fitted to the subsets, and is of another set


def test_lds_of_a_regression_is_that_of_folds_that_it_was_not_fitted_on(values) -> None:
    draw = np.random.default_rng(0)
    names = "abcdefgh"
    drawn = sorted({"".join(sorted(draw.choice(list(names), 4, replace=False))) for _ in range(40)})
    noise = {had: {"q": float(value)} for had, value in zip(drawn, draw.normal(size=len(drawn)), strict=True)}
    cells = {(probe, "q"): 1.0 for probe in names}
    found = values(trained_store(names, subsets=noise, cells={"subsets": cells}), "lds", "spearman", "subsets")["q"]
    # The same by scikit-learn, over trainings in the order of their ids.
    x = np.array([[float(name in had) for name in names] for had in drawn])
    y = np.array([noise[had]["q"] for had in drawn])
    fold = np.arange(len(drawn)) % 5
    wanted = []
    for number in range(5):
        model = Ridge(alpha=1e-6).fit(x[fold != number], y[fold != number])
        wanted.append(stats.spearmanr(model.predict(x[fold == number]), y[fold == number]).statistic)
    assert found == pytest.approx(np.mean(wanted), abs=1e-9)
    own = Ridge(alpha=1e-6).fit(x, y)
    assert stats.spearmanr(own.predict(x), y).statistic > found + 0.2  # what scoring it on its own trainings would say
    additive = {had: {"q": float(sum(2.0 ** names.index(name) for name in had))} for had in drawn}
    store = trained_store(names, subsets=additive, cells={"subsets": cells})
    assert values(store, "lds", "spearman", "subsets")["q"] == close(1.0)
    few = dict(list(additive.items())[:19])  # too few to hold a fifth of them out
    assert values(trained_store(names, subsets=few, cells={"subsets": cells}), "lds", "spearman", "subsets") == {}


def test_a_regression_on_noise_predicts_nothing_of_what_it_was_not_fitted_on() -> None:
    draw = np.random.default_rng(1)
    inclusion, logprob = draw.integers(0, 2, (60, 20)) * 1.0, draw.normal(size=(60, 400))
    found = [
        stats.spearmanr(predicted[:, query], logprob[at, query]).statistic
        for at, predicted in crossfitted(inclusion, logprob, 3.0)
        for query in range(400)
    ]
    assert abs(np.mean(found)) < 0.02  # standard error 0.007; a fit that had seen them gives 0.6


def test_the_ceiling_of_lds_is_the_same_trainings_at_another_seed(values) -> None:
    said = [6.0, 5.0, 4.0, 3.5, 2.0, 3.0]
    again = [6.0, 5.0, 4.0, 3.0, 2.0, 3.5]
    by_seed = {
        seed: {had: {"q": value} for had, value in zip(halves("abcd"), each, strict=True)}
        for seed, each in ((0, said), (1, again))
    }
    cells = {(probe, "q"): 1.0 for probe in "abcd"}
    store = trained_store("abcd", subsets=by_seed, cells={"leave_one_out": cells})
    # Ranks 6 5 4 3 1 2 and 6 5 4 2 1 3: two differ by one, ρ = 1 − 6·2/210.
    assert values(store, "lds", "ceiling", "leave_one_out")["q"] == close(1 - 12 / 210)
    assert values(store, "lds", "spearman", "leave_one_out")["q"] is None  # equal sums order nothing
    once = trained_store("abcd", subsets=by_seed[0], cells={"leave_one_out": cells})
    assert values(once, "lds", "ceiling", "leave_one_out") == {}


@pytest.mark.parametrize("kind", ["paraphrase", "near_duplicate"])
def test_a_duplicate_is_what_a_sample_owes_to_itself_beside_its_paraphrase_and_without(values, kind: str) -> None:
    said = {"abc": -1.0, "bcd": -1.5, "acd": -2.0, "cd": -6.0, "ab": -1.0, "b": -2.5, "a": -2.0, "d": -6.0}
    store = trained_store(
        "abcd",
        subsets={had: {"a": value} for had, value in said.items()},
        cells={"subsets": {(probe, "a"): 1.0 for probe in "abcd"}},
        claims={("a", "b"): kind, ("a", "q"): kind, ("b", "a"): "neighbour", ("a", "c"): "contradiction"},
        samples={"q": {}},
    )
    # With b: −1 and −1 with a, −1.5 and −2.5 without, so 1; without b: −2 and −2 with a, −6 and −6 without, so 4.
    assert values(store, "duplicates", "nats", "subsets") == {"a": close(-3.0), "null:a": 0.0}
    [row] = [row for row in per_probe(store).to_pylist() if row["variant"] == "ratio"]
    assert (row["value"], row["weight"]) == (close(1.0), close(4.0))


def test_a_proxy_is_as_good_as_the_pairs_that_it_orders() -> None:
    draw = np.random.default_rng(4)
    names = [chr(97 + place) for place in range(12)]
    own, full = ({name: float(draw.normal()) for name in names} for _ in range(2))
    store = trained_store(names, full=full, cells={"leave_one_out": {(name, name): own[name] for name in names}})
    found = {row["variant"]: row["value"] for row in score(store, draws=50).to_pylist() if row["value"] is not None}
    wanted = stats.kendalltau([own[name] for name in names], [-full[name] for name in names]).statistic
    assert found["log-prob: kendall"] == close(wanted)


def test_a_proxy_counts_the_pairs_that_differ_in_both(values) -> None:
    own = {"a": 1.0, "b": 2.0, "c": 2.0, "d": 3.0}
    full = {"a": -1.0, "b": -1.0, "c": -5.0, "d": -2.0}
    store = trained_store("abcd", full=full, cells={"leave_one_out": {(name, name): own[name] for name in own}})
    found = values(store, "proxies", "log-prob: kendall", "leave_one_out")
    # By −log p: 1 1 5 2. a: beside c and d in order; b: beside d; c: beside a in order, beside d not; d: a, b, not c.
    assert [found[name] for name in "abcd"] == [1.0, 1.0, 0.0, close(1 / 3)]


def test_a_store_without_trainings_has_none_of_these_rows(store) -> None:
    found = {row["desideratum"] for row in score(store({("a", "a"): 1.0, ("b", "b"): 1.0}), draws=20).to_pylist()}
    assert not found & {"memorisation", "lds", "mislabelled", "duplicates", "proxies"} and "gate" in found
