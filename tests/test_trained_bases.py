"""A model that one part trains as the base of another, and as a file for other programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import einfluence
from einfluence import inputs
from einfluence.errors import InputError
from einfluence.run import nothing_to_do
from einfluence.spec import load_spec
from flows import cli
from tests.test_training_sets import TEXTS, rows, write

TUNING = "adapter: full, optimizer: sgd, lr: 0.05"


def study(folder: Path, base: Path, tuning: str = TUNING, trained: str = "training: first", more: str = "") -> Path:
    write(folder / "train.jsonl", "abcd")
    write(folder / "other.jsonl", "ae")
    path = folder / "spec.yaml"
    path.write_text(
        "parts:\n"
        f"  first:\n    base: {base}\n    training_set: {{samples: train.jsonl, epochs: 2, batch_size: 2}}\n"
        f"    queries: {folder}/all.txt\n"
        f"    arms: [{{estimator: leave_one_out, recipe: {{{tuning}}}}}{more}]\n"
        f"  second:\n    base: {{{trained}}}\n    samples: other.jsonl\n"
        "    arms: [{recipe: {lr: 0.01, steps: 2}}]\n"
    )
    (folder / "all.txt").write_text("a\nb\nc\nd\n")
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EINFLUENCE_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("tuning", [TUNING, "lr: 0.01"])
def test_a_part_measures_what_another_part_has_trained(
    tmp_path: Path, gpt2_folder: Path, tuning: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path, gpt2_folder, tuning)
    assert nothing_to_do(load_spec(spec), einfluence.Store(tmp_path / "store")) is None
    einfluence.measure(spec, tmp_path / "store", report=False)
    [(label, before)] = rows(
        tmp_path / "store",
        "select bases.label, logprob_before from influence join bases using (base) join samples on sample_id = query_id"
        " join probes using (probe_id) where estimator = 'finetune' and samples.name = 'a' and probes.name = 'a'",
    )
    assert label == f"{gpt2_folder}, trained on first"
    [(full,)] = rows(
        tmp_path / "store",
        "select logprob from training_scores join trainings using (training) join samples on sample_id = query_id"
        " where trainings.kind = 'full' and samples.name = 'a'",
    )
    assert before == pytest.approx(full, abs=1e-5)
    monkeypatch.setattr(inputs, "_train", None)  # it is not trained again
    again = einfluence.measure(spec, tmp_path / "store", report=False)
    assert again.computed == 0


def test_training_it_again_elsewhere_makes_no_cell_new(
    tmp_path: Path, gpt2_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path, gpt2_folder)
    einfluence.measure(spec, tmp_path / "store", report=False)
    monkeypatch.setenv("EINFLUENCE_CACHE", str(tmp_path / "another"))
    assert einfluence.measure(spec, tmp_path / "store", report=False).computed == 0
    [note] = (tmp_path / "another" / "models").glob("trained-*/training.json")
    assert (
        json.loads(note.read_text())["training"]
        == rows(tmp_path / "store", "select training from trainings where kind = 'full'")[0][0]
    )
    other = study(tmp_path, gpt2_folder, TUNING.replace("0.05", "0.06"))
    assert einfluence.measure(other, tmp_path / "store", report=False).computed > 4


@pytest.mark.parametrize(
    ("trained", "more", "found"),
    [
        ("training: second", "", "naming an earlier part that has a `training_set`"),
        ("training: first", ", {estimator: subsets, recipe: {count: 4, lr: 0.1}}", r"trains in 2 ways \(0: full, SGD"),
        ("training: first, arm: 1", "", "an `arm` below 1"),
        ("trainig: first", "", "Did you mean `training`"),
        ("{}", "", "the key `training`"),
    ],
)
def test_a_base_that_no_part_trains_is_refused(
    tmp_path: Path, gpt2_folder: Path, trained: str, more: str, found: str
) -> None:
    with pytest.raises(InputError, match=found):
        load_spec(study(tmp_path, gpt2_folder, trained=trained.strip("{}"), more=more))


def test_a_training_that_fails_makes_no_base(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = study(tmp_path, gpt2_folder, TUNING.replace("0.05", "1.0e+30"))
    with pytest.raises(InputError, match=r"parts.second.base: found the training failed: "):
        einfluence.measure(spec, tmp_path / "store", report=False)
    assert list((tmp_path / "cache" / "models").iterdir()) == []


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("keep", ["0", "1GB"])
def test_what_is_exported_says_what_the_training_says(
    tmp_path: Path, gpt2_folder: Path, keep: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, store = study(tmp_path, gpt2_folder, "lr: 0.01"), tmp_path / "store"
    spec.write_text(spec.read_text() + f"keep_deltas: {keep}\n")
    einfluence.measure(spec, store, report=False)

    def exported(out: str, *more: str) -> Any:
        given = ["einfluence", "export", str(spec), "--training", "full", "--out", str(tmp_path / out), *more]
        monkeypatch.setattr("sys.argv", [*given, "--store", str(store)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code

    assert exported("adapter") == 0 and exported("whole", "--merged") == 0
    assert "adapter: an adapter of " in capsys.readouterr().out
    base = AutoModelForCausalLM.from_pretrained(gpt2_folder)
    models = (
        PeftModel.from_pretrained(base, str(tmp_path / "adapter")),
        AutoModelForCausalLM.from_pretrained(tmp_path / "whole"),
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "whole")
    found = rows(
        store,
        "select samples.name, logprob from training_scores join trainings using (training)"
        " join samples on sample_id = query_id where trainings.kind = 'full'",
    )
    assert len(found) == 4
    for name, wanted in found:
        prompt, target = TEXTS[name]
        ids = tokenizer(f"{prompt} {target}", return_tensors="pt", add_special_tokens=False)["input_ids"]
        first = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
        for model in models:
            said = model.eval()(input_ids=ids).logits[0].double().log_softmax(-1)[first - 1 : -1]
            np.testing.assert_allclose(said.gather(-1, ids[0, first:, None]).sum().item(), wanted, atol=1e-5)
    assert exported("adapter") == 2 and "which is there already" in capsys.readouterr().err
    assert exported("other", "--arm", "3") == 2 and "an `arm` below 1" in capsys.readouterr().err
    assert exported("other", "--part", "second") == 2
    assert "one with a `training_set` (first)" in capsys.readouterr().err
