"""Each desideratum on a few rows whose answer was worked by hand (the working is in the comments)."""

from __future__ import annotations

from typing import Any

import pytest

from einfluence.metrics import score


def close(number: float) -> Any:
    return pytest.approx(number, rel=1e-12, abs=1e-12)


def test_gate_counts_probes_whose_own_log_probability_rose(store, values) -> None:
    found = values(store({("a", "a"): 2.0, ("a", "x"): 1.0, ("b", "b"): -0.1, ("c", "x"): 1.0}), "gate", "learned")
    assert (found["a"], found["b"], found["c"]) == (1.0, 0.0, None)  # c never met itself
    assert found["null:a"] == 0.5


def test_semantic_decay_is_minus_spearman_of_size_and_distance_without_the_probe_itself(store, values) -> None:
    cells = {("a", "a"): 9.0, ("a", "x"): -4.0, ("a", "y"): 3.0, ("a", "z"): 1.0, ("a", "w"): 2.0}
    distances = {("a", "a"): 0.0, ("a", "x"): 0.1, ("a", "y"): 0.2, ("a", "z"): 0.3, ("a", "w"): 0.4}
    # Sizes 4 3 1 2 have ranks 4 3 1 2, distances 1 2 3 4: differences 3 1 -2 -2, squares sum to 18, ρ = 1 − 6·18/60.
    found = values(store(cells, distances=distances), "semantic_decay", "spearman")
    assert found["a"] == close(0.8)


def test_semantic_decay_goes_by_the_distances_of_the_arms_own_parts_where_these_differ(store, values) -> None:
    cells = {("a", "a"): 9.0, ("a", "b"): 3.0, ("a", "c"): 2.0, ("a", "d"): 1.0}
    distances = {("a", "a"): 0.0, ("a", "b"): 0.1, ("a", "c"): 0.2, ("a", "d"): 0.3}
    made = store(cells, distances=distances)
    assert values(made, "semantic_decay", "spearman")["a"] == close(1.0)
    made.execute("insert into arm_relations values ('b', 'finetune', 'p:a', 'b', null, null, 0.4)")
    made.execute("insert into arm_relations values ('b', 'another', 'p:a', 'c', null, null, 0.5)")
    assert values(made, "semantic_decay", "spearman")["a"] == close(-0.5)


def test_what_other_parts_claim_or_take_for_a_sample_counts_for_no_arm_of_its_own_parts(store, values) -> None:
    cells = {(probe, query): 1.0 for probe in "ab" for query in "abc"}
    made = store(
        cells, kinds={("a", "a"): "self", ("b", "b"): "self", ("a", "c"): "paraphrase", ("b", "c"): "paraphrase"}
    )
    assert values(made, "paraphrase", "score")["a"] == values(made, "gate", "learned")["b"] == close(1.0)
    made.execute("insert into arm_relations values ('b', 'finetune', 'p:a', 'c', null, null, null)")
    made.execute("insert into arm_probes values ('b', 'finetune', 'p:b', 'noisy')")
    assert values(made, "paraphrase", "score").get("a") is None
    assert "b" not in values(made, "gate", "learned")


def test_semantic_decay_gives_ties_their_mean_rank(store, values) -> None:
    cells = {("a", "a"): 1.0, ("a", "x"): 1.0, ("a", "y"): -1.0, ("a", "z"): 0.5}
    distances = {("a", "a"): 0.0, ("a", "x"): 0.1, ("a", "y"): 0.2, ("a", "z"): 0.2}
    # Ranks of sizes 2.5 2.5 1, of distances 1 2.5 2.5; each has mean 2: covariance −0.75, variances 1.5 and 1.5.
    assert values(store(cells, distances=distances), "semantic_decay", "spearman")["a"] == close(0.5)


def test_semantic_decay_leaves_out_cells_without_a_distance(store, values) -> None:
    cells = {("a", "a"): 9.0, ("a", "x"): 4.0, ("a", "y"): 3.0, ("a", "z"): 1.0, ("a", "far"): 7.0}
    distances = {("a", "x"): 0.1, ("a", "y"): 0.2, ("a", "z"): 0.3}
    assert values(store(cells, distances=distances), "semantic_decay", "spearman")["a"] == close(1.0)


def test_semantic_decay_shows_size_by_fifths_of_the_distance(store, values) -> None:
    queries = [f"q{i}" for i in range(10)]
    cells = {("a", "a"): 2.0, **{("a", query): float(10 - i) for i, query in enumerate(queries)}}
    distances = {("a", query): i / 10 for i, query in enumerate(queries)}
    connection = store(cells, distances=distances)
    # Nearest two: (10 + 9) / 2 = 9.5 nats, over I_self = 2; the mean of all is 5.5.
    assert values(connection, "semantic_decay", "fifth 1")["a"] == close(4.75)
    assert values(connection, "semantic_decay", "nats, fifth 5")["a"] == close(1.5)
    assert values(connection, "semantic_decay", "fifth 1")["null:a"] == close(2.75)


def test_sparseness_is_the_gini_coefficient_of_sizes(store, values) -> None:
    connection = store({("a", "a"): 3.0, ("a", "x"): -1.0, ("a", "y"): 0.0, ("a", "z"): 0.0})
    # Sizes 0 0 1 3: Σ(2i − 5)x = 1·1 + 3·3 = 10, nΣx = 16.
    assert values(connection, "sparseness", "gini")["a"] == close(0.625)
    # (9 + 1)² / (4 · (81 + 1)) = 100 / 328.
    assert values(connection, "sparseness", "participation")["a"] == close(100 / 328)
    assert values(connection, "sparseness", "gini")["null:a"] == close((2**0.5 - 1) * 3 / 4)


def test_leakage_is_the_median_share_of_self_influence_on_unrelated_queries(store, values) -> None:
    cells = {("a", "a"): 2.0, ("a", "x"): -1.0, ("a", "y"): 0.2, ("a", "z"): 0.4, ("k", "x"): 0.3, ("k", "y"): -0.5,
             ("k", "k"): 9.0}  # fmt: skip
    kinds = {("a", query): "unrelated" for query in "xyz"}
    connection = store(cells, kinds=kinds, probe_kinds={"k": "control"})
    found = values(connection, "leakage", "score")
    assert found["a"] == close(0.2)  # median of 0.5 0.1 0.2
    assert found["null:a"] == close(0.2)  # the control moves others by a median of 0.4 nats, over 2
    assert values(connection, "leakage", "nats")["a"] == close(0.4)
    assert values(connection, "controls", "control: nats")["k"] == close(0.4)


def test_which_control_a_probe_is_stands_in_its_column_and_in_old_curations_in_its_name(store, values) -> None:
    cells = {(probe, "x"): 0.3 for probe in ("control:a:shuffled", "control:b", "c")}
    old = store(cells, probe_kinds=dict.fromkeys((probe for probe, _ in cells), "control"))

    def probes(control: str) -> set[str]:
        return {probe for probe in values(old, "controls", f"{control}: nats") if not probe.startswith("null:")}

    kinds = ("shuffled words", "length-matched", "control")
    assert [probes(kind) for kind in kinds] == [{"control:a:shuffled"}, {"control:b"}, {"c"}]
    old.execute("update probes set control = 'length-matched'")
    assert [probes(kind) for kind in kinds] == [set(), {"control:a:shuffled", "control:b", "c"}, set()]


def test_which_layer_was_undone_stands_in_its_column_and_in_old_rows_in_the_name_of_its_place(store) -> None:
    names = [f"p{i}" for i in range(8)]
    cells = {(name, name): 2.0 for name in names}
    old = store(cells, restored={(name, name, place): 1.0 for name in names for place in ("layer 3", "elsewhere")})

    def layers() -> dict[str, int | None]:
        return {
            row["place"]: row["layer"] for row in score(old).to_pylist() if row["desideratum"] == "layer_restoration"
        }

    assert layers() == {"layer 3": 3, "elsewhere": None}
    old.execute("update restorations set layer = 5 where place = 'elsewhere'")
    assert layers() == {"layer 3": 3, "elsewhere": 5}


def test_paraphrase_is_scored_against_self_influence_beside_unrelated_queries(store, values) -> None:
    cells = {("a", "a"): 4.0, ("a", "x"): 2.0, ("a", "y"): 3.0, ("a", "u"): 0.4, ("b", "b"): -1.0, ("b", "x"): 1.0}
    kinds = {("a", "x"): "paraphrase", ("a", "y"): "paraphrase", ("a", "u"): "unrelated", ("b", "x"): "paraphrase"}
    found = values(store(cells, kinds=kinds), "paraphrase", "score")
    assert found["a"] == close(0.625)  # median of 0.5 and 0.75
    assert found["null:a"] == close(0.1)
    assert found["b"] is None  # did not learn itself


def test_negation_contrasts_paraphrase_with_negation(store, values) -> None:
    cells = {("a", "a"): 4.0, ("a", "p"): 3.0, ("a", "n"): 1.0, ("a", "m"): -2.0}
    kinds = {("a", "p"): "paraphrase", ("a", "n"): "negation", ("a", "m"): "negation"}
    connection = store(cells, kinds=kinds)
    assert values(connection, "negation", "contrast")["a"] == close((3 + 0.5) / (3 + 0.5))  # median negation is −0.5
    assert values(connection, "negation", "P(negation < 0)")["a"] == close(0.5)
    assert values(connection, "negation", "score")["a"] == close(-0.125)
    blind = store({**cells, ("a", "m"): 1.0}, kinds=kinds)
    assert values(blind, "negation", "contrast")["a"] == close(0.5)  # (3 − 1) / (3 + 1)


def test_transitivity_compares_the_conclusion_with_its_siblings(store, values) -> None:
    cells = {("a", "a"): 4.0, ("a", "e"): 2.0, ("a", "f"): 1.0, ("a", "s"): 1.0, ("a", "t"): 3.0}
    kinds = {("a", "e"): "entailed", ("a", "f"): "entailed", ("a", "s"): "sibling", ("a", "t"): "sibling"}
    connection = store(cells, kinds=kinds, levels={("a", "e"): 1.0, ("a", "f"): 2.0})
    # e beats s, not t; f ties with s, not t: (1 + 0 + 0.5 + 0) / 4.
    assert values(connection, "transitivity", "P(entailed > sibling)")["a"] == close(0.375)
    found = values(connection, "transitivity", "score")
    assert (found["a"], found["null:a"]) == (close(1.5 / 4), close(2 / 4))
    assert values(connection, "transitivity", "score, depth 2")["a"] == close(0.25)


def test_a_probe_without_a_conclusion_of_some_depth_is_left_out_and_counted(store) -> None:
    names = [f"p{i}" for i in range(8)]
    cells = {(name, name): 2.0 for name in names} | {(name, f"e{name}"): 1.0 for name in names[:5]}
    kinds = {(name, f"e{name}"): "entailed" for name in names[:5]}
    card = score(store(cells, kinds=kinds, levels=dict.fromkeys(kinds, 1.0))).to_pylist()
    found = {row["variant"]: row for row in card if row["desideratum"] == "transitivity" and row["domain"] == "all"}
    for variant in ("score", "score, depth 1"):
        row = found[variant]
        assert (row["value"], row["n"], row["excluded"]) == (close(0.5), 5, 3), variant
        assert row["note"] == "3 without the pairs it needs"


def test_contrapositive_and_direction(store, values) -> None:
    cells = {("a", "a"): 4.0, ("a", "c"): 3.0, ("a", "r"): -1.0, ("a", "s"): 1.0}
    kinds = {("a", "c"): "contrapositive", ("a", "r"): "reversed", ("a", "s"): "sibling"}
    connection = store(cells, kinds=kinds)
    found = values(connection, "contrapositive", "score")
    assert (found["a"], found["null:a"]) == (close(0.75), close(0.25))
    assert values(connection, "direction", "contrast")["a"] == close((3 + 1) / (3 + 1))
    assert values(connection, "direction", "reversed score")["a"] == close(-0.25)


def test_noise_desiderata_compare_the_noisy_probe_with_its_clean_parent(store, values) -> None:
    samples = {
        "weak": {"parent_id": "a", "noise": "blur", "level": 1.0},
        "strong": {"parent_id": "a", "noise": "blur", "level": 2.0},
        "flip": {"parent_id": "a", "noise": "label_flip", "level": 1.0},
    }
    cells = {("a", "a"): 4.0, ("a", "x"): 3.0, ("weak", "a"): 3.0, ("weak", "x"): 4.0, ("strong", "a"): 0.0,
             ("strong", "x"): 5.0, ("flip", "a"): -2.0, ("flip", "x"): 0.0}  # fmt: skip
    connection = store(cells, samples=samples, probe_kinds=dict.fromkeys(samples, "noisy"), modality="image")
    # Rows (4, 3) and (3, 4): 24 / 25; (4, 3) and (0, 5): 15 / 25; from the weakest level to the strongest: −0.36.
    assert values(connection, "noise_invariance", "blur@1")["a"] == close(0.96)
    assert values(connection, "noise_invariance", "blur@2")["a"] == close(0.6)
    assert values(connection, "noise_invariance", "blur")["a"] == close(0.78)
    assert values(connection, "noise_invariance", "blur slope")["a"] == close(-0.36)
    assert values(connection, "noise_invariance", "label_flip") == {}
    assert values(connection, "noise_quality", "blur@1")["a"] == close(0.75)
    assert values(connection, "noise_quality", "blur slope")["a"] == close(-0.75)
    flipped = values(connection, "noise_quality", "label_flip")
    assert (flipped["a"], flipped["null:a"]) == (close((4 + 2) / (4 + 2)), 0.0)  # it harms: nothing is taught
    nats = values(connection, "noise_quality", "label_flip, nats")
    assert (nats["a"], nats["null:a"]) == (close(-2.0), close(4.0))
    assert values(connection, "noise_quality", "blur, nats")["a"] == close(1.5)
    assert values(connection, "paraphrase", "score") == {}  # pictures have no paraphrases: no row, rather than a note


def test_asymmetry_is_the_ratio_of_sums_over_pairs(store) -> None:
    cells = {(i, j): float(ord(i) - ord(j)) for i in "abcdef" for j in "abcdef"}
    cells[("a", "b")] = 1.0  # was −1: now b and a do the same to each other
    card = score(store(cells)).to_pylist()
    phi = next(row for row in card if row["variant"] == "phi" and row["domain"] == "all")
    # Σd² over the 15 pairs = 5·1 + 4·4 + 3·9 + 2·16 + 25 = 105. Σ(I_ij − I_ji)² = Σ(2d)² over all but (a, b), where it
    # is 0: 4·104; 2Σ(I_ij² + I_ji²) = 4·105.
    assert phi["value"] == close(4 * 104 / (4 * 105))
    assert phi["n"] == 6


def test_asymmetry_tells_paraphrases_and_implications_apart(store) -> None:
    names = [f"{letter}{i}" for i in range(6) for letter in "pqe"]
    cells = {(i, j): 0.5 for i in names for j in names}
    kinds: dict[tuple[str, str], str | None] = {}
    for i in range(6):
        kinds[(f"p{i}", f"q{i}")] = kinds[(f"q{i}", f"p{i}")] = "paraphrase"
        kinds[(f"p{i}", f"e{i}")] = "entailed"
        cells[(f"p{i}", f"e{i}")], cells[(f"e{i}", f"p{i}")] = 1.0, 0.0
    rows = {row["variant"]: row for row in score(store(cells, kinds=kinds)).to_pylist() if row["domain"] == "all"}
    assert rows["phi, paraphrase"]["value"] == close(0.0)
    assert rows["phi, implication"]["value"] == close(0.5)  # 1² / (2 · 1²): one-way influence stands at one half
    assert rows["phi, implication"]["n"] == 12


def test_synergy_is_what_two_premises_teach_beyond_each(store, values) -> None:
    cells = {("ab", "e"): 5.0, ("ba", "e"): 3.0, ("a", "e"): 1.0, ("b", "e"): 1.5, ("a", "a"): 1.0, ("b", "b"): 1.0}
    kinds = {(probe, "e"): "entailed" for probe in ("ab", "ba", "a", "b")}
    connection = store(cells, kinds=kinds, bundles={"ab": ["a", "b"], "ba": ["b", "a"]})
    found = values(connection, "synergy", "synergy")
    assert (found["ab"], found["ba"]) == (close(2.5), close(0.5))
    assert values(connection, "synergy", "gain over the better premise")["ab"] == close(3.5)
    order = [value for key, value in values(connection, "synergy", "effect of order").items() if "null" not in key]
    assert order == [close(2.0)]


def test_premises_in_turn_are_compared_with_each_alone_with_their_mirror_image_and_with_the_bundle(
    store, values
) -> None:
    cells = {("ab", "e"): 5.0, ("ba", "e"): 4.0, ("a>b", "e"): 7.0, ("b>a", "e"): 3.0, ("a", "e"): 1.0, ("b", "e"): 1.5,
             ("c>d", "e"): 2.0, ("a", "a"): 1.0, ("b", "b"): 1.0}  # fmt: skip
    kinds = {(probe, "e"): "entailed" for probe in ("ab", "ba", "a>b", "b>a", "c>d", "a", "b")}
    pairs = {"ab": ["a", "b"], "ba": ["b", "a"], "a>b": ["a", "b"], "b>a": ["b", "a"], "c>d": ["c", "d"]}
    ways = dict.fromkeys(("a>b", "b>a", "c>d"), "sequence")
    connection = store(cells, kinds=kinds, bundles=pairs, probe_kinds=ways)
    found = values(connection, "synergy", "synergy, in turn")
    assert (found["a>b"], found["b>a"]) == (close(4.5), close(0.5))
    assert found["c>d"] is None  # its premises were not trained on alone
    assert "ab" not in found
    assert set(values(connection, "synergy", "synergy")) == {"ab", "ba", "null:ab", "null:ba"}
    assert values(connection, "synergy", "gain over the better premise, in turn")["a>b"] == close(5.5)
    order = [v for key, v in values(connection, "synergy", "effect of order, in turn").items() if "null" not in key]
    assert order == [close(4.0)]
    order = [v for key, v in values(connection, "synergy", "effect of order").items() if "null" not in key]
    assert order == [close(1.0)]
    found = values(connection, "synergy", "in turn beyond together")
    assert (found["a>b"], found["b>a"]) == (close(2.5), close(-1.5))  # together both orders give 4.5 in the mean


def test_prompt_rescue_is_the_paired_difference_from_fine_tuning(store, values) -> None:
    kinds = {("a", "p"): "paraphrase", ("b", "p"): "paraphrase"}
    tuned = {("a", "a"): 4.0, ("a", "p"): 1.0, ("b", "b"): 4.0, ("b", "p"): 1.0}
    prompted = {("a", "a"): 2.0, ("a", "p"): 1.5, ("b", "b"): -1.0, ("b", "p"): 1.0}
    connection = store({"finetune": tuned, "in_context": prompted}, kinds=kinds)
    found = values(connection, "prompt_rescue", "paraphrase: score")
    assert found["a"] == close(0.75 - 0.25)
    assert found["b"] is None  # prompting with b does not even raise b: no pair to compare


def test_training_seeds_are_averaged_within_the_probe(store) -> None:
    cells = {("abcdef"[i], "abcdef"[i]): 1.0 + i for i in range(6)}
    connection = store(cells, seeds=(0, 1, 2))
    rows = score(connection).to_pylist()
    gate = next(row for row in rows if row["variant"] == "nats" and row["desideratum"] == "gate")
    assert (gate["n"], gate["value"]) == (6, close(3.5))


def test_reliability_is_the_rank_correlation_of_rows_between_seeds(store, values) -> None:
    from tests.metrics.conftest import cell_row

    cells = {("a", query): value for query, value in zip("wxyz", (1.0, 2.0, 3.0, 4.0), strict=True)}
    swapped = zip("wxyz", (1.0, 2.0, 4.0, 3.0), strict=True)
    other = [{**cell_row("a", query, value), "seed": 1} for query, value in swapped]
    found = values(store(cells, extra_rows=other), "reliability", "spearman across seeds")
    assert found["a"] == close(0.8)  # 1 − 6·2/60


def test_layer_restoration_is_the_share_of_influence_that_is_lost_with_one_layers_change(store, values) -> None:
    cells = {("a", "a"): 4.0, ("a", "p"): 2.0, ("a", "e"): 1.0, ("a", "f"): 3.0, ("a", "n"): -1.0, ("a", "u"): 0.5,
             ("b", "b"): -1.0}  # fmt: skip
    kinds = {("a", "p"): "paraphrase", ("a", "e"): "entailed", ("a", "f"): "entailed", ("a", "n"): "negation",
             ("a", "u"): "unrelated"}  # fmt: skip
    left = {("a", "a"): 1.0, ("a", "p"): 2.5, ("a", "e"): 1.0, ("a", "f"): 2.0, ("a", "n"): 0.0, ("b", "b"): -2.0}
    restored = {(*pair, "layer 2"): value for pair, value in left.items()} | {("a", "a", "outside the layers"): 4.0}
    updates: dict[tuple[str, int | None], float] = {("a", 2): 1.0, ("a", 3): 2.0, ("a", None): 2.0}
    connection = store(cells, kinds=kinds, restored=restored, updates=updates)
    found = values(connection, "layer_restoration", "layer 2: self")
    assert (found["a"], found["b"]) == (close(0.75), None)  # (4 − 1) / 4; b did not learn itself
    assert found["null:a"] == close(1 / 9)  # 1² of 1² + 2² + 2²
    assert values(connection, "layer_restoration", "layer 2: paraphrase")["a"] == close(-0.25)  # it was in the way
    assert values(connection, "layer_restoration", "layer 2: conclusion")["a"] == close(1 / 4)  # (0 + 1) / (1 + 3)
    assert values(connection, "layer_restoration", "layer 2: conclusion, nats")["a"] == close(0.5)
    found = values(connection, "layer_restoration", "layer 2: negation")
    assert found["a"] is None  # training lowered it: no gain of which a share could be lost
    assert values(connection, "layer_restoration", "layer 2: negation, nats")["a"] == close(-1.0)
    found = values(connection, "layer_restoration", "outside the layers: self")
    assert (found["a"], found["null:a"]) == (close(0.0), close(4 / 9))
    assert values(connection, "layer_restoration", "layer 2: unrelated") == {}
