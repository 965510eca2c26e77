"""The words for a row of the scorecard: its title, whether the page shows it, and a sentence on its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field

from einfluence.curate.images.corrupt import UNITS

SYMBOLS = {
    "met": "✓", "violated": "✗", "cannot tell": "?", "described": "·", "better": "▲", "worse": "▼", "alike": "=",
}  # fmt: skip
UNJUDGED = "not judged"  # a row that an earlier version scored, which knew of no verdicts


class Words(BaseModel):
    """The words of one desideratum, as :file:`words.yaml` explains them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    question: str = ""
    headline: tuple[str, ...] | None = None
    beside: str = ""
    aside: str = ""
    met: str = ""
    violated: str = ""
    unclear: str = ""
    described: str = ""
    lines: dict[str, dict[str, str]] = Field(default_factory=dict)
    order: int = 99


@cache
def vocabulary() -> dict[str, Words]:
    """All desiderata that have words, in the order of the page."""
    text = (resources.files("einfluence.report") / "words.yaml").read_text(encoding="utf-8")
    raw = cast("dict[str, dict[str, Any]]", yaml.safe_load(text))
    return {name: Words(**entry, order=order) for order, (name, entry) in enumerate(raw.items())}


def spoken_of(desideratum: str) -> Words:
    """The words of a desideratum; one that a user added is called by its name."""
    return vocabulary().get(desideratum) or Words(title=desideratum.replace("_", " ").capitalize())


def words_of(row: Mapping[str, Any]) -> Words:
    """The words of a row of the scorecard, whose title tells it from the others of its desideratum on the page."""
    words = spoken_of(row["desideratum"])
    special = words.lines.get(row["variant"] or "")
    if special:
        return words.model_copy(update=special)
    about = _about(row, words)
    return words.model_copy(update={"title": f"{words.title}: {about}"}) if about else words


def _about(row: Mapping[str, Any], words: Words) -> str:
    """What to add to the title where a desideratum has several lines."""
    if row["about"]:
        return row["about"].replace("_", " ")
    if row["desideratum"] not in vocabulary():
        variant = row["variant"] or ""
        return "" if variant == row["desideratum"] else variant.replace("_", " ")
    if words.headline is not None:
        return ""
    if row["kind"] is None:
        return row["variant"] or ""
    level = level_name(row["kind"], row["level"])
    rest = {"slope": " slope", "nats": ", nats"}.get(row["formula"], "")
    return noise_name(row["kind"]).removesuffix(" noise") + (f", {level}" if level else "") + rest


def is_headline(row: Mapping[str, Any]) -> bool:
    """Whether a line stands on the scorecard, not only in the table below it."""
    words, variant = spoken_of(row["desideratum"]), row["variant"] or ""
    if words.headline is not None:
        return variant in words.headline
    whole = row["level"] is None and row["formula"] in ("score", "cosine")
    return variant in words.lines or whole or row["desideratum"] not in vocabulary()


def sentence(
    row: Mapping[str, Any],
    estimator: str,
    thing: str,
    *,
    beside: float | None = None,
    noise: str | None = None,
    rungs: str = "",
) -> str:
    """One sentence on one line of the scorecard, by its verdict.

    Args:
        row: The line.
        estimator: How the probes were taught.
        thing: What a sample of the base is called: a fact, a text or an image.
        beside: The value of the variant that the line's words name so.
        noise: What to call its noise; by default its own family and level.
        rungs: What it is held against, in words, where nothing reaches its ideal.
    """
    if row["verdict"] == UNJUDGED:
        return ""
    verb = "putting {} into the prompt" if estimator == "in_context" else "training on {}"
    do = verb.format(f"a{'n' if thing == 'image' else ''} {thing}")
    words = words_of(row)
    other = {"violated": words.violated, "cannot tell": words.unclear, "described": words.described or words.met}
    template = other.get(row["verdict"], words.met)
    value = row["value"]
    return template.format(
        do=do,
        Do=do[:1].upper() + do[1:],
        thing=thing,
        things=thing + "s",
        noise=noise or noise_name(row["kind"] or "noise", row["level"]),
        beside=words.aside.format(value=_written(beside)) if beside is not None and beside > 0 else "",
        rungs=rungs,
        value=_written(value),
        share="?" if value is None else f"{value:.0%}",
    )


def _written(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def noise_name(family: str, level: float | None = None) -> str:
    """A noise family in words, or a family at a level."""
    known = {"label_flip": "a wrong label", "salt_pepper": "salt-and-pepper noise", "gaussian": "Gaussian noise"}
    name, at = known.get(family, family.replace("_", " ")), level_name(family, level)
    return f"{name} at {at}" if at else name


def level_name(family: str, level: float | None) -> str:
    """A level of a noise family in the family's own unit; empty where there is none, as for a wrong label."""
    if level is None or family == "label_flip":
        return ""
    return f"{level:g} {UNITS.get(family, '')}".strip().replace("-", "\N{MINUS SIGN}")
