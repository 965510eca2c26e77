"""Labelled sentences as texts: sentiment and named entities, with the label as target."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from einfluence.curate.cases import UNREADABLE, Case, Claim, Text, Trial
from einfluence.curate.draft import Gates
from einfluence.curate.records import lines_of
from einfluence.curate.sources.rows import rows
from einfluence.errors import InputError

SENTIMENTS = ("negative", "positive")


def sentiment(path: Path | str, gates: Gates) -> Iterator[Case]:
    """Lines of sentence, tab, 0 or 1 (UCI), or rows of {text or sentence, label}; the other label is ``sibling``."""
    for number, (where, sentence, label) in enumerate(_labelled(path)):
        if label not in (0, 1) or not sentence.strip():
            gates.count(UNREADABLE, f"{where}: label {label!r}")
            continue
        prompt = f"{sentence.strip()} The sentiment is"
        own, other = (Text(prompt, SENTIMENTS[side]) for side in (label, 1 - label))
        trials = (Trial((own,), (Claim(other, "sibling"),)),)
        yield Case(f"{number}:{sentence}", where, SENTIMENTS[label], trials, ignore=("sentiment",))


def _labelled(path: Path | str) -> Iterator[tuple[str, str, int]]:
    if isinstance(path, str) or path.suffix.lower() not in (".txt", ".tsv", ""):
        for where, row in rows(path):
            yield where, str(row.get("text", row.get("sentence", ""))), int(row.get("label", -1))
        return
    files = sorted(path.glob("*labelled.txt")) if path.is_dir() else [path]
    if not files:
        raise InputError(str(path), "no *labelled.txt", "a file of sentence, tab, 0 or 1")
    for file in files:
        for number, line in lines_of(file):
            sentence, _, label = line.rpartition("\t")
            if line.strip():
                if label.strip() not in ("0", "1"):
                    raise InputError(f"{file}:{number}", f"{line[-40:]!r}", "a sentence, a tab, and 0 or 1")
                yield f"{file}:{number}", sentence, int(label)


def conll(path: Path | str, gates: Gates) -> Iterator[Case]:
    """Columns of token and tag (B-, I-, O), blank lines between sentences; a mention's class is the target.

    The ``sibling`` of a mention is the same prompt with another class of the file, the next in the alphabet.
    """
    if isinstance(path, str):
        raise InputError("source.path", f"{path!r}", "a file in CoNLL columns, or a folder of them")
    endings = (".conll", ".bio", ".iob", ".iob2")
    files = sorted(file for file in path.iterdir() if file.suffix in endings) if path.is_dir() else [path]
    found = [mention for file in files for mention in _mentions(file)]
    classes = sorted({kind for _, _, _, kind in found})
    if not found:
        raise InputError(str(path), "no tagged mention", "columns of token and tag such as B-person, O")
    for number, (where, sentence, mention, kind) in enumerate(found):
        prompt = f"{sentence} In this sentence, {mention} is a"
        rival = classes[(classes.index(kind) + 1) % len(classes)]
        claims = (Claim(Text(prompt, rival), "sibling"),) if rival != kind else ()
        trials = (Trial((Text(prompt, kind),), claims),)
        yield Case(f"{number}:{mention}", where, kind, trials, cluster=sentence, ignore=("sentence",))


def _mentions(file: Path) -> Iterator[tuple[str, str, str, str]]:
    tokens: list[str] = []
    tags: list[str] = []
    start = 1
    for number, line in [*lines_of(file), (0, "")]:
        cells = line.split("\t") if "\t" in line else line.split()
        if cells and cells[0].strip() and not line.startswith("-DOCSTART-"):
            if len(cells) < 2:
                raise InputError(f"{file}:{number}", f"{line!r:.60}", "a token and a tag")
            start = start if tokens else number
            tokens.append(cells[0].strip())
            tags.append(cells[-1].strip())
            continue
        yield from _spans(f"{file}:{start}", tokens, tags)
        tokens, tags = [], []


def _spans(where: str, tokens: list[str], tags: list[str]) -> Iterator[tuple[str, str, str, str]]:
    for index, tag in enumerate(tags):
        if tag.startswith("B-") or (tag.startswith("I-") and (index == 0 or tags[index - 1][2:] != tag[2:])):
            end = index + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            yield where, " ".join(tokens), " ".join(tokens[index:end]), tag[2:]
