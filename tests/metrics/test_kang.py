"""Arrays as the authors keep them, made by hand: one fine-tuning of two epochs on three questions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import kang
from einfluence.errors import InputError

ANSWERS = {10: [[0, 1], [0, 0], [1, 2]], 9: [[1, 1], [0, 1], [1, 1]]}  # 0 is right; the checkpoint of step 9 is first
NATS = {9: [1.0, 0.05, 2.0], 10: [0.2, 0.01, 1.5]}


def run(folder: Path) -> Path:
    for step, answers in ANSWERS.items():
        inside = folder / f"checkpoint-{step}"
        inside.mkdir(parents=True)
        np.save(inside / "train_perplexities.npy", np.exp(NATS[step]))
        np.save(inside / "train_answer_types2_seed2_temp0.8.npy", np.array(answers))
        np.save(inside / "train_answer_types1_seed0.npy", np.zeros((3, 1), int))  # fewer answers: not read
        np.save(inside / "test_answer_types4_seed2.npy", np.array([[0, 0, 1, 2], [1, 1, 1, 0]]))
    return folder


def test_the_arrays_of_a_fine_tuning_are_read_in_the_order_of_its_steps(tmp_path: Path) -> None:
    found = kang.read_run(run(tmp_path))
    assert found.accuracy.tolist() == [[0.0, 0.5, 0.0], [0.5, 1.0, 0.0]]
    assert found.nats == pytest.approx(np.array([NATS[9], NATS[10]]))
    assert found.test == 3 / 8


def test_what_is_right_before_an_answer_is_known_by_heart(tmp_path: Path) -> None:
    found = kang.read_run(run(tmp_path))
    # The second question's answer is known by heart from the first epoch on; no answer is at τ 0.01.
    assert kang.pre_memorised(found.accuracy, found.nats, 0.1).tolist() == [0.5, 0.0, 0.0]
    assert kang.pre_memorised(found.accuracy, found.nats, 0.001).tolist() == [0.5, 1.0, 0.0]


def test_it_prints_what_each_run_has_and_how_well_it_says_test_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [str(run(tmp_path / str(place))) for place in range(3)]
    np.save(tmp_path / "1/checkpoint-10/test_answer_types4_seed2.npy", np.zeros((2, 4), int))
    monkeypatch.setattr("sys.argv", ["kang", *folders])
    kang.main()
    printed = capsys.readouterr().out
    assert "test 0.375, train 0.500, before 0.167" in printed and printed.count("fixed beforehand") == 1


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("checkpoint-9/train_perplexities.npy", "No such file"),
        ("checkpoint-10/test_answer_types4_seed2.npy", "no test_"),
    ],
)
def test_an_array_that_is_missing_is_named(tmp_path: Path, path: str, found: str) -> None:
    (run(tmp_path) / path).unlink()
    with pytest.raises(InputError, match=found):
        kang.read_run(tmp_path)


def test_a_folder_without_checkpoints_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder checkpoint-STEP"):
        kang.read_run(tmp_path)


def test_arrays_of_different_lengths_are_refused(tmp_path: Path) -> None:
    folder = run(tmp_path)
    for step in ANSWERS:
        np.save(folder / f"checkpoint-{step}/train_perplexities.npy", np.ones(5))
    with pytest.raises(InputError, match=r"perplexities \(2, 5\) beside answers \(2, 3\)"):
        kang.read_run(tmp_path)
