"""Noise in texts: how much of them it changes, what it leaves alone, and what is made of it by the scorecard."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import einfluence
from einfluence.curate.builder import CurationBuilder
from einfluence.curate.text_noise import FAMILIES, add_noisy_probes, spoil
from einfluence.curate.versions import WITHOUT_EFFECT
from einfluence.errors import InputError
from einfluence.samples import Sample

TEXT: str = "the quick brown fox jumps over a lazy dog, and runs"


def _spoilt(text: str, family: str, level: float, seed: int = 0) -> str:
    return spoil(text, family, level, np.random.default_rng(seed))


@pytest.mark.parametrize("level", [0.1, 0.5, 1.0])
def test_case_changes_the_share_of_letters_that_is_asked_for(level: float) -> None:
    found = _spoilt(TEXT, "case", level)
    assert found.lower() == TEXT
    letters = sum(sign.isalpha() for sign in TEXT)
    assert sum(a != b for a, b in zip(found, TEXT, strict=True)) == round(level * letters)


@pytest.mark.parametrize(("level", "left"), [(0.01, 10), (0.3, 8), (1.0, 1)])
def test_dropped_words_leave_the_others_in_order(level: float, left: int) -> None:
    words = _spoilt(TEXT, "dropped_words", level).split(" ")
    rest = str(TEXT).split(" ")
    assert len(words) == left and sorted(words, key=rest.index) == words


@pytest.mark.parametrize(("level", "moved"), [(0.01, 2), (0.3, 3), (1.0, 11)])
def test_shuffled_words_are_the_same_words_in_other_places(level: float, moved: int) -> None:
    text = " ".join("abcdefghijk")
    found = _spoilt(text, "shuffled_words", level)
    assert Counter(found.split()) == Counter(text.split())
    assert sum(a != b for a, b in zip(found.split(), text.split(), strict=True)) == moved


@pytest.mark.parametrize("seed", range(20))
def test_a_typo_is_one_letter_left_out_doubled_or_swapped(seed: int) -> None:
    found = _spoilt("abcdefgh", "typos", 0.1, seed)
    text, swaps = "abcdefgh", range(7)
    out = {text[:i] + text[i + 1 :] for i in range(8)}
    doubled = {text[:i] + text[i] + text[i:] for i in range(8)}
    swapped = {text[:i] + text[i + 1] + text[i] + text[i + 2 :] for i in swaps}
    assert found in out | doubled | swapped


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_and_the_kind_of_white_space_stay(family: str) -> None:
    found = _spoilt("one\ttwo [MASK]. three\nfour <mask> five", family, 0.6)
    assert "[MASK]." in found and "<mask>" in found
    if family != "dropped_words":
        assert [sign for sign in found if sign.isspace()] == ["\t", " ", " ", "\n", " ", " "]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_drawn_depends_on_sample_family_and_level_alone(family: str) -> None:
    first, other = _builder(TEXT), _builder("another text of some words", TEXT)
    for builder in (first, other):
        add_noisy_probes(builder, {family: (0.4,)}, label_flip=False)
    made = {sample.prompt for sample in first.samples.values() if sample.noise}
    assert len(made) == 1 and made < {sample.prompt for sample in other.samples.values()}


def test_a_noisy_text_is_a_probe_towards_its_clean_one() -> None:
    builder = _builder(TEXT)
    add_noisy_probes(builder, {"typos": (0.1, 0.5)}, label_flip=False)
    (clean,) = (sample for sample in builder.samples.values() if sample.noise is None)
    noisy = [sample for sample in builder.samples.values() if sample.noise]
    assert [(one.noise, one.level, one.parent_id) for one in noisy] == [
        ("typos", 0.1, clean.sample_id),
        ("typos", 0.5, clean.sample_id),
    ]
    assert all(one.target == "!" and one.gap == clean.gap and one.prompt != clean.prompt for one in noisy)
    assert sorted(filter(None, builder.claims.values())) == [("noisy", 0.1), ("noisy", 0.5)]


def test_noise_that_changes_nothing_is_counted_and_left_out() -> None:
    builder = _builder("一二三")
    add_noisy_probes(builder, {"case": (0.5,), "dropped_words": (0.5,)}, label_flip=False)
    assert len(builder.probes) == 1 and builder.gates.rows[WITHOUT_EFFECT][0] == 2


@pytest.mark.parametrize(
    ("noise", "flip", "words"),
    [
        ({"blur": [0.1]}, False, "one of typos, case, dropped_words, shuffled_words"),
        ({"label_flip": [1]}, False, "write `label_flip: true` beside `noise`"),
        ({"typos": [0.1, 0.1]}, False, "different shares above 0 and up to 1"),
        ({"typos": [5]}, False, "different shares above 0 and up to 1"),
        ({}, True, "samples of two classes or more"),
    ],
)
def test_noise_that_cannot_be_is_refused(noise: dict[str, list[float]], flip: bool, words: str) -> None:
    with pytest.raises(InputError, match=words):
        add_noisy_probes(_builder(TEXT), noise, flip)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("facts: world, label_flip: true", "`label_flip` beside `samples` or `source` only"),
        ("images: digits, noise: {typos: [0.1]}", "`noise` beside `samples` or `facts` or `source` only"),
    ],
)
def test_noise_beside_data_that_cannot_have_it_is_refused(tmp_path: Path, part: str, words: str) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"{{base: 'embedded:world', {part}}}", encoding="utf-8")
    with pytest.raises(InputError, match=words):
        einfluence.load_spec(spec)


def _tagged(noise: dict[str, list[float]]) -> list[Sample]:
    builder = CurationBuilder()
    inputs = {"tokens": ["ada", "lives", "in", "paris"], "tags": ["B-per", None, "O", "B-loc"]}
    clean = builder.sample(Sample("s", objective="token_class", inputs=inputs, target="B-per O B-loc"))
    builder.probe("s", [builder.query(clean)])
    add_noisy_probes(builder, noise, label_flip=False)
    return [sample for sample in builder.samples.values() if sample.noise]


def test_words_with_a_tag_each_keep_their_number_and_their_tags() -> None:
    typos, case = _tagged({"typos": [0.5], "case": [1.0]})
    assert case.inputs["tokens"] == ["ADA", "LIVES", "IN", "PARIS"] and case.prompt == "ADA LIVES IN PARIS"
    assert typos.inputs["tags"] == case.inputs["tags"] == ["B-per", None, "O", "B-loc"]
    assert len(typos.inputs["tokens"]) == 4 and all(typos.inputs["tokens"]) and typos.prompt != "ada lives in paris"
    assert typos.target == "B-per O B-loc"
    with pytest.raises(InputError, match="found dropped_words of samples of token_class; expected typos and case"):
        _tagged({"dropped_words": [0.5]})


def test_the_scorecard_judges_noise_and_wrong_labels_of_texts(tmp_path: Path) -> None:
    words = ("lovely", "dull", "gentle", "awful", "bright", "bitter")
    texts = [(f"{name} is {word}", "positive" if n % 2 == 0 else "negative") for n, word in enumerate(words)
             for name in ("rex", "luna")]  # fmt: skip
    rows = "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in texts)
    (tmp_path / "texts.jsonl").write_text(rows, encoding="utf-8")
    spec = """
base: embedded:opinions
samples: texts.jsonl
noise: {typos: [0.1, 0.6], shuffled_words: [1.0]}
label_flip: true
arms: [{recipe: {adapter: full, optimizer: {kind: sgd, lr: 0.01}, steps: 1}}]
"""
    (tmp_path / "spec.yaml").write_text(spec, encoding="utf-8")
    einfluence.measure(tmp_path / "spec.yaml", tmp_path / "store", report=True)
    with einfluence.Store(tmp_path / "store").connect() as connection:
        found = dict(
            connection.sql(
                "select desideratum || ' ' || variant, value from desiderata where desideratum like 'noise%'"
            ).fetchall()
        )
        flipped = connection.sql(
            "select count(*) from samples where noise = 'label_flip' and label_name <> domain"
        ).fetchall()
    assert found["noise_invariance typos@0.1"] > found["noise_invariance typos@0.6"]
    assert {"noise_quality label_flip", "noise_quality shuffled_words"} <= found.keys()
    assert flipped == [(12,)]
    assert "noise" in (tmp_path / "store" / "report.html").read_text(encoding="utf-8")


def _builder(*texts: str) -> CurationBuilder:
    builder = CurationBuilder()
    for text in texts:
        sample = builder.sample(Sample(text, prompt=text, target="!"))
        builder.probe(text, [builder.query(sample)])
    return builder
