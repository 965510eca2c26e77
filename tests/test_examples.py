"""Every spec in examples/ runs as it is, without a network, and leaves no probe out."""

from __future__ import annotations

from pathlib import Path

import pytest

import einfluence
from einfluence.bases.find import find_base
from einfluence.objectives import OBJECTIVES
from einfluence.spec import load_spec

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.yaml"))


@pytest.mark.parametrize("spec", EXAMPLES, ids=lambda spec: spec.stem)
def test_an_example_runs_as_it_is(spec: Path, tmp_path: Path) -> None:
    result = einfluence.measure(spec, tmp_path / "store", report=False)
    assert result.computed and not result.failed
    with einfluence.Store(tmp_path / "store").connect() as connection:
        selves = connection.sql(
            "select avg(influence) from influence join relations using (probe_id, query_id) where kind = 'self'"
        ).fetchall()
    assert selves[0][0] > 0


def test_there_is_an_example_of_every_objective() -> None:
    spec = [load_spec(example) for example in EXAMPLES]
    bases = [(part.base, one.folder) for one in spec for part in one.parts if isinstance(part.base, str)]
    found = {find_base(base, "base", relative_to=folder).objective for base, folder in bases}
    assert found == set(OBJECTIVES)
