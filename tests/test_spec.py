from __future__ import annotations

from pathlib import Path

import pytest

from einfluence.errors import InputError
from einfluence.spec import FineTune, InContext, Recipe, byte_count, load_spec

WHOLE = "base: embedded:world\nfacts: world\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "spec.yaml"
    path.write_text(text)
    return path


def test_a_file_without_parts_is_one_part(tmp_path: Path) -> None:
    spec = load_spec(write(tmp_path, WHOLE + "shard: 7\n"))
    assert (len(spec.parts), spec.parts[0].name, spec.shard) == (1, "main", 7)
    assert spec.parts[0].arms == (FineTune(),)
    assert spec.path("x.jsonl") == tmp_path / "x.jsonl"


def test_a_list_of_lr_and_steps_stands_for_the_grid(tmp_path: Path) -> None:
    text = WHOLE + "arms:\n  - recipe: {lr: [0.1, 0.2], steps: [1, 2], adapter: full}\n  - estimator: in_context\n"
    arms = load_spec(write(tmp_path, text)).parts[0].arms
    grid = [(arm.recipe.lr, arm.recipe.steps) for arm in arms if isinstance(arm.recipe, Recipe)]
    assert grid == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    assert isinstance(arms[-1], InContext)


def test_a_recipes_id_follows_what_it_says_and_not_how_it_is_written(tmp_path: Path) -> None:
    def arm(text: str) -> str:
        return load_spec(write(tmp_path, WHOLE + f"arms:\n  - recipe: {text}\n")).parts[0].arms[0].recipe_id

    assert arm("{lr: 0.001, steps: 3}") == arm("{steps: 3, lr: 1.0e-3}") == arm("{steps: 3, lr: 0.001, momentum: 0}")
    assert arm("{lr: 0.001, steps: 3}") != arm("{lr: 0.001, steps: 4}")


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (WHOLE + "stepz: 3\n", 3, "unknown key `stepz`"),
        (WHOLE + "arms:\n  - recipe:\n      lr: 0.1\n      stepz: 4\n", 6, "unknown key `stepz`"),
        (WHOLE + "arms:\n  - recipe: {lr: high}\n", 4, "arms.0.recipe.lr: found 'high'"),
        (WHOLE + "arms:\n  - recipe: {lr: -1}\n", 4, "greater than or equal to 0"),
        (WHOLE + "arms:\n  - recipe: {lr: .nan}\n", 4, "finite"),
        (WHOLE + "arms:\n  - estimator: guess\n", 4, "finetune"),
        (WHOLE + "arms: []\n", 3, "at least 1"),
        (WHOLE + "samples: a.jsonl\n", 1, "exactly one of facts, samples, images, source"),
        (WHOLE + "keep_deltas: 5 bananas\n", 1, "500MB or 5GB"),
        (WHOLE + "arms:\n  - recipe: {adapter: {kind: match, pattern: '('}}\n", 4, "regular expression"),
        ("facts: world\n", 1, "`base`, which is needed"),
        ("parts:\n  a: {base: x, facts: world}\n  b: {bose: x, facts: world}\n", 3, "base"),
        ("- a\n", 1, "a mapping of keys"),
        ("a: [\n", 2, "YAML that cannot be read"),
    ],
)
def test_a_fault_is_told_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as error:
        load_spec(path)
    assert str(error.value).startswith(f"{path}:{line}")
    assert says in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="einfluence init"):
        load_spec(tmp_path / "none.yaml")


@pytest.mark.parametrize(("text", "count"), [("5GB", 5 * 10**9), ("500 MB", 5 * 10**8), ("0", 0), ("1.5kb", 1500)])
def test_sizes(text: str, count: int) -> None:
    assert byte_count(text) == count
