"""Unlearning: every method is a plain loop of steps, beside the retraining; what is refused, and what diverges."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

import einfluence
from einfluence.bases.load import find_base, load_base
from einfluence.errors import InputError
from einfluence.objectives import encode
from einfluence.samples import Sample
from einfluence.unlearning import FineTuneOnRest, GradientAscent, InfluenceApproximation, NegGradPlus, steps_of, thirds
from flows import cli
from tests.test_training_sets import RECIPE, TEXTS, rows, write

LOO = f"{{estimator: leave_one_out, recipe: {RECIPE}}}"
CHEAP = f"{{estimator: subsets, recipe: {{count: 2, {RECIPE[1:]}}}"
Step = Mapping[str, float]  # what a sample's mean loss is multiplied by: the weights of a side add up to its own


def study(folder: Path, base: Path, action: str, arms: str = CHEAP, forget: str = "b\nd\n") -> Path:
    write(folder / "train.jsonl", "abcd")
    write(folder / "valid.jsonl", "e")
    (folder / "forget.txt").write_text(forget)
    path = folder / "spec.yaml"
    path.write_text(
        f"base: {base}\n"
        "training_set: {samples: train.jsonl, held_out: valid.jsonl, epochs: 2, batch_size: 2, shuffle_seed: null}\n"
        f"arms: [{arms}]\nactions: [{{unlearn: {action}}}]\n"
    )
    return path


def by_hand(base: Path, steps: Sequence[tuple[str, str, float, float, float]], lr: float = 0.05) -> dict[str, float]:
    """Log-probabilities after steps in plain torch, each (helped, harmed, weight of either's mean loss, rate)."""
    loaded = load_base(find_base(str(base), "base"))
    items = {name: encode(loaded, Sample(name, *TEXTS[name])) for name in TEXTS}
    model = copy.deepcopy(loaded.model).double().requires_grad_(True)

    def nats(item: Any) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([item.ids])).logits[0].log_softmax(-1)
        return -sum(logits[place - 1, item.ids[place]] for place in range(len(item.ids) - item.n_target, len(item.ids)))

    def mean(names: str) -> torch.Tensor:
        return sum(nats(items[name]) for name in names) / sum(items[name].n_target for name in names)

    for down, up, a, b, rate in steps:
        model.zero_grad()
        loss = (a * mean(down) if down else 0.0) - (b * mean(up) if up else 0.0)
        loss.backward()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter -= rate * lr * parameter.grad
    with torch.no_grad():
        return {name: -nats(item).item() for name, item in items.items()}


FULL = [("ab", "", 1.0, 0.0, 1.0), ("cd", "", 1.0, 0.0, 1.0)] * 2
METHODS = {
    "gradient_ascent": [("", "bd", 0.0, 1.0, 1.0)],
    "{kind: gradient_ascent, epochs: 3, rate: 0.5}": [("", "bd", 0.0, 1.0, 0.5)] * 3,
    "{kind: fine_tune, epochs: 2}": [("ac", "", 1.0, 0.0, 1.0)] * 2,
    "{kind: neg_grad_plus, alpha: 0.75, epochs: 2}": [("ac", "bd", 0.75, 0.25, 1.0)] * 2,
    "{kind: influence_approximation, rate: 0.25}": [("ac", "bd", 1.0, 1.0, 0.25)],
}


def test_each_method_is_a_plain_loop_of_steps_behind_the_training(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = study(tmp_path, gpt2_folder, f"{{samples: forget.txt, method: [{', '.join(METHODS)}]}}")
    store = tmp_path / "store"
    einfluence.measure(spec, store, report=False)
    query = (
        "select a.method, samples.name, scores.logprob from actions a"
        " join training_scores scores using (base, recipe, seed, training)"
        " join samples on sample_id = scores.query_id"
    )
    found = {(method, name): logprob for method, name, logprob in rows(store, query)}
    labels = ["gradient_ascent", "gradient_ascent, rate 0.5, epochs 3", "fine_tune, epochs 2",
              "neg_grad_plus, epochs 2, alpha 0.75", "influence_approximation, rate 0.25"]  # fmt: skip
    assert {method for method, _ in found} == set(labels)
    for label, steps in zip(labels, METHODS.values(), strict=True):
        wanted = by_hand(gpt2_folder, [*FULL, *steps])
        assert {name: found[label, name] for name in wanted} == pytest.approx(wanted, abs=1e-9)
    moved = by_hand(gpt2_folder, FULL)
    assert all(abs(found[label, "b"] - moved["b"]) > 1e-3 for label in labels)
    reference = rows(
        store,
        "select distinct samples.name from actions a"
        " join training_weights w on w.training = a.reference join training_set_members m"
        " on m.training_set = a.training_set and m.position = w.position"
        " join samples using (sample_id) where weight = 0 order by 1",
    )
    assert reference == [("b",), ("d",)]
    # Samples gone through behind the schedule over the 2 epochs on a and c.
    cost = dict(rows(store, "select method, cost from actions"))
    assert [cost[label] for label in labels] == [2 / 4, 6 / 4, 4 / 4, 8 / 4, 4 / 4]
    assert einfluence.measure(spec, store, report=False).computed == 0


def test_an_epoch_holds_every_sample_once_and_the_rest_is_cycled_through() -> None:
    forget, rest = (3, 5, 8), (0, 1, 2, 4)
    climbed = steps_of(GradientAscent(epochs=2, batch_size=2, rate=0.5), forget, rest, 8, 0)
    assert [len(step.batch) for step in climbed] == [2, 1, 2, 1]
    assert sorted(climbed[0].batch + climbed[1].batch) == sorted(climbed[2].batch + climbed[3].batch) == [3, 5, 8]
    assert {(step.weights[0], step.rate) for step in climbed} == {(-1.0, 0.5)}
    assert sorted(sum((step.batch for step in steps_of(FineTuneOnRest(), forget, rest, 3, 0)), ())) == [0, 1, 2, 4]
    mixed = steps_of(NegGradPlus(epochs=3, alpha=0.75), forget, rest, 2, 0)
    kept = [place for step in mixed for place, weight in zip(*step[:2], strict=True) if weight > 0]
    assert sorted(kept[:4]) == sorted(kept[4:8]) == [0, 1, 2, 4] and len(kept) == 9
    gone = [place for step in mixed for place, weight in zip(*step[:2], strict=True) if weight == -0.25]
    assert sorted(gone) == sorted(3 * forget)
    [step] = steps_of(InfluenceApproximation(), forget, rest, 2, 0)
    assert step == ((0, 1, 2, 3, 4, 5, 8), (1, 1, 1, -1, 1, -1, -1), 1.0)
    assert climbed != steps_of(GradientAscent(epochs=2, batch_size=2, rate=0.5), forget, rest, 8, 1)
    assert [list(part) for part in thirds("abcdefgh")] == [list("abc"), list("de"), list("fgh")]
    assert [len(part) for part in thirds("abc")] == [1, 1, 1]


def test_the_memorised_are_chosen_by_their_influence_on_themselves_and_thirds_follow_each_other(
    tmp_path: Path, gpt2_folder: Path
) -> None:
    action = "{by: leave_one_out, most: 3, refine: true, method: [gradient_ascent, influence_approximation]}"
    spec, store = study(tmp_path, gpt2_folder, action, LOO), tmp_path / "store"
    einfluence.measure(spec, store, report=False)
    nats = dict(rows(
        store, "select samples.name, influence from influence join probe_members using (probe_id)"
        " join samples using (sample_id) where estimator = 'leave_one_out' and query_id = sample_id",
    ))  # fmt: skip
    low, middle, high = sorted(nats, key=lambda name: nats[name])[1:]
    kept = min(nats, key=lambda name: nats[name])
    for method, steps in {
        "gradient_ascent": [("", name, 0.0, 1.0, 1.0) for name in (low, middle, high)],
        "influence_approximation": [(kept, name, 1.0, 1.0, 1.0) for name in (low, middle, high)],
    }.items():
        found = dict(rows(
            store, "select samples.name, scores.logprob from actions a"
            " join training_scores scores using (base, recipe, seed, training)"
            f" join samples on sample_id = scores.query_id where method = '{method}, refined'",
        ))  # fmt: skip
        wanted = by_hand(gpt2_folder, [*FULL, *steps])
        assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-9)
    assert rows(store, "select distinct about, share, chosen_by is null from actions") == [
        ("3 most memorised by leave_one_out", 0.75, False)
    ]


def test_what_diverges_is_a_failed_training_and_the_others_are_kept(tmp_path: Path, gpt2_folder: Path) -> None:
    methods = "[gradient_ascent, {kind: gradient_ascent, rate: 1.0e+300, epochs: 2}]"
    spec, store = study(tmp_path, gpt2_folder, f"{{samples: forget.txt, method: {methods}}}"), tmp_path / "store"
    einfluence.measure(spec, store, report=False)
    found = rows(store, "select method, status, reason from actions join trainings using (base, recipe, seed, training)"
                 " order by method")  # fmt: skip
    assert [row[:2] for row in found] == [("gradient_ascent", "done"),
                                          ("gradient_ascent, rate 1e+300, epochs 2", "failed")]  # fmt: skip
    assert found[1][2].startswith("loss is ")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_an_unlearned_model_is_written_and_shown_beside_the_retraining(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lora = "{estimator: subsets, recipe: {count: 2, adapter: lora, lr: 0.05}}"
    method = "{kind: neg_grad_plus, alpha: 0.75, epochs: 2}"
    spec = study(tmp_path, gpt2_folder, f"{{samples: forget.txt, method: {method}}}", lora)
    store = tmp_path / "store"

    def command(out: str, *more: str) -> int:
        given = ["einfluence", "unlearn", str(spec), "--samples", str(tmp_path / "forget.txt"), "--out"]
        monkeypatch.setattr("sys.argv", [*given, str(tmp_path / out), "--store", str(store), *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    options = ("--method", "neg_grad_plus", "--alpha", "0.75", "--epochs", "2")
    assert command("before", *options) == 0
    assert "has no retraining without them to hold it against" in capsys.readouterr().out
    einfluence.measure(spec, store, report=False)
    assert command("adapter", *options) == 0
    shown = capsys.readouterr().out
    assert "2 samples forgotten, 8 gone through" in shown and "not privacy" in shown
    assert all(place in shown for place in ("forget ", "rest ", "held out "))
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(gpt2_folder), str(tmp_path / "adapter"))
    loaded = load_base(find_base(str(gpt2_folder), "base"))
    found = dict(rows(store, "select name, logprob from unlearning join samples on sample_id = query_id"))
    assert set(found) == set("abcde")
    for name, logprob in found.items():
        item = encode(loaded, Sample(name, *TEXTS[name]))
        logits = model.eval()(input_ids=torch.tensor([item.ids])).logits[0].double().log_softmax(-1)
        ids = torch.tensor(item.ids[-item.n_target :])[:, None]
        assert logits[-item.n_target - 1 : -1].gather(-1, ids).sum().item() == pytest.approx(logprob, abs=1e-4)
    for wrong, message in {
        ("--method", "forgetting"): "--method: found 'forgetting'; expected 'gradient_ascent'",
        ("--method", "fine_tune", "--alpha", "0.5"): "--alpha: found 0.5 with fine_tune; expected an option that",
        ("--method", "fine_tune", "--epochs", "0"): "--epochs: found 0 with fine_tune",
        ("--method", "neg_grad_plus", "--batch-size", "-1"): "--batch-size: found -1 with neg_grad_plus",
    }.items():
        assert command("other", *wrong) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("action", "forget", "message"),
    [
        ("{samples: none.txt, method: fine_tune}", "b", r"none.txt"),
        ("{samples: forget.txt, method: fine_tune}", "\n \n", r"forget.txt: found no ids; expected a sample id a line"),
        (
            "{samples: forget.txt, method: fine_tune}",
            "b\nzz\n",
            r"forget.txt:2: found 'zz', which is not in the training set",
        ),
        ("{samples: forget.txt, method: fine_tune}", "e", r"forget.txt:1: found 'e', which is not in the training set"),
        ("{samples: forget.txt, method: fine_tune}", "a\nb\nc\nd", r"forget.txt: found all 4 samples of the set"),
        ("{least: 9, by: subsets, method: fine_tune}", "a", r"found 9 samples to forget of a set of 4"),
        ("{most: 1, by: grad_dot, method: fine_tune}", "a", r"unlearn.by: found 'grad_dot'; expected one of subsets"),
        (
            "{samples: forget.txt, by: subsets, refine: true, method: fine_tune}",
            "a",
            r"refine: found a forget set of 1",
        ),
        ("{samples: forget.txt, refine: true, method: fine_tune}", "a", r"`by`, which says what is memorised"),
        ("{most: 1, method: fine_tune}", "a", r"`by`, which says what is memorised, beside `most`"),
        ("{method: fine_tune}", "a", r"exactly one of samples, most, least \(here: none\)"),
        ("{samples: forget.txt, method: forgetting}", "a", r"method"),
        ("{samples: forget.txt, method: [fine_tune, fine_tune]}", "a", r"each method once"),
        ("{samples: forget.txt, method: {kind: neg_grad_plus, alpha: 1.5}}", "a", r"alpha"),
        ("{samples: forget.txt, method: {kind: fine_tune, alpha: 0.5}}", "a", r"alpha"),
    ],
)
def test_what_cannot_be_unlearned_is_refused(
    tmp_path: Path, gpt2_folder: Path, action: str, forget: str, message: str
) -> None:
    spec = study(tmp_path, gpt2_folder, action, forget=forget)
    with pytest.raises(InputError, match=message):
        einfluence.measure(spec, tmp_path / "store", report=False)
