"""Actions: what is removed, what it is compared with, that nothing is trained twice, and what is refused."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

import einfluence
from einfluence.action import Action
from einfluence.errors import InputError
from einfluence.estimate import estimate
from einfluence.metrics import per_probe
from einfluence.spec import load_spec
from einfluence.store.store import Store
from einfluence.training_set import FULL, More, Variant
from tests.test_training_sets import RECIPE, TEXTS, rows, write

LOO = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
MORE = {"f": ("zup is a", "bird"), "g": ("zup has", "gold"), "h": ("fep is", "big"), "i": ("fep has", "a nest")}


def study(folder: Path, base: Path, actions: str, arms: str = LOO) -> Path:
    write(folder / "train.jsonl", "abcd")
    write(folder / "valid.jsonl", "efghi")
    path = folder / "spec.yaml"
    path.write_text(
        f"base: {base}\ntraining_set: {{samples: train.jsonl, held_out: valid.jsonl, epochs: 2, batch_size: 2}}\n"
        f"arms: [{arms}]\nactions: [{actions}]\n"
    )
    return path


@pytest.fixture(autouse=True)
def _more_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in MORE.items():
        monkeypatch.setitem(TEXTS, name, text)


def test_a_variant_is_named_by_all_that_it_does() -> None:
    plain = Variant("removed", left_out=(1,))
    assert plain.training_id("s") == Variant("without", "x", (1,)).training_id("s")
    ids = {
        one.training_id("s")
        for one in (
            FULL,
            plain,
            Variant("reweighted", weights=((1, 0.5),)),
            Variant("unlearned", more=(More((1,), (-1.0,)),)),
        )
    }
    assert len(ids) == 4


def test_the_most_harmful_sample_is_removed_and_a_drawn_one_beside_it(gpt2_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.sql").write_text("select sample_id, -position as score from training_set_members")
    mine = "{remove: {by: mine.sql, order: lowest, shares: 0.25, draws: 2}}"
    spec = study(tmp_path, gpt2_folder, "{remove: {by: leave_one_out, order: lowest, shares: 0.25, draws: 2}}, " + mine)
    store = tmp_path / "store"
    first = einfluence.measure(spec, store, report=False)
    assert (first.present, first.computed) == (0, first.wanted)
    again = einfluence.measure(spec, store, report=False)
    assert (again.present, again.computed) == (again.wanted, 0)
    harm = dict(
        rows(
            store,
            "select samples.name, sum(influence) from influence join probe_members using (probe_id)"
            " join samples using (sample_id) where estimator = 'leave_one_out' and query_id[-1:] < '8'"
            " and query_id not in (select sample_id from training_set_members) group by all",
        )
    )
    found = rows(
        store,
        "select method, s.name, a.draw, a.reference = f.training from actions a"
        " join training_weights w using (training)"
        " join training_set_members m using (training_set, position) join samples s using (sample_id)"
        " join trainings f on f.kind = 'full' where weight = 0 and a.json not like '%mine.sql%'"
        " order by method, draw",
    )
    assert found[0] == ("lowest", min(harm, key=lambda name: harm[name]), None, True)
    assert [row[0] for row in found[1:]] == ["random", "random"]
    last = rows(
        store,
        "select position, chosen_by from actions join training_weights using (training) where json like '%mine.sql%'"
        " and method = 'lowest'",
    )
    assert last == [(3, None)]
    judged = {row["probe"] for row in per_removal(store)}
    chosen_on = {name for name, query in rows(store, "select name, sample_id from samples") if query[-1] < "8"}
    assert judged and judged == set("efghi") - chosen_on


def per_removal(store: Path) -> list[dict[str, Any]]:
    with Store(store).connect() as connection:
        return [row for row in per_probe(connection).to_pylist() if row["desideratum"] == "removal"]


def test_single_decisions_lose_what_supports_them_by_their_own_seed_and_by_another(
    gpt2_folder: Path, tmp_path: Path
) -> None:
    spec = study(tmp_path, gpt2_folder, "{remove: {by: leave_one_out, decisions: 1, shares: 0.25, draws: 1}}")
    spec.write_text(spec.read_text() + "seeds: [3, 4]\n")
    store = tmp_path / "store"
    before = estimate(load_spec(spec), Store(store)).rows
    # Of each seed what it chooses itself, what the other one chooses, and a draw.
    assert [row.probes for row in before if row.arm.startswith("actions (remove)")] == [3, 3]
    einfluence.measure(spec, store, report=False)
    assert not any(row.missing for row in estimate(load_spec(spec), Store(store)).rows)
    made = rows(
        store,
        "select a.seed, method, query_id, m.sample_id from actions a join training_weights w using (training)"
        " join training_set_members m using (training_set, position) where method <> 'random'",
    )
    support = dict(
        (tuple(row[:2]), row[2])
        for row in rows(
            store,
            "select seed, query_id, arg_max(sample_id, influence) from influence join probe_members using (probe_id)"
            " where estimator = 'leave_one_out' group by all",
        )
    )
    assert len(made) == 4 and len({query for _, _, query, _ in made}) == 1
    for seed, method, query, gone in made:
        chooser = {"highest": seed, "highest, chosen at another seed": 7 - seed}[method]
        assert gone == support[chooser, query] and query[-1] >= "8"
    assert {row["variant"].partition(" 25%")[0] for row in per_removal(store)} == {
        "highest, single decisions",
        "highest, chosen at another seed, single decisions",
        "random, single decisions",
    }


def test_decisions_may_be_named_and_are_then_of_either_half(gpt2_folder: Path, tmp_path: Path) -> None:
    spec = study(
        tmp_path, gpt2_folder, "{remove: {by: leave_one_out, decisions: [e, f, h, i], shares: 0.25, draws: 1}}"
    )
    store = tmp_path / "store"
    einfluence.measure(spec, store, report=False)
    assert not any(row.missing for row in estimate(load_spec(spec), Store(store)).rows)
    made = rows(store, "select name, method from actions join samples on query_id = sample_id order by name")
    assert made == [(name, "highest") for name in "efhi"]
    halves = {query[-1] < "8" for _, query in rows(store, "select name, sample_id from samples") if _ in "efhi"}
    assert halves == {True, False}
    for which in ("highest", "random"):
        kept = {row["probe"] for row in per_removal(store) if row["variant"] == f"{which}, single decisions 25%: nats"}
        assert kept == set("efhi")


@pytest.mark.parametrize(
    ("action", "trainings"),
    [
        ("{remove: {by: leave_one_out, shares: [0.25, 0.5], draws: 2}}", (3 + 2) * 2),  # orders and draws, two shares
        (
            "{remove: {by: leave_one_out, order: lowest, shares: 0.5, draws: 3}},"
            " {remove: {by: leave_one_out, decisions: 2, shares: 0.5, draws: 3}}",
            1 + 2 + 3,  # the draws are the same
        ),
        ("{unlearn: {most: 1, by: leave_one_out, method: [gradient_ascent, fine_tune]}}", 2 + 1),  # and the retraining
    ],
)
def test_a_plan_counts_the_trainings_of_an_action_before_there_is_a_cell(
    action: str, trainings: int, gpt2_folder: Path, tmp_path: Path
) -> None:
    spec = study(tmp_path, gpt2_folder, action)
    [row] = [row for row in estimate(load_spec(spec), Store(tmp_path / "store")).rows if "actions" in row.arm]
    assert (row.probes, row.missing) == (trainings, trainings * len("abcdefghi"))


@pytest.mark.parametrize("kind", list(Action.model_fields))
def test_every_action_checks_itself_names_its_trainings_and_forecasts_them(kind: str) -> None:
    module = importlib.import_module(f"einfluence.actions.{kind}")
    assert all(callable(getattr(module, name)) for name in ("check", "attempts", "expected"))


@pytest.mark.parametrize(
    ("action", "found"),
    [
        ("remove: {by: gradient}", "parts.main.actions.remove.by: found 'gradient'"),
        ("remove: {by: nothing.sql}", "where no file is"),
        ("remove: {by: leave_one_out, shares: 1.5}", "shares above 0 and below 1"),
        ("remove: {by: leave_one_out, decisions: 99}", "parts.main.actions.remove.decisions: found 99"),
        ("remove: {by: leave_one_out, decisions: [e, a]}", "'a', the name of 0 queries that are held out"),
        ("remove: {by: leave_one_out, decisions: []}", "a number, or names of queries"),
        ("remove: {by: mine.sql, decisions: 1}", "`decisions` beside the file mine.sql"),
        ("remove: {by: mine.sql}", "Table with name nowhere does not exist"),
    ],
)
def test_what_cannot_be_removed_is_refused_by_name(action: str, found: str, gpt2_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.sql").write_text("select * from nowhere")
    spec = study(tmp_path, gpt2_folder, "{" + action + "}")
    with pytest.raises(InputError) as raised:
        einfluence.measure(spec, tmp_path / "store", report=False)
    assert found in str(raised.value)


def test_held_out_queries_of_which_one_half_is_empty_are_refused(gpt2_folder: Path, tmp_path: Path) -> None:
    spec = study(tmp_path, gpt2_folder, "{remove: {by: leave_one_out}}")
    write(tmp_path / "valid.jsonl", "e")
    with pytest.raises(InputError, match="found 1 queries that are not in the set; expected enough for two halves"):
        einfluence.measure(spec, tmp_path / "store", report=False)


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("mine.jsonl", '{"id": "nobody", "loud": 1}\n', "found no id of the store"),
        ("mine.jsonl", '{"id": "a", "loud": "very"}\n', "expected a number"),
        ("mine.sql", "select * from nowhere", "Table with name nowhere does not exist"),
        ("mine.sql", "select name, 1 as loud from samples", "found no column sample_id or id"),
        ("gone.csv", None, "gone.csv"),
    ],
)
def test_features_that_cannot_be_used_are_refused_before_anything_is_computed(
    name: str, content: str | None, found: str, gpt2_folder: Path, tmp_path: Path
) -> None:
    spec = study(tmp_path, gpt2_folder, "")
    spec.write_text(spec.read_text() + f"features: [{name}]\n")
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=found):
        einfluence.measure(spec, tmp_path / "store", report=False)
    assert rows(tmp_path / "store", "select count(*) from influence") == [(0,)]
