"""Which class of the base a name or a number in the data means; nothing is numbered by guessing.

1. A name that the part's `classes` or the base's configuration knows is that class, whatever the order of the data.
2. Names that are all whole numbers are these numbers: folders 3 and 7 are classes 3 and 7, folder 10 is class 10.
3. Other names are numbered in their order (a data set's own; folders by their names, as torchvision and ``datasets``
   do), but only if there are as many as the base has classes, and if no other order is as likely (class_10, class_2).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from einfluence.errors import InputError

_WHOLE = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True)
class ImageLimits:
    """What the base takes.

    Args:
        n_classes: How many classes it has; None where it is not known.
        shape: (channels, height, width); None where it is not known.
        names: Indices by name of its classes, from the part's `classes` or the base's configuration; None without.
        written: Whether the part says them: then they hold for numbers in the data as well.
        fit: Brings a picture into the base's shape, where the base says how; else pictures must have it.
    """

    n_classes: int | None = None
    shape: tuple[int, int, int] | None = None
    names: Mapping[str, int] | None = None
    written: bool = False
    fit: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]] | None = None

    def fitted(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """A picture in the base's shape where that can be had."""
        return pixels if self.fit is None else self.fit(pixels)

    def name_of(self, label: int) -> str | None:
        """The base's name of a class."""
        return next((name for name, index in (self.names or {}).items() if index == label), None)

    def index_of(self, where: str, name: str) -> int:
        """The class of a name: exactly so, else whatever its case and with blanks, `_` and `-` alike."""
        names = self.names or {}
        if name in names:
            return names[name]
        alike = {index for known, index in names.items() if _loosely(known) == _loosely(name)}
        if len(alike) == 1:
            return alike.pop()
        shown = ", ".join(repr(known) for known in list(names)[:10]) + (", ..." if len(names) > 10 else "")
        raise InputError(where, f"the label {name!r}", f"the name of a class: {shown}", _write(name))


def class_names(config: Mapping[str, Any], n_classes: int | None) -> dict[str, int] | None:
    """Indices by name from a base's configuration: `class_names`, or `id2label` unless it says LABEL_0, LABEL_1, ...

    A name that two classes share means neither.
    """
    listed: Any = config.get("class_names")
    if listed is None and isinstance(config.get("id2label"), dict):
        by_index = {str(key): value for key, value in cast("dict[Any, Any]", config["id2label"]).items()}
        listed = [by_index.get(str(index)) for index in range(len(by_index))]
    if not isinstance(listed, list) or n_classes is not None and len(cast("list[Any]", listed)) != n_classes:
        return None
    names = [str(name) for name in cast("list[Any]", listed)]
    if all(re.fullmatch(r"LABEL_[0-9]+", name) for name in names):
        return None
    return {name: index for index, name in enumerate(names) if names.count(name) == 1}


def labels_of(names: Sequence[str], limits: ImageLimits, where: str, *, sort: bool = True) -> dict[str, int]:
    """The class of each name in a data set, by the rules of the module.

    Args:
        names: All different.
        limits: The base's classes.
        where: What errors name.
        sort: Whether the data set has no order of its own: names are then put in the order of their letters.

    Raises:
        InputError: Where a name can mean no class, or more than one.
    """
    numbers = {name: int(name) for name in names if is_number(name)}
    only_numbers = len(numbers) == len(names)
    named = limits.names is not None and (limits.written or not only_numbers or any(map(is_number, limits.names)))
    if named:
        labels = {name: limits.index_of(where, name) for name in names}
    elif only_numbers:
        labels = numbers
    else:
        labels = _in_order(sorted(names, key=_composed) if sort else names, numbers if sort else {}, limits, where)
    taken: dict[int, str] = {}
    for name, label in labels.items():
        if label in taken and not limits.written:
            raise InputError(where, f"{taken[label]!r} and {name!r}, which are both class {label}", "one name a class")
        taken[label] = name
    if named and limits.written:
        for name, label in labels.items():
            check_label(f"classes {name}", label, limits.n_classes)
    check_labels(where, list(labels.values()), limits.n_classes)
    return labels


def _in_order(names: Sequence[str], numbers: Mapping[str, int], limits: ImageLimits, where: str) -> dict[str, int]:
    count, fix = limits.n_classes, _write(names[0])
    shown = ", ".join(repr(name) for name in names[:5]) + (", ..." if len(names) > 5 else "")
    if count is not None and len(names) != count:
        found = f"{len(names)} classes by name ({shown}) for the labels of a base with {count}, which names none"
        raise InputError(where, found, f"{count} classes", fix)
    labels = {name: index for index, name in enumerate(names)}
    if any(labels[name] != number for name, number in numbers.items()):
        raise InputError(where, f"names and numbers as labels ({shown})", "either, or numbers in their place", fix)
    if list(names) == sorted(names, key=_composed) and not _in_order_of_numbers(names):
        found = f"labels whose order as text is another than by their numbers ({shown})"
        raise InputError(where, found, "names that say which class of the base they are", fix)
    return labels


def label_of(where: str, value: object, limits: ImageLimits) -> int:
    """The class that one label in a table means: an index, or a name that is known.

    Raises:
        InputError: For anything else.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]+\.0*", value.strip()):
        value = value.strip().partition(".")[0]
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = str(value).strip()
        if limits.names is not None and (limits.written or not is_number(text)):
            return limits.index_of(where, text)
        if is_number(text):
            if (limits.names or {}).get(text, int(text)) != int(text):
                found = f"the label {text}, which is one class of the base by its place and another by its name"
                raise InputError(where, found, "labels that can mean one class", _write(text))
            return check_label(where, int(text), limits.n_classes)
        if text:
            found, expected = f"the label {text!r}", "a whole number, as the base does not name its classes"
            raise InputError(where, found, expected, _write(text))
    raise InputError(where, f"the label {value!r:.80}", "a class index from 0, or the name of a class of the base")


def check_label(where: str, label: float | None, n_classes: int | None) -> int:
    """The label as an int, if it is one of the base's classes."""
    if label is None or not 0 <= label < (n_classes if n_classes is not None else 2**31):
        classes = f"a class from 0 to {n_classes - 1}" if n_classes is not None else "a class index from 0"
        raise InputError(where, f"the label {label!r}", classes)
    return int(label)


def check_labels(where: str, labels: Sequence[int], n_classes: int | None) -> None:
    """Refuses labels of which one is no class of the base, and says so if they seem to start at 1."""
    try:
        for label in sorted(set(labels), reverse=True):
            check_label(where, label, n_classes)
    except InputError as error:
        fix = _write(min(labels))
        if min(labels) == 1 and max(labels) == n_classes:
            fix = f"they seem to start at 1: {fix}"
        raise InputError(where, error.found, error.expected, fix) from error


def check_shape(where: str, shape: tuple[int, ...], expected: tuple[int, int, int] | None) -> None:
    """Raises InputError unless the image has the base's (or the first image's) shape."""
    if expected is not None and shape != expected:
        found, wanted = (" x ".join(str(size) for size in sizes) for sizes in (shape, expected))
        raise InputError(where, f"an image of {found} (channels x height x width)", wanted)


def is_number(name: str) -> bool:
    """Whether a name is a whole number, written in digits."""
    return _WHOLE.fullmatch(name) is not None


def _write(name: object) -> str:
    return f"write `classes: {{{name}: 0, ...}}` in the part: the index of each class of the base"


def _loosely(name: str) -> str:
    plain = re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name).strip()).casefold()
    return str(int(plain)) if is_number(plain) else plain


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _in_order_of_numbers(names: Sequence[str]) -> bool:
    """Whether names stand in the order of the numbers in them, where these may say it.

    They do in names that differ by a number alone (class_2 before class_10), in names that all begin with one
    (2 bird, 10 fish), and in names that all end with one if these count the names (ant 1, bee 0).
    """
    for place in (r"[0-9]+", r".*?([0-9]+)$"):
        found = [re.match(place, name, re.DOTALL) for name in names]
        indices = [int(match[match.re.groups]) for match in found if match]
        counted = sorted(indices) in ([*range(len(names))], [*range(1, len(names) + 1)])
        begins = place == r"[0-9]+" and len(set(indices)) == len(names)
        if (counted or begins) and indices != sorted(indices):
            return False
    last: dict[str, list[int]] = {}
    for name in names:
        numbers = [int(run) for run in re.findall(r"[0-9]+", name)]
        form = re.sub(r"[0-9]+", "0", name)
        if numbers < last.get(form, numbers):
            return False
        last[form] = numbers
    return True
