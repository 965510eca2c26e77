"""Texts of users as a terminal or a page may show them: what would act instead of being seen is written out."""

from __future__ import annotations

_PICTURES = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: "\u2421"}
_ORDERS = (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF, 0xFFFE, 0xFFFF)
_SHOWN = _PICTURES | {code: f"\\u{code:04x}" for code in (*_ORDERS, *range(0xD800, 0xE000))}


def visible(text: str) -> str:
    r"""Writes out characters that would act rather than be seen; all other text stays as it is.

    Control characters become their pictures (NUL ``␀``, ESC ``␛``, BEL ``␇``), but for tabs and ends of lines;
    C1 controls, orders to turn the direction of writing, byte-order marks, lone surrogates and the last two code points
    of the basic plane become ``\u202e`` and the like.
    """
    return text if text.isascii() and text.isprintable() else text.translate(_SHOWN)
