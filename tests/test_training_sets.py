"""Training sets: what leaving a sample out is, how subsets are regressed on, what is trained again and what is not."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import einfluence
from einfluence.arms import OfASet
from einfluence.attribute import training_scores
from einfluence.bases.load import find_base, load_base
from einfluence.engine import definition
from einfluence.errors import InputError
from einfluence.estimate import estimate
from einfluence.estimators import leave_one_out, subsets
from einfluence.estimators.training import trained, trained_base, with_steps
from einfluence.estimators.within import TrainingScores
from einfluence.objectives import encode
from einfluence.plan import plan
from einfluence.prepare import prepare
from einfluence.samples import Sample
from einfluence.session import Session
from einfluence.spec import LeaveOneOut, Subsets, Tuning, load_spec
from einfluence.store.store import ArmKey
from einfluence.training_set import FULL, Members, Schedule, shuffled, subset, without
from einfluence.trainings import VERSION

TEXTS = {
    "a": ("dax is a", "bird"),
    "b": ("wug is a", "fish"),
    "c": ("blick has", "gold"),
    "d": ("dax has", "wings"),
    "e": ("wug has", "gold wings"),
}
RECIPE = "{adapter: full, optimizer: sgd, lr: 0.05, dtype: float64}"


def write(path: Path, names: str) -> None:
    rows = [{"id": name, "prompt": TEXTS[name][0], "target": TEXTS[name][1]} for name in names]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def study(folder: Path, base: Path, arms: str, names: str = "abcd", schedule: str = "epochs: 2, batch_size: 2") -> Path:
    write(folder / "train.jsonl", names)
    write(folder / "valid.jsonl", "e")
    path = folder / "spec.yaml"
    path.write_text(
        f"base: {base}\ntraining_set: {{samples: train.jsonl, held_out: valid.jsonl, {schedule}}}\narms: [{arms}]\n"
    )
    return path


def rows(store: Path, query: str) -> list[tuple[Any, ...]]:
    with einfluence.Store(store).connect() as connection:
        return connection.sql(query).fetchall()


def cells(store: Path, estimator: str) -> dict[tuple[str, str], tuple[float, ...]]:
    found = rows(
        store,
        "select probes.name, samples.name, influence, logprob_before, logprob_after, rank_before, rank_after"
        " from influence join probes using (probe_id) join samples on samples.sample_id = query_id"
        f" where estimator = '{estimator}'",
    )
    return {(row[0], row[1]): row[2:] for row in found}


def by_hand(base: Path, batches: Sequence[Sequence[int]], left_out: int | None, lr: float = 0.05) -> dict[str, float]:
    """Log-probabilities after training a copy in plain torch, a term of each batch's loss left out."""
    loaded = load_base(find_base(str(base), "base"))
    items = {name: encode(loaded, Sample(name, *TEXTS[name])) for name in TEXTS}
    model = copy.deepcopy(loaded.model).double().requires_grad_(True)

    def nats(item: Any) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([item.ids])).logits[0].log_softmax(-1)
        return -sum(logits[place - 1, item.ids[place]] for place in range(len(item.ids) - item.n_target, len(item.ids)))

    for batch in batches:
        model.zero_grad()
        some = [items["abcd"[index]] for index in batch]
        loss = sum(nats(item) for index, item in zip(batch, some, strict=True) if index != left_out)
        (loss / sum(item.n_target for item in some)).backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= lr * parameter.grad
    with torch.no_grad():
        return {name: -nats(item).item() for name, item in items.items()}


def test_leaving_one_out_is_a_loop_without_that_term_of_the_loss(tmp_path: Path, gpt2_folder: Path) -> None:
    arm = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
    spec = study(tmp_path, gpt2_folder, arm, schedule="epochs: 2, batch_size: 2, shuffle_seed: null")
    result = einfluence.measure(spec, tmp_path / "store", report=False)
    assert (result.failed, result.wanted, result.computed) == (0, 4 * 5 + 5 * 5, 4 * 5 + 5 * 5)
    batches = [(0, 1), (2, 3)] * 2
    found, full = cells(tmp_path / "store", "leave_one_out"), by_hand(gpt2_folder, batches, None)
    assert len(found) == 20
    for index, probe in enumerate("abcd"):
        without = by_hand(gpt2_folder, batches, index)
        for query in "abcde":
            influence, before, after, *_ = found[probe, query]
            assert (before, after) == pytest.approx((without[query], full[query]), abs=1e-9)
            assert influence == pytest.approx(full[query] - without[query], abs=1e-9)
    assert max(abs(value[0]) for value in found.values()) > 0.1


def test_a_set_of_one_sample_is_the_probe_alone(tmp_path: Path, gpt2_folder: Path) -> None:
    for adapter in ("full", "lora"):
        tuning = f"adapter: {adapter}, lr: 0.01"
        arms = f"{{estimator: leave_one_out, recipe: {{{tuning}}}}}, {{recipe: {{{tuning}, steps: 3}}}}"
        spec = study(tmp_path, gpt2_folder, arms, "a", "epochs: 3, batch_size: 1")
        store = tmp_path / adapter
        einfluence.measure(spec, store, report=False)
        assert cells(store, "leave_one_out") == cells(store, "finetune")
        assert len(cells(store, "finetune")) == 2


def test_trainings_are_shared_planned_by_what_is_missing_and_seen_apart(tmp_path: Path, gpt2_folder: Path) -> None:
    store = tmp_path / "store"
    half = f"{{estimator: subsets, recipe: {{count: 6, {RECIPE[1:]}}}"
    first = einfluence.measure(study(tmp_path, gpt2_folder, half), store, report=False)
    drawn = rows(store, "select count(*) from trainings where kind = 'subset'")[0][0]
    assert first.computed == (drawn + 1 + 4) * 5 and 1 < drawn <= 6  # fewer where two draws are the same subset
    both = f"{half}, {{estimator: leave_one_out, recipe: {RECIPE}}}"
    second = einfluence.measure(study(tmp_path, gpt2_folder, both), store, report=False)
    assert second.computed == (4 + 4) * 5  # the training on the whole set is there
    more = f"{{estimator: subsets, recipe: {{count: 9, {RECIPE[1:]}}}"
    third = einfluence.measure(study(tmp_path, gpt2_folder, more), store, report=False)
    assert third.computed <= (3 + 4) * 5
    assert einfluence.measure(study(tmp_path, gpt2_folder, more), store).computed == 0
    assert "Copies of the model are trained on a whole training set" in (store / "report.html").read_text()
    kinds = dict(rows(store, "select kind, count(*) from trainings group by kind"))
    assert kinds["full"] == 1 and sum(kinds.values()) <= 14
    assert rows(store, "select count(*) from training_scores") == [(5 * sum(kinds.values()),)]
    assert rows(store, "select distinct estimator from influence order by 1") == [("leave_one_out",), ("subsets",)]
    assert rows(store, "select distinct estimator from outcomes order by 1") == [("leave_one_out",), ("subsets",)]
    [(weight, left_out)] = rows(
        store,
        "select max(weight), count(*) from training_weights join trainings using (training) where kind = 'without'",
    )
    assert (weight, left_out) == (0.0, kinds["without"])
    assert rows(store, "select samples from training_sets") == [(4,)]
    members = rows(store, "select name from training_set_members join samples using (sample_id) order by position")
    assert [name for (name,) in members] == ["a", "b", "c", "d"]
    assert rows(store, "select count(*) from training_scores anti join trainings using (training, recipe)") == [(0,)]


def test_what_the_cells_and_trainings_say_of_memorisation_is_a_view(tmp_path: Path, gpt2_folder: Path) -> None:
    half = f"{{estimator: subsets, recipe: {{count: 12, draw: 3, {RECIPE[1:]}}}"
    spec = study(tmp_path, gpt2_folder, f"{half}, {{estimator: leave_one_out, recipe: {RECIPE}}}")
    spec.write_text(spec.read_text() + "seeds: [0, 1]\n")
    store = tmp_path / "store"
    einfluence.measure(spec, store, report=False)
    own = dict(rows(store, "select name, nats from memorisation join samples using (sample_id) where seed = 0"
                    " and estimator = 'leave_one_out'"))  # fmt: skip
    said = cells(store, "leave_one_out")
    with_seed = rows(
        store,
        "select probes.name, influence from influence join probes using (probe_id) join probe_members using (probe_id)"
        " where estimator = 'leave_one_out' and seed = 0 and query_id = sample_id",
    )
    assert own == dict(with_seed) and set(own) == set("abcd") and len(said) == 20
    counted = rows(
        store,
        "select avg(logprob) filter (where weight is null) - avg(logprob) filter (where weight is not null)"
        " from trainings join training_scores using (training, seed)"
        " join training_set_members m using (training_set) join samples on samples.sample_id = m.sample_id"
        " left join training_weights w on w.training = trainings.training and w.position = m.position"
        " where kind = 'subset' and seed = 1 and name = 'a' and query_id = m.sample_id",
    )
    found = rows(store, "select nats, logprob, mislabelled from memorisation join samples using (sample_id)"
                 " where estimator = 'subsets' and name = 'a' and seed = 1")  # fmt: skip
    assert found[0][0] == pytest.approx(counted[0][0], abs=1e-12) and found[0][1:] == (found[0][1], None)
    assert found[0][1] < 0
    assert (
        rows(store, "select count(distinct seed) from trainings where kind = 'subset' group by training")
        == [(2,)] * rows(store, "select count(distinct training) from trainings where kind = 'subset'")[0][0]
    )  # one draw for all
    lines = rows(store, "select distinct estimator, variant from desiderata where desideratum = 'lds' order by 1, 2")
    assert ("leave_one_out", "ceiling, in the set") in lines and ("leave_one_out", "spearman, in the set") in lines
    assert not [line for line in lines if line[0] == "subsets" and line[1].startswith("spearman")]  # under 20


def test_leaving_out_by_domain_is_leaving_out_groups_of_its_samples(tmp_path: Path, gpt2_folder: Path) -> None:
    arm = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
    found: list[dict[tuple[str, str], tuple[float, ...]]] = []
    for name, extra in (("named", "probes: groups.jsonl"), ("by", "by: domain")):
        study(tmp_path, gpt2_folder, arm)
        each = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
        lines = [json.dumps({**row, "group": "first" if row["id"] in "ab" else "second"}) for row in each]
        (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n")
        groups = ({"id": "first", "samples": ["a", "b"]}, {"id": "second", "samples": ["c", "d"]})
        (tmp_path / "groups.jsonl").write_text("".join(json.dumps(row) + "\n" for row in groups))
        within = "epochs: 2, batch_size: 2" + (f", {extra}" if name == "by" else "")
        beside = f"{extra}\n" if name == "named" else ""
        path = tmp_path / f"{name}.yaml"
        path.write_text(
            f"base: {gpt2_folder}\n{beside}arms: [{arm}]\n"
            f"training_set: {{samples: train.jsonl, held_out: valid.jsonl, {within}}}\n"
        )
        assert einfluence.measure(path, tmp_path / name, report=False).failed == 0
        found.append(cells(tmp_path / name, "leave_one_out"))
    assert found[0] == found[1] and {probe for probe, _ in found[0]} == {"first", "second"} and len(found[0]) == 10


def test_a_kept_training_meets_a_new_query_without_being_done_again(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path, gpt2_folder, f"{{estimator: leave_one_out, recipe: {RECIPE}}}")
    spec.write_text(spec.read_text() + "keep_deltas: 1GB\n")
    einfluence.measure(spec, tmp_path / "store", report=False)
    before = cells(tmp_path / "store", "leave_one_out")
    more = {"id": "f", "prompt": "blick has", "target": "wings"}
    valid = tmp_path / "valid.jsonl"
    valid.write_text(valid.read_text() + json.dumps(more) + "\n")
    found = einfluence.measure(spec, tmp_path / "store", report=False)
    assert found.computed == 5 + 4
    after = cells(tmp_path / "store", "leave_one_out")
    assert len(after) == 24 and all(after[pair] == value for pair, value in before.items())
    assert rows(tmp_path / "store", "select count(*) from trainings where losses = []") == [(0,)]


@pytest.mark.parametrize("adapter", ["full", "lora"])
def test_a_trained_base_says_what_the_training_says(tmp_path: Path, gpt2_folder: Path, adapter: str) -> None:
    recipe = f"{{adapter: {adapter}, optimizer: sgd, lr: 0.05, dtype: float64}}"
    spec = study(tmp_path, gpt2_folder, f"{{estimator: leave_one_out, recipe: {recipe}}}")
    spec.write_text(spec.read_text() + "keep_deltas: 1GB\n")
    einfluence.measure(spec, tmp_path / "store", report=False)
    store, part, base = (
        einfluence.Store(tmp_path / "store"),
        load_spec(spec).parts[0],
        load_base(find_base(str(gpt2_folder), "base")),
    )
    tuning, schedule = part.arms[0].recipe.only(Tuning), part.training_set.only(Schedule)
    samples = [Sample(name, *TEXTS[name]) for name in "abcde"]
    members, queries = Members.of({s.name: [s.sample_id] for s in samples[:4]}), [encode(base, s) for s in samples]
    key = ArmKey(base.info.base_id, "training", OfASet(recipe=tuning).recipe_id, 0, VERSION)
    for variant in (FULL, without(members, "b")):
        name = variant.training_id(members.set_id(schedule))
        for kept in (None, store.kept_deltas(key, [name])[name]):
            after = trained_base(base, tuning, 0, samples[:4], schedule, variant, kept=kept)
            found = definition.evaluate(after, with_steps(tuning, schedule, 4), queries).logprob
            wanted = training_scores(store, key, [name], [s.sample_id for s in samples]).logprob[0]
            np.testing.assert_allclose(found, wanted, atol=1e-9)
    assert after.info.base_id != trained_base(base, tuning, 0, samples[:4], schedule).info.base_id != base.info.base_id


def test_a_training_that_fails_leaves_no_parameters(gpt2_folder: Path) -> None:
    base = load_base(find_base(str(gpt2_folder), "base"))
    tuning = Tuning.model_validate({"adapter": "full", "optimizer": "sgd", "lr": 1e30})
    with pytest.raises(RuntimeError, match="the training failed: "):
        trained(base, tuning, 0, [Sample("a", *TEXTS["a"]), Sample("b", *TEXTS["b"])], Schedule(epochs=3, batch_size=1))


def test_a_plan_counts_the_trainings_that_are_missing(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = load_spec(study(tmp_path, gpt2_folder, f"{{estimator: leave_one_out, recipe: {RECIPE}}}"))
    store = einfluence.Store(tmp_path / "store")
    cells, trainings = estimate(spec, store).rows
    assert (cells.missing, cells.seconds, trainings.missing, trainings.probes) == (20, 0.0, 25, 5)
    assert trainings.seconds > 0 and trainings.arm.startswith("trainings of the set, full, SGD, float64, lr 0.05")
    einfluence.measure(spec, store, report=False)
    done = estimate(spec, store).rows
    assert [(row.wanted, row.missing, row.how) for row in done] == [(20, 0, "nothing to do"), (25, 0, "nothing to do")]
    prepared = [prepare(spec, spec.parts[0], store, Session())]
    todo = plan(spec, prepared, store)
    assert (todo.wanted, todo.present, todo.empty) == (45, 45, True)
    with (tmp_path / "valid.jsonl").open("a") as held:
        held.write('{"id": "more", "prompt": "wug is a", "target": "dax"}\n')  # a query more of all five trainings
    assert [(row.wanted, row.missing) for row in estimate(spec, store).rows] == [(24, 4), (30, 5)]


def test_the_coefficients_of_a_model_that_is_additive_are_its_weights() -> None:
    draw = np.random.default_rng(0)
    inclusion = np.array(list(itertools.product((0.0, 1.0), repeat=6)))  # all subsets of six
    weights = draw.normal(size=(6, 3))
    found = subsets.coefficients(inclusion, 2.0 + inclusion @ weights, 1e-9)
    np.testing.assert_allclose(found, weights, rtol=1e-8)


def test_the_coefficients_are_those_of_a_regression_with_rows_for_the_penalty() -> None:
    """Ridge regression as ordinary least squares on centred data, whatever there is more of: trainings or samples."""
    draw = np.random.default_rng(1)
    for trainings, samples in ((12, 5), (5, 12)):
        inclusion, logprob = draw.integers(0, 2, (trainings, samples)) * 1.0, draw.normal(size=(trainings, 2))
        x = np.vstack([inclusion - inclusion.mean(0), np.sqrt(3.0) * np.eye(samples)])
        y = np.vstack([logprob - logprob.mean(0), np.zeros((samples, 2))])
        wanted = np.linalg.lstsq(x, y, rcond=None)[0]
        np.testing.assert_allclose(subsets.coefficients(inclusion, logprob, 3.0), wanted, rtol=1e-8, atol=1e-10)


def test_what_a_group_adds_is_what_its_samples_add() -> None:
    members = Members.of({"a": ["x"], "b": ["y"], "both": ["x", "y"], "c": ["z"]})
    arm = Subsets.model_validate({"recipe": {"count": 8}})
    draw = np.random.default_rng(2)
    scores = TrainingScores(draw.normal(size=(9, 2)), np.ones((9, 2), np.int64), np.ones(2, np.int64), {})
    found = [one.change["influence"] for one in subsets.attributed(arm, members, 0, ["a", "b", "both"], scores)]
    np.testing.assert_allclose(found[2], found[0] + found[1], rtol=1e-12)
    assert members.units == ((0,), (1,), (2,))
    assert Members.of({"g": ["x", "y"], "h": ["z"]}).units == ((0, 1), (2,))


def test_subsets_follow_from_their_number_alone() -> None:
    members = Members.of({name: [name] for name in "abcdefgh"})
    few = [subset(members, number, 0.5, 0) for number in range(3)]
    assert few == [subset(members, number, 0.5, 0) for number in range(9)][:3]
    assert all(len(one.left_out) == 4 for one in few)
    assert len({one.left_out for one in few}) == 3
    assert subset(members, 0, 0.5, 1) != few[0]
    assert [len(subset(members, 0, share, 0).left_out) for share in (0.01, 0.25, 0.99)] == [7, 6, 1]
    assert shuffled(8, "epoch", 0, 0, 0) == [1, 5, 4, 7, 3, 6, 2, 0]  # a store of today is read on every machine


def test_a_failed_training_fails_what_needs_it_and_nothing_else() -> None:
    members = Members.of({name: [name] for name in "abc"})
    scores = TrainingScores(np.arange(8.0).reshape(4, 2), np.ones((4, 2), np.int64), np.ones(2, np.int64), {2: "nan"})
    found = list(leave_one_out.attributed(LeaveOneOut(), members, 0, ["a", "b", "c"], scores))
    assert [one.failed for one in found] == [None, "the training without the probe failed: nan", None]
    found = list(leave_one_out.attributed(LeaveOneOut(), members, 0, ["a"], scores._replace(failed={0: "nan"})))
    assert found[0].failed == "the training on the whole set failed: nan"
    arm = Subsets.model_validate({"recipe": {"count": 3}})
    found = list(subsets.attributed(arm, members, 0, ["a"], scores))
    assert found[0].failed is None and found[0].note == "1 of 3 trainings failed: nan"
    found = list(subsets.attributed(arm, members, 0, ["a"], scores._replace(failed={3: "nan"})))
    assert found[0].failed is None and found[0].note is None  # nothing is regressed on the whole set
    lost = scores._replace(failed=dict.fromkeys(range(2), "nan"))
    assert list(subsets.attributed(arm, members, 0, ["a"], lost))[0].failed == "all but 1 trainings failed: nan"


def test_a_probe_whose_trainings_fail_is_recorded_with_the_reason(tmp_path: Path, gpt2_folder: Path) -> None:
    arm = "{estimator: leave_one_out, recipe: {adapter: full, optimizer: sgd, lr: 1.0e+30}}"
    result = einfluence.measure(study(tmp_path, gpt2_folder, arm), tmp_path / "store", report=False)
    assert result.failed == 4 + 5 and cells(tmp_path / "store", "leave_one_out") == {}
    [(reason,)] = rows(tmp_path / "store", "select distinct reason from outcomes")
    assert reason.startswith("the training on the whole set failed: ")
    assert rows(tmp_path / "store", "select distinct status, kind from trainings order by kind") == [
        ("failed", "full"), ("failed", "without"),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_the_learning_rate_falls_as_that_of_transformers(name: str, warmup: int) -> None:
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    kind = "constant_with_warmup" if name == "constant" else name
    theirs = get_scheduler(kind, optimizer, num_warmup_steps=warmup, num_training_steps=10)
    wanted: list[float] = []
    for _ in range(10):
        wanted.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    schedule = Schedule.model_validate({"lr_schedule": name, "warmup": warmup})
    assert schedule.rates(10) == pytest.approx(wanted, abs=1e-15)


def test_every_epoch_holds_every_sample_once_in_an_order_of_its_own() -> None:
    schedule = Schedule(epochs=3, batch_size=4)
    batches = schedule.batches(10, 0)
    assert [len(batch) for batch in batches] == [4, 4, 2] * 3
    epochs = [sum(batches[start : start + 3], ()) for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs) and len(set(epochs)) == 3
    assert schedule.batches(10, 0) == batches != schedule.batches(10, 1)
    kept = Schedule(epochs=2, batch_size=4, shuffle_seed=None).batches(5, 7)
    assert kept == [(0, 1, 2, 3), (4,)] * 2


ARM = "{estimator: leave_one_out}"


@pytest.mark.parametrize(
    ("training_set", "arm", "found"),
    [
        ("{samples: train.jsonl, batch_size: 5}", ARM, r"training_set.batch_size: found 5 for a set of 4 samples"),
        ("{samples: train.jsonl, batch_size: 2}", "{}", r"an arm that trains on the `training_set`"),
        ("{samples: train.jsonl, epochs: 0}", ARM, r"training_set.epochs"),
        ("{samples: train.jsonl, batch_size: 2, shuffle: 1}", ARM, r"unknown key `.*shuffle`"),
        ("{facts: world, by: domain}", ARM, r"`by: domain` beside samples, images or a source"),
        ("{samples: train.jsonl, batch_size: 2, by: domain}", ARM, r"found a sample without a domain \(a\)"),
        ("{samples: train.jsonl, batch_size: 2, flip_labels: {}}", ARM, r"found a sample without a class \(a\)"),
        ("{facts: world, held_out: valid.jsonl}", ARM, r"`held_out` beside `samples` only"),
        ("{samples: train.jsonl, batch_size: 2, held_out: again.jsonl}", ARM, r"again.jsonl:1: found the id 'a' again"),
        ("{samples: twice.jsonl, batch_size: 2}", ARM, r"found a sample twice"),
    ],
)
def test_a_set_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, gpt2_folder: Path, training_set: str, arm: str, found: str
) -> None:
    spec = study(tmp_path, gpt2_folder, arm)
    twice = (tmp_path / "train.jsonl").read_text()
    (tmp_path / "twice.jsonl").write_text(twice + twice.replace('"id": "a"', '"id": "z"').splitlines()[0] + "\n")
    (tmp_path / "again.jsonl").write_text(json.dumps({"id": "a", "prompt": "dax is a", "target": "fish"}) + "\n")
    spec.write_text(f"base: {gpt2_folder}\ntraining_set: {training_set}\narms: [{arm}]\n")
    with pytest.raises(InputError, match=found):
        einfluence.measure(spec, tmp_path / "store", report=False)


def test_an_arm_that_compares_trainings_needs_a_set(tmp_path: Path, gpt2_folder: Path) -> None:
    write(tmp_path / "train.jsonl", "ab")
    (tmp_path / "spec.yaml").write_text(f"base: {gpt2_folder}\nsamples: train.jsonl\narms: [{ARM}]\n")
    with pytest.raises(InputError, match="a `training_set` beside the arm `leave_one_out`"):
        load_spec(tmp_path / "spec.yaml")


def test_what_is_held_out_and_trained_on_is_counted(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = study(tmp_path, gpt2_folder, f"{{estimator: leave_one_out, recipe: {RECIPE}}}")
    (tmp_path / "valid.jsonl").write_text(json.dumps({"id": "v", "prompt": "dax is a", "target": "bird"}) + "\n")
    einfluence.measure(spec, tmp_path / "store", report=False)
    [report] = (tmp_path / "store" / "curations").glob("*/report.parquet")
    assert rows(
        tmp_path / "store", f"select count, example from '{report}' where gate = 'held out and trained on'"
    ) == [(1, f"{tmp_path}/valid.jsonl:1 v = a")]
