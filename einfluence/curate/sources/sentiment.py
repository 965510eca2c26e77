"""Labelled sentences as texts: the sentiment is the target."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from einfluence.curate.builder import Gates
from einfluence.curate.records import Record, lines_of
from einfluence.curate.sources.cases import UNREADABLE, Case, Claim, Text, Trial
from einfluence.curate.sources.rows import Place, files_of, rows
from einfluence.errors import InputError

SENTIMENTS = ("negative", "positive")
OTHER = "label other than positive or negative"
TEXTS = ("text", "sentence", "review", "content", "tweet", "comment")
LABELS = ("label", "sentiment", "labels", "polarity", "class")
_WORDS = {"negative": 0, "neg": 0, "positive": 1, "pos": 1}
_SIDES = {**_WORDS, "0": 0, "1": 1}
_MEND = "Write positive or negative in its place, as you read the scale"


def sentiment(place: Place, gates: Gates) -> Iterator[Case]:
    """Lines of sentence, tab, 0 or 1 (UCI), or rows of a text and a label; the other label is ``sibling``.

    Labels are the words positive and negative (pos, neg), or 0 and 1 if the whole data set has no other number but -1,
    which says that there is none. A row without a label, or with another word, is counted and left out. Every other
    number is refused: what 1 means on a scale of 1 to 5, or 0.9, is not ours to guess.

    Raises:
        InputError: Naming the first row whose label is unknown.
    """
    for number, where, sentence, side in labelled(place, gates):
        prompt = f"{sentence.strip()} The sentiment is"
        own, other = Text(prompt, SENTIMENTS[side]), Text(prompt, SENTIMENTS[1 - side])
        trials = (Trial((own,), (Claim(other, "sibling"),)),)
        yield Case(f"{number}:{sentence}", where, SENTIMENTS[side], trials, ignore=("sentiment",))


def labelled(place: Place, gates: Gates) -> Iterator[tuple[int, str, str, int]]:
    """Number, place, sentence and side (0 negative, 1 positive) of each item that has them; as :func:`sentiment`."""
    gates.open(UNREADABLE, OTHER)
    found = [(where, sentence, _label(where, label)) for where, sentence, label in _labelled(place)]
    _check_scale(place, found)
    for number, (where, sentence, label) in enumerate(found):
        side = _WORDS.get(label) if isinstance(label, str) else label
        if side is None and isinstance(label, str):
            gates.count(OTHER, f"{where}: {label}")
        elif side not in (0, 1) or not sentence.strip():
            gates.count(UNREADABLE, f"{where}: {'no text' if side in (0, 1) else 'no label'}")
        else:
            yield number, where, sentence, side


def sides(classes: Sequence[str], label: str) -> tuple[str, str]:
    """Which of a classifier's classes are the negative and the positive one, by their names.

    Args:
        classes: Names of its classes.
        label: What error messages call the classifier.

    Raises:
        InputError: When there is not one of each.
    """
    found = [[name for name in classes if _WORDS.get(name.strip().lower()) == side] for side in (0, 1)]
    if any(len(names) != 1 for names in found):
        expected = "one that is called negative (neg) and one positive (pos)"
        fix = "name them in `id2label` of its config.json, or give the texts as `samples` with labels of its own"
        raise InputError("source.name", f"sentiment, with the classes {', '.join(classes)} of {label}", expected, fix)
    return found[0][0], found[1][0]


def _label(where: str, value: Any) -> str | int | None:
    """A label as a word in lower case, as a whole number, or None where there is none."""
    if isinstance(value, str):
        value = value.strip().lower()
        if value in ("", "none", "null", "nan"):
            return None
        try:
            value = float(value)
        except ValueError:
            if value in ("true", "false"):
                raise InputError(f"{where} label", value, "positive or negative, or 0 or 1", _MEND) from None
            return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
        raise InputError(f"{where} label", f"{value!r:.60}", "positive or negative, or 0 or 1", _MEND)
    return int(value)


def _check_scale(place: Place, found: list[tuple[str, str, str | int | None]]) -> None:
    numbers = {label for _, _, label in found if isinstance(label, int)}
    odd = numbers - {-1, 0, 1} or (numbers if -1 in numbers and 0 not in numbers else set[int]())
    if odd:
        where, label = next((where, label) for where, _, label in found if label in odd)
        scale = f"{label}, of a scale of {', '.join(map(str, sorted(numbers)[:8]))}"
        fix = _MEND if numbers != {-1} else "No row has a label: choose another split (`split: train`)"
        raise InputError(f"{where} label", scale, "positive or negative, or 0 or 1 (and -1 where there is none)", fix)
    words = {label for _, _, label in found if isinstance(label, str)}
    if words and not numbers and not words & _WORDS.keys():
        seen = ", ".join(sorted(words)[:8])
        raise InputError(f"{place} label", f"the labels {seen}", "positive or negative, or 0 or 1", _MEND)


def _labelled(place: Place) -> Iterator[tuple[str, str, Any]]:
    if isinstance(place, Path) and place.is_dir() and (lists := sorted(place.glob("*labelled.txt"))):
        place = tuple(lists)
    if isinstance(place, str):
        yield from _columns(rows(place))
        return
    for file in files_of(place):
        if file.suffix.lower() in (".txt", ".tsv", "") and not file.is_dir():
            yield from _tabbed(file)
        else:
            yield from _columns(rows(file))


def _columns(records: Iterator[Record]) -> Iterator[tuple[str, str, Any]]:
    """Text and label of rows; which columns hold them is decided by the first row that has both."""
    waiting: list[Record] = []
    names: tuple[str, str] | None = None
    for record in records:
        waiting.append(record)
        names = names or _names(record[1])
        if names:
            yield from (_cells(where, row, *names) for where, row in waiting)
            waiting = []
    if waiting:
        where, row = waiting[0]
        raise InputError(
            where,
            f"the columns {', '.join(row)}",
            f"a text ({', '.join(TEXTS)}) and a label ({', '.join(LABELS)})",
            "Rename the columns, or choose a split with labels (`split: train`)",
        )


def _names(row: Mapping[str, Any]) -> tuple[str, str] | None:
    known = {key.strip().lower(): key for key in row}
    sentence = next((known[name] for name in TEXTS if name in known), None)
    label = next((known[name] for name in LABELS if name in known), None)
    return (sentence, label) if sentence is not None and label is not None else None


def _cells(where: str, row: Mapping[str, Any], sentence: str, label: str) -> tuple[str, str, Any]:
    found = row.get(sentence)
    if found is not None and not isinstance(found, str):
        raise InputError(f"{where} {sentence}", f"{found!r:.60}", "text")
    sides = {key: _SIDES.get(str(row[key]).strip().lower()) for key in row if key.strip().lower() in LABELS}
    if {0, 1} <= set(sides.values()):
        shown = ", ".join(f"{key} {row[key]}" for key, side in sides.items() if side is not None)
        raise InputError(
            where, f"labels that contradict each other ({shown})", "one column of labels", "Leave out the other"
        )
    return where, found or "", row.get(label)


def _tabbed(file: Path) -> Iterator[tuple[str, str, Any]]:
    """Lines of sentence, tab, label; or a header and columns. Quotation marks in a sentence are part of it."""
    header: list[str] = []
    for number, line in lines_of(file):
        cells = [_unquoted(cell) for cell in line.rstrip("\r").split("\t")]
        if number == 1 and _names({cell: "" for cell in cells}):
            header = cells
        elif line.strip() and header:
            if len(cells) != len(header):
                raise InputError(f"{file}:{number}", f"{len(cells)} columns", f"{len(header)}, as the header has")
            row = {key: cell for key, cell in zip(header, cells, strict=True) if cell != ""}
            yield _cells(f"{file}:{number}", row, *(_names({cell: "" for cell in header}) or ("", "")))
        elif line.strip():
            sentence, _, label = line.rstrip("\r").rpartition("\t")
            if len(cells) != 2 or label.strip().lower() not in ("0", "1", *_WORDS):
                expected = "a sentence, a tab, and 0 or 1; or a header that names a text and a label"
                raise InputError(f"{file}:{number}", f"{line[-40:]!r}", expected)
            yield f"{file}:{number}", sentence, label


def _unquoted(cell: str) -> str:
    """A cell without the quotation marks that CSV writers put around it: those inside are doubled then."""
    inner = cell[1:-1]
    quoted = len(cell) > 1 and cell[0] == cell[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if quoted else cell
