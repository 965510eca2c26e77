from __future__ import annotations

import re
from pathlib import Path

import pytest

from einfluence.errors import InputError
from einfluence.report import write_comparison
from einfluence.report.explored import probe, read
from tests.report.tables import Tables, image_part, small_store, text_part


def _texts(better: float = 0.0) -> Tables:
    tables = Tables()
    text_part(tables, facts=8)
    for row in tables.rows["desiderata"]:
        if row["desideratum"] == "negation":
            row.update({key: row[key] + better for key in ("value", "ci_low", "ci_high")})
    return tables


def test_a_comparison_shows_the_change_on_the_way_from_null_to_ideal(tmp_path: Path) -> None:
    out = write_comparison(_texts().connect(), _texts(0.4).connect(), tmp_path / "c.html", names=("A", "<B>"))
    html = out.read_text(encoding="utf-8")
    assert "From A to &lt;B&gt;" in html and "<script" not in html
    changes = dict.fromkeys(re.findall(r'aria-label="((?:Paraphrase|Negation)[^"]+)"', html))
    assert "Paraphrase over negation, fine-tuned, SGD: 0.40 (0.32 to 0.48)" in changes  # 0.06 · √2 to each side
    assert "Paraphrase, fine-tuned, SGD: 0.00 (−0.09 to 0.09)" in changes  # null 0.02, so 0.06 is 0.061 of the way


def test_the_same_probes_are_compared_in_pairs(tmp_path: Path) -> None:
    stores = [_texts().connect() for _ in range(2)]
    html = write_comparison(stores[0], stores[1], tmp_path / "c.html", names=("A", "B")).read_text(encoding="utf-8")
    assert "negation, in the prompt: 0.00 (0.00 to 0.00)" in html


def test_stores_without_a_kind_of_arm_in_common_cannot_be_compared(tmp_path: Path) -> None:
    images = Tables()
    image_part(images, clean=2, extra=2)
    with pytest.raises(InputError, match="no kind of arm"):
        write_comparison(_texts().connect(), images.connect(), tmp_path / "c.html", names=("A", "B"))


def test_what_explore_shows_is_what_the_report_draws() -> None:
    view = read(small_store(), dark=True)
    assert set(view.figures) == {"scorecard", "arms", "distance", "noise", "layers"}
    assert len(view.matrices) == 5  # three arms of the texts, two of the images
    assert all(svg.startswith("<svg") for found in view.figures.values() for svg, _ in found)


def test_explore_escapes_the_texts_of_a_probe() -> None:
    connection = small_store(hostile=True)
    assert "<script" not in probe(connection, "geography/0") and "&lt;script" in probe(connection, "geography/0")
    assert "no probe" in probe(connection, "<b>nobody")
