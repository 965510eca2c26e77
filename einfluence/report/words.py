"""What is said of a desideratum, and the verdict on it; the verdict is decided on the interval alone."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal, cast

import yaml
from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["met", "violated", "cannot tell", "described"]
SYMBOLS: dict[Verdict, str] = {"met": "✓", "violated": "✗", "cannot tell": "?", "described": "·"}
BAR = 0.25  # share of the way from the null to the ideal that an interval must reach


class Words(BaseModel):
    """The words of one desideratum, as :file:`words.yaml` explains them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str
    question: str = ""
    headline: tuple[str, ...] | None = None
    better: Literal["higher", "lower", "none"] | None = None
    worst: float | None = None
    bar: float = BAR
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
    about = variant.split(":")[0].replace("_", " ")
    return words.model_copy(update={"title": f"{words.title}: {about}"}) if several and about else words


def is_headline(desideratum: str, variant: str) -> bool:
    """Whether a line stands on the scorecard, not only in the table below it."""
    chosen = words_of(desideratum).headline
    if chosen is not None:
        return variant in chosen
    return "@" not in variant and not variant.endswith("slope")


def direction(row: Mapping[str, Any]) -> float:
    """+1 where more than the null is better, −1 where less is, 0 where neither is said."""
    words, start = words_of(row["desideratum"]), _start(row)
    if words.better == "none":
        return 0.0
    if row["ideal"] is not None and start is not None and row["ideal"] != start:
        return 1.0 if row["ideal"] > start else -1.0
    return {"higher": 1.0, "lower": -1.0}.get(words.better or "", 0.0)


def _start(row: Mapping[str, Any]) -> float | None:
    worst = words_of(row["desideratum"]).worst
    return row["null_value"] if worst is None else worst


def position(row: Mapping[str, Any], number: float | None) -> float | None:
    """Where a number stands between the null (0) and the ideal (1); without an ideal, its distance from the null."""
    start, ideal = _start(row), row["ideal"]
    if number is None or start is None:
        return None
    span = direction(row) or 1.0 if ideal is None or ideal == start else ideal - start
    return (number - start) / span


def decide(row: Mapping[str, Any]) -> Verdict:
    """The verdict on one line of the scorecard.

    The bar stands a quarter of the way from the null to the ideal (at the null itself where no ideal is stated).
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
    judged = row["ideal"] is not None and row["ideal"] != _start(row)
    bar = words_of(row["desideratum"]).bar if judged else 0.0
    if low >= bar and low > 0:
        return "met"
    return "violated" if high < bar or high <= 0 else "cannot tell"


def sentence(row: Mapping[str, Any], verdict: Verdict, estimator: str, modality: str) -> str:
    """One sentence on one line of the scorecard."""
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
        value="?" if value is None else f"{value:.2f}".replace("-", "\N{MINUS SIGN}"),
        share="?" if value is None else f"{value:.0%}",
    )


def noise_name(family: str) -> str:
    """A noise family in words."""
    known = {"label_flip": "a wrong label", "salt_pepper": "salt-and-pepper noise", "gaussian": "Gaussian noise"}
    return known.get(family, family.replace("_", " "))
