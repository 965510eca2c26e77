"""What other packages add: a group of entry points, read by every process that needs what is in it."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

from einfluence.errors import InputError, first_line


def installed(group: str) -> list[Any]:
    """What the entry points of a group name, in the order of their names.

    Args:
        group: ``einfluence.estimators``, ``einfluence.objectives`` or ``einfluence.runners``.

    Raises:
        InputError: When one cannot be imported; says which, and of which package.
    """
    found: list[Any] = []
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        try:
            found.append(entry.load())
        except Exception as error:
            package = entry.dist.name if entry.dist else "a package without a name"
            where = f"{package}, entry point {entry.name!r} of {group}"
            fix = f"Mend or uninstall {package}"
            raise InputError(where, first_line(error), f"{entry.value} that can be imported", fix) from error
    return found
