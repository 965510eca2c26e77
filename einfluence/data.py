"""What a part of a spec says of its data, where that is not a file of its own samples."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from einfluence.recipe import Count, Float, Int, Model, Seed

DATA = ("facts", "samples", "images", "source")
"""The keys of a part that name its data; it has one of them."""
BESIDE = {
    **dict.fromkeys(("fields", "extra", "chat", "chat_template"), ("samples",)),
    **dict.fromkeys(("label_flip", "near_duplicates", "paraphrases"), ("samples", "source")),
    "noise": ("samples", "facts", "source"),
}
"""By the keys of a part that are about its data: which data they may be about."""
Similarity = Annotated[Float, Field(ge=0, le=1)]


def _template(value: str) -> str:
    if value.count("{text}") != 1 or value.strip() == "{text}":
        raise ValueError("words around one `{text}`")
    return value


Template = Annotated[str, AfterValidator(_template)]
"""A text around `{text}`."""


class Facts(Model):
    """Probes and queries derived from a facts file."""

    file: str = Field(default="world", description="a facts file (YAML), or `world` for the one that is shipped")
    domains: tuple[str, ...] | None = Field(default=None, description="only these knowledge domains")
    probes: Count | None = Field(
        default=None, description="how many probe facts (a balanced, seeded draw); null takes all"
    )
    kinds: tuple[str, ...] | None = Field(default=None, description="only these kinds of relation; null takes all")
    depth: Int = Field(default=1, ge=0, description="how many inference steps conclusions may take")
    seed: Seed = 0


class Images(Model):
    """Image probes and queries drawn from one source."""

    source: str = Field(
        default="digits",
        description="`digits`, a folder of class folders, a folder of IDX files, a .npz, or a `datasets` id",
    )
    split: str | None = None
    probes: Int = Field(default=100, ge=1, description="clean probes, balanced over classes")
    queries: Int = Field(
        default=300, ge=1, description="queries, balanced over classes; the clean probes come first among them"
    )
    noise: dict[str, tuple[Float, ...]] = Field(default_factory=dict, description="levels by noise family")
    label_flip: bool = Field(default=False, description="also each probe with a wrong label")
    seed: Seed = 0


class Source(Model):
    """A published data set in its own format, e.g. CounterFact."""

    name: str = Field(description="counterfact, pararel, ...; `einfluence curate --sources` lists them")
    path: str = Field(description="a file, a folder or a hub id")
    split: str | None = Field(default=None, description="train, test, ... of a folder or hub id; null reads all")
    limit: Count | None = Field(default=None, description="how many items (a seeded draw); null takes all")
    seed: Seed = 0
