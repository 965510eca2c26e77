"""What is said of a desideratum, and the verdict on it; the verdict is decided on the interval alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field

from einfluence.curate.noise import UNITS

Verdict = Literal["met", "violated", "cannot tell", "described"]
SYMBOLS: dict[Verdict, str] = {"met": "✓", "violated": "✗", "cannot tell": "?", "described": "·"}
BAR = 0.25  # share of the way from the null to the ideal that an interval must reach
LEAST = 0.1  # what it must differ from the null by where no ideal is stated, in its own unit


class Words(BaseModel):
    """The words of one desideratum, as :file:`words.yaml` explains them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    question: str = ""
    headline: tuple[str, ...] | None = None
    better: Literal["higher", "lower", "none"] | None = None
    worst: float | None = None
    bar: float = BAR
    beside: str = ""
    aside: str = ""
    met: str = ""
    violated: str = ""
    unclear: str = ""
    lines: dict[str, dict[str, str]] = Field(default_factory=dict)
    order: int = 99


@cache
def vocabulary() -> dict[str, Words]:
    """All desiderata that have words, in the order of the page."""
    text = (resources.files("einfluence.report") / "words.yaml").read_text(encoding="utf-8")
    raw = cast("dict[str, dict[str, Any]]", yaml.safe_load(text))
    return {name: Words(**entry, order=order) for order, (name, entry) in enumerate(raw.items())}


@cache
def words_of(desideratum: str, variant: str = "") -> Words:
    """The words of a desideratum; one that a user added is called by its name."""
    words = vocabulary().get(desideratum) or Words(title=desideratum.replace("_", " ").capitalize())
    special = words.lines.get(variant)
    if special:
        return words.model_copy(update=special)
    several = desideratum not in vocabulary() or words.headline is None or desideratum == "prompt_rescue"
    about = _noise_variant(variant) if desideratum.startswith("noise_") else variant.split(":")[0].replace("_", " ")
    return words.model_copy(update={"title": f"{words.title}: {about}"}) if several and about else words


def is_headline(desideratum: str, variant: str) -> bool:
    """Whether a line stands on the scorecard, not only in the table below it."""
    words = words_of(desideratum)
    if words.headline is not None:
        return variant in words.headline
    in_detail = "@" in variant or variant.endswith((" slope", ", nats"))
    return variant in words.lines or not (desideratum.startswith("noise_") and in_detail)


def direction(row: Mapping[str, Any]) -> float:
    """+1 where more than the null is better, −1 where less is, 0 where neither is said."""
    words, begin = words_of(row["desideratum"], row["variant"] or ""), start(row)
    if words.better == "none":
        return 0.0
    if row["ideal"] is not None and begin is not None and row["ideal"] != begin:
        return 1.0 if row["ideal"] > begin else -1.0
    return {"higher": 1.0, "lower": -1.0}.get(words.better or "", 0.0)


def start(row: Mapping[str, Any]) -> float | None:
    """Where the way to the ideal begins: at the null, or at what the words name as the worst."""
    worst = words_of(row["desideratum"]).worst
    return row["null_value"] if worst is None else worst


def position(row: Mapping[str, Any], number: float | None) -> float | None:
    """Where a number stands between the null (0) and the ideal (1); without an ideal, its distance from the null."""
    begin = start(row)
    if number is None or begin is None:
        return None
    return (number - begin) / span(row)


def span(row: Mapping[str, Any]) -> float:
    """The way from the null to the ideal; without an ideal, one unit in the better direction."""
    begin, ideal = start(row), row["ideal"]
    return direction(row) or 1.0 if begin is None or ideal is None or ideal == begin else ideal - begin


def bar_of(row: Mapping[str, Any]) -> float:
    """The position that an interval must reach for a verdict of ``met``."""
    judged = row["ideal"] is not None and row["ideal"] != start(row)
    return words_of(row["desideratum"]).bar if judged else LEAST


def decide(row: Mapping[str, Any]) -> Verdict:
    """The verdict on one line of the scorecard.

    The bar stands a quarter of the way from the null to the ideal (a tenth beyond the null where no ideal is stated).
    ``met``: the whole 95% interval reaches it. ``violated``: the whole interval falls short of it. Otherwise the
    probes ``cannot tell``.
    """
    if row["value"] is None:
        return "cannot tell"
    if direction(row) == 0:
        return "described"
    ends = [position(row, row[key]) for key in ("ci_low", "ci_high")]
    if ends[0] is None or ends[1] is None:
        return "cannot tell"
    low, high = sorted((ends[0], ends[1]))
    bar = bar_of(row)
    return "met" if low >= bar else "violated" if high < bar else "cannot tell"


def sentence(
    row: Mapping[str, Any], verdict: Verdict, estimator: str, modality: str, beside: float | None = None
) -> str:
    """One sentence on one line of the scorecard; ``beside`` is the value of the variant that its words name so."""
    thing = "fact" if modality == "text" else "image"
    verb = "putting {} into the prompt" if estimator == "in_context" else "training on {}"
    do = verb.format(f"a{'n' if thing == 'image' else ''} {thing}")
    words = words_of(row["desideratum"], row["variant"] or "")
    template = {"violated": words.violated, "cannot tell": words.unclear}.get(verdict, words.met)
    value = row["value"]
    return template.format(
        do=do,
        Do=do[:1].upper() + do[1:],
        thing=thing,
        things=thing + "s",
        noise=noise_name(row["variant"] or "noise"),
        beside=words.aside.format(value=_written(beside)) if beside is not None and beside > 0 else "",
        value=_written(value),
        share="?" if value is None else f"{value:.0%}",
    )


def _written(value: float | None) -> str:
    return "?" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}")


def noise_name(family: str) -> str:
    """A noise family in words, or a family at a level (``blur@-6``)."""
    name, _, level = family.partition("@")
    known = {"label_flip": "a wrong label", "salt_pepper": "salt-and-pepper noise", "gaussian": "Gaussian noise"}
    said = known.get(name, name.replace("_", " "))
    try:
        return f"{said} at {level_name(name, float(level))}" if level else said
    except ValueError:
        return family


def level_name(family: str, level: float | None) -> str:
    """A level of a noise family in the family's own unit; empty where there is none, as for a wrong label."""
    if level is None or family == "label_flip":
        return ""
    return f"{level:g} {UNITS.get(family, '')}".strip().replace("-", "\N{MINUS SIGN}")


def _noise_variant(variant: str) -> str:
    family = variant.removesuffix(" slope").removesuffix(", nats")
    name, _, level = noise_name(family).partition(" at ")
    return name.removesuffix(" noise") + (f", {level}" if level else "") + variant.removeprefix(family)
