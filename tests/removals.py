"""A training set from which samples were removed, in a store on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

import einfluence
from einfluence.spec import Spec, load_spec
from einfluence.store.store import Store
from tests.test_actions import MORE, study
from tests.test_training_sets import TEXTS

HELD_OUT = {f"q{number}": (f"{who} {verb}", "gold") for number, (who, verb) in enumerate(
    [(who, verb) for who in ("dax", "wug", "zup", "fep", "blick") for verb in ("is a", "has", "sees")])}  # fmt: skip
Removals = tuple[Spec, Store, Path]


def measured(folder: Path, base: Path) -> Removals:
    """The spec, the store that it was run into, and the folder of both: removed by an arm, and by a user's query."""
    with pytest.MonkeyPatch.context() as patch:
        for name, text in {**MORE, **HELD_OUT}.items():
            patch.setitem(TEXTS, name, text)
        (folder / "mine.sql").write_text("select sample_id, position as score from training_set_members")
        removals = (
            f"{{remove: {{by: {by}, order: lowest, shares: 0.25, draws: 1}}}}" for by in ("leave_one_out", "mine.sql")
        )
        spec = study(folder, base, ", ".join(removals))
        held_out = [f'{{"prompt": "{prompt}", "target": "{target}"}}\n' for prompt, target in HELD_OUT.values()]
        (folder / "valid.jsonl").write_text("".join(held_out))
        einfluence.measure(spec, folder / "store", report=False)
    return load_spec(spec), Store(folder / "store"), folder
