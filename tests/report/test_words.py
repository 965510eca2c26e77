from __future__ import annotations

from typing import Any

import pytest

from einfluence.curate.noise import FAMILIES
from einfluence.report.query import in_order
from einfluence.report.rescue import decide as rescued
from einfluence.report.words import (
    decide,
    is_headline,
    level_name,
    noise_name,
    position,
    sentence,
    vocabulary,
    words_of,
)


def row(desideratum: str = "semantic_decay", variant: str = "spearman", **numbers: Any) -> dict[str, Any]:
    base = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "ideal": 1.0, "null_value": 0.0}
    return {"desideratum": desideratum, "variant": variant, **base, **numbers}


@pytest.mark.parametrize(
    ("numbers", "verdict"),
    [
        ({}, "met"),
        ({"ci_low": 0.25}, "met"),
        ({"value": 0.3, "ci_low": 0.2, "ci_high": 0.4}, "cannot tell"),  # straddles the quarter
        ({"value": 0.1, "ci_low": 0.05, "ci_high": 0.2}, "violated"),  # better than the null, but hardly
        ({"value": -0.5, "ci_low": -0.7, "ci_high": -0.3}, "violated"),
        ({"value": 0.1, "ci_low": -0.4, "ci_high": 0.6}, "cannot tell"),
        ({"value": None, "ci_low": None, "ci_high": None}, "cannot tell"),
        ({"ci_low": None, "ci_high": None}, "cannot tell"),
    ],
)
def test_the_verdict_asks_that_the_interval_reach_a_quarter_of_the_way(numbers: dict[str, Any], verdict: str) -> None:
    assert decide(row(**numbers)) == verdict


def test_where_less_is_better_the_interval_is_read_the_other_way_round() -> None:
    less = {"ideal": None, "null_value": 1.0}
    assert decide(row("noise_quality", "blur", value=0.4, ci_low=0.3, ci_high=0.5, **less)) == "met"
    assert decide(row("noise_quality", "blur", value=1.2, ci_low=1.1, ci_high=1.3, **less)) == "violated"
    assert decide(row("noise_quality", "blur", value=0.9, ci_low=0.7, ci_high=1.1, **less)) == "cannot tell"


def test_where_no_ideal_is_stated_a_tenth_is_the_least_that_counts() -> None:
    start = {"ideal": None, "null_value": 0.0}
    assert decide(row("synergy", "synergy", value=0.04, ci_low=0.02, ci_high=0.06, **start)) == "violated"
    assert decide(row("synergy", "synergy", value=0.2, ci_low=0.11, ci_high=0.3, **start)) == "met"
    assert decide(row("synergy", "synergy", value=0.1, ci_low=0.02, ci_high=0.2, **start)) == "cannot tell"


@pytest.mark.parametrize(
    ("ends", "answer"),
    [((0.1, 0.4), "better"), ((-0.4, -0.1), "worse"), ((-0.05, 0.06), "alike"), ((0.02, 0.4), "cannot tell")],
)
def test_the_prompt_is_better_worse_or_alike_by_the_whole_interval(ends: tuple[float, float], answer: str) -> None:
    assert rescued(*ends) == answer


def test_a_violated_negation_says_how_much_it_rose_beside_itself() -> None:
    said = sentence(row("negation", "contrast"), "violated", "finetune", "text", 0.62)
    assert said == "Training on a fact raises its negation along with its paraphrase, 0.62 times as much as itself."
    assert "times" not in sentence(row("negation", "contrast"), "violated", "finetune", "text", -0.1)


def test_leakage_is_measured_from_as_much_as_itself_to_nothing() -> None:
    small = row("leakage", "score", value=0.02, ci_low=0.01, ci_high=0.03, ideal=0.0, null_value=0.02)
    assert decide(small) == "met"
    assert position(small, 1.0) == 0 and position(small, 0.0) == 1
    assert decide({**small, "value": 0.5, "ci_low": 0.4, "ci_high": 0.6}) == "violated"


def test_asymmetry_is_described_not_judged() -> None:
    assert decide(row("asymmetry", "phi", ideal=None, null_value=0.5)) == "described"


def test_a_position_is_the_share_of_the_way_from_null_to_ideal() -> None:
    assert position(row(ideal=-1.0, null_value=1.0), 0.5) == pytest.approx(0.25)
    assert position(row(), None) is None


def test_every_sentence_can_be_said_of_texts_and_of_images() -> None:
    for name, words in vocabulary().items():
        for variant in ("", *words.lines):
            for verdict in ("met", "violated", "cannot tell", "described"):
                for estimator in ("finetune", "in_context", "grad_dot"):
                    said = sentence(row(name, variant), verdict, estimator, "image")
                    assert "{" not in said and "a image" not in said


def test_a_desideratum_of_the_users_own_is_called_by_its_name_and_stands_on_the_scorecard() -> None:
    assert words_of("my_own_score").title == "My own score"
    assert is_headline("my_own_score", "") and is_headline("my_own_score", "first")


def test_levels_and_slopes_of_noise_stand_in_the_table_alone() -> None:
    assert is_headline("noise_quality", "blur")
    assert not is_headline("noise_quality", "blur@0.5") and not is_headline("noise_quality", "blur slope")
    assert not is_headline("noise_quality", "blur, nats") and is_headline("noise_quality", "label_flip, nats")
    assert is_headline("my_own_score", "bread@2") and is_headline("my_own_score", "a slope")


def test_every_level_of_noise_has_its_familys_unit() -> None:
    for family in FAMILIES:
        assert level_name(family, -6.0) == "−6 dB" and noise_name(f"{family}@-6").endswith(" at −6 dB")
    assert level_name("label_flip", 1.0) == "" and level_name("of_their_own", 0.5) == "0.5"
    assert words_of("noise_quality", "gaussian@-12").title == "Less from bad data: Gaussian, −12 dB"
    assert words_of("noise_quality", "shot slope").title == "Less from bad data: shot slope"


def test_a_wrong_label_is_judged_by_a_contrast_and_described_in_nats() -> None:
    ends = {"ideal": 1.0, "null_value": 0.0}
    assert decide(row("noise_quality", "label_flip", value=0.98, ci_low=0.97, ci_high=1.0, **ends)) == "met"
    assert decide(row("noise_quality", "label_flip", value=0.1, ci_low=0.05, ci_high=0.2, **ends)) == "violated"
    harm = row("noise_quality", "label_flip, nats", value=-8.1, ci_low=-9.0, ci_high=-7.0, ideal=None, null_value=0.08)
    assert decide(harm) == "described"
    assert "by −8.10 nats" in sentence(harm, "described", "finetune", "image")


def test_names_are_sorted_by_the_numbers_in_them() -> None:
    labels = [f"LoRA r{r}, SGD, lr {lr} × 10" for r in (8, 16) for lr in ("1e-05", "0.0001", "0.001")]
    assert sorted(reversed(labels), key=in_order) == labels
    assert sorted(["blur@0", "blur@-6", "blur", "blur@-12"], key=in_order) == ["blur", "blur@-12", "blur@-6", "blur@0"]
    assert sorted(["layer 10", "layer 9", "9"], key=in_order) == ["9", "layer 9", "layer 10"]
