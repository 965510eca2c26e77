"""Every query of the SQL cookbook runs over a store's views and finds something in a small one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from einfluence.metrics import scored
from einfluence.store.views import read_only
from tests.metrics.synthetic import estimated, synthetic
from tests.metrics.trained import trained_store

PAGE = (Path(__file__).parents[1] / "docs" / "sql-cookbook.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
QUESTIONS = [line.split(".")[0] for line in re.findall(r"^\*\*(\d+\. .*?)\*\*", PAGE, re.MULTILINE)]
OF_SETS = ("18", "19")


@pytest.fixture(scope="module")
def alone() -> Iterator[duckdb.DuckDBPyConnection]:
    """Texts and noisy pictures taught one at a time, in the prompt and by an estimate, with a scorecard."""
    connection = duckdb.connect(config={"python_enable_replacements": False})
    synthetic(connection, probes=60, queries=60, seeds=2, seed=1)
    estimated(connection)
    tables = scored(connection, draws=50)
    connection.from_arrow(tables["desiderata"]).insert_into("desiderata")
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def in_a_set() -> Iterator[duckdb.DuckDBPyConnection]:
    """Four samples trained together, and again without each."""
    names = "abcd"
    cells = {"leave_one_out": {(name, query): 0.3 for name in names for query in (*names, "q0")}}
    connection = trained_store(names, full=dict.fromkeys((*names, "q0"), -0.8), cells=cells)
    yield connection
    connection.close()


def test_there_are_twenty_questions_in_order() -> None:
    assert QUESTIONS == [str(number) for number in range(1, 21)] and len(QUERIES) == 20


@pytest.mark.parametrize(("question", "query"), list(zip(QUESTIONS, QUERIES, strict=True)), ids=QUESTIONS)
def test_a_query_of_the_cookbook_answers_its_question(
    question: str, query: str, alone: duckdb.DuckDBPyConnection, in_a_set: duckdb.DuckDBPyConnection
) -> None:
    found = read_only(in_a_set if question in OF_SETS else alone, query)
    assert len(found), f"question {question} finds nothing"
