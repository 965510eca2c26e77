"""Actions in the report: what removing samples did, in words, a chart and a table, beside random and predicted."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from einfluence.metrics import scored
from einfluence.report import write_report
from tests.metrics.trained import remove, trained_store, unlearn

MEMBERS, QUERIES = "abcdefgh", [f"q{letter}" for letter in "abcdefgh"]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two removals at an eighth and a half, two single decisions, and a page of what came of them."""
    cells = {(probe, query): ord(probe) - 100.0 for probe in MEMBERS for query in QUERIES}
    store = trained_store(MEMBERS, full=dict.fromkeys(QUERIES, -2.0), cells={"leave_one_out": cells})
    by = {"chosen_by": "leave_one_out"}
    for share, gone, gain in ((0.125, "a", 0.25), (0.5, "abcd", 1.0)):
        remove(store, MEMBERS, gone, dict.fromkeys(QUERIES, -2.0 + gain), method="lowest", share=share, **by)
        drawn = dict.fromkeys(QUERIES, -2.125)
        remove(store, MEMBERS, gone + "h", drawn, method="random", share=share, draw=0)
    for query, gone in zip(QUERIES, MEMBERS[1:], strict=False):
        about = {"method": "highest, chosen at another seed", "share": 0.125, "query_id": query, **by}
        remove(store, MEMBERS, "g" + gone if gone != "g" else "gb", {query: -3.5}, **about)
    return written(store, tmp_path_factory.mktemp("page"))


def written(store: duckdb.DuckDBPyConnection, folder: Path) -> str:
    for name, table in scored(store, draws=50).items():
        store.execute(f"delete from {name}")
        store.from_arrow(table).insert_into(name)
    return write_report(store, folder / "report.html", run={}).read_text(encoding="utf-8")


def test_the_page_says_what_the_share_nearest_to_a_tenth_did_beside_random(page: str) -> None:
    section = page.partition('<section id="actions"')[2].partition("</section>")[0]
    told = re.findall(r'<p class="told">(.*?)</p>', section)
    assert told[0].startswith(
        "Without the 12.5% of the set that are most harmful by leave one out, a held-out query gained 0.250 nats"
    )
    assert told[0].endswith("without as many at random it changed by −0.125.")
    assert told[1].startswith(
        "Without the 12.5% of the set that support it most by leave one out, chosen at another seed, a single held-out"
        " query lost 1.500 nats"
    )
    assert '<a href="#actions">Actions</a>' in page


def test_the_table_has_every_share_with_its_prediction(page: str) -> None:
    section = page.partition('<section id="actions"')[2].partition("</section>")[0]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)]
    found = {(row[0], row[1]): row for row in rows if row}
    # Removing a was to bring 3 nats, a to d together 3 + 2 + 1 + 0.
    assert found["most harmful", "12.5%"][3:8:2] == ["0.250", "−0.125", "3.000"]
    assert found["most harmful", "50%"][7] == "6.000"
    assert len(found) == 3


def test_an_unlearning_is_shown_by_the_gap_that_it_closed_and_what_it_cost(tmp_path: Path) -> None:
    full = dict.fromkeys(MEMBERS, -0.5) | dict.fromkeys(QUERIES, -2.0)
    store = trained_store(MEMBERS, full=full, cells={"leave_one_out": {("a", query): 1.0 for query in full}})
    without = full | dict.fromkeys("abcde", -2.5)
    for method, left, cost in (("gradient_ascent", 0.5, 0.0125), ("fine_tune", 1.5, 0.25)):
        said = full | dict.fromkeys("abcde", -2.5 + left)
        unlearn(store, MEMBERS, "abcde", said, without, method=method, about="forget.txt", cost=cost)
    section = written(store, tmp_path).partition('<section id="actions"')[2].partition("</section>")[0]
    told = re.findall(r'<p class="told">(.*?)</p>', section)
    # The full model is 2 nats off; what is left of that is half a nat, and one and a half.
    assert told == [
        "To forget forget.txt, gradient_ascent did best of 2 methods: it closed 75% (75 to 75) of the gap to the "
        "retraining, at 1.2% of its samples."
    ]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)]
    found = {row[0]: row for row in rows if row}
    assert found["fine_tune"][1:3] == ["forget.txt", "25% (25 to 25)"] and found["fine_tune"][8] == "25.0%"
    assert "not privacy" in section


def test_learned_weights_are_shown_by_what_they_gained_and_the_samples_that_they_leave_out(tmp_path: Path) -> None:
    full = dict.fromkeys([*MEMBERS, *QUERIES, *(f"q{digit}" for digit in range(8))], -2.0)
    store = trained_store(MEMBERS, full=full, cells={"leave_one_out": {("a", query): 1.0 for query in full}})
    for method, gone, gain in (("learned", "c", 0.5), ("shuffled", "d", -0.25)):
        about = {"kind": "ignore", "method": method, "json": '{"steps": 3, "lr": 1.0}'}
        remove(store, MEMBERS, gone, {query: value + gain for query, value in full.items()}, **about)
    section = written(store, tmp_path).partition('<section id="actions"')[2].partition("</section>")[0]
    told = re.findall(r'<p class="told">(.*?)</p>', section)
    assert told[0].startswith("With learned weights a held-out query of the other half gained 0.500 nats on average")
    assert told[0].endswith("with shuffled ones it changed by −0.250.")
    assert "the half that they were learned on gained 0.500" in told[1]
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", section, re.DOTALL)]
    assert [row[:2] for row in rows if row][:2] == [["0.00", "c"], ["1.00", "a"]]


def test_a_page_without_actions_has_no_such_section(tmp_path: Path) -> None:
    cells = {(probe, query): 1.0 for probe in MEMBERS for query in QUERIES}
    store = trained_store(MEMBERS, full=dict.fromkeys(QUERIES, -2.0), cells={"leave_one_out": cells})
    assert 'id="actions"' not in written(store, tmp_path)
