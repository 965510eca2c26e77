"""When two texts count as the same, whether one stands in another, and which content words a text has; in any script.

Letters, digits, marks and signs of every script count. Scripts that write no blanks between words (Chinese, Japanese,
Thai and others) have no words to compare, so short strings of characters stand in for them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import groupby

# Length of the strings that stand in for words. Two Chinese or Korean characters are mostly a word; in the other
# scripts two are a syllable, and any two texts share some.
_PIECE = {"CJK": 2, "HANGUL": 2, "KATAKANA": 3, "HIRAGANA": 4} | dict.fromkeys(
    ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN", "JAVANESE", "BALINESE", "TAI"), 4
)
_PARTICLES = frozenset("的是在了和与與之为為于於有一不")  # Chinese words of grammar
_VARIANTS = str.maketrans("‘’‚‛“”„«»‐‑–−", '\'\'\'\'"""""----')
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_PAUSES = re.compile(r"[.,;:。、，；：．։،؛۔।॥…]+(?=\s|$)")
_ENDING = re.compile(r"(es|s)$")
_SHORT = re.compile(r"(?<=\W)[^\W_]{1,2}(?![\w.])")


def normalise(text: str) -> str:
    """The text without what does not count: two texts are the same if these are.

    Not counted are the Unicode form (NFC or NFD, full or half width, joined Arabic glyphs), case, the number of blanks,
    the shape of quotation marks, apostrophes and hyphens, invisible direction marks, and full stops, commas, colons and
    semicolons at the end of a word. Everything else counts: letters and accents of every script, digits, and signs, so
    that ``C``, ``C++`` and ``.NET``, ``1.5`` and ``15``, ``-1`` and ``1``, ``$5`` and ``€5`` all differ.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", "".join(map(_plain, _INVISIBLE.sub("", text)))).translate(_VARIANTS)
    folded = unicodedata.normalize("NFC", text.casefold())
    return " ".join(_PAUSES.sub("", folded).split())


@lru_cache(maxsize=4096)
def _plain(character: str) -> str:
    """A character in its usual width and shape; combinations that mean another thing (²) stay."""
    kind, _, rest = unicodedata.decomposition(character).partition("> ")
    if kind in ("<wide", "<narrow", "<initial", "<medial", "<final", "<isolated"):
        return "".join(chr(int(code, 16)) for code in rest.split())
    return character


def contains(text: str, part: str) -> bool:
    """Whether a text has a part as words of its own; both as :func:`normalise` gives them.

    ``bonn`` stands in ``from bonn, by train`` but not in ``bonnet``, ``c`` not in ``c++``, ``5`` not in ``1.5``. Where
    no blanks are written, a part of two characters or more may stand anywhere.
    """
    start = text.find(part) if part else -1
    while start >= 0:
        end = start + len(part)
        if _free(part, text[max(0, start - 2) : start][::-1], -1) and _free(part, text[end : end + 2], 1):
            return True
        start = text.find(part, start + 1)
    return False


def _free(part: str, rest: str, side: int) -> bool:
    """Whether a part ends where the rest of the text goes on; ``rest`` is read away from the part."""
    edge, near, beyond = part[-1 if side > 0 else 0], rest[:1], rest[1:2]
    if not near:
        return True
    if side > 0 and (near in "+#" or unicodedata.category(near)[0] == "M"):  # C++; a mark belongs to its letter
        return False
    if edge.isdigit() and near in ".,-" and (beyond.isdigit() or (near == "-" and not beyond.isalnum())):
        return False
    if not _is_word(edge) or not _is_word(near):
        return True
    if _script(edge) not in _PIECE or _script(near) not in _PIECE:
        return _script(edge) in _PIECE or _script(near) in _PIECE
    return len(part) > 1 and {_script(edge), _script(near)} != {"KATAKANA"}


def mentions(text: str, name: str) -> bool:
    """Whether a text may be about a name, be it inflected, with an article joined to it, or in part.

    The first three quarters of its longest word must stand somewhere.
    """
    text, name = _bare(text), _bare(name)
    longest = max(_runs(name), key=len, default=name)
    return longest[: max(3, -(-3 * len(longest) // 4))] in text


def words(text: str) -> set[str]:
    """Content words: what two texts share if they speak of the same thing.

    English words come without their plural or verb ending, and without stop words; accents do not count. Words of one
    or two letters count where they have a digit, or a capital elsewhere than at the start: ``Ob``, ``C``, ``7``. Of
    scripts without blanks, all strings of two to four characters count.
    """
    found = {_stem(piece) for word in _runs(_bare(text)) for piece in _pieces(word)}
    short = {match for match in _SHORT.findall(text) if match != match.lower()}
    return found | {match.lower() for match in short if match == match.upper() or match.lower() not in _stop_words()}


def _bare(text: str) -> str:
    """Normalised, and without accents and vowel points, which many writers leave out."""
    text = normalise(text)
    if text.isascii():
        return text
    letters = (letter for letter in unicodedata.normalize("NFD", text) if not _is_accent(letter))
    return unicodedata.normalize("NFC", "".join(letters))


@lru_cache(maxsize=4096)
def _is_accent(character: str) -> bool:
    name = unicodedata.name(character, "")
    return unicodedata.category(character) == "Mn" and (
        name.startswith(("ARABIC", "HEBREW")) or (name.startswith("COMBINING") and "KATAKANA" not in name)
    )


def _pieces(word: str) -> Iterator[str]:
    for script, run in groupby(word, lambda letter: _script(letter) if _script(letter) in _PIECE else ""):
        part, length = "".join(run), _PIECE.get(script, 0)
        if not length:
            if (len(part) > 2 or any(letter.isdigit() for letter in part)) and part not in _stop_words():
                yield part
        elif len(part) <= length:
            if script not in ("HIRAGANA", "HANGUL") or len(part) == length:  # shorter ones are endings
                yield from {part} - _PARTICLES
        else:
            pieces = (part[start : start + length] for start in range(len(part) - length + 1))
            yield from (piece for piece in pieces if script != "CJK" or _PARTICLES.isdisjoint(piece))


def _stem(word: str) -> str:
    return _ENDING.sub("", word) if len(word) > 4 else word


@lru_cache(maxsize=1)
def _stop_words() -> frozenset[str]:
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

    return ENGLISH_STOP_WORDS


def _runs(text: str) -> list[str]:
    """Runs of letters, digits and marks."""
    if text.isascii():
        return re.findall(r"[^\W_]+", text)
    return ["".join(run) for is_word, run in groupby(text, _is_word) if is_word]


@lru_cache(maxsize=4096)
def _is_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


@lru_cache(maxsize=4096)
def _script(character: str) -> str:
    """``LATIN``, ``CJK`` and so on: the first word of the character's name."""
    first = unicodedata.name(character, "?").split()[0]
    return {"KATAKANA-HIRAGANA": "KATAKANA", "IDEOGRAPHIC": "CJK"}.get(first, first)
