"""Reading a published data set in a test."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from einfluence.curate import curate
from einfluence.samples import Curated
from einfluence.spec import Part, Source, Spec


def read(name: str, path: Path, **more: Any) -> Curated:
    part = Part(base="x", source=Source(name=name, path=str(path), **more))
    return curate(part, Spec(parts=(part,)))


def each(tokenize: Callable[[str], Sequence[Any]]) -> Callable[[Sequence[str]], list[Sequence[Any]]]:
    """A tokenizer of several texts, from one of a single text."""
    return lambda texts: [tokenize(text) for text in texts]


def gates(made: Curated) -> dict[str, int]:
    return {row["gate"]: row["count"] for row in made.report.to_pylist()}


def probes(made: Curated) -> list[tuple[str, str]]:
    """Prompt and target of each probe of one sample."""
    text = {row["sample_id"]: (row["prompt"], row["target"]) for row in made.samples.to_pylist()}
    return [text[row["sample_id"]] for row in made.probe_members.to_pylist()]
