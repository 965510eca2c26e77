"""Named entities in columns of tokens and tags, in whatever tagging scheme: a mention's class is the target."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from einfluence.curate.builder import Gates
from einfluence.curate.records import COLUMNS, lines_of
from einfluence.curate.sources.cases import UNREADABLE, Case, Claim, Text, Trial
from einfluence.curate.sources.rows import ENDINGS as ROWS
from einfluence.curate.sources.rows import Place, files_of, rows, texts
from einfluence.errors import InputError

SCHEME = "files of tags read (the scheme as example)"
BROKEN = "tags that break their scheme"
TOKENS, TAGS = ("tokens", "words"), ("ner_tags", "tags", "labels")
_EXPECTED = "a tag with the mention's class, such as B-person, or O"
_TAG = re.compile(r"([BIESLUM])[-_](\S.*)")
_OPENING, _CLOSING = frozenset("BSU"), frozenset("ESLU")
_CHUNKS = frozenset("NP VP PP ADVP ADJP SBAR PRT CONJP INTJ LST UCP".split())  # phrases, which CoNLL-2003 tags too


@dataclass(frozen=True)
class _Line:
    number: int
    cells: tuple[str, ...]  # none between sentences


@dataclass(frozen=True)
class _Sentence:
    where: str
    tokens: Sequence[str]
    tags: Sequence[str]


def conll(place: Place, gates: Gates) -> Iterator[Case]:
    """Columns of token and tag, or rows of tokens and tags; a mention's class is the target.

    The ``sibling`` of a mention is the same prompt with another class of the file, the next in the alphabet. Blank
    lines stand between sentences. The schemes IOB1, IOB2, BIOES, BILOU and BMES give the same mentions. The column of
    tags is the first in which every cell is one, phrase tags such as ``B-NP`` aside; tokens are the first column, or
    the second where the first holds tags or numbers the tokens. Lines that begin with ``#`` and hold no tag, and
    ``-DOCSTART-``, are passed over.

    Raises:
        InputError: With file and line, for a row without a tag, or no mention at all.
    """
    gates.open(UNREADABLE, BROKEN)
    found = [mention for name, sentences in _read(place, gates) for mention in _mentions(name, sentences, gates)]
    classes = sorted({kind for _, _, kind in found})
    if not found:
        raise InputError(str(place), "no tagged mention", "columns of token and tag such as B-person, O")
    for number, (sentence, words, kind) in enumerate(found):
        whole = " ".join(sentence.tokens)
        prompt = f"{whole} In this sentence, {words} is a"
        rival = classes[(classes.index(kind) + 1) % len(classes)]
        claims = (Claim(Text(prompt, rival), "sibling"),) if rival != kind else ()
        yield Case(
            key=f"{number}:{words}",
            where=sentence.where,
            domain=kind,
            trials=(Trial((Text(prompt, kind),), claims),),
            cluster=whole,
            ignore=("sentence",),
        )


def tagged(place: Place, gates: Gates) -> Iterator[tuple[str, list[str], list[tuple[int, int, str]]]]:
    """Sentences with their mentions, whatever the scheme: place, words, and (first, one past the last, class).

    Raises:
        InputError: As :func:`conll`.
    """
    gates.open(UNREADABLE, BROKEN)
    for name, sentences in _read(place, gates):
        found = mentions(name, [(sentence.where, sentence.tags) for sentence in sentences], gates)
        for sentence, spans_of in zip(sentences, found, strict=True):
            yield sentence.where, [*sentence.tokens], spans_of


def mentions(
    name: str, tagged: Sequence[tuple[str, Sequence[str]]], gates: Gates
) -> Iterator[list[tuple[int, int, str]]]:
    """Mentions of each of the sentences of one file, whatever its scheme; see :func:`tagged`.

    Args:
        name: What the file is called.
        tagged: Place and tags of each sentence.
        gates: Counts the scheme, and the tags that break it.
    """
    gates.open(BROKEN)
    scheme = _scheme([tag for _, tags in tagged for tag in ("O", *tags)])
    gates.count(SCHEME, f"{name}: {scheme}")
    for where, tags in tagged:
        found = list(spans(tags, scheme))
        for start, _, _, whole in found:
            gates.count(BROKEN, f"{where}: {tags[start]} in {scheme}", int(not whole))
        yield [(start, end, kind) for start, end, kind, _ in found]


def _read(place: Place, gates: Gates) -> Iterator[tuple[str, list[_Sentence]]]:
    """Name and sentences of each file; all rows of tokens and tags as one."""
    if isinstance(place, Path) and place.is_dir():
        listed = sorted(file for file in place.iterdir() if file.suffix.lower() in COLUMNS)
        place = tuple(listed) if listed else place
    files = (place,) if isinstance(place, str) else files_of(place)
    for file in files:
        if isinstance(file, str) or file.is_dir() or file.suffix.lower() in ROWS:
            yield str(file), [_row(where, row) for where, row in rows(file)]
        else:
            yield str(file), list(_sentences(file, gates))


def _row(where: str, row: Mapping[str, Any]) -> _Sentence:
    tokens, tags = (next((key for key in keys if key in row), keys[0]) for keys in (TOKENS, TAGS))
    found = _Sentence(where, texts(where, row, tokens), texts(where, row, tags))
    odd = next((tag for tag in found.tags if not is_tag(tag)), None)
    if odd is not None:
        raise InputError(
            f"{where} {tags}", f"the tag {odd!r}", "a tag with the mention's class, such as B-person, or O"
        )
    if len(found.tokens) != len(found.tags) or not found.tokens:
        counts = f"{len(found.tokens)} tokens and {len(found.tags)} tags"
        raise InputError(where, counts, f"as many of {' or '.join(TOKENS)} as of {' or '.join(TAGS)}")
    return found


def _mentions(name: str, sentences: Sequence[_Sentence], gates: Gates) -> Iterator[tuple[_Sentence, str, str]]:
    """Sentence, words and class of each mention."""
    found = mentions(name, [(sentence.where, sentence.tags) for sentence in sentences], gates)
    for sentence, spans_of in zip(sentences, found, strict=True):
        for start, end, kind in spans_of:
            yield sentence, " ".join(sentence.tokens[start:end]), kind


def sentences(file: Path, fields: Mapping[str, str], gates: Gates) -> Iterator[tuple[str, list[str], list[str]]]:
    """Sentences of a file of columns: place, tokens and tags as they are written.

    The column of tags is the one that :func:`conll` would take; without tags of mentions it is the second of two, or
    the fourth of the ten of CoNLL-U.

    Args:
        file: The file.
        fields: The column of ``tokens`` or ``tags`` by its number from 1, where another is meant.
        gates: Counts lines without a token.

    Raises:
        InputError: With file and line, for a row without a tag, or columns that could be either.
    """
    gates.open(UNREADABLE)
    lines, numbered = _table(file)
    rows = [line for line in lines if line.cells]
    if not rows:
        raise InputError(str(file), "no rows", "columns of token and tag, a blank line between sentences")
    given = {name: _column(name, value) for name, value in fields.items()}
    tag = given["tags"] if "tags" in given else _column_of_tags(file, rows, numbered)
    token = given["tokens"] if "tokens" in given else _column_of_tokens(rows, numbered, tag)
    short = next((line for line in rows if len(line.cells) <= max(tag, token)), None)
    if short is not None:
        found = f"{len(short.cells)} columns ({' '.join(short.cells)!r:.60})"
        raise InputError(f"{file}:{short.number}", found, f"{max(tag, token) + 1}, as tokens and tags are in")
    for sentence in _split(file, lines, token, tag, gates):
        yield sentence.where, [*sentence.tokens], [*sentence.tags]


def _column(name: str, value: str) -> int:
    if name not in ("tokens", "tags"):
        raise InputError(f"fields.{name}", "a name for a column of tokens and tags", "`tokens` or `tags`")
    if not value.isdecimal() or int(value) < 1:
        raise InputError(f"fields.{name}", f"{value!r}", 'the number of a column, from 1, in quotes: "4"')
    return int(value) - 1


def _column_of_tags(file: Path, rows: Sequence[_Line], numbered: bool) -> int:
    width = min(len(line.cells) for line in rows)
    if any(all(is_tag(line.cells[place]) for line in rows) for place in range(width)):
        return _tag_column(file, rows)
    if width - numbered == 2:
        return width - 1
    if numbered and width == 10:
        return 3  # UPOS
    found = f"{width} columns, none of them of tags such as B-person and O"
    fix = 'say which they are: `fields: {tokens: "1", tags: "4"}`'
    raise InputError(f"{file}:{rows[0].number}", found, "a column of tokens and one of tags", fix)


def _column_of_tokens(rows: Sequence[_Line], numbered: bool, tag: int) -> int:
    return next(place for place in range(len(rows[0].cells)) if place != tag and not (numbered and place == 0))


def _sentences(file: Path, gates: Gates) -> Iterator[_Sentence]:
    lines, numbered = _table(file)
    columns = [line for line in lines if line.cells]
    if columns:
        tag = _tag_column(file, columns)
        yield from _split(file, lines, _column_of_tokens(columns, numbered, tag), tag, gates)


def _table(file: Path) -> tuple[list[_Line], bool]:
    """Lines with their cells, and whether the first of them number the tokens."""
    lines = list(_lines(file))
    sizes = {len(line.cells) for line in lines if line.cells and line.cells[0][:1] != "#"}
    lines = [line for line in lines if not line.cells or line.cells[0][:1] != "#" or len(line.cells) in sizes]
    numbered = all(re.fullmatch(r"\d+([-.]\d+)?", line.cells[0]) for line in lines if line.cells)
    if numbered:  # CoNLL-U: 3-4 is a word that is given as tokens 3 and 4, and 3.1 one that is not written
        lines = [line for line in lines if not line.cells or line.cells[0].isdigit()]
    return lines, numbered


def _split(file: Path, lines: Sequence[_Line], token: int, tag: int, gates: Gates) -> Iterator[_Sentence]:
    sentence: list[_Line] = []
    for line in [*lines, _Line(0, ())]:
        if line.cells and not line.cells[token]:
            gates.count(UNREADABLE, f"{file}:{line.number}: no token")
        elif line.cells:
            sentence.append(line)
        elif sentence:
            tokens, tags = ([row.cells[place] for row in sentence] for place in (token, tag))
            yield _Sentence(f"{file}:{sentence[0].number}", tokens, tags)
            sentence = []


def _lines(file: Path) -> Iterator[_Line]:
    """Lines with their cells; none for what stands between sentences. Comments are left out."""
    for number, text in lines_of(file):
        tabbed = "\t" in text
        cells = [cell.strip() for cell in (text.split("\t") if tabbed else text.split())]
        while cells and not cells[-1]:  # a tab at the end
            cells.pop()
        if not cells or cells[0] == "-DOCSTART-":
            yield _Line(number, ())
        elif not text.startswith("#") or any(is_tag(cell) for cell in cells[1:]):
            if len(cells) < 2:
                raise InputError(f"{file}:{number}", f"{text!r:.60}", "a token and a tag")
            yield _Line(number, tuple(cells))


def is_tag(cell: str) -> bool:
    """Whether a cell is a tag: O, or a place in a mention and the mention's class."""
    return cell == "O" or _TAG.fullmatch(cell) is not None


def _tag_column(file: Path, rows: Sequence[_Line]) -> int:
    """The first column of tags, phrases aside; also a column that has O alone."""
    width = min(len(line.cells) for line in rows)
    whole = [place for place in range(width) if all(is_tag(line.cells[place]) for line in rows)]
    if not whole:
        last = Counter(len(line.cells) for line in rows).most_common(1)[0][0] - 1
        line = next(line for line in rows if len(line.cells) <= last or not is_tag(line.cells[last]))
        found = f"the tag {line.cells[-1]!r}"
        raise InputError(f"{file}:{line.number}", found, _EXPECTED)
    classes = {place: {match[2] for line in rows if (match := _TAG.fullmatch(line.cells[place]))} for place in whole}
    named = [place for place in whole if classes[place] - _CHUNKS]
    return (named or [place for place in whole if classes[place]] or whole)[0]


def _scheme(tags: Sequence[str]) -> str:
    places = {tag[0] for tag in tags if tag != "O"}
    if "M" in places:
        return "BMES"
    if places & {"L", "U"}:
        return "BILOU"
    if places & {"E", "S"}:
        return "BIOES"
    opened = {tag[0] for before, tag in zip(["O", *tags], tags, strict=False) if tag != "O" and before[2:] != tag[2:]}
    return "IOB1" if opened == {"I"} else "IOB2"  # B opens a mention in IOB1 only right after another of its class


def spans(tags: Sequence[str], scheme: str) -> Iterator[tuple[int, int, str, bool]]:
    """Mentions of a sentence: first token, one past the last, class, and whether the tags keep to the scheme."""
    matches = [_TAG.fullmatch(tag) for tag in tags]
    start = 0
    for index, match in enumerate(matches):
        if match is None:
            continue
        before = matches[index - 1] if index else None
        if match[1] in _OPENING or before is None or before[2] != match[2] or before[1] in _CLOSING:
            start = index
        after = matches[index + 1] if index + 1 < len(tags) else None
        goes_on = after is not None and after[2] == match[2] and after[1] not in _OPENING
        if match[1] in _CLOSING or not goes_on:
            first, last = tags[start][0], match[1]
            yield start, index + 1, match[2], _keeps(scheme, first, last, index == start)


def _keeps(scheme: str, first: str, last: str, single: bool) -> bool:
    if scheme == "IOB1":
        return True
    if scheme == "IOB2":
        return first == "B"
    return first in "SU" if single else first == "B" and last in "EL"
