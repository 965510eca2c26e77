"""What stands between a prompt and its target, where nobody says: a blank, or nothing.

A blank between two words is right in most scripts and wrong in those that write none: there it makes a text that
nobody writes, and other tokens.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right

# Scripts that write no blanks between words, their punctuation and their full-width forms; Hangul writes them.
_UNSPACED = (
    (0x0E00, 0x0FFF),  # Thai, Lao, Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19FF),  # Tai Le, New Tai Lue, symbols of Khmer
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0x2E80, 0x312F),  # radicals, Chinese and Japanese punctuation, kana, Bopomofo
    (0x3190, 0x31FF),  # marks of kanbun, Bopomofo, strokes, kana
    (0x3220, 0x325F),  # ideographs in brackets and circles
    (0x3280, 0x4DBF),  # the same, squared words, ideographs
    (0x4E00, 0xA4CF),  # ideographs, Yi
    (0xA980, 0xA9FF),  # Javanese, Burmese
    (0xAA60, 0xAADF),  # Burmese, Tai Viet
    (0xF900, 0xFAFF),  # ideographs
    (0xFE10, 0xFE1F),  # vertical forms
    (0xFE30, 0xFE4F),
    (0xFF01, 0xFF9F),  # full-width letters and punctuation, half-width kana
    (0xFFE0, 0xFFE6),
    (0x11700, 0x1174F),  # Ahom
    (0x16FE0, 0x18DFF),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # kana, Nushu
    (0x1F200, 0x1F2FF),  # squared ideographs
    (0x20000, 0x3FFFF),  # ideographs
)
_STARTS = [start for start, _ in _UNSPACED]
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"  # join or part words where they stand; a blank would undo that
_ENDS = "!?.,;:…%’'”»)]}"  # what a clause of prose may end with, a blank behind it
_BEGINS = "\"'“‘«¿¡…-–—+$€£¥#@"  # what one may begin with, a blank before it


def gap(prompt: str, target: str, join: str | None = None) -> str:
    """What stands between prompt and target.

    Args:
        prompt: May be empty; then nothing stands there.
        target: The target.
        join: What the user wants there, ``""`` for nothing. None takes one blank, but nothing where

            - either side has white space at the joint already;
            - a bracket has just been opened, or is about to be closed;
            - a mark of the character before begins the target, or an invisible joiner stands at the joint;
            - a character at the joint is of a script that writes no blanks (and the prompt is not all in another).
    """
    if not prompt or not target:
        return ""
    if join is not None:
        return join
    last, first = prompt[-1], target[0]
    if last.isspace() or first.isspace():
        return ""
    if last.isascii() and first.isascii() and last.isalnum():  # by far the most; saves looking things up
        return "" if first in ")]}" else " "
    left, right = unicodedata.category(last), unicodedata.category(first)
    if left == "Ps" or right == "Pe" or right[0] == "M" or last in _INVISIBLE or first in _INVISIBLE:
        return ""
    if unspaced(_base(prompt)) or unspaced(first):
        other = not any(map(unspaced, prompt)) and any(map(str.isalpha, prompt))
        return " " if other else ""
    return " "


def plain_gap(prompt: str, target: str) -> str:
    """The rule of the first stores, in which ids were given: a blank where neither side has white space."""
    return " " if prompt and target and not prompt[-1].isspace() and not target[0].isspace() else ""


def unspaced(character: str) -> bool:
    """Whether a character belongs to a script that writes no blanks between words."""
    code = ord(character)
    at = bisect_right(_STARTS, code) - 1
    return code >= 0x0E00 and code <= _UNSPACED[at][1]


def doubtful(prompt: str, target: str) -> bool:
    """Whether :func:`gap` puts a blank where the text may well have none: at an edge of code, or of two scripts."""
    if gap(prompt, target) != " ":
        return False
    last, first = _base(prompt), target[0]
    if unspaced(last) or unspaced(first) or (_is_sign(first) and first not in _BEGINS):
        return True
    if last == '"':
        return prompt.count(last) % 2 == 1  # the target stands in quotes that were just opened
    if not _is_sign(last) or prompt[-2:-1].isspace():  # an operator with a blank before it has one behind it
        return False
    return last not in _ENDS or prompt.endswith("::") or (last == "." and first.islower())


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS" and unicodedata.category(character) != "So"


def _base(text: str) -> str:
    """The last character that is no mark of another (an accent, a variation selector, a tone)."""
    return next((character for character in reversed(text) if unicodedata.category(character)[0] != "M"), text[-1])
