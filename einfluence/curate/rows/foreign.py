"""Tables whose rows are not read as they are: which format they are of, and what to say of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from einfluence.curate.columns import EMPTY, OF_PAIRS_ALONE, listed, meant, second_of, sentence
from einfluence.curate.rows.shapes import COMMON, SHAPES, Shape, shape_of
from einfluence.errors import InputError


class Format(NamedTuple):
    """A format that is known by its columns, and not read."""

    fields: tuple[str, ...]
    name: str
    fix: str


FORMATS = (
    Format(
        ("question", "choices"),
        "questions with choices",
        "write `question` as `prompt` and the words of the right choice as `target`",
    ),
    Format(
        ("question", "options"),
        "questions with options",
        "write `question` as `prompt` and the words of the right option as `target`; of ProntoQA and ProofWriter, "
        "`source: {name: prontoqa, path: FILE}` reads more",
    ),
    Format(
        ("question", "answers"),
        "questions with several answers (SQuAD)",
        "write `context`, where there is one, and `question` as `prompt`, and one of the `answers` as `target`",
    ),
    Format(
        ("translation",), "translations", "write one language as `prompt` and the other as `target`, both as plain text"
    ),
    Format(
        ("prompt", "completion", "label"),
        "answers with a label (KTO)",
        "leave out the rows whose answer is unwanted, and the column; or write `chosen` and `rejected` answers",
    ),
    *(
        Format(
            columns,
            "pairs of texts",
            "take a text classifier as base; or write both as `prompt` and the class's word as `target`, which a "
            "language model says",
        )
        for columns in (
            ("premise", "hypothesis"),
            ("sentence1", "sentence2"),
            ("question1", "question2"),
            ("text", "text_b"),
        )
    ),
    *(
        Format(
            (text, "label"),
            "texts and their classes",
            f"take a text classifier as base; or write `{text}` as `prompt` and the class's word as `target`, which a "
            "language model says",
        )
        for text in ("text", "sentence")
    ),
    Format(("image", "text"), "images with texts", "write rows of {image, label}: only classes of images are measured"),
    Format(
        ("subject", "relation", "object"),
        "triplets",
        "write `source: {name: triplets, path: FILE}` into the spec instead of `samples: FILE`",
    ),
    *(
        Format(
            columns,
            what,
            f"write `source: {{name: {name}, path: FILE}}` into the spec instead of `samples: FILE`: that reads "
            "what is a paraphrase, a conclusion and so on as well",
        )
        for columns, what, name in (
            (("requested_rewrite", "single_hops"), "MQuAKE", "mquake"),
            (("requested_rewrite",), "CounterFact", "counterfact"),
            (("prompt", "target_new", "portability"), "KnowEdit", "knowedit"),
            (("prompt", "target_new"), "CounterFact", "counterfact"),
            (("hypothesis", "proof"), "EntailmentBank", "entailmentbank"),
            (("metadata", "phrase"), "Leap-of-Thought", "leap_of_thought"),
        )
    ),
)


def foreign(columns: Collection[str]) -> Format | None:
    """The format that rows of these columns are of, if it is known and not read."""
    return next((one for one in FORMATS if set(one.fields) <= set(columns)), None)


def no_shape(where: str, fields: Mapping[str, Any]) -> InputError:
    """What to say of a table whose first row has no shape that is read."""
    seen, names = foreign(fields), dict.fromkeys(("prompt", "target", *COMMON))
    found = f"{seen.name}: {listed([*fields])}" if seen else f"no known shape in {listed([*fields])}"
    shapes = "; ".join(", ".join(shape.needs) for shape in SHAPES)
    says = "`fields: {target: COLUMN}`, say, names the column that is the target"
    fix = seen.fix if seen else _nested(fields) or _mapped(fields, [*names], guess=True) or says
    return InputError(where, found, f"the columns of one of these: {shapes}; or image, label", sentence(fix))


def _nested(fields: Mapping[str, Any]) -> str:
    """What to say of a column that holds the rows themselves."""
    name = next((name for name, value in fields.items() if isinstance(value, list) and _of_rows(value)), None)
    return f"the rows seem to be the list under `{name}`: save that list as the file" if name else ""


def _of_rows(value: list[Any]) -> bool:
    return bool(value) and all(isinstance(row, dict) and shape_of(row) is not None for row in value)


def another_shape(where: str, fields: Mapping[str, Any], shape: Shape) -> InputError:
    """What to say of a row that lacks what the rows before it have."""
    other = shape_of(fields)
    if other is None or other is shape:
        lacks = listed([name for name in shape.needs if name not in fields])
        return InputError(where, f"no {lacks}", f"{listed(shape.needs)}, as in the first row", EMPTY)
    found = f"a row of {other.name} ({listed(other.needs)}) behind rows of {shape.name} ({listed(shape.needs)})"
    return InputError(where, found, "one shape in a table", "Make two files, and a part of the spec for each")


def too_many(where: str, fields: Mapping[str, Any], others: Sequence[str], shape: Shape) -> InputError:
    """What to say of columns that nothing reads: all of the table's at once."""
    seen = foreign(fields)
    s = "s" if len(others) > 1 else ""
    expected = f"columns among {', '.join(shape.columns)}, as rows of {shape.name} have them"
    mapped = _mapped(others, [name for name in shape.columns if name not in fields], guess=False)
    second = second_of(others)
    mapped = OF_PAIRS_ALONE if second else mapped
    advice = [seen.fix] if seen else [*([mapped] if mapped else []), f"`extra: drop` leaves out {listed(others)}"]
    found = f"the unknown column{s} {listed(others)}"
    return InputError(where, f"{seen.name}: {found}" if seen else found, expected, sentence("; ".join(advice)))


def _mapped(columns: Iterable[str], free: list[str], *, guess: bool) -> str:
    """The `fields` that may be meant, as the spec has them."""
    columns, found = list(columns), dict[str, str]()
    free = [name for name in free if name not in columns]
    for column in (column for column in columns if column not in COMMON):
        ours = meant(column, free, guess=guess)
        if ours is not None:
            found[ours] = column
            free.remove(ours)
    shown = ", ".join(f"{name}: {column}" for name, column in found.items())
    return f"`fields: {{{shown}}}` says which column is which" if found else ""
