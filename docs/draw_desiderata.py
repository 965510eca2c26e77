"""Draws docs/desiderata.svg: what learners with a known character score, between each desideratum's null and ideal.

python -m docs.draw_desiderata
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from einfluence.metrics import score
from einfluence.metrics.checking import PRIMARY
from tests.metrics.synthetic import Kind, synthetic

LEARNERS: tuple[tuple[str, Kind, str, str], ...] = (
    ("ideal", "ideal", "finetune", "#2c7a4b"),
    ("prompted, realistic", "realistic", "in_context", "#2b6cb0"),
    ("fine-tuned, realistic", "realistic", "finetune", "#c05621"),
    ("blind to negation", "negation_blind", "finetune", "#805ad5"),
    ("learns nothing", "null", "finetune", "#718096"),
)
ROWS = ("gate", "semantic_decay", "sparseness", "paraphrase", "negation", "transitivity", "contrapositive", "direction")
LEFT, WIDTH, ROW, TOP = 190, 480, 46, 64


def card_of(kind: Kind, estimator: str) -> dict[str, dict[str, Any]]:
    """The primary rows of a learner's scorecard by desideratum."""
    connection = duckdb.connect(config={"python_enable_replacements": False})
    synthetic(connection, probes=400, queries=400, kind=kind, arms=2, images=False, seed=1)
    rows = score(connection, draws=1000).to_pylist()
    return {
        row["desideratum"]: row
        for row in rows
        if row["domain"] == "all"
        and row["estimator"] == estimator
        and PRIMARY.get(row["desideratum"]) == row["variant"]
    }


def x(share: float) -> float:
    """Where a share of the way from null to ideal stands."""
    return LEFT + WIDTH * (min(max(share, -0.25), 1.1) + 0.25) / 1.35


def main() -> None:
    """Writes the picture."""
    height = TOP + ROW * len(ROWS) + 46
    shape = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 700 {height}"'
    out = [f'<svg {shape} font-family="sans-serif" font-size="12"><rect width="700" height="{height}" fill="white"/>']
    bottom = TOP + ROW * len(ROWS)
    for share, name in ((0.0, "null"), (1.0, "ideal")):
        line = f'x1="{x(share)}" x2="{x(share)}" y1="{TOP - 8}" y2="{bottom}"'
        out.append(f'<line {line} stroke="#a0aec0" stroke-dasharray="4 3"/>')
        out.append(f'<text x="{x(share)}" y="{TOP - 14}" text-anchor="middle" fill="#4a5568">{name}</text>')
    for place, (name, *_, colour) in enumerate(LEARNERS):
        out.append(f'<circle cx="{20 + 136 * place}" cy="18" r="4" fill="{colour}"/>')
        out.append(f'<text x="{29 + 136 * place}" y="22" fill="#2d3748">{name}</text>')
    for row, name in enumerate(ROWS):
        middle = TOP + ROW * row + ROW / 2
        variant = PRIMARY[name].replace("<", "&lt;").replace(">", "&gt;")
        out.append(f'<text x="{LEFT - 14}" y="{middle}" text-anchor="end" font-weight="bold">{name}</text>')
        out.append(
            f'<text x="{LEFT - 14}" y="{middle + 14}" text-anchor="end" fill="#718096" font-size="11">{variant}</text>'
        )
        out.append(f'<line x1="0" x2="700" y1="{middle + ROW / 2}" y2="{middle + ROW / 2}" stroke="#edf2f7"/>')
    for place, (_, kind, estimator, colour) in enumerate(LEARNERS):
        card = card_of(kind, estimator)
        for row, name in enumerate(ROWS):
            found = card[name]
            scale = found["ideal"] - found["null_value"]
            low, value, high = (x((found[key] - found["null_value"]) / scale) for key in ("ci_low", "value", "ci_high"))
            y = TOP + ROW * row + 8 + place * 7.5
            out.append(f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="2"/>')
            out.append(f'<circle cx="{value:.1f}" cy="{y}" r="3" fill="{colour}"/>')
    out.append(f'<text x="{LEFT}" y="{bottom + 28}" fill="#4a5568">Synthetic learners, 95% intervals; beyond the '
               "frame, points stand at its edge.</text></svg>")  # fmt: skip
    Path(__file__).with_name("desiderata.svg").write_text("\n".join(out) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
