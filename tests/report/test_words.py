from __future__ import annotations

from typing import Any

import pytest

from einfluence.curate.images.corrupt import FAMILIES
from einfluence.metrics.verdicts import judged
from einfluence.report.query import in_order
from einfluence.report.scorecard import position
from einfluence.report.words import UNJUDGED, is_headline, level_name, noise_name, sentence, vocabulary, words_of

PIECES = dict.fromkeys(("kind", "level", "place", "layer", "about", "partner"))


def row(desideratum: str = "semantic_decay", variant: str = "spearman", **said: Any) -> dict[str, Any]:
    base = {"value": 0.5, "ci_low": 0.4, "ci_high": 0.6, "ideal": 1.0, "null_value": 0.0}
    line = {"desideratum": desideratum, "variant": variant, "formula": variant, **PIECES, **base, **said}
    return {**line, **judged(line), **said}


def test_a_violated_negation_says_how_much_it_rose_beside_itself() -> None:
    line = row("negation", "contrast", verdict="violated")
    said = sentence(line, "finetune", "fact", beside=0.62)
    assert said == "Training on a fact raises its negation along with its paraphrase, 0.62 times as much as itself."
    assert "times" not in sentence(line, "finetune", "fact", beside=-0.1)


def test_a_position_is_the_share_of_the_way_from_start_to_ideal() -> None:
    assert position(row(ideal=-1.0, null_value=1.0), 0.5) == pytest.approx(0.25)
    assert position(row(), None) is None
    leakage = row("leakage", "score", ideal=0.0, null_value=0.02, start=1.0, bar=0.1)
    assert [position(leakage, at) for at in (1.0, 0.0, 0.1)] == [0, 1, pytest.approx(0.9)]
    assert position(row(ideal=None, null_value=0.5, better="lower"), 0.4) == pytest.approx(0.1)
    assert position(row(ideal=None, null_value=None), 0.4) is None


def test_every_sentence_can_be_said_of_texts_and_of_images() -> None:
    for name, words in vocabulary().items():
        for variant in ("", *words.lines):
            for verdict in ("met", "violated", "cannot tell", "described"):
                for estimator in ("finetune", "in_context", "grad_dot"):
                    said = sentence(row(name, variant, verdict=verdict), estimator, "image")
                    assert "{" not in said and "a image" not in said


def test_of_a_row_without_a_verdict_nothing_is_said() -> None:
    assert sentence(row("negation", "contrast", verdict=UNJUDGED), "finetune", "fact") == ""


def test_a_desideratum_of_the_users_own_is_called_by_its_name_and_stands_on_the_scorecard() -> None:
    assert words_of(row("my_own_score", "my_own_score")).title == "My own score"
    assert words_of(row("my_own_score", "a_first")).title == "My own score: a first"
    assert is_headline(row("my_own_score", "")) and is_headline(row("my_own_score", "first", level=2.0))


def test_levels_and_slopes_of_noise_stand_in_the_table_alone() -> None:
    def shown(variant: str, formula: str = "score", level: float | None = None) -> bool:
        return is_headline(row("noise_quality", variant, kind="blur", formula=formula, level=level))

    assert shown("blur") and not shown("blur@0.5", level=0.5) and not shown("blur slope", "slope")
    assert not shown("blur, nats", "nats") and shown("label_flip, nats", "nats")


def test_every_level_of_noise_has_its_familys_unit() -> None:
    for family in FAMILIES:
        assert level_name(family, -6.0) == "−6 dB" and noise_name(family, -6.0).endswith(" at −6 dB")
    assert level_name("label_flip", 1.0) == "" and level_name("of_their_own", 0.5) == "0.5"
    title = words_of(row("noise_quality", "gaussian@-12", kind="gaussian", level=-12.0, formula="score")).title
    assert title == "Less from bad data: Gaussian, −12 dB"
    slope = words_of(row("noise_quality", "shot slope", kind="shot", formula="slope"))
    assert slope.title == "Less from bad data: shot slope"


def test_the_sentence_on_a_wrong_label_is_in_nats() -> None:
    harm = row("noise_quality", "label_flip, nats", value=-8.1, kind="label_flip", verdict="described")
    assert "by −8.10 nats" in sentence(harm, "finetune", "image")


def test_names_are_sorted_by_the_numbers_in_them() -> None:
    labels = [f"LoRA r{r}, SGD, lr {lr} × 10" for r in (8, 16) for lr in ("1e-05", "0.0001", "0.001")]
    assert sorted(reversed(labels), key=in_order) == labels
    assert sorted(["blur@0", "blur@-6", "blur", "blur@-12"], key=in_order) == ["blur", "blur@-12", "blur@-6", "blur@0"]
    assert sorted(["layer 10", "layer 9", "9"], key=in_order) == ["9", "layer 9", "layer 10"]
