"""What stands between prompt and target: a blank only where the scripts write one."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einfluence.joint import doubtful, gap, plain_gap, unspaced
from einfluence.samples import Sample

UNSPACED_NAMES = (
    "CJK UNIFIED", "CJK COMPATIBILITY IDEOGRAPH", "HIRAGANA LETTER", "KATAKANA LETTER", "THAI CHARACTER", "LAO LETTER",
    "KHMER LETTER", "MYANMAR LETTER", "TIBETAN LETTER", "BOPOMOFO LETTER", "YI SYLLABLE", "TAI LE LETTER",
    "NEW TAI LUE LETTER", "TAI THAM LETTER", "TAI VIET LETTER", "JAVANESE LETTER", "BALINESE LETTER", "FULLWIDTH LATIN",
    "HALFWIDTH KATAKANA LETTER", "NUSHU CHARACTER", "HENTAIGANA LETTER", "IDEOGRAPHIC FULL STOP", "IDEOGRAPHIC COMMA",
)  # fmt: skip
SPACED_NAMES = (
    "LATIN", "GREEK", "CYRILLIC", "ARABIC LETTER", "HEBREW LETTER", "DEVANAGARI LETTER", "BENGALI LETTER",
    "TAMIL LETTER", "HANGUL SYLLABLE", "GEORGIAN", "ARMENIAN", "ETHIOPIC SYLLABLE", "MONGOLIAN LETTER",
    "CHEROKEE LETTER", "DIGIT",
)  # fmt: skip
EVERY = [chr(code) for code in range(0x20, 0x32000) if unicodedata.category(chr(code))[0] in "LNP"]
UNSPACED = [one for one in EVERY if unicodedata.name(one, "").startswith(UNSPACED_NAMES)]
SPACED = [one for one in EVERY if unicodedata.name(one, "").startswith(SPACED_NAMES)]
words = st.text(st.sampled_from(SPACED), min_size=1, max_size=4)
ideographs = st.text(st.sampled_from(UNSPACED), min_size=1, max_size=4)


def test_every_character_of_a_script_is_known_as_such() -> None:
    assert [one for one in UNSPACED if not unspaced(one)] == []
    assert [one for one in SPACED if unspaced(one)] == []
    assert len(UNSPACED) > 80_000 and len(SPACED) > 12_000


@given(words, words)
def test_words_are_joined_with_one_blank(prompt: str, target: str) -> None:
    assert gap(prompt, target) == " "


@given(ideographs, words, ideographs)
def test_nothing_is_put_beside_a_script_that_writes_no_blanks(left: str, word: str, right: str) -> None:
    assert gap(left, right) == ""
    assert gap(left, word) == ""
    assert gap(left + word, right) == ""


@given(words.filter(str.isalpha), ideographs)
def test_a_word_of_another_script_is_set_off_and_counted(prompt: str, target: str) -> None:
    assert gap(prompt, target) == " "
    assert doubtful(prompt, target)


@given(st.text(max_size=4), st.text(max_size=4), st.text(max_size=2))
def test_what_is_asked_for_stands_there(prompt: str, target: str, join: str) -> None:
    assert gap(prompt, target, join) == (join if prompt and target else "")
    assert gap(prompt, target) in ("", " ")


@pytest.mark.parametrize(
    ("prompt", "target", "between"),
    [
        ("", "b", ""),
        ("a\n", "b", ""),
        ("a", " b", ""),
        ("2008", "年", ""),
        ("答案:", "北京", ""),
        ("서울은", "도시", " "),
        ("print(", "x)", ""),
        ("print(x", ")", ""),
        ("می\u200c", "خواهم", ""),
        ("e", "\u0301", ""),
        ("葛\U000e0100", "x", ""),
        ("what is dax ?", "bird", " "),
    ],
)
def test_the_joint(prompt: str, target: str, between: str) -> None:
    assert gap(prompt, target) == between


@pytest.mark.parametrize(
    ("prompt", "target", "counted"),
    [
        ("np.", "array", True),
        ("f", "(x)", True),
        ("std::", "vector", True),
        ("snake_", "case", True),
        ("the cat", ", and", True),
        ('print("', "hello", True),
        ('he said "no"', "and", False),
        ("x =", "5", False),
        ("Answer:", "Paris", False),
        ("Is it so?", "Yes.", False),
        ("It cost", "$5", False),
        ("np.", "\tarray", False),
    ],
)
def test_a_blank_at_an_edge_of_code_is_counted(prompt: str, target: str, counted: bool) -> None:
    assert doubtful(prompt, target) is counted


@given(st.text(max_size=5), st.text(max_size=5), st.sampled_from([None, "", " ", "\n"]))
def test_texts_have_one_id_just_if_the_model_sees_the_same_at_the_joint(
    prompt: str, target: str, join: str | None
) -> None:
    """An id of before stays where the blank is where it was, however that is said."""
    plain = Sample("a", prompt, target, join=plain_gap(prompt, target) if prompt and target else None)
    one = Sample("b", prompt, target, join=join)
    assert (one.sample_id == plain.sample_id) == (one.gap == plain.gap)
    assert one.text == prompt + one.gap + target


def test_ids_of_before_are_kept() -> None:
    assert Sample("a", "dax is a", "bird").sample_id == Sample("a", "dax is a", "bird", join=" ").sample_id
    assert Sample("a", "dax is a", "bird").sample_id == "805344682ce5038c45fe"
