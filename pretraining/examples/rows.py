"""What the small tasks have in common: rows to train on, rows to be measured on, and rows that teach something new."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pretraining.language import Language

Row = dict[str, Any]


@dataclass(frozen=True)
class Rows:
    """Rows of one task.

    Args:
        train: What the model is trained on.
        held_out: What its accuracy is measured on.
        new: What the example teaches it: rows about words that were never trained on, with an `id` each.
        relations: Between these, {probe, query, kind}.
    """

    train: list[Row]
    held_out: list[Row]
    new: list[Row] = field(default_factory=list[Row])
    relations: list[Row] = field(default_factory=list[Row])

    @classmethod
    def split(cls, rows: list[Row], new: list[Row], relations: list[Row]) -> Rows:
        """The last sixth of the rows is held out."""
        kept = len(rows) * 5 // 6
        return cls(rows[:kept], rows[kept:], new, relations)


def named(language: Language, *classes: str) -> list[str]:
    """The names of some classes of the world."""
    return [language.words[token] for name in classes for token in language.classes[name]]
