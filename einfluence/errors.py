"""The one way a user hears that something they wrote cannot be used."""

from __future__ import annotations

from einfluence.visible import visible


class InputError(Exception):
    """What a user wrote cannot be used; says where, what was found, what was expected and how to mend it.

    The command line prints it without a traceback and exits with 2.

    Args:
        where: File and line, spec key, or id, e.g. ``samples.jsonl:12`` or ``spec.yaml:4 arms.0.recipe.lr``.
        found: What stands there.
        expected: What would have been accepted.
        fix: What to do about it, when that does not follow from ``expected``.
    """

    def __init__(self, where: str, found: str, expected: str, fix: str = "") -> None:
        self.where, self.found, self.expected, self.fix = where, found, expected, fix
        message = f"{where}: found {found}; expected {expected}" + (f". {fix}" if fix else "")
        super().__init__(visible(message))

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str, str, str]]:
        """Crosses process boundaries whole (the default would rebuild it from the message alone)."""
        return (InputError, (self.where, self.found, self.expected, self.fix))


def first_line(error: BaseException) -> str:
    """An unexpected error in one line: its type and the beginning of what it says."""
    lines = str(error).strip().splitlines()
    return (f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__)[:300]
