"""Where a page's numbers come from: arms and recipes, engines, what failed and was left out, versions and the spec."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import duckdb
import yaml

from einfluence.keys import content_hash
from einfluence.report.query import Arm, Rows, failures, rows


def provenance(
    connection: duckdb.DuckDBPyConnection, shown: Sequence[dict[str, Any]], run: Mapping[str, Any]
) -> dict[str, Any]:
    """What the page's last section shows: ``facts`` and ``more`` as named texts, a row an arm, and the spec's text.

    Args:
        connection: Has the store's views.
        shown: The parts as the page shows them, with their arms and scorecards.
        run: As for :func:`einfluence.report.write_report`.
    """
    outcomes = {(row["base"], row["estimator"], row["recipe"]): row for row in rows(connection, "outcomes")}
    arms = [
        (
            arm.base_label,
            arm.label,
            f"{arm.cells:,}",
            arm.probes,
            arm.queries,
            arm.seeds,
            _excluded(entry["scorecard"]["lines"], arm),
            outcomes.get(arm.key, {}).get("failed"),
            None if outcomes.get(arm.key, {}).get("seconds") is None else f"{outcomes[arm.key]['seconds']:.1f}",
            f"{arm.base} / {arm.recipe}",
        )
        for entry in shown
        for arm in entry["arms"]
    ]
    named = {
        "wanted": "Cells wanted",
        "present": "Cells there before",
        "computed": "Cells computed",
        "failed": "Probes failed",
        "started": "Started",
        "seconds": "Time",
        "store": "Store",
    }
    units = {"seconds": " s"}
    facts = [
        (label, (f"{run[key]:,}" if isinstance(run[key], int) else str(run[key])) + units.get(key, ""))
        for key, label in named.items()
        if run.get(key) is not None
    ]
    arms_shown = [arm for entry in shown for arm in entry["arms"]]
    facts += engines(connection, arms_shown)
    sampled = rows(connection, "sampled_arms")
    facts += [
        (
            "Cells measured",
            f"{arm.short}: {row['measured']:,} of {row['cells']:,}; the others are inferred by `{row['control']}`",
        )
        for arm in arms_shown
        for row in sampled
        if (row["base"], row["estimator"], row["recipe"]) == arm.key
    ]
    facts += [("Why probes failed", line) for line in failures(connection, arms_shown)]
    left = [
        (arm, count)
        for entry in shown
        for arm in entry["arms"]
        if (count := _excluded(entry["scorecard"]["lines"], arm))
    ]
    left_out = ", ".join(f"{count} ({arm.short})" for arm, count in left)
    facts.append(("Probes excluded", f"{left_out}: not likelier after their own lesson" if left else "none"))
    versions = run.get("versions")
    if isinstance(versions, Mapping):
        facts.append(
            ("Versions", ", ".join(f"{key} {value}" for key, value in cast("Mapping[str, object]", versions).items()))
        )
    spec = run.get("spec")
    if spec:
        facts.append(("Hash of the spec", content_hash(spec)))
    text = spec if isinstance(spec, str) or spec is None else yaml.safe_dump(spec, sort_keys=False, allow_unicode=True)
    known = {*named, "spec", "versions", "study", "report"}
    more = [
        (key.replace("_", " ").capitalize(), _text(value)) for key, value in run.items() if key not in known and value
    ]
    return {"facts": facts, "arms": arms, "spec": text, "more": more}


def engines(connection: duckdb.DuckDBPyConnection, arms: Sequence[Arm]) -> list[tuple[str, str]]:
    """What computed each arm, where a faster engine was passed over, and how far rounding moves its numbers."""
    facts: list[tuple[str, str]] = []
    found = rows(connection, "engines")
    for arm in arms:
        mine = [row for row in found if (row["base"], row["estimator"], row["recipe"]) == arm.key]
        counts: dict[str, int] = {}
        for row in mine:
            if row["engine"]:
                counts[row["engine"]] = counts.get(row["engine"], 0) + row["probes"]
        if counts:
            engines = ", ".join(f"{name} ({count:,} probe{'s' * (count != 1)})" for name, count in counts.items())
            facts.append(("Engine", f"{arm.short}: {engines}"))
        facts += [("Faster engine passed over", f"{arm.short}: {row['fallback']}") for row in mine if row["fallback"]]
        noise = [row["noise_rms"] for row in mine if row["noise_rms"] is not None]
        if noise:
            facts.append(
                ("Noise of rounding", f"{arm.short}: root mean square of {max(noise):.2g} nats for the noisiest probe")
            )
    return facts


def _excluded(lines: Rows, arm: Arm) -> int | None:
    """How many probes the gate took from an arm's scores: those whose own lesson did not help them."""
    for line in lines:
        if (
            line["arm"] == arm
            and (line["desideratum"], line["variant"]) == ("gate", "learned")
            and line["value"] is not None
        ):
            return round((1 - line["value"]) * line["n"])
    return None


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, default=str, ensure_ascii=False)
