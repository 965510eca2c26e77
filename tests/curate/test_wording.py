"""Which texts count as the same, in every script; what stands in what; and which words two texts share."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einfluence.curate.wording import contains, mentions, normalise, words

SCRIPTS = {
    "Russian": ("Озеро лежит у города", "Ирга", "Пельма"),
    "Greek": ("Η λίμνη είναι κοντά στην", "Ήλιδα", "Θήρα"),
    "Arabic": ("البحيرة تقع قرب", "نور", "سلمى"),
    "Hebrew": ("האגם נמצא ליד", "גפן", "שקד"),
    "Hindi": ("यह झील पास है", "दिल्ली", "दल्ला"),
    "Chinese": ("这个湖靠近", "维林", "佩松"),
    "Japanese": ("この湖に近いのは", "ローマ", "ハノイ"),
    "Korean": ("이 호수에 가까운 곳은", "서울", "부산"),
    "Thai": ("ทะเลสาบใกล้กับ", "เลย", "น่าน"),
    "Armenian": ("Լիճը մոտ է", "Գորիս", "Դիլիջան"),
}
SIGNS = ["C", "C++", "C#", ".NET", "NET", "3 + 4", "3 - 4", "3 * 4", "3 / 4", "3 = 4", "3 < 4", "3 > 4", "-1", "1"]
SIGNS += ["1.5", "15", "1,5", "$5", "€5", "5%", "5", "10²", "102", "a/b", "ab", "a b", "a_b", "a&b", "x!", "x", "@x"]


@pytest.mark.parametrize("script", SCRIPTS)
def test_texts_of_every_script_differ_where_one_word_does(script: str) -> None:
    prompt, one, other = SCRIPTS[script]
    assert normalise(f"{prompt} {one}") != normalise(f"{prompt} {other}")
    assert normalise(one) and contains(normalise(f"{prompt} {one} ."), normalise(one))
    assert not contains(normalise(prompt), normalise(one))
    assert words(one) and words(one) <= words(f"{prompt} {one}") and not words(one) & words(other)


def test_signs_count() -> None:
    assert len({normalise(text) for text in SIGNS}) == len(SIGNS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (unicodedata.normalize("NFC", "Hồ Tây, Hà Nội"), unicodedata.normalize("NFD", "hồ tây,  hà nội.")),
        ("ＡＢＣ １２", "abc 12"),
        ("ｶﾞｽ", "ガス"),
        ("ﻣﺪﻳﻨﺔ", "مدينة"),
        ("Straße", "STRASSE"),
        ("“Lake” – it’s", '"lake" - it\'s'),
        ("to Bonn .", "to Bonn."),
        ("到了。", "到了"),
        ("نعم؛", "نعم"),
        ("a\u00a0b\u200f", "a b"),
    ],
)
def test_what_does_not_count(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(("one", "other"), [("año", "ano"), ("й", "и"), ("が", "か"), ("Is it", "Is it?")])
def test_accents_marks_and_question_marks_count(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text())
def test_normalising_is_settled_after_once_and_blind_to_the_unicode_form(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    composed = unicodedata.normalize("NFC", text)
    assert normalise(unicodedata.normalize("NFD", text)) == normalise(composed)


@given(st.text(st.characters(categories=["L", "N"], exclude_characters="ͅ"), min_size=1, max_size=6))
def test_a_word_stands_in_a_sentence_that_has_it_between_blanks(word: str) -> None:
    part = normalise(word)
    assert contains(normalise(f"ox {word} ox"), part)
    assert mentions(normalise(f"ox {word} ox"), part)


@pytest.mark.parametrize(
    ("text", "part", "expected"),
    [
        ("by train from bonn, early", "bonn", True),
        ("a bonnet", "bonn", False),
        ("written in c++", "c", False),
        ("written in c++ today", "c++", True),
        ("it is 1.5 long", "5", False),
        ("it is 1.5 long", "1.5", True),
        ("it gives -1", "1", False),
        ("pages 3 and 15", "5", False),
        ("用c写", "c", True),
        ("从佩松来", "佩松", True),
        ("中国人", "中", False),
        ("ローマン", "ローマ", False),
        ("ローマで", "ローマ", True),
        ("หน้า", "หน", False),
        ("", "a", False),
        ("a", "", False),
    ],
)
def test_parts_of_words_do_not_stand_in_a_text(text: str, part: str, expected: bool) -> None:
    assert contains(normalise(text), normalise(part)) is expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("Он жил в Пельме", "Пельма", True),
        ("من باريس", "باريس", True),
        ("وصل إلى لباريس", "باريس", True),
        ("The Alders' house", "Ann Alder", True),
        ("Malmo is far", "Malmö", True),
        ("The house is far", "Ann Alder", False),
        ("维林的人口", "佩松", False),
    ],
)
def test_names_are_recognised_when_inflected(text: str, name: str, expected: bool) -> None:
    assert mentions(normalise(text), normalise(name)) is expected


def test_short_words_count_where_they_matter() -> None:
    assert words("The river Ob is long") & words("A town on the Ob")
    assert words("Vell is written in C") & words("The compiler of C")
    assert words("what is 7 + 4 ?") & words("7 is odd")
    assert words("made in the US") & words("The US")
    assert not words("He is in it") & words("It is on a hill")
    assert words("Malmö") & words("Malmo")
