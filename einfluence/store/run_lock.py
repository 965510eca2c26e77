"""Runs that are started by clocks and events, one after the other: at most one runs and one waits.

Runs may share a store at any time without harm; the lock only spares computing the same cells twice. The kernel
releases a lock when its process ends, however it ends, so that no killed run blocks the next.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from einfluence.store.files import unwritable


@contextmanager
def run_lock(root: Path) -> Generator[bool]:
    """Waits until no other run holds the lock of a store, and holds it.

    Yields:
        False at once where another run waits already: it will see all that this one would have seen.

    Raises:
        InputError: When the store cannot be written.
    """
    with ExitStack() as held:
        try:
            root.mkdir(parents=True, exist_ok=True)
            waiting, going = (held.enter_context(open(root / name, "a")) for name in (".waiting", ".going"))
        except OSError as error:
            raise unwritable(str(root), error) from error
        if not _take(waiting):
            yield False
            return
        fcntl.flock(going, fcntl.LOCK_EX)
        fcntl.flock(waiting, fcntl.LOCK_UN)
        yield True


def _take(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
