from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from einfluence.visible import visible


def test_what_would_act_is_written_out() -> None:
    assert visible("a\x00b \x1b[31m\x07 c\r\x7f") == "a␀b ␛[31m␇ c␍␡"
    assert visible("\u202eback\u202c \x9b31m \ufeff \ud800") == "\\u202eback\\u202c \\u009b31m \\ufeff \\ud800"


def test_what_people_write_stays() -> None:
    for text in ("plain", "two\nlines\tand a tab", "مرحبا שלום 你好", "👩‍🔬 naïve e\u0301", "a\u200fb", "\u2028"):
        assert visible(text) == text


@given(st.text(st.characters()))
def test_nothing_visible_is_lost_and_what_is_shown_stays_shown(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    assert not {unicodedata.category(letter) for letter in shown} & {"Cs"}
    assert not set(shown) & set("\x00\x1b\x07\x7f\x9b\u202e\u2066\r")
