"""Parameters that a pattern finds are trained in models of every kind of text as the definition says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.estimators.test_objectives import MADE
from tests.objectives.tiny_texts import hold_against_the_definition, load


@pytest.mark.parametrize("kind", MADE)
def test_parameters_that_a_pattern_finds(kind: str, tmp_path: Path) -> None:
    save, samples = MADE[kind]
    hold_against_the_definition(
        load(save(tmp_path)), samples, {"kind": "match", "pattern": r"(attention|\.SelfAttention)\."}
    )
