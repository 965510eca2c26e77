"""Requirements on a scorecard, e.g. ``negation>=0.2``: decided on the whole interval, not on the point."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from einfluence.errors import InputError
from einfluence.metrics.verdicts import decided

PRIMARY = {
    "gate": "learned", "semantic_decay": "spearman", "sparseness": "gini", "leakage": "score", "paraphrase": "score",
    "negation": "contrast", "transitivity": "P(entailed > sibling)", "contrapositive": "score", "direction": "contrast",
    "asymmetry": "phi", "synergy": "synergy", "reliability": "spearman across seeds",
    "fidelity": "spearman", "fragility": "variance over queries",
    "memorisation": "nats", "lds": "spearman", "mislabelled": "memorisation: auc", "duplicates": "nats",
    "proxies": "log-prob: kendall", "pre_memorisation": "gap", "timing": "share",
    "saliency": "shared word",
}  # fmt: skip
"""The variant that is meant where none is named."""

OF_ESTIMATES = ("fidelity", "lds")
"""Desiderata of what predicts trainings: where no estimator is named, every one; in brackets may stand which."""

VERDICTS = pa.schema(
    [
        pa.field("requirement", pa.string(), metadata={"doc": "as it was written"}),
        pa.field(
            "verdict", pa.string(), metadata={"doc": "met, violated, or cannot tell: the interval holds the bound"}
        ),
        pa.field("estimator", pa.string(), metadata={"doc": "the estimator"}),
        pa.field("base", pa.string(), metadata={"doc": "the base"}),
        pa.field("recipe", pa.string(), metadata={"doc": "the recipe"}),
        pa.field("domain", pa.string(), metadata={"doc": "the domain"}),
        pa.field("desideratum", pa.string(), metadata={"doc": "the property"}),
        pa.field("variant", pa.string(), metadata={"doc": "which of its formulas"}),
        pa.field(
            "value", pa.float64(), metadata={"doc": "the estimate (minus the baseline's, where that is the bound)"}
        ),
        pa.field("ci_low", pa.float64(), metadata={"doc": "lower end of its 95% interval"}),
        pa.field("ci_high", pa.float64(), metadata={"doc": "upper end of its 95% interval"}),
        pa.field("bound", pa.float64(), metadata={"doc": "what the interval must reach"}),
        pa.field("note", pa.string(), metadata={"doc": "what else to know"}),
    ]
)

_GRAMMAR = re.compile(
    r"""\s*(?:(?P<estimator>\w+):)?(?P<desideratum>\w+)(?:/(?P<variant>.+?))?(?:\[(?P<domain>[^\]]+)\])?
    \s*(?:=\s*(?P<met>met)|
    (?P<sign>>=|<=)\s*(?P<baseline>baseline)?\s*(?P<number>[+-]?\s*(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)?)\s*""",
    re.VERBOSE,
)
_EXPECTED = (
    "[estimator:]desideratum[/variant][[domain]], then `=met`, or >= or <= and a number, `baseline`, or `baseline` "
    "plus or minus one"
)


@dataclass(frozen=True)
class Requirement:
    """One requirement, read: ``estimator:desideratum/variant[domain] >= baseline + number``, or ``= met``.

    Of a desideratum of :data:`OF_ESTIMATES` the brackets may name an estimator instead: ``fidelity[ekfac] >= 0.4``.
    """

    text: str
    estimator: str | None  # None is every one
    desideratum: str
    variant: str | None
    domain: str
    better: str | None  # higher or lower than the bound; None asks for the scorecard's own verdict
    baseline: bool
    number: float

    @classmethod
    def read(cls, text: str) -> Requirement:
        """Reads a requirement.

        Raises:
            InputError: When it does not follow the grammar.
        """
        match = _GRAMMAR.fullmatch(text)
        if match is None or not (match["met"] or match["baseline"] or match["number"]):
            raise InputError(
                f"--require {text!r}", "something else than a requirement", _EXPECTED, 'e.g. "negation>=0.2"'
            )
        if match["baseline"] and match["number"] and match["number"].lstrip()[0] not in "+-":
            raise InputError(
                f"--require {text!r}", f"`baseline {match['number']}`", "`baseline` plus or minus a number"
            )
        return cls(
            text,
            estimator=match["estimator"] or (None if match["desideratum"] in OF_ESTIMATES else "finetune"),
            desideratum=match["desideratum"],
            variant=match["variant"] or PRIMARY.get(match["desideratum"]),
            domain=match["domain"] or "all",
            better={">=": "higher", "<=": "lower"}.get(match["sign"] or ""),
            baseline=bool(match["baseline"]),
            number=float((match["number"] or "0").replace(" ", "")),
        )

    def asks_for(self, row: dict[str, Any]) -> bool:
        """Whether a row of a scorecard is one that this is about."""
        if row["desideratum"] != self.desideratum or self.variant not in (None, row["variant"]):
            return False
        if self.estimator is None:
            return self.domain == row["domain"] or (self.domain == row["estimator"] and row["domain"] == "all")
        return (row["estimator"], row["domain"]) == (self.estimator, self.domain)


def check(desiderata: pa.Table, requirements: Sequence[str], baseline: pa.Table | None = None) -> pa.Table:
    """Holds a scorecard against requirements.

    A requirement is ``met`` when the whole 95% interval lies on the right side of its bound, ``violated`` when the
    whole interval lies on the wrong side, and ``cannot tell`` otherwise; ``=met`` asks for the scorecard's own verdict
    by its bar. It is about every arm of its estimator (``finetune`` unless it names one) and, without a variant, about
    the variant in :data:`PRIMARY` (or else all of them).

    Args:
        desiderata: The scorecard.
        requirements: E.g. ``negation=met``, ``negation>=0.2``, ``paraphrase>=baseline-0.05``, ``leakage/nats<=0.1``,
            ``in_context:negation[animals]>=0``, ``fidelity[ekfac]>=0.4``.
        baseline: The scorecard that ``baseline`` means; its arm of the same recipe, or else its only arm.

    Returns:
        A table of schema :data:`VERDICTS`. Everything is well when all verdicts are ``met``.

    Raises:
        InputError: When a requirement cannot be read, asks for what the scorecard has not, or for an absent baseline.
    """
    rows = desiderata.to_pylist()
    known = baseline.to_pylist() if baseline is not None else None
    verdicts: list[dict[str, Any]] = []
    for requirement in map(Requirement.read, requirements):
        required = [row for row in rows if requirement.asks_for(row)]
        if not required:
            raise InputError(
                f"--require {requirement.text!r}", "no such row in the scorecard", _choices(rows, requirement)
            )
        verdicts += [_verdict(requirement, row, known) for row in required]
    return pa.Table.from_pylist(verdicts, schema=VERDICTS)


def _choices(rows: list[dict[str, Any]], requirement: Requirement) -> str:
    """What the requirement could have named, by the first of its words that is unknown."""
    for key, wanted in (("desideratum", requirement.desideratum), ("estimator", requirement.estimator),
                        ("variant", requirement.variant), ("domain", requirement.domain)):  # fmt: skip
        inside = [row for row in rows if row[key] == wanted]
        if key == "domain" and requirement.estimator is None:
            return f"in brackets one of {', '.join(sorted({row[name] for row in rows for name in (key, 'estimator')}))}"
        if wanted is not None and not inside:
            return f"{key} one of {', '.join(sorted({row[key] for row in rows}))}"
        rows = inside if wanted is not None else rows
    return _EXPECTED


def _verdict(requirement: Requirement, row: dict[str, Any], baseline: list[dict[str, Any]] | None) -> dict[str, Any]:
    names = ("estimator", "base", "recipe", "domain", "desideratum", "variant", "value", "ci_low", "ci_high", "note")
    out = {"requirement": requirement.text, "bound": requirement.number, **{name: row[name] for name in names}}
    value, low, high = row["value"], row["ci_low"], row["ci_high"]
    if requirement.better is None:
        if row["verdict"] is None:
            raise InputError(f"--require {requirement.text!r}", "a scorecard without verdicts", "one of this version",
                             "`einfluence run` scores the store anew")  # fmt: skip
        return {**out, "bound": row["bar"], "verdict": row["verdict"]}
    if value is None:
        return {**out, "verdict": "cannot tell"}
    if requirement.baseline:
        other = _counterpart(requirement, row, baseline)
        if other["value"] is None:
            return {**out, "verdict": "cannot tell", "note": f"baseline: {other['note']}"}
        if None in (low, high, other["ci_low"], other["ci_high"]):
            return {**out, "verdict": "cannot tell", "note": "no interval"}
        # The interval of a difference of two independent estimates from their own (Zou and Donner 2008); where the two
        # were measured on the same probes it is a wide one: `compare` pairs them.
        below = float(np.hypot(value - low, other["ci_high"] - other["value"]))
        above = float(np.hypot(high - value, other["value"] - other["ci_low"]))
        value = value - other["value"]
        low, high = value - below, value + above
    verdict = decided(low, high, requirement.number, requirement.better)
    return {**out, "verdict": verdict, "value": value, "ci_low": low, "ci_high": high}


def _counterpart(
    requirement: Requirement, row: dict[str, Any], baseline: list[dict[str, Any]] | None
) -> dict[str, Any]:
    where = f"--require {requirement.text!r}"
    if baseline is None:
        raise InputError(where, "no baseline", "a baseline", "give --baseline STORE")
    alike = ("estimator", "variant", "domain")
    found = [other for other in baseline if requirement.asks_for(other) and all(other[k] == row[k] for k in alike)]
    same = [other for other in found if other["recipe"] == row["recipe"]] or found
    exact = [other for other in same if other["base"] == row["base"]] or same
    if len(exact) != 1:
        raise InputError(where, f"{len(exact)} arms of the baseline that it may mean", "one",
                         "a baseline store with the same recipe, or with one arm")  # fmt: skip
    return exact[0]
