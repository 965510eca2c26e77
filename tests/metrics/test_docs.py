"""docs/desiderata.md, the SQL files and what they put out say the same."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

import einfluence.metrics
from einfluence.metrics import per_probe, score
from einfluence.metrics.checking import PRIMARY
from einfluence.metrics.models import desiderata
from einfluence.store.schema import DESIDERATA
from tests.metrics.synthetic import estimated, longer, synthetic
from tests.metrics.trained import every_row

PACKAGE = Path(einfluence.metrics.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "desiderata.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
PROSE = {"How a number comes about", "Columns of the scorecard", "Verdicts", "checks", "Your own",
         "Side by side, and as a gate", "Are the intervals right?", "How long does it take?"}  # fmt: skip


def first_column(section: str) -> list[str]:
    cells = re.findall(r"^\| (.+?) \|", SECTIONS[section], re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def pattern(variant: str) -> re.Pattern[str]:
    """The documented name with its <placeholders> as a regular expression."""
    return re.compile(re.sub(r"<[a-z]+>", "[^@:]+", re.escape(variant).replace(r"\<", "<").replace(r"\>", ">")))


@pytest.fixture(scope="module")
def emitted() -> dict[str, set[str]]:
    connection = duckdb.connect(config={"python_enable_replacements": False})
    synthetic(connection, probes=60, queries=60, seeds=2, arms=2)
    estimated(connection)
    longer(connection)
    connection.execute("update influence set rank_before = 1, rank_after = 2 where hash(query_id) % 5 = 0")
    found: dict[str, set[str]] = {}
    for table in (per_probe(connection, features=["length"]), per_probe(every_row())):
        for row in table.group_by(["desideratum", "variant"]).aggregate([]).to_pylist():
            found.setdefault(row["desideratum"], set()).add(row["variant"])
    return found


def test_every_desideratum_has_its_section_and_its_file() -> None:
    assert set(SECTIONS) - PROSE == set(desiderata()) == {path.stem for path in (PACKAGE / "desiderata").glob("*.sql")}


@pytest.mark.parametrize("name", desiderata())
def test_every_variant_is_documented_and_every_documented_variant_exists(
    name: str, emitted: dict[str, set[str]]
) -> None:
    documented = [variant for variant in first_column(name)]
    for variant in emitted[name]:
        assert any(pattern(known).fullmatch(variant) for known in documented), f"{name}: {variant} is not documented"
    for known in documented:
        assert any(pattern(known).fullmatch(variant) for variant in emitted[name]), f"{name}: no row is a {known}"


@pytest.mark.parametrize("name", [name for name in desiderata() if name not in ("controls", "layers")])
def test_every_section_says_what_the_number_does_not_say(name: str) -> None:
    assert re.search(r"\*Does not say\*|less is better|so read", SECTIONS[name])


def test_the_columns_beside_a_variant_tell_it_from_every_other() -> None:
    connection = duckdb.connect(config={"python_enable_replacements": False})
    synthetic(connection, probes=60, queries=60, seeds=2, arms=2)
    estimated(connection)
    pieces = ("desideratum", "formula", "kind", "level", "place", "about")
    found: dict[tuple[object, ...], set[str]] = {}
    for row in (*score(connection, draws=20).to_pylist(), *score(every_row(), draws=20).to_pylist()):
        if row["desideratum"] != "checks":
            found.setdefault(tuple(row[name] for name in pieces), set()).add(row["variant"])
    assert len(found) > 100 and all(len(variants) == 1 for variants in found.values())


def test_the_primary_variant_is_the_first_in_its_table() -> None:
    for name, variant in PRIMARY.items():
        assert first_column(name)[0] == variant


def test_columns_of_the_scorecard_are_documented() -> None:
    assert first_column("Columns of the scorecard") == DESIDERATA.names


def test_checks_are_documented() -> None:
    written = {re.search(r"'([^']+)' as variant", path.read_text())[1] for path in (PACKAGE / "checks").glob("*.sql")}
    assert set(first_column("checks")) == written


def test_the_example_of_a_users_model_runs(tmp_path: Path) -> None:
    connection = duckdb.connect(config={"python_enable_replacements": False})
    synthetic(connection, probes=60, queries=100, images=False, arms=1)
    (tmp_path / "neighbour.sql").write_text(re.search(r"```sql\n(.*?)```", PAGE, re.DOTALL)[1])
    rows = score(connection, user_sql=tmp_path, draws=50).to_pylist()
    assert next(row for row in rows if row["desideratum"] == "neighbour")["value"] is not None


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.sql")), ids=lambda path: path.stem)
def test_every_model_states_its_grain_in_its_first_line(path: Path) -> None:
    assert re.match(r"-- (One row an? |No row)", path.read_text().partition("\n")[0])


def test_every_temporary_table_is_dropped_again() -> None:
    made = {
        name
        for path in PACKAGE.rglob("*.sql")
        for name in re.findall(r"create or replace temp table (\w+)", path.read_text())
    }
    assert made == set(re.findall(r"temp\.(\w+)", (PACKAGE / "staging" / "drop.sql").read_text()))
