"""Columns of a row that are missing or not known: what to say, all in one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from einfluence.errors import InputError

SECOND = ("text_b", "hypothesis", "sentence2", "text2", "sentence_b", "question2", "text_pair")
"""What people call the second text of a pair."""
_MEANT = {
    "id": ("idx", "index", "_id", "uid", "uuid", "guid", "key", "sample_id", "example_id", "question_id", "qid"),
    "prompt": ("question", "query", "instruction", "input", "inputs", "source", "context", "user", "human", "premise"),
    "target": (
        "completion", "answer", "response", "output", "outputs", "targets", "solution", "assistant", "label_text",
        "document", "content", "sentence", "text", "chosen", "summary",
    ),
    "group": ("category", "domain", "topic", "subset", "task", "type", "class"),
    "text": (
        "sentence", "review", "content", "tweet", "comment", "premise", "sentence1", "text1", "text_a", "sentence_a",
        "question1", "question",
    ),
    "text_b": (*SECOND[1:], "sentence", "passage", "answer"),
    "label": ("labels", "sentiment", "polarity", "class", "category", "gold_label"),
    "tokens": ("words",),
    "tags": ("ner_tags", "pos_tags", "chunk_tags", "labels"),
    "image": ("img", "file_name", "filename", "path", "image_path"),
}  # fmt: skip


def misfit(
    where: str,
    present: Iterable[str],
    unknown: Sequence[str],
    required: Sequence[str],
    optional: Sequence[str],
    *,
    samples: bool = False,
) -> InputError:
    """What to say of a row that lacks columns or has unknown ones: everything at once.

    Args:
        where: File and line.
        present: The row's columns.
        unknown: Columns of the whole file that are not known.
        required: Columns that a row must have.
        optional: Columns that it may have besides.
        samples: Whether it is of a table of samples, whose columns the part may rename and leave out.
    """
    present = list(present)
    missing = [key for key in required if key not in present]
    found = [f"no {listed(missing)}"] if missing else []
    if unknown:
        found.append(f"the unknown column{'s' if len(unknown) > 1 else ''} {listed(unknown)}")
    free = [key for key in dict.fromkeys((*required, *optional)) if key not in present]
    meant_by: dict[str, str] = {}
    rest = list(unknown)
    for key in unknown:
        ours = meant(key, free, guess=key not in missing)
        if ours is not None:
            meant_by[ours] = key
            free.remove(ours)
            rest.remove(key)
    if samples:
        advice = [f"`fields: {{{', '.join(f'{ours}: {key}' for ours, key in meant_by.items())}}}`"] if meant_by else []
    else:
        advice = [f"rename `{key}` to `{ours}`" for ours, key in meant_by.items()]
    second = second_of([*present, *unknown]) if "text_b" not in (*required, *optional) else None
    lost = [key for key in missing if key not in meant_by]
    if second is not None:
        advice = [OF_PAIRS_ALONE]
    elif samples and lost and unknown:  # leaving columns out brings none of these
        rest = []
        advice.append(f"`fields: {{{lost[0]}: COLUMN}}` names the column that is `{lost[0]}`, if there is one")
    if rest:
        advice.append(f"`extra: drop` leaves out {listed(rest)}" if samples else f"leave out {listed(rest)}")
    if missing and not unknown:
        advice.append(EMPTY)
    expected = f"columns among {', '.join((*required, *optional))}"
    return InputError(where, " and ".join(found), expected, sentence("; ".join(advice)))


EMPTY = "An empty cell, and null, count as none"
OF_PAIRS_ALONE = "a text classifier reads pairs of texts (…ForSequenceClassification); for this base write both as one"


def second_of(columns: Iterable[str]) -> str | None:
    """The column of the second text of a pair, if there is one."""
    return next((name for name in columns if name in SECOND), None)


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
