"""Estimators from outside the package: what a spec may say, what is fitted when, what the tables hold."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import einfluence
from einfluence import arms
from einfluence.arms import Arm, Estimator, FineTune, register
from einfluence.engine.definition import target_logprobs
from einfluence.errors import InputError
from einfluence.estimators.estimate import EstimatedRow, Estimates
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.recipe import Keyed
from einfluence.samples import Sample
from einfluence.spec import Spec, load_spec

# An estimator from outside, whole: the dot product of gradients as far as they differ from the mean of all samples ---


class Plain(Keyed):
    scale: float = 1.0

    @property
    def label(self) -> str:
        return f"centred gradients x {self.scale:g}"


class CentredDot(Arm):
    estimator: Literal["centred_dot"] = "centred_dot"
    recipe: Plain = Plain()

    def predicted(self, known: str) -> str:
        return FineTune().recipe_id


def gradient(base: Base, sample: Sample) -> Tensor:
    parameters = [parameter.requires_grad_(True) for parameter in base.model.parameters()]
    total = target_logprobs(base.objective, base.model, encode(base, sample)).sum()
    found = torch.cat([part.flatten() for part in torch.autograd.grad(total, parameters)])
    base.model.requires_grad_(False)
    return found


def fit(base: Base, arm: CentredDot, seed: int, samples: Sequence[Sample]) -> Mapping[str, Tensor]:
    return {"mean": torch.stack([gradient(base, sample) for sample in samples]).mean(0)}


def block(base: Base, arm: CentredDot, seed: int, probes: Any, queries: Any, *, kept: Any, state: Any) -> Estimates:
    asked = torch.stack([gradient(base, query) - state["mean"] for query in queries])
    known = (torch.stack([gradient(base, one) for one in probe.samples]).mean(0) - state["mean"] for probe in probes)
    return Estimates(EstimatedRow(i, (arm.recipe.scale * asked @ g).double().numpy()) for i, g in enumerate(known))


CENTRED_DOT = Estimator("centred_dot", "1", CentredDot, __name__, fits=True)

# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For one test, so that others see what ships alone."""
    monkeypatch.setattr(arms, "_registered", arms.estimators())
    register(CENTRED_DOT)
    yield
    arms._union.cache_clear()


def study(folder: Path, base: Path, samples: str = "abcd", arm: str = "{estimator: centred_dot}") -> Path:
    texts = {
        "a": ("dax is a", "bird"),
        "b": ("wug is a", "fish"),
        "c": ("blick has", "gold"),
        "d": ("dax has", "wings"),
    }
    rows = [{"id": name, "prompt": texts[name][0], "target": texts[name][1]} for name in samples]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "spec.yaml"
    path.write_text(f"base: {base}\nsamples: samples.jsonl\narms:\n  - {arm}\n")
    return path


def rows(store: Path, query: str) -> list[tuple[Any, ...]]:
    with einfluence.Store(store).connect() as connection:
        return connection.sql(query).fetchall()


def test_an_estimate_is_fitted_once_and_fills_the_table_of_influence(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    monkeypatch.setattr(f"{__name__}.fit", lambda *given, real=fit: fitted.append(len(given[3])) or real(*given))
    store, spec = tmp_path / "store", study(tmp_path, gpt2_folder)
    result = einfluence.measure(spec, store)
    assert (result.computed, result.failed, fitted) == (16, 0, [4])
    found = rows(store, "select probe_id, query_id, influence from influence where estimator = 'centred_dot'")
    there = {(probe, query): value for probe, query, value in found}
    names = dict(rows(store, "select name, sample_id from samples"))
    probes = dict(rows(store, "select name, probe_id from probes"))
    for one in "abcd":
        for other in "abcd":  # the dot product is symmetric, and the differences from the mean add up to nothing
            assert there[probes[one], names[other]] == pytest.approx(there[probes[other], names[one]], rel=1e-4)
        assert abs(sum(there[probes[one], names[other]] for other in "abcd")) < 1e-3 * there[probes[one], names[one]]
    [(unmeasured, about)] = rows(store, "select count(logprob_after), any_value(stands_for) from influence "
                                        "join recipes using (recipe)")  # fmt: skip
    assert (unmeasured, about) == (0, FineTune().recipe_id)
    assert einfluence.measure(spec, store).computed == 0 and fitted == [4]


def test_what_was_fitted_is_used_again_and_fitted_anew_where_it_is_lost_or_the_data_are_others(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    monkeypatch.setattr(f"{__name__}.fit", lambda *given, real=fit: fitted.append(len(given[3])) or real(*given))
    store = tmp_path / "store"
    einfluence.measure(study(tmp_path, gpt2_folder, "abc"), store, report=False)
    einfluence.measure(study(tmp_path, gpt2_folder, "abcd"), store, report=False)
    assert fitted == [3, 4]
    again = study(tmp_path, gpt2_folder, "abcd", "{estimator: centred_dot, recipe: {scale: 2}}")
    einfluence.measure(again, store, report=False)
    assert fitted == [3, 4, 4]
    counts = rows(
        store, "select split_part(label, ',', 1), count(*) from influence join recipes using (recipe) group by label"
    )
    assert sorted(counts) == [
        ("centred gradients x 1", 9),
        ("centred gradients x 1", 16),
        ("centred gradients x 2", 16),
    ]
    for state in (store / "states").iterdir():
        state.unlink()
    einfluence.measure(again, store, report=False)
    assert fitted == [3, 4, 4]  # no cell is missing


@pytest.mark.parametrize("gives", ["an error", "a list"])
def test_a_fit_that_fails_fails_its_arm_alone_and_the_next_run_tries_it_again(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch, gives: str
) -> None:
    def failing(*given: Any) -> Any:
        if gives == "an error":
            raise ArithmeticError("singular matrix")
        return {"mean": [1.0]}

    store, spec = (
        tmp_path / "store",
        study(tmp_path, gpt2_folder, arm="{estimator: centred_dot}\n  - {recipe: {steps: 1}}"),
    )
    with monkeypatch.context() as patched:
        patched.setattr(f"{__name__}.fit", failing)
        result = einfluence.measure(spec, store, report=False)
    assert (result.computed, result.failed) == (16, 4)
    outcomes = "select estimator, status, count(*), any_value(reason) from outcomes group by all order by all"
    [dot, tuned] = rows(store, outcomes)
    why = {"an error": "ArithmeticError: singular matrix", "a list": "AttributeError: 'list' object"}[gives]
    assert dot[:3] == ("centred_dot", "failed", 4) and tuned == ("finetune", "done", 4, None)
    assert "centred_dot centred gradients x 1 seed 0: fit failed: " in dot[3] and why in dot[3]
    assert einfluence.measure(spec, store, report=False).computed == 16


def test_a_spec_may_say_what_is_registered_and_messages_know_its_keys(tmp_path: Path) -> None:
    spec = load_spec(study(tmp_path, tmp_path, arm="{estimator: centred_dot, recipe: {scale: 2}}"))
    assert Spec.model_validate_json(spec.model_dump_json()).parts[0].arms == spec.parts[0].arms
    for arm, says in {
        "{estimator: centred_dot, recipe: {scael: 2}}": "expected one of scale. Did you mean `scale`?",
        "{estimator: centred_dto}": f"found 'centred_dto'; expected one of {', '.join(map(repr, arms.estimators()))}",
    }.items():
        with pytest.raises(InputError) as error:
            load_spec(study(tmp_path, tmp_path, arm=arm))
        assert says in str(error.value)


def test_a_name_belongs_to_one_estimator() -> None:
    with pytest.raises(ValueError, match="another estimator is called 'centred_dot'"):
        register(Estimator("centred_dot", "2", CentredDot, __name__))
    with pytest.raises(ValueError, match="not 'centred_dot'"):
        register(Estimator("dot", "1", CentredDot, __name__))
