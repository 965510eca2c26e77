"""Tables built to have a property; the scorecard must say so."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from einfluence.metrics import score
from tests.metrics.synthetic import Kind, synthetic

Card = dict[tuple[str, str], dict[str, Any]]


def card_of(kind: Kind, modality: str = "text", seed: int = 0) -> Card:
    connection = duckdb.connect(config={"python_enable_replacements": False, "threads": 1})
    synthetic(connection, probes=120, queries=240, kind=kind, arms=1, seed=seed)
    bases = dict(connection.execute("select modality, base from bases").fetchall())
    rows = score(connection, draws=400).to_pylist()
    return {(r["desideratum"], r["variant"]): r for r in rows if r["domain"] == "all" and r["base"] == bases[modality]}


IDEAL = [
    ("gate", "learned"), ("semantic_decay", "spearman"), ("leakage", "score"), ("paraphrase", "score"),
    ("negation", "contrast"), ("negation", "P(negation < 0)"), ("transitivity", "score"),
    ("transitivity", "P(entailed > sibling)"), ("contrapositive", "score"), ("direction", "contrast"),
    ("asymmetry", "phi, paraphrase"),
]  # fmt: skip


def test_ideal_learning_reaches_every_ideal() -> None:
    card = card_of("ideal")
    for key in IDEAL:
        assert card[key]["value"] == pytest.approx(card[key]["ideal"], abs=1e-9), key
    pictures = card_of("ideal", "image")
    for key in [("noise_invariance", "gaussian"), ("noise_invariance", "occlusion slope")]:
        assert pictures[key]["value"] == pytest.approx(pictures[key]["ideal"], abs=1e-9), key


@pytest.mark.parametrize("modality", ["text", "image"])
def test_noise_without_learning_stays_at_the_nulls(modality: str) -> None:
    cards = [card_of("null", modality, seed) for seed in range(3)]
    # The null of noise quality is that bad data teaches as well as good, that of restoring a layer that nothing is lost
    # or as much as the layer changed: not what this table holds.
    others = ("noise_quality", "layer_restoration")
    keys = [key for key, row in cards[0].items() if row["p_value"] is not None and key[0] not in others]
    assert len(keys) > 15
    for key in keys:
        # Three independent tables: under the null all three p-values fall under 0.05 once in 8000.
        assert max(card[key]["p_value"] for card in cards) > 0.05, key


def test_symmetric_influence_has_no_asymmetry_and_antisymmetric_has_all_of_it() -> None:
    assert card_of("symmetric")["asymmetry", "phi"]["value"] == pytest.approx(0.0, abs=1e-12)
    assert card_of("antisymmetric")["asymmetry", "phi"]["value"] == pytest.approx(1.0, abs=1e-12)


def test_a_model_blind_to_negation_is_found_out_by_negation_alone() -> None:
    card = card_of("negation_blind")
    assert card["negation", "contrast"]["value"] == 0.0
    assert card["negation", "P(negation < 0)"]["value"] == 0.0
    assert card["paraphrase", "score"]["value"] == pytest.approx(1.0)


def test_a_model_blind_to_noise_learns_as_much_from_bad_data() -> None:
    card = card_of("noise_blind", "image")
    assert card["noise_quality", "gaussian"]["value"] == pytest.approx(1.0)
    assert card["noise_quality", "label_flip"]["value"] == pytest.approx(0.0)
    assert card["noise_invariance", "gaussian"]["value"] == pytest.approx(1.0)
    sighted = card_of("ideal", "image")
    flipped = sighted["noise_quality", "label_flip"]
    assert flipped["value"] == flipped["ideal"] == pytest.approx(1.0)
    harm = sighted["noise_quality", "label_flip, nats"]
    assert harm["value"] == pytest.approx(-0.5 * harm["null_value"])
