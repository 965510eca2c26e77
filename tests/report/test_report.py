from pathlib import Path

from einfluence.report import write_report
from tests.report.tables import small_store


def test_the_report_is_one_file_that_names_no_other(tmp_path: Path) -> None:
    out = write_report(small_store(), tmp_path / "report.html", run={"name": "test"})
    html = out.read_text(encoding="utf-8")
    assert ' src="http' not in html and "@import" not in html
    assert out.stat().st_size < 8_000_000
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
