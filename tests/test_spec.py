from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from einfluence.arms import OnSubsets
from einfluence.errors import InputError
from einfluence.recipe import Prompting
from einfluence.spec import FineTune, InContext, Lora, Recipe, Sgd, byte_count, load_spec

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
    grid = [(arm.recipe.optimizer.lr, arm.recipe.steps) for arm in arms if isinstance(arm.recipe, Recipe)]
    assert grid == [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]
    assert isinstance(arms[-1], InContext)
    nested = text.replace("lr: [0.1, 0.2]", "optimizer: {lr: [0.1, 0.2]}")
    assert load_spec(write(tmp_path, nested)).parts[0].arms == arms


def test_a_recipes_id_follows_what_it_says_and_not_how_it_is_written(tmp_path: Path) -> None:
    def arm(text: str) -> str:
        return load_spec(write(tmp_path, WHOLE + f"arms:\n  - recipe: {text}\n")).parts[0].arms[0].recipe_id

    assert arm("{lr: 0.001, steps: 3}") == arm("{steps: 3, lr: 1.0e-3}") == arm("{steps: 3, lr: 0.001, eps: 1.0e-8}")
    assert arm("{lr: 0.001, steps: 3}") != arm("{lr: 0.001, steps: 4}")


SAME = {
    "an adapter by its name": ["{adapter: {kind: full}}", "{adapter: full}"],
    "an adapter without its kind": ["{adapter: {kind: lora, r: 4}}", "{adapter: {r: 4}}"],
    "an optimizer by its name": ["{optimizer: {kind: sgd}}", "{optimizer: sgd}"],
    "an optimizer without its kind": ["{optimizer: {lr: 0.1}}", "{optimizer: adamw, lr: 0.1}"],
    "fields beside the optimizer": [
        "{optimizer: {kind: sgd, lr: 0.1, momentum: 0.9, weight_decay: 0.1}}",
        "{optimizer: sgd, lr: 0.1, momentum: 0.9, weight_decay: 0.1}",
    ],
    "one of them beside it": [
        "{optimizer: {kind: adam, eps: 1.0e-3}, lr: 0.1}",
        "{optimizer: adam, eps: 1.0e-3, lr: 0.1}",
    ],
    "the order of targets": ["{adapter: {targets: [q, v]}}", "{adapter: {targets: [v, q]}}"],
    "the order of layers": ["{adapter: {layers: [1, 0]}}", "{adapter: {layers: [0, 1]}}"],
    "defaults written out": ["{adapter: {kind: lora, r: 8}, clip: null, dtype: float32}", "{}"],
}  # fmt: skip
APART = [
    "{}", "{lr: 0.01}", "{steps: 11}", "{clip: 1.0}", "{dtype: float64}", "{eps: 1.0e-3}", "{betas: [0.5, 0.5]}",
    "{weight_decay: 0.1}", "{optimizer: adam}", "{optimizer: sgd}", "{optimizer: sgd, momentum: 0.9}",
    "{adapter: {r: 4}}", "{adapter: {alpha: 4}}", "{adapter: {targets: [q]}}", "{adapter: {targets: q}}",
    "{adapter: {layers: [0]}}", "{adapter: full}", "{adapter: last}", "{adapter: {kind: match, pattern: a}}",
    "{adapter: {kind: match, pattern: b}}",
]  # fmt: skip


def recipe_id(text: str) -> str:
    return FineTune(recipe=Recipe.model_validate(yaml.safe_load(text))).recipe_id


@pytest.mark.parametrize("pair", SAME.values(), ids=SAME.keys())
def test_a_recipes_id_is_over_what_can_change_a_number(pair: list[str]) -> None:
    assert recipe_id(pair[0]) == recipe_id(pair[1])


@pytest.mark.parametrize("text", [text for pair in SAME.values() for text in pair])
def test_the_short_form_that_is_stored_says_the_same(text: str) -> None:
    recipe = Recipe.model_validate(yaml.safe_load(text))
    assert Recipe.model_validate(recipe.written) == recipe
    assert recipe.written["lr"] == recipe.optimizer.lr


def test_recipes_that_differ_in_what_can_change_a_number_have_different_ids() -> None:
    assert len({recipe_id(text) for text in APART}) == len(APART)


def test_recipes_with_different_ids_are_called_differently() -> None:
    tuned = [Recipe.model_validate(yaml.safe_load(text)).label for text in APART]
    prompts: list[dict[str, Any]] = [{}, {"join": " "}, {"join": "\n"}, {"chat": True}, {"dtype": "float64"}]
    prompted = [Prompting.model_validate(fields).label for fields in prompts]
    drawn = [OnSubsets.model_validate(fields).label for fields in ({}, {"ridge": 1}, {"count": 9}, {"share": 0.1})]
    for labels in (tuned, prompted, drawn):
        assert len(set(labels)) == len(labels)
    assert prompted[2] == "in the prompt, join '\\n'"
    long = "{adapter: {alpha: 32}, optimizer: sgd, momentum: 0.9, lr: 0.1, dtype: bfloat16}"
    label = Recipe.model_validate(yaml.safe_load(long)).label
    assert label == "LoRA r8 alpha 32, SGD momentum 0.9, bfloat16, lr 0.1 × 10"


def test_a_field_that_is_added_later_makes_no_cell_new() -> None:
    class Later(Recipe):
        schedule: str = "constant"

    class Adapted(Lora):
        dropout: float = 0.0

    class Damped(Sgd):
        dampening: float = 0.0

    for text in APART:
        said = yaml.safe_load(text)
        assert Later.model_validate(said).key == Recipe.model_validate(said).key
        assert Later.model_validate({**said, "schedule": "linear"}).key != Recipe.model_validate(said).key
    assert Adapted(r=4).key == Lora(r=4).key != Adapted(r=4, dropout=0.1).key
    assert Damped(lr=0.1).key == Sgd(lr=0.1).key != Damped(lr=0.1, dampening=0.1).key


def test_the_ids_of_recipes_stay_what_they_are() -> None:
    """Every cell of every store hangs on them: who changes these must carry stores over."""
    assert FineTune().recipe_id == "06ea5bc88d6735b841a6"
    assert recipe_id("{adapter: full, optimizer: sgd, lr: 0.05, steps: 2}") == "746fb741227933790b20"
    assert recipe_id("{adapter: {kind: match, pattern: norm.*weight}, optimizer: adam, steps: 2}") == (
        "7a7927f4ba809a5c1d44"
    )
    assert recipe_id("{adapter: {kind: lora, r: 2, layers: [1]}, steps: 2}") == "d88ece440ab22360bff5"
    assert InContext().recipe_id == "6e66fcb6a1ae466014c7"


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
        (WHOLE + "keep_deltas: 5 bananas\n", 3, "500MB or 5GB"),
        (WHOLE + "arms:\n  - recipe: {adapter: {kind: match, pattern: '('}}\n", 4, "regular expression"),
        ("facts: world\n", 1, "expected the key `base`"),
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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # every unknown key at once, each with its line and what was meant
        (
            WHOLE + "stepz: 3\narmz: []\narms:\n  - recipe: {lrr: 1}\n",
            "3 stepz: found the unknown keys `stepz`, `armz` (line 4) and `lrr` (line 6); expected one of name,",
        ),
        (WHOLE + "arms:\n  - recipe: {lrr: 1}\n", "Did you mean `lr`?"),
        (WHOLE + "arms:\n  - recipe: {Steps: 1}\n", "Did you mean `steps`?"),
        (WHOLE + "lr: 0.1\n", "found the unknown key `lr`; expected one of name, base,"),
        (WHOLE + "lr: 0.1\n", "under `recipe`"),
        (WHOLE + "arms:\n  - recipe: {shard: 3}\n", "`shard` stands at the top"),
        (WHOLE + "folder: /tmp\n", "unknown key `folder`"),
        ("parts:\n  a: {base: x, facts: world}\nfolder: /tmp\n", ":3 folder: found the unknown key"),
        # the keys of the arm that was meant
        (
            WHOLE + "arms:\n  - estimator: in_context\n    recipe: {lr: 3}\n",
            "5 arms.0.recipe.lr: found the unknown key `lr`; expected one of join, chat, dtype",
        ),
        (
            WHOLE + "arms:\n  - recipe: {optimizer: null}\n",
            "4 arms.0.recipe.optimizer: found nothing; expected a mapping of keys. Or a kind alone: sgd, adam, adamw",
        ),
        (
            WHOLE + "arms:\n  - recipe: {adapter: 3}\n",
            "4 arms.0.recipe.adapter: found 3; expected a mapping of keys. Or a kind alone: lora, full, last",
        ),
        # once, though each point of the grid has it
        (
            WHOLE + "arms:\n  - recipe:\n      optimizer: {steps: [1, 2]}\n",
            "5 arms.0.recipe.optimizer.steps.0: found the unknown key `steps`; expected one of kind, lr",
        ),
        (WHOLE + "arms:\n  - estimator: in_context\n    restore: 3\n", "5 arms.0.restore: found the unknown key"),
        # behind a grid, the arm and the value that the file has
        (
            WHOLE + "arms:\n  - recipe: {lr: [0.1, 0.2], steps: [1, 2]}\n"
            "  - recipe:\n      optimizer: sgd\n      momentum: 2\n",
            "7 arms.1.recipe.momentum: found 2;",
        ),
        (
            WHOLE + "arms:\n  - recipe:\n      optimizer:\n"
            "        kind: sgd\n        lr:\n          - 0.1\n          - high\n",
            "9 arms.0.recipe.optimizer.lr.1: found 'high'; expected a number",
        ),
        # what another branch of a union has
        (
            WHOLE + "arms:\n  - recipe: {optimizer: adam, momentum: 0.9}\n",
            "4 arms.0.recipe.momentum: found the unknown key `momentum`; "
            "expected one of kind, lr, weight_decay, betas, eps. `momentum` is a key of `kind: sgd`",
        ),
        (
            WHOLE + "arms:\n  - recipe: {optimizer: {kind: sgd, eps: 1.0}}\n",
            "arms.0.recipe.optimizer.eps: found the unknown key `eps`; "
            "expected one of kind, lr, weight_decay, momentum. `eps` is a key of `kind: adam` or `kind: adamw`",
        ),
        (
            WHOLE + "arms:\n  - recipe: {adapter: {kind: full, r: 4}}\n",
            "arms.0.recipe.adapter.r: found the unknown key `r`; expected one of kind. `r` is a key of `kind: lora`",
        ),
        (
            WHOLE + "arms:\n  - recipe: {adapter: match}\n",
            "arms.0.recipe.adapter.pattern: found nothing; expected the key",
        ),
        (
            WHOLE + "arms:\n  - recipe: {adapter: ful}\n",
            "arms.0.recipe.adapter: found 'ful'; expected one of 'lora', 'full'",
        ),
        (
            WHOLE + "arms:\n  - recipe: {optimizer: {kind: sdg}}\n",
            "arms.0.recipe.optimizer.kind: found 'sdg'; expected one of",
        ),
        (
            WHOLE + "arms:\n  - recipe: {optimizer: {kind: sgd, lr: 1}, lr: 2}\n",
            "arms.0.recipe: found what does not fit together; expected `lr` once: under `optimizer`, or beside it",
        ),
        (
            WHOLE + "arms:\n  - recipe:\n      lr:\n        - 0.1\n        - high\n      steps: [1, 2]\n",
            "7 arms.0.recipe.lr.1: found 'high'; expected a number",
        ),
        (WHOLE + "arms:\n  - recipe: {lr: []}\n  - recipe: {lr: 1}\n", "arms.0.recipe.lr: found []; expected a number"),
        (
            WHOLE + "arms:\n  - recipe: {optimizer: sgd, momentum: [0, 0.9]}\n",
            "A list stands for a grid under `lr`, `steps`, `fifth` alone",
        ),
        (
            WHOLE + "arms:\n  - recipe: {lr: [0.1, 0.10]}\n",
            "3 arms: found what does not fit together; expected each arm",
        ),
        # one fault is one fault
        (
            "basse: x\nfacts: world\n",
            "trust_remote_code, parts, shard, keep_deltas, metrics, verdicts, features. Did you mean `base`?",
        ),
        (
            WHOLE + "arms:\n  - recipe: {adapter: {targets: [1]}}\n",
            "arms.0.recipe.adapter.targets.0: found 1; expected",
        ),
        (
            WHOLE + "shard: 0\narms:\n  - recipe: {lr: [high, higher], steps: some}\n",
            "3 shard: found 0; expected greater than or equal to 1. 3 more faults in this file: "
            "line 5 arms.0.recipe.lr.0, line 5 arms.0.recipe.steps, line 5 arms.0.recipe.lr.1",
        ),
        (WHOLE + "arms:\n  - recipe: {betas: [0.9]}\n", "arms.0.recipe.betas: found 1 item; expected 2"),
        (WHOLE + "arms:\n  - recipe: {steps: true}\n", "found True; expected a number"),
        (WHOLE + "arms:\n  - recipe: {steps: 1.5}\n", "found 1.5; expected a whole number"),
        (WHOLE + "name: 7\n", "write it in quotes"),
        (
            WHOLE + "features: [lenght]\n",
            "features.0: found 'lenght'; expected one of lexical_overlap, negation, length,",
        ),
        (WHOLE + "seeds: [-1]\n", "seeds.0: found -1; expected greater than or equal to 0"),
        (WHOLE + "seeds: [1, 1]\n", "3 seeds: found what does not fit together; expected each seed once"),
        ("parts:\n  - {name: a, base: x, facts: w}\n  - {name: a, base: x, facts: w}\n", "parts with different names"),
        ("parts:\n  1: {base: x, facts: w}\n", "2 parts.1: found 1; expected text"),
        ("1: 2\n" + WHOLE, "1 1: found the key 1; expected keys that are text"),
    ],
)
def test_a_message_is_about_what_the_file_says(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        load_spec(write(tmp_path, text))
    assert says in str(error.value)


def test_a_fault_behind_others_is_counted_once(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        load_spec(write(tmp_path, WHOLE + "arms:\n  - recipe: {lr: [1, 2, 3], steps: [4, 5], stepz: 1}\n"))
    assert "more fault" not in str(error.value) and "`stepz`" in str(error.value)


def test_numbers_as_people_write_them(tmp_path: Path) -> None:
    text = WHOLE + "keep_deltas: 0\narms:\n  - recipe: {lr: [1e-3, 2.5E-4, .5, 1], steps: 010}\n"
    spec = load_spec(write(tmp_path, text))
    assert [arm.recipe.optimizer.lr for arm in spec.parts[0].arms if isinstance(arm.recipe, Recipe)] == [
        1e-3,
        2.5e-4,
        0.5,
        1.0,
    ]
    assert {arm.recipe.steps for arm in spec.parts[0].arms if isinstance(arm.recipe, Recipe)} == {10}
    assert spec.keep_deltas == "0"


def test_yes_and_no_are_taken_where_a_choice_is_asked(tmp_path: Path) -> None:
    text = WHOLE + "trust_remote_code: no\narms:\n  - {estimator: in_context, recipe: {chat: yes, join: no}}\n"
    part = load_spec(write(tmp_path, text)).parts[0]
    assert isinstance(part.arms[0], InContext)
    assert (part.trust_remote_code, part.arms[0].recipe.chat, part.arms[0].recipe.join) == (False, True, "no")
