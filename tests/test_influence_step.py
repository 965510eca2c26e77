"""The influence step: Newton's step of a dense matrix, what a run makes of it, and what has no such step."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

import einfluence
from einfluence.actions import unlearn
from einfluence.actions.influence_step import influence_step
from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.estimate import estimate
from einfluence.estimators import exact
from einfluence.estimators.within import TrainedSet
from einfluence.objectives import encode
from einfluence.run import nothing_to_do
from einfluence.samples import Sample
from einfluence.spec import load_spec
from einfluence.store.store import ArmKey
from einfluence.training_set import Schedule
from einfluence.unlearning import InfluenceStep
from flows import cli
from tests.estimators.softmax import CLASSES, TUNING, Problem, problem
from tests.test_training_sets import TEXTS, rows
from tests.test_unlearning import study

FORGET = (1, 4, 7)
PATTERN = r"h\.0\.ln_"
RECIPE = f"{{adapter: {{kind: match, pattern: '{PATTERN}'}}, optimizer: sgd, lr: 0.05, dtype: float64}}"
CHEAP = f"{{estimator: subsets, recipe: {{count: 2, {RECIPE[1:]}}}"
Losses = Callable[[torch.Tensor], torch.Tensor]  # from parameters in a row to the mean loss of each sample


def newton(
    losses: Losses, theta: torch.Tensor, forget: Sequence[int], rest: Sequence[int], damping: float, decay: float
) -> torch.Tensor:
    """What is added to parameters: the dense second derivatives of the rest's mean loss, solved."""
    each = torch.autograd.functional.jacobian(losses, theta)
    whole = torch.autograd.functional.hessian(lambda row: losses(row)[list(rest)].mean(), theta)
    added = damping * each[list(rest)].square().mean() + decay
    identity = torch.eye(len(theta), dtype=theta.dtype)
    return torch.linalg.solve(whole + added * identity, each[list(forget)].sum(0)) / len(rest)


def softmax(some: Problem) -> Losses:
    """Weights row by row, then biases."""
    x, y = torch.from_numpy(some.x), torch.from_numpy(some.y)

    def losses(theta: torch.Tensor) -> torch.Tensor:
        logits = x @ theta[:-CLASSES].view(CLASSES, -1).T + theta[-CLASSES:]
        return torch.nn.functional.cross_entropy(logits, y, reduction="none")

    return losses


def trained(losses: Losses, kept: Sequence[int], schedule: Schedule, p: int) -> torch.Tensor:
    """The parameters that full batches leave behind, as TUNING has it; sums are over the number of all samples."""
    theta, n = torch.zeros(p, dtype=torch.float64), schedule.batch_size
    for _ in range(schedule.epochs):
        gradient = torch.autograd.functional.jacobian(lambda row: losses(row)[list(kept)].sum() / n, theta)
        theta = theta - 0.3 * (gradient + 0.01 * theta)
    return theta


@pytest.mark.parametrize("parts", [[FORGET], [(4,), (1, 7)]], ids=["at once", "in parts"])
@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])  # of a linear model they are one
def test_it_is_newtons_step_of_a_dense_matrix(kind: str, parts: list[tuple[int, ...]]) -> None:
    some, schedule = problem(2, n=12), Schedule(epochs=20, batch_size=12)
    losses, rest = softmax(some), [place for place in range(12) if place not in FORGET]
    theta = trained(losses, range(12), schedule, 18)
    for part in parts:
        theta = theta + 0.5 * newton(losses, theta, part, rest, damping=0.05, decay=0.01)
    method = InfluenceStep.model_validate({"scale": 0.5, "damping": 0.05, "curvature": kind})
    found = influence_step(some.base, TUNING, 0, TrainedSet(some.samples, schedule), parts, method)
    row = torch.cat([value.flatten() for value in found.parameters.values()])
    assert row.numpy() == pytest.approx(theta.numpy(), abs=1e-8) and found.residual < 1e-6 and found.products > 1


def test_from_an_optimum_it_comes_near_the_training_without_the_samples() -> None:
    some, schedule = problem(2, n=30), Schedule(epochs=600, batch_size=30)
    losses, rest = softmax(some), [place for place in range(30) if place not in FORGET]
    full, wanted = trained(losses, range(30), schedule, 18), trained(losses, rest, schedule, 18)
    method = InfluenceStep.model_validate({"damping": 1e-9, "curvature": "hessian"})
    found = influence_step(some.base, TUNING, 0, TrainedSet(some.samples, schedule), [FORGET], method)
    row = torch.cat([value.flatten() for value in found.parameters.values()])
    assert torch.linalg.norm(row - wanted) < 0.25 * torch.linalg.norm(full - wanted)


def by_hand(base: Path, damping: float) -> dict[str, float]:
    """Log-probabilities after two epochs on a, b, c, d in plain torch, and the step away from b and d."""
    loaded = load_base(find_base(str(base), "base"))
    items = {name: encode(loaded, Sample(name, *TEXTS[name])) for name in TEXTS}
    model = copy.deepcopy(loaded.model).double()
    start = {name: value for name, value in model.named_parameters() if ".h.0.ln_" in name}
    assert len(start) == 4

    def nats(row: torch.Tensor, name: str) -> torch.Tensor:
        parts = row.split([value.numel() for value in start.values()])
        own = {key: part.view_as(start[key]) for key, part in zip(start, parts, strict=True)}
        item = items[name]
        logits = functional_call(model, own, (), {"input_ids": torch.tensor([item.ids])}).logits[0].log_softmax(-1)
        return -sum(logits[place - 1, item.ids[place]] for place in range(len(item.ids) - item.n_target, len(item.ids)))

    def losses(row: torch.Tensor) -> torch.Tensor:
        return torch.stack([nats(row, name) / items[name].n_target for name in "abcd"])

    theta = torch.cat([value.detach().flatten() for value in start.values()])
    with sdpa_kernel(SDPBackend.MATH):
        for batch in ("ab", "cd") * 2:
            tokens = sum(items[name].n_target for name in batch)
            loss = lambda row, batch=batch, tokens=tokens: sum(nats(row, name) for name in batch) / tokens  # noqa: E731
            theta = theta - 0.05 * torch.autograd.functional.jacobian(loss, theta)
        theta = theta + newton(losses, theta, (1, 3), (0, 2), damping, 0.0)
        return {name: -nats(theta, name).item() for name in items}


def test_a_run_scores_what_the_step_leaves_behind_beside_the_other_methods(tmp_path: Path, gpt2_folder: Path) -> None:
    step = "{kind: influence_step, damping: 0.5, curvature: hessian}"
    spec = study(tmp_path, gpt2_folder, f"{{samples: forget.txt, method: [gradient_ascent, {step}]}}", CHEAP)
    store = tmp_path / "store"
    steps, actions = estimate(load_spec(spec), einfluence.Store(store)).rows[-2:]
    assert (steps.unit, steps.missing, actions.probes) == ("state", 1, 3)  # two methods and the retraining
    assert steps.how.endswith("products with the curvature of 2 samples") and steps.seconds > 0
    assert not einfluence.measure(spec, store, report=False).failed
    assert not any(row.missing or row.seconds for row in estimate(load_spec(spec), einfluence.Store(store)).rows)
    label = "influence_step, damping 0.5, curvature hessian"
    found = dict(
        rows(
            store,
            "select samples.name, scores.logprob from actions a"
            " join training_scores scores using (base, recipe, seed, training)"
            f" join samples on sample_id = scores.query_id where method = '{label}'",
        )
    )
    wanted = by_hand(gpt2_folder, 0.5)
    assert found == pytest.approx(wanted, abs=1e-7)
    [(kind, status, moved, engine)] = rows(
        store,
        "select t.kind, status, update_norm, engine from actions join trainings t using (base, recipe, seed, training)"
        f" where method = '{label}'",
    )
    assert (kind, status, engine) == ("unlearned", "done", "definition") and moved > 0
    closed = rows(store, "select value from desiderata where variant like 'influence_step%: gap closed, forget'")
    assert len(closed) == 1
    [(cost, note)] = rows(store, f"select cost, note from actions where method = '{label}'")
    products = int(note.split()[0])
    assert steps.disk == 4 * 16 * 8  # two norms of a weight and a bias each
    assert cost == (2 + 2 * (1 + 2 * products)) / 4  # over two epochs on the two that are left
    [state] = (store / "states").glob("*.json")
    assert json.loads(state.read_text())["about"]["products"] == products
    assert einfluence.measure(spec, store, report=False).computed == 0
    assert len(list((store / "states").glob("*.json"))) == 1


def test_nothing_is_left_to_do_and_a_lost_state_is_computed_again(tmp_path: Path, gpt2_folder: Path) -> None:
    spec, store = study(tmp_path, gpt2_folder, "{samples: forget.txt, method: influence_step}", CHEAP), tmp_path / "s"
    einfluence.measure(spec, store)
    assert nothing_to_do(load_spec(spec), einfluence.Store(store)) is not None
    for state in (store / "states").glob("*"):
        state.unlink()
    assert einfluence.measure(spec, store).computed == 0 and len(list((store / "states").glob("*.json"))) == 1


@pytest.mark.filterwarnings("ignore::einfluence.engine.noise.NoiseWarning")
@pytest.mark.parametrize(
    "recipe",
    [
        "{adapter: full, optimizer: sgd, lr: 0.05}",
        "{adapter: {kind: lora, r: 2}, lr: 0.01}",
        "{adapter: {kind: lora, r: 2}, lr: 0.01, dtype: bfloat16}",
    ],
)
def test_whatever_is_trained_can_be_stepped_from(tmp_path: Path, gpt2_folder: Path, recipe: str) -> None:
    action = "{samples: forget.txt, method: {kind: influence_step, damping: 100}}"
    arms = f"{{estimator: subsets, recipe: {{count: 2, {recipe[1:]}}}"
    spec, store = study(tmp_path, gpt2_folder, action, arms), tmp_path / "store"
    assert not einfluence.measure(spec, store, report=False).failed
    found = rows(store, "select avg(logprob - logprob_full) from unlearning where place = 'forget'")
    assert len(found) == 1 and found[0][0] < 0


def test_forget_sets_are_looked_up_once_for_all_steps(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = "[influence_step, {kind: influence_step, scale: 0.5}]"
    arms = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
    spec = study(tmp_path, gpt2_folder, f"{{most: 2, by: leave_one_out, method: {steps}}}", arms)
    looked, find = list[ArmKey](), unlearn._by_memorisation
    monkeypatch.setattr(unlearn, "_by_memorisation", lambda key, scene: looked.append(key) or find(key, scene))
    planned = estimate(load_spec(spec), einfluence.Store(tmp_path / "store")).rows[-2]
    assert planned.missing == 2 and not looked  # before a cell is there
    assert not einfluence.measure(spec, tmp_path / "store", report=False).failed
    assert len(looked) == 2  # for what is learned, and for what is trained


def test_a_step_without_an_inverse_is_reported_and_the_others_are_kept(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "MOST", 1)
    steps = "[gradient_ascent, {kind: influence_step, damping: 1.0e-9}]"
    spec, store = study(tmp_path, gpt2_folder, f"{{samples: forget.txt, method: {steps}}}", CHEAP), tmp_path / "store"
    result = einfluence.measure(spec, store, report=False)
    [reason] = result.reasons.values()
    assert (
        "influence_step, damping 1e-09 of forget.txt failed: ArithmeticError: no inverse: residual" in reason
        and "damping" in reason
    )
    assert rows(store, "select distinct method from actions") == [("gradient_ascent",)]


def test_a_step_that_goes_too_far_is_a_failed_training(tmp_path: Path, gpt2_folder: Path) -> None:
    action = "{samples: forget.txt, method: {kind: influence_step, scale: 1.0e+200}}"
    spec, store = study(tmp_path, gpt2_folder, action, CHEAP), tmp_path / "store"
    assert einfluence.measure(spec, store, report=False).failed == 1
    found = rows(store, "select status, reason from actions join trainings using (base, recipe, seed, training)")
    assert found == [("failed", "a query's log-probability is not finite after training")]
    assert rows(store, "select count(*) from unlearning") == [(0,)]


def test_the_command_writes_what_the_run_has_scored(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    step = "{kind: influence_step, scale: 0.5, damping: 0.5, curvature: hessian}"
    spec, store = study(tmp_path, gpt2_folder, f"{{samples: forget.txt, method: {step}}}", CHEAP), tmp_path / "store"

    def command(out: str) -> str:
        options = "--method influence_step --scale 0.5 --damping 0.5 --curvature hessian --store".split()
        given = ["einfluence", "unlearn", str(spec), "--samples", str(tmp_path / "forget.txt"), "--out"]
        monkeypatch.setattr("sys.argv", [*given, str(tmp_path / out), *options, str(store)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        return capsys.readouterr().out

    assert "has no retraining without them to hold it against" in command("before")
    einfluence.measure(spec, store, report=False)
    shown = command("after")
    assert "2 samples forgotten" in shown and "closed" in shown
    written = [load_base(find_base(str(tmp_path / name), "base")) for name in ("before", "after")]
    for one, other in zip(*(base.model.state_dict().values() for base in written), strict=True):
        assert np.allclose(one.numpy(), other.numpy(), atol=1e-7)
    found = dict(rows(store, "select name, logprob from unlearning join samples on sample_id = query_id"))
    for name, logprob in found.items():
        item = encode(written[1], Sample(name, *TEXTS[name]))
        logits = written[1].model(input_ids=torch.tensor([item.ids])).logits[0].double().log_softmax(-1)
        ids = torch.tensor(item.ids[-item.n_target :])[:, None]
        assert logits[-item.n_target - 1 : -1].gather(-1, ids).sum().item() == pytest.approx(logprob, abs=1e-4)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("{kind: influence_step, damping: 0}", "damping"),
        ("{kind: influence_step, scale: -1}", "scale"),
        ("{kind: influence_step, curvature: fisher}", "curvature"),
        ("{kind: influence_step, rate: 0.5}", "rate"),
    ],
)
def test_what_is_no_step_is_refused(tmp_path: Path, gpt2_folder: Path, method: str, message: str) -> None:
    spec = study(tmp_path, gpt2_folder, f"{{samples: forget.txt, method: {method}}}", CHEAP)
    with pytest.raises(InputError, match=message):
        einfluence.measure(spec, tmp_path / "store", report=False)


def test_a_second_stage_has_no_influence_step(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = study(tmp_path, gpt2_folder, "{samples: forget.txt, method: influence_step}", CHEAP)
    (tmp_path / "later.jsonl").write_text(json.dumps({"id": "x", "prompt": "blick has", "target": "wings"}) + "\n")
    spec.write_text(
        spec.read_text().replace("batch_size: 2,", "batch_size: 2, then: {samples: later.jsonl, batch_size: 1},")
    )
    with pytest.raises(InputError, match="unlearn.method: found `influence_step` beside a second stage"):
        einfluence.measure(spec, tmp_path / "store", report=False)
