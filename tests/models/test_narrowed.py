"""Bases held in bfloat16: half the memory, and not one bit of a number is another."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from einfluence.bases.load import find_base, load_base, narrowed
from einfluence.compute import compute
from einfluence.models.base import BaseInfo
from einfluence.objectives.pretrained import load_model, stored_tensors
from einfluence.plan import plan
from einfluence.prepare import prepare
from einfluence.session import Session
from einfluence.spec import load_spec
from einfluence.store.store import Store
from tests.engine.architectures import architecture
from tests.flows.test_runners import write_spec

ARMS = [
    {"recipe": {"lr": 0.01, "steps": 2, "dtype": "bfloat16"}, "restore": 1},
    {"recipe": {"adapter": "full", "optimizer": "sgd", "lr": 0.1, "steps": 2, "dtype": "bfloat16"}},
    {"recipe": {"adapter": "last", "optimizer": "adam", "lr": 0.01, "steps": 1, "dtype": "bfloat16"}},
    {"estimator": "in_context", "recipe": {"dtype": "bfloat16"}},
]


@pytest.fixture
def saved(tmp_path: Path, gpt2_folder: Path) -> Callable[[torch.dtype], Path]:
    """The small GPT-2, saved in a dtype."""

    def save(dtype: torch.dtype) -> Path:
        folder = tmp_path / str(dtype)
        AutoModelForCausalLM.from_pretrained(gpt2_folder, dtype=dtype).save_pretrained(folder)
        for file in gpt2_folder.glob("tokenizer*"):
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    return save


def test_only_files_in_bfloat16_for_recipes_in_bfloat16_are_held_in_it(saved: Callable[[torch.dtype], Path]) -> None:
    narrow, wide = (find_base(str(saved(dtype)), "test") for dtype in (torch.bfloat16, torch.float32))
    held = narrowed(narrow, ["bfloat16", "bfloat16"])
    assert held.dtype == "bfloat16" and held.base_id == narrow.base_id
    assert next(load_base(held).model.parameters()).dtype == torch.bfloat16
    assert narrowed(narrow, ["bfloat16", "float32"]) == narrow != held
    assert narrowed(wide, ["bfloat16"]) == wide
    assert next(load_base(wide).model.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    "name", ["arcee", "bamba", "bloom", "deepseek-v3", "falcon-alibi", "gemma3", "gemma3n", "falcon-mamba", "gemma2"]
)
def test_weights_and_constants_are_bit_for_bit_what_a_cast_gives(name: str, tmp_path: Path) -> None:
    architecture(name).model.to(torch.bfloat16).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    info = BaseInfo(name, name, "causal_lm", str(tmp_path), config)

    def load(dtype: Any) -> torch.nn.Module:
        held = BaseInfo(name, name, "causal_lm", str(tmp_path), config, dtype=dtype)
        return load_model(held, "AutoModelForCausalLM", stored_tensors(info), False, what="a model", expected="one")

    wide, narrow = load("float32"), load("bfloat16")
    for (key, one), other in zip(wide.named_parameters(), narrow.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16), other.to(torch.bfloat16)) and torch.equal(one, other.float()), key
    for (key, one), other in zip(wide.named_buffers(), narrow.buffers(), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other), key


@pytest.mark.filterwarnings("ignore::einfluence.engine.noise.NoiseWarning")
def test_no_number_of_a_study_changes(
    saved: Callable[[torch.dtype], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = load_spec(write_spec(tmp_path, saved(torch.bfloat16), count=4, arms=ARMS))

    def tables(name: str, dtype: str) -> list[list[tuple[Any, ...]]]:
        store, session = Store(tmp_path / name), Session("cpu")
        todo = plan(spec, [prepare(spec, part, store, session) for part in spec.parts], store)
        assert {job.base.dtype for job in todo.jobs} == {dtype}
        assert not any(compute(job, session).failed for job in todo.jobs)
        assert {str(next(base.model.parameters()).dtype) for base in session._bases.values()} == {f"torch.{dtype}"}
        with store.connect() as connection:
            return [
                connection.execute(query).fetchall()
                for query in (
                    "from influence order by all",
                    "select * exclude (seconds, memory) from outcomes order by all",
                    "from layer_updates order by all",
                    "from restorations order by all",
                )
            ]

    narrow = tables("narrow", "bfloat16")
    monkeypatch.setattr("einfluence.prepare.narrowed", lambda info, dtypes: info)
    wide = tables("wide", "float32")
    assert all(rows for rows in narrow) and repr(narrow) == repr(wide)
