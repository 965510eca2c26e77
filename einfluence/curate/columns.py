"""Columns of a row that are missing or not known: what to say, all in one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from einfluence.errors import InputError

_MEANT = {
    "id": ("idx", "index", "_id", "uid", "uuid", "guid", "key", "sample_id", "example_id", "question_id", "qid"),
    "prompt": ("question", "query", "instruction", "input", "inputs", "source", "context", "user", "human", "premise"),
    "target": (
        "completion", "answer", "response", "output", "outputs", "targets", "solution", "assistant", "label_text",
        "document", "content", "sentence", "text", "chosen", "summary",
    ),
    "group": ("category", "domain", "topic", "subset", "task", "type", "class"),
    "text": ("sentence", "review", "content", "tweet", "comment"),
    "label": ("labels", "sentiment", "polarity", "class", "category"),
    "image": ("img", "file_name", "filename", "path", "image_path"),
}  # fmt: skip


def misfit(
    where: str, present: Iterable[str], unknown: Sequence[str], required: Sequence[str], optional: Sequence[str]
) -> InputError:
    """What to say of a row that lacks columns or has unknown ones: everything at once.

    Args:
        where: File and line.
        present: The row's columns.
        unknown: Columns of the whole file that are not known.
        required: Columns that a row must have.
        optional: Columns that it may have besides.
    """
    present = list(present)
    missing = [key for key in required if key not in present]
    found = [f"no {listed(missing)}"] if missing else []
    if unknown:
        found.append(f"the unknown column{'s' if len(unknown) > 1 else ''} {listed(unknown)}")
    free = [key for key in dict.fromkeys((*required, *optional)) if key not in present]
    advice: list[str] = []
    rest = list(unknown)
    for key in unknown:
        ours = meant(key, free, guess=key not in missing)
        if ours is not None:
            advice.append(f"rename `{key}` to `{ours}`")
            free.remove(ours)
            rest.remove(key)
    if rest:
        advice.append(f"leave out {listed(rest)}")
    expected = f"columns among {', '.join((*required, *optional))}"
    return InputError(where, " and ".join(found), expected, sentence("; ".join(advice)))


def meant(key: str, free: Sequence[str], *, guess: bool) -> str | None:
    """Which of our columns a foreign one may be: by its capitals, a slip of the pen, or what others call it."""
    plain = key.strip().strip("\ufeff\"'").lower()
    if plain in free:
        return plain
    near = difflib.get_close_matches(plain, free, 1, 0.8)
    if near:
        return near[0]
    return next((ours for ours, names in _MEANT.items() if guess and ours in free and plain in names), None)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    shown = [f"`{name}`" for name in names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else "nothing"


def sentence(text: str) -> str:
    """A text with a capital."""
    return text[:1].upper() + text[1:]
