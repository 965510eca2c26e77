"""Rows of one text and rows of two: which of them a text classifier was trained on, as far as that can be known."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from einfluence.errors import InputError
from einfluence.samples import Sample

OF_PAIRS = frozenset(
    "entailment not_entailment contradiction neutral "
    "duplicate not_duplicate equivalent not_equivalent paraphrase not_paraphrase".split()
)
"""What classes of pairs of texts are called: by GLUE, and by the models trained on it."""
SHOWN = 3
_ANY = "`text_pairs: any` takes rows of both kinds"


def check_pairs(samples: Iterable[Sample], labels: Sequence[str]) -> None:
    """Refuses rows of which some have a second text and some have none, and single texts for classes of pairs.

    A model does not say whether it was trained on pairs. The names of its classes may, and rows of one table are of one
    kind.

    Args:
        samples: Every sample of a part.
        labels: The base's classes.

    Raises:
        InputError: Naming the first rows of the rarer kind.
    """
    pairs, single = list[Sample](), list[Sample]()
    for sample in samples:
        (pairs if "text_b" in sample.inputs else single).append(sample)
    if single and of_pairs(labels):
        found = f"one text{_places(single)}, for classes of pairs of texts ({', '.join(labels)})"
        fix = f"`fields: {{text_b: COLUMN}}` names the column of the second text; {_ANY}"
        raise InputError(single[0].source, found, "`text` and `text_b` in every row", fix)
    if single and pairs:
        few, many = sorted((single, pairs), key=len)
        kinds = ("two texts", "one text") if few is pairs else ("one text", "two texts")
        found = f"{kinds[0]}{_places(few)}, and {kinds[1]} in {many[0].source}{_more(many, 1)}"
        raise InputError(few[0].source, found, "`text_b` in every row or in none, as the base was trained", _ANY)


def of_pairs(labels: Sequence[str]) -> bool:
    """Whether classes are called what classes of pairs of texts are called."""
    names = {re.sub(r"[\W_]+", "_", label.strip().casefold()) for label in labels}
    return names <= OF_PAIRS and names != {"neutral"}


def _places(samples: Sequence[Sample]) -> str:
    """Where the samples behind the first are."""
    rest = [sample.source for sample in samples[1:SHOWN]]
    return f" (and in {', '.join(rest)}{_more(samples, SHOWN)})" if rest else ""


def _more(samples: Sequence[Sample], shown: int) -> str:
    count = len(samples) - shown
    return f" and {count:,} more row{'s' if count > 1 else ''}" if count > 0 else ""
