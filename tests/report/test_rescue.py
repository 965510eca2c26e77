from __future__ import annotations

import duckdb

from einfluence.metrics import score
from einfluence.report.query import parts_of, prepared
from einfluence.report.rescue import rescue
from einfluence.report.scorecard import scorecard
from tests.report.tables import TEXT_ARMS, Tables, text_part


def scored(*arms: tuple) -> duckdb.DuckDBPyConnection:
    tables = Tables()
    text_part(tables, facts=8, arms=arms)
    tables.rows["desiderata"] = []
    connection = tables.connect()
    connection.register("_card", score(connection, draws=100))
    connection.execute("insert into desiderata select * from _card")
    return connection


def test_each_prompting_recipe_is_compared_with_training_under_its_own_name() -> None:
    chat = ("in_context", {"join": None, "chat": True}, "in the prompt (chat)", 1.2)
    connection = scored(TEXT_ARMS[0], TEXT_ARMS[2], chat)
    with prepared(connection):
        part = parts_of(connection)[0]
        found = rescue(scorecard(connection, part)["lines"], part, 0.1)
    assert found is not None
    titles = {row[0] for row in found.figure.numbers}
    assert {"Paraphrase over negation, in the prompt", "Paraphrase over negation, in the prompt (chat)"} <= titles


def test_what_the_page_says_of_the_prompt_is_the_verdict_of_the_table() -> None:
    connection = scored(TEXT_ARMS[0], TEXT_ARMS[2])
    with prepared(connection):
        part = parts_of(connection)[0]
        found = rescue(scorecard(connection, part)["lines"], part, 0.1)
    assert found is not None
    answers = {title: answer for title, _, answer, *_ in found.figure.numbers}
    known = dict(
        connection.execute(
            "select about || ' ' || formula, verdict from desiderata where about is not null and domain = 'all'"
        ).fetchall()
    )
    assert answers["Paraphrase over negation"] == known["negation contrast"] == "better"
    assert answers["Paraphrase"] == known["paraphrase score"] and answers["No leakage"] == known["leakage score"]
    assert not any("Asymmetry" in title for title in answers) and known["asymmetry phi"] == "described"
