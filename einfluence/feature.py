"""Features of samples that influence may rest on, as a spec names them; the rows `artifact` of the scorecard."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator

SHIPPED = ("lexical_overlap", "negation", "length", "class_share")
ENDINGS = (".sql", ".csv", ".tsv", ".jsonl", ".json", ".parquet")


def _known(name: str) -> str:
    if name not in SHIPPED and Path(name).suffix.lower() not in ENDINGS:
        raise ValueError(f"one of {', '.join(SHIPPED)}, or a file ({', '.join(ENDINGS)})")
    return name


Features = Annotated[
    tuple[Annotated[str, AfterValidator(_known)], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
]
"""Features that ship, and files of the user's own: a select, or a table; of one its name alone."""


def located(features: tuple[str, ...], folder: Path) -> list[str | Path]:
    """The features of a spec, its files by their paths."""
    return [name if name in SHIPPED else folder / Path(name).expanduser() for name in features]
