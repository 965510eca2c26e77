"""Draws docs/concepts.svg: one probe, what its training did to each query, and what is made of many such rows.

python -m docs.draw_concepts
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

DOCS = Path(__file__).parent
KINDS = ("paraphrase", "self", "negation", "unrelated", "entailed")  # of the rows of the page's table, in its order
INK, QUIET, HELPED, LINE, PAPER = "#2d3748", "#718096", "#2b6cb0", "#cbd5e0", "#ffffff"
WIDTH, TOP, ROW, BARS, NAT = 860, 92, 34, 640, 70


def measured() -> list[tuple[float, str, str]]:
    """Nats, query and kind of each row of the table in fine-tuning-file.md, whose numbers a test holds."""
    page = (DOCS / "fine-tuning-file.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([+−][\d.]+) \| [\d.]+ × \| (.*?) \|", page, re.MULTILINE)
    return [
        (float(nats.replace("−", "-")), query.replace("**", ""), kind)
        for (nats, query), kind in zip(rows, KINDS, strict=True)
    ]


def text(x: float, y: float, words: str, colour: str = INK, more: str = "") -> str:
    """A line of text."""
    return f'<text x="{x}" y="{y}" fill="{colour}" {more}>{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float) -> str:
    """A frame with round corners."""
    return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="none" stroke="{LINE}"/>'


def arrow(x: float, y: float) -> str:
    """An arrow to the right."""
    return f'<path d="M{x} {y} h50 m-8 -5 l8 5 l-8 5" stroke="{QUIET}" fill="none"/>'


def drawn() -> str:
    """The picture."""
    rows = measured()
    middle, bottom = TOP + ROW * len(rows) / 2, TOP + ROW * len(rows)
    shape = f'xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + 96:g}"'
    bold, small, end = 'font-weight="bold"', 'font-size="11"', 'text-anchor="end"'
    out = [
        f'<svg {shape} font-family="sans-serif" font-size="13" role="img" '
        f'aria-label="One probe is trained on; every query is scored before and after"><rect width="{WIDTH}" '
        f'height="{bottom + 96:g}" fill="{PAPER}"/>',
        text(20, 34, "1  the probe", more=bold), text(238, 34, "2  train a copy of the model on it", more=bold),
        text(470, 34, "3  every query, before and after", more=bold),
        text(20, 54, "one sample", QUIET, small), text(238, 54, "the base itself stays as it is", QUIET, small),
        text(470, 54, "influence in nats: log-prob after minus before", QUIET, small),
        box(20, middle - 24, 150, 48), text(34, middle + 5, "dax is a bird"),
        arrow(178, middle),
        box(238, middle - 34, 170, 68), text(252, middle - 8, "a copy, fine-tuned:"),
        text(252, middle + 12, "10 steps of LoRA", QUIET),
        arrow(414, middle),
    ]  # fmt: skip
    for place, (nats, query, kind) in enumerate(rows):
        y = TOP + ROW * place + ROW / 2
        out += [
            text(BARS - 10, y + 1, query, more=end), text(BARS - 10, y + 14, kind, QUIET, f"{end} {small}"),
            f'<rect x="{BARS}" y="{y - 9}" width="{NAT * abs(nats):.1f}" height="16" fill="{HELPED}"/>',
            text(BARS + NAT * abs(nats) + 6, y + 4, f"{nats:+.2f}"),
        ]  # fmt: skip
    out += [
        text(20, bottom + 44, "4  many probes: one row each, a matrix of influence", more=bold),
        text(20, bottom + 64, "Paraphrases should rise, denials fall, and what is unrelated stay. Here the denial rose "
             "nearly as much as the paraphrase:", QUIET),
        text(20, bottom + 82, "the scorecard says of each such property whether it holds, with a 95% interval over "
             "probes.", QUIET), "</svg>",
    ]  # fmt: skip
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    (DOCS / "concepts.svg").write_text(drawn(), encoding="utf-8")
