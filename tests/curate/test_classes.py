"""A label in the data is the class that it names; nothing is numbered by guessing."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from einfluence.curate import curate
from einfluence.curate.classes import ImageLimits, class_names, label_of, labels_of
from einfluence.errors import InputError
from einfluence.spec import Part, Spec

PETS = {"cat": 0, "dog": 1, "Guinea Pig": 2}


def found(names: Sequence[str], count: int | None = None, known: Mapping[str, int] | None = None, **more: Any) -> Any:
    limits = ImageLimits(count, names=known, written=more.pop("written", False))
    return labels_of(names, limits, "here", **more)


def test_names_that_are_numbers_are_these_numbers() -> None:
    assert found(["3", "7"], 10) == {"3": 3, "7": 7}
    assert found([str(number) for number in range(12)], 12) == {str(number): number for number in range(12)}
    assert found(["007", "10"]) == {"007": 7, "10": 10}


def test_names_are_numbered_in_their_order_if_there_are_as_many_as_classes() -> None:
    assert found(["dog", "cat"], 2) == {"cat": 0, "dog": 1}
    assert found(["dog", "cat"], 2, sort=False) == {"dog": 0, "cat": 1}
    assert found(["b", "A", "é"], 3) == {"A": 0, "b": 1, "é": 2}
    assert found([*"0123456789ABCab"]) == {name: index for index, name in enumerate("0123456789ABCab")}
    assert found([f"{number:02}.bird" for number in range(12)], 12)["10.bird"] == 10


def test_names_that_the_base_knows_come_first() -> None:
    assert found(["dog", "guinea_pig"], 3, PETS) == {"dog": 1, "guinea_pig": 2}
    assert found(["2", "0"], 3, PETS) == {"2": 2, "0": 0}
    assert found(["1", "2"], 2, {"1": 0, "2": 1}) == {"1": 0, "2": 1}
    assert found(["01"], 2, {"1": 0, "2": 1}) == {"01": 0}
    assert found(["3", "7"], 9, {"3": 8, "7": 1}, written=True) == {"3": 8, "7": 1}
    assert found(["a", "A"], 2, {"A": 0, "a": 1}) == {"a": 1, "A": 0}
    assert found(["kitty", "cat"], 2, {"kitty": 0, "cat": 0}, written=True) == {"kitty": 0, "cat": 0}
    assert found(["Cafe\u0301"], 1, {"Caf\u00e9": 0}) == {"Cafe\u0301": 0}


@pytest.mark.parametrize(
    ("names", "count", "known", "message"),
    [
        (["cat", "dog"], 10, None, r"2 classes by name \('cat', 'dog'\) .*with 10.*write `classes: \{cat: 0, ..."),
        (["class_10", "class_2"], 2, None, "whose order as text is another than by their numbers"),
        (["10 fish", "2 bird"], 2, None, "whose order as text is another than by their numbers"),
        (["ant 1", "bee 0"], 2, None, "whose order as text is another than by their numbers"),
        (["3", "cat"], 2, None, "names and numbers as labels"),
        (["3", "03"], 10, None, "'3' and '03', which are both class 3"),
        (["Cat", "cat"], 2, {"CAT": 0, "dog": 1}, "'Cat' and 'cat', which are both class 0"),
        (["-1", "1"], 2, None, "the label -1; expected a class from 0 to 1"),
        (["1", "2", "3"], 3, None, "the label 3; .* they seem to start at 1: write `classes"),
        (["1998", "2001"], 2, None, "the label 2001; expected a class from 0 to 1"),
        (["kitty"], 3, PETS, "the label 'kitty'; expected the name of a class: 'cat', 'dog', 'Guinea Pig'"),
    ],
)  # fmt: skip
def test_what_could_mean_another_class_is_refused(
    names: list[str], count: int, known: dict[str, int] | None, message: str
) -> None:
    with pytest.raises(InputError, match=f"^here: found .*{message}"):
        found(names, count, known)


def test_numbers_in_names_that_count_nothing_do_not_matter() -> None:
    assert found(["airbus 320", "boeing 747", "cessna 172"], 3) == {"airbus 320": 0, "boeing 747": 1, "cessna 172": 2}
    assert found(["1 ant", "2 bee", "7 cow"], 3) == {"1 ant": 0, "2 bee": 1, "7 cow": 2}
    assert found(["3d model", "2d map", "cow"], 3) == {"2d map": 0, "3d model": 1, "cow": 2}


def test_an_index_beyond_the_base_is_told_where_the_part_says_it() -> None:
    with pytest.raises(InputError, match="^classes b: found the label 7; expected a class from 0 to 2"):
        found(["a", "b"], 3, {"a": 1, "b": 7}, written=True)


@given(st.sets(st.integers(0, 99), min_size=1), st.integers(0, 3))
def test_numbers_are_themselves_however_many_and_however_written(numbers: set[int], zeros: int) -> None:
    names = ["0" * zeros + str(number) for number in numbers]
    assert found(names, 100) == {name: int(name) for name in names}


@given(st.sets(st.text("ab1 _-É", min_size=1, max_size=4), min_size=1, max_size=6), st.integers(0, 8))
def test_labels_are_classes_of_the_base_and_all_different_or_the_names_are_refused(names: set[str], count: int) -> None:
    try:
        labels = found(sorted(names), count)
    except InputError:
        return
    assert set(labels) == names and len(set(labels.values())) == len(names)
    assert set(labels.values()) <= set(range(count))
    if not all(re.fullmatch(r"[+-]?\d+", name) for name in names):
        assert len(names) == count and list(labels) == sorted(names) and list(labels.values()) == [*range(count)]


def test_one_label_of_a_table() -> None:
    known = ImageLimits(3, names=PETS)
    for value, label in ((2, 2), ("2", 2), ("1.0", 1), (1.0, 1), (" 1 ", 1), ("dog", 1), ("guinea pig", 2)):
        assert label_of("x", value, known) == label
    for value in (True, None, 1.5, "1.5", "", "1_0", "bird", [1], 3, -1, "-1", "1e0", float("nan")):
        with pytest.raises(InputError, match="^x: found the label"):
            label_of("x", value, known)
    with pytest.raises(InputError, match="'dog'; expected a whole number, as the base does not name its classes"):
        label_of("x", "dog", ImageLimits(3))
    with pytest.raises(InputError, match="one class of the base by its place and another by its name"):
        label_of("x", 1, ImageLimits(3, names={"1": 0, "2": 1, "3": 2}))
    assert label_of("x", 1, ImageLimits(26, names={"1": 0}, written=True)) == 0


def test_the_names_of_a_base_come_from_its_configuration() -> None:
    assert class_names({"class_names": ["a", "b"]}, 2) == {"a": 0, "b": 1}
    assert class_names({"id2label": {"1": "b", "0": "a"}}, 2) == {"a": 0, "b": 1}
    assert class_names({"id2label": {0: "crane", 1: "crane", 2: "b"}}, 3) == {"b": 2}
    for config in ({}, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, {"class_names": ["a"]}, {"class_names": 3}):
        assert class_names(config, 2) is None


def test_classes_in_a_spec_are_a_list_or_a_mapping_and_go_with_images_alone() -> None:
    assert Part(base="x", samples="s.jsonl", classes=["b", 3]).classes == {"b": 0, "3": 1}  # pyright: ignore
    assert Part.model_validate({"base": "x", "facts": "world", "classes": {7: 2}}).classes == {"7": 2}
    with pytest.raises(ValueError, match="each class once"):
        Part.model_validate({"base": "x", "facts": "world", "classes": ["a", "a"]})
    part = Part.model_validate({"base": "x", "facts": "world", "classes": {7: 2}})
    with pytest.raises(InputError, match="^classes: found classes for texts"):
        curate(part, Spec(parts=(part,)))
