"""Estimates in a spec: which interventions they stand for, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import einfluence
from einfluence.arms import Arm, FineTune, LeaveOneOut, estimators
from einfluence.errors import InputError
from einfluence.estimators import ekfac
from einfluence.predictors import Ekfac, Estimate, GradDot, resolved
from einfluence.recipe import Recipe
from einfluence.spec import Spec, load_spec


def arms_of(folder: Path, text: str, training_set: str = "") -> tuple[Arm, ...]:
    path = folder / "spec.yaml"
    path.write_text(f"base: embedded:world\nsamples: samples.jsonl\n{training_set}arms:\n{text}")
    return load_spec(path).parts[0].arms


def names(arms: tuple[Arm, ...]) -> list[tuple[str, str, str]]:
    return [(arm.estimator, arm.of.estimator, arm.of.recipe_id) for arm in resolved(arms) if isinstance(arm, Estimate)]


def test_an_estimate_stands_for_every_intervention_of_the_part_that_it_can_predict(tmp_path: Path) -> None:
    some = arms_of(
        tmp_path,
        "  - {recipe: {steps: [1, 2]}}\n  - {estimator: in_context}\n  - {estimator: grad_dot}\n"
        "  - {estimator: leave_one_out}\n",
        "training_set: {epochs: 2}\n",
    )
    assert names(some) == [
        ("grad_dot", "finetune", FineTune(recipe=Recipe(steps=1)).recipe_id),
        ("grad_dot", "finetune", FineTune(recipe=Recipe(steps=2)).recipe_id),
        ("grad_dot", "leave_one_out", LeaveOneOut().recipe_id),
    ]


def test_an_estimate_may_name_its_intervention_or_write_it_out(tmp_path: Path) -> None:
    both = "  - {estimator: finetune}\n  - {estimator: leave_one_out}\n"
    named = arms_of(tmp_path, both + "  - {estimator: grad_dot, stands_for: leave_one_out}\n", "training_set: {}\n")
    assert names(named) == [("grad_dot", "leave_one_out", LeaveOneOut().recipe_id)]
    alone = arms_of(tmp_path, "  - {estimator: grad_dot, stands_for: {estimator: finetune, recipe: {lr: 0.1}}}\n")
    assert names(alone) == [("grad_dot", "finetune", FineTune(recipe=Recipe.model_validate({"lr": 0.1})).recipe_id)]


def test_what_an_estimate_is_counts_in_its_name_and_a_written_spec_gives_it_back(tmp_path: Path) -> None:
    each = [
        "{estimator: grad_dot}",
        "{estimator: grad_dot, recipe: {adapter: full}}",
        "{estimator: grad_dot, recipe: {adapter: {kind: last}}}",
        "{estimator: grad_dot, recipe: {dtype: float64}}",
    ]
    arms_of(tmp_path, "".join(f"  - {arm}\n" for arm in ["{estimator: finetune}", *each]))
    spec = load_spec(tmp_path / "spec.yaml")
    again = Spec.model_validate_json(spec.model_dump_json())
    ids = [arm.recipe_id for arm in resolved(spec.parts[0].arms)]
    assert [arm.recipe_id for arm in resolved(again.parts[0].arms)] == ids and len(set(ids)) == 5
    other = resolved([FineTune(recipe=Recipe(steps=3)), GradDot()])
    assert other[1].recipe_id not in ids


@pytest.mark.parametrize(
    ("arms", "says"),
    {
        "  - {estimator: grad_dot}\n": "an arm `finetune` or `leave_one_out` or `subsets` beside `grad_dot`",
        "  - {estimator: in_context}\n  - {estimator: grad_dot, stands_for: finetune}\n": "an arm `finetune` beside",
        "  - {estimator: finetune}\n  - {estimator: grad_dot, stands_for: in_context}\n": "(not `in_context`)",
        "  - {estimator: finetune}\n  - {estimator: grad_dot, recipe: {dtype: float16}}\n": "'float32' or 'float64'",
        "  - {estimator: finetune}\n  - {estimator: grad_dot}\n  - {estimator: grad_dot, stands_for: finetune}\n":
            "each arm once in `arms` (twice: for finetune: LoRA r8",
        "  - {estimator: grad_dot, stands_for: {estimator: leave_one_out}}\n": "a `training_set` beside the arm",
    }.items(),
)  # fmt: skip
def test_what_an_estimate_cannot_stand_for_is_refused(tmp_path: Path, arms: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        arms_of(tmp_path, arms)
    assert says in str(error.value) and "spec.yaml" in str(error.value)


def study(folder: Path, base: Path) -> Path:
    texts = {
        "a": ("dax is a", "bird"),
        "b": ("wug is a", "fish"),
        "c": ("blick has", "gold"),
        "d": ("dax has", "wings"),
    }
    rows = [{"id": name, "prompt": prompt, "target": target} for name, (prompt, target) in texts.items()]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "spec.yaml"
    path.write_text(
        f"base: {base}\nsamples: samples.jsonl\ntraining_set: {{batch_size: 2}}\nseeds: [0, 1]\narms:\n"
        "  - {recipe: {optimizer: sgd, lr: 0.001, steps: 1}}\n"
        "  - {estimator: leave_one_out, recipe: {optimizer: sgd, lr: 0.01, adapter: full}}\n  - estimator: grad_dot\n"
    )
    return path


def test_every_cell_of_an_estimate_has_the_cell_that_it_predicts_beside_it(tmp_path: Path, gpt2_folder: Path) -> None:
    spec, store = study(tmp_path, gpt2_folder), tmp_path / "store"
    result = einfluence.measure(spec, store, report=False)
    assert result.failed == 0
    query = """
        select truth.estimator, truth.seed, count(*), corr(truth.influence, said.influence)
        from influence as said
        join recipes on said.recipe = recipes.recipe
        join influence as truth
            on recipes.stands_for = truth.recipe and said.base = truth.base and said.seed = truth.seed
            and said.probe_id = truth.probe_id and said.query_id = truth.query_id
        group by all order by all
    """
    with einfluence.Store(store).connect() as connection:
        found = connection.sql(query).fetchall()
        [(estimates,)] = connection.sql("select count(*) from influence where estimator = 'grad_dot'").fetchall()
    assert [row[:3] for row in found] == [
        ("finetune", 0, 16), ("finetune", 1, 16), ("leave_one_out", 0, 16), ("leave_one_out", 1, 16),
    ]  # fmt: skip
    assert estimates == 64 and min(row[3] for row in found) > 0.95
    assert einfluence.measure(spec, store, report=False).computed == 0


def test_a_plan_counts_the_cells_of_estimates(tmp_path: Path, gpt2_folder: Path) -> None:
    from einfluence.estimate import estimate
    from einfluence.store.store import Store

    spec = load_spec(study(tmp_path, gpt2_folder))
    rows = [row for row in estimate(spec, Store(tmp_path / "store")).rows if "for finetune" in row.arm]
    assert [(row.wanted, row.missing) for row in rows] == [(16, 16), (16, 16)] and all(row.seconds > 0 for row in rows)
    assert estimators()["grad_dot"].predicts == ("finetune", "leave_one_out", "subsets")


def test_arms_that_are_fitted_to_the_same_share_a_state(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[int] = []
    real = ekfac.factors
    monkeypatch.setattr(ekfac, "factors", lambda *given, **how: fitted.append(given[2]) or real(*given, **how))
    path, base = study(tmp_path, gpt2_folder), f"base: {gpt2_folder}\nsamples: samples.jsonl\n"
    last = "{kind: match, pattern: h.1.ln_1}"
    ways = f"  - {{recipe: {{steps: 1}}}}\n  - {{recipe: {{adapter: {last}, optimizer: sgd, lr: 0.1}}}}\n"
    arms = "".join(f"  - {{estimator: ekfac, recipe: {{adapter: {last}, damping: {by}}}}}\n" for by in (0.1, 0.2))
    path.write_text(f"{base}arms:\n{ways}{arms}")
    assert einfluence.measure(path, tmp_path / "store", report=False).failed == 0
    assert fitted == [0]
    own = f"  - {{recipe: {{adapter: {last}, optimizer: sgd, lr: 0.1}}}}\n  - {{estimator: ekfac}}\n"
    path.write_text(f"{base}arms:\n{own}")
    einfluence.measure(path, tmp_path / "store", report=False)
    assert fitted == [0]  # it has no adapter of its own, and its intervention's is the same
    einfluence.measure(path, tmp_path / "other", report=False)
    assert fitted == [0, 0]
    query = "select influence from influence where estimator = 'ekfac' and {} order by probe_id, query_id"
    with einfluence.Store(tmp_path / "store").connect() as connection:
        labels = connection.sql("select label, fit from recipes where estimator = 'ekfac'").fetchall()
        [(states, fit)] = connection.sql("select count(*), any_value(fit) from states").fetchall()
        [[recipe]] = connection.sql("select recipe from recipes where label like 'for finetune%'").fetchall()
        shared = connection.sql(query.format(f"recipe = '{recipe}'")).fetchall()
    assert len(labels) == 5 and states == 1 and {own for _, own in labels} == {fit}
    with einfluence.Store(tmp_path / "other").connect() as connection:
        assert connection.sql(query.format(f"recipe = '{recipe}'")).fetchall() == shared and len(shared) == 16


def test_arms_of_one_training_on_a_set_share_what_is_fitted_where_it_ends(tmp_path: Path) -> None:
    some = ["leave_one_out}", "subsets, recipe: {count: 5}}", "leave_one_out, recipe: {lr: 0.1}}", "ekfac}", "fisher}"]
    written = "".join(f"  - {{estimator: {arm}\n" for arm in some)
    arms = resolved(arms_of(tmp_path, written, "training_set: {}\n"))
    fits = {name: [arm.fit_for("set") for arm in arms if arm.estimator == name] for name in ("ekfac", "fisher")}
    for each in fits.values():
        assert each[0] == each[1] != each[2]
    assert fits["ekfac"][0] != arms[3].fit_for("another set")


def test_targets_that_are_drawn_anew_are_another_estimate_and_one_draw_for_both_is_what_it_was() -> None:
    [once, anew] = (
        Ekfac.model_validate({"stands_for": FineTune(), "recipe": {"redraw": own}}) for own in (False, True)
    )
    assert (once.recipe_id, once.fit_for("set")) == ("fe2537441846114c538e", "319dc17fdb128071353d")
    assert anew.recipe_id != once.recipe_id and anew.fit_for("set") != once.fit_for("set")
    assert anew.label.startswith("redraw True, for finetune")
