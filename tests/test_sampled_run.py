"""A part that measures some of its cells, from the spec to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import einfluence
from einfluence.arms import FineTune
from einfluence.errors import InputError
from einfluence.estimate import estimate
from einfluence.predictors import GradDot, resolved
from einfluence.sampling import Measure, with_controls
from einfluence.spec import load_spec
from einfluence.store.store import Store

Study = Callable[..., Path]
NOUNS = ("dax", "wug", "blick", "king", "bird", "fish", "gold", "wings")


@pytest.fixture
def study(tmp_path: Path, gpt2_folder: Path) -> Study:
    """Four probes and 112 queries; what is given replaces parts of the spec."""

    def write(**more: object) -> Path:
        texts = [(f"{a} {b}", c) for a in NOUNS for b in ("is a", "has") for c in NOUNS[1:]]
        rows = [{"id": f"t{n}", "prompt": prompt, "target": target} for n, (prompt, target) in enumerate(texts)]
        (tmp_path / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        probes = "".join(json.dumps({"id": f"t{n}", "samples": [f"t{n}"]}) + "\n" for n in (0, 20, 40, 60))
        (tmp_path / "probes.jsonl").write_text(probes)
        claims = [("t0", "t1", "paraphrase"), ("t20", "t1", "negation"), ("t40", "t9", "unrelated")]
        lines = [json.dumps({"probe": probe, "query": query, "kind": kind}) for probe, query, kind in claims]
        (tmp_path / "relations.jsonl").write_text("\n".join(lines) + "\n")
        spec: dict[str, object] = {
            "base": str(gpt2_folder),
            "samples": "samples.jsonl",
            "probes": "probes.jsonl",
            "relations": "relations.jsonl",
            "arms": [{"recipe": {"optimizer": "sgd", "lr": 0.1, "steps": 2}}],
            "measure": {"rest": 0.2},
            **more,
        }
        path = tmp_path / "spec.yaml"
        path.write_text(json.dumps({key: value for key, value in spec.items() if value is not None}))
        return path

    return write


def cells(store: Path, estimator: str = "finetune") -> dict[tuple[str, str], float]:
    with Store(store).connect() as connection:
        rows = connection.sql(f"select probe_id, query_id, influence from influence where estimator = '{estimator}'")
        return {(probe, query): value for probe, query, value in rows.fetchall()}


def test_claims_and_a_share_of_the_rest_are_measured_and_the_others_inferred(study: Study, tmp_path: Path) -> None:
    whole = einfluence.measure(study(measure=None), tmp_path / "whole", report=False)
    every = cells(tmp_path / "whole")
    assert whole.computed == len(every) == 4 * 112 and not cells(tmp_path / "whole", "grad_dot")
    einfluence.measure(study(), tmp_path / "few")
    few = cells(tmp_path / "few")
    assert 0.1 < len(few) / len(every) < 0.35
    assert len(cells(tmp_path / "few", "grad_dot")) == len(every)
    for cell, value in few.items():
        assert value == pytest.approx(every[cell], abs=1e-5)
    with Store(tmp_path / "few").connect() as connection:
        claimed = connection.sql(
            "select probe_id, query_id from relations where kind in ('self', 'paraphrase', 'negation')"
        ).fetchall()
        assert len(claimed) == 6 and few.keys() >= set(claimed)
        inferred = connection.sql(
            "select count(*), count(*) filter (where measured) from influence_inferred"
        ).fetchall()
        assert inferred == [(len(every), len(few))]
        checks = connection.sql("select variant from desiderata where desideratum = 'checks'").fetchall()
        assert checks == []
        (kept,) = connection.sql("select value, n from desiderata where desideratum = 'gate' and variant = 'nats' "
                                 "and estimator = 'finetune' and domain = 'all'").fetchall()  # fmt: skip
        assert kept[1] == 4
    page = (tmp_path / "few" / "report.html").read_text()
    assert "with cells that are inferred" in page and f"{len(few)} of {len(every)}" in page


def test_more_only_add_to_fewer_and_nothing_is_measured_twice(study: Study, tmp_path: Path) -> None:
    store = tmp_path / "store"
    einfluence.measure(study(), store, report=False)
    few = cells(store)
    more = einfluence.measure(study(measure={"rest": 0.5}), store, report=False)
    grown = cells(store)
    assert grown.keys() > few.keys() and more.computed == len(grown) - len(few)
    assert all(grown[cell] == value for cell, value in few.items())
    every = einfluence.measure(study(measure=None), store, report=False)
    assert every.computed == 4 * 112 - len(grown) and len(cells(store)) == 4 * 112
    with Store(store).connect() as connection:
        assert connection.sql("select count(*) from sampled").fetchall() == [(0,)]


def test_a_plan_counts_the_cells_that_are_measured(study: Study, tmp_path: Path) -> None:
    rows = estimate(load_spec(study()), Store(tmp_path / "store")).rows
    einfluence.measure(study(), tmp_path / "store", report=False)
    assert [row.missing for row in rows] == [len(cells(tmp_path / "store", name)) for name in ("finetune", "grad_dot")]


def test_every_arm_that_fine_tunes_has_its_control_once() -> None:
    tuned = [FineTune(), FineTune.model_validate({"recipe": {"lr": 0.1}})]
    found = with_controls(tuned, Measure(rest=0.4))
    assert [arm.estimator for arm in found] == ["finetune", "finetune", "grad_dot", "grad_dot"]
    assert with_controls(resolved([*tuned, GradDot()]), Measure(rest=0.4)) == resolved([*tuned, GradDot()])
    assert with_controls(tuned, Measure(rest=1)) == with_controls(tuned, None) == tuple(tuned)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"measure": {"rest": 0}}, "greater than 0"),
        ({"measure": {"rest": 1.2}}, "less than or equal to 1"),
        ({"measure": {"rest": 0.33}}, "a multiple of 0.05"),
        ({"measure": {"rest": 0.2, "control": "datainf"}}, "an estimate of `finetune`"),
        ({"measure": {"rest": 0.2, "control": "finetune"}}, "an estimate of `finetune`"),
        ({"measure": {"rest": 0.2, "controls": "grad_dot"}}, "controls"),
        ({"arms": [{"estimator": "in_context"}]}, "an arm `finetune` beside `measure`"),
    ],
)
def test_what_cannot_be_measured_so_is_refused_by_name(study: Study, more: dict[str, object], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        load_spec(study(**more))


def test_so_few_cells_that_the_others_cannot_be_inferred_are_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"about 6 of them.*at least 20"):
        einfluence.measure(study(measure={"rest": 0.05}), tmp_path / "store", report=False)
    assert np.isclose(Measure(rest=0.05).rest * 20, 1)
