"""The SQLite database of a run's own Prefect server: runs that start together must not migrate one file together.

Prefect takes seconds to make an empty database. The first run on a machine keeps a copy of it in einfluence's cache for
the later ones, whose servers need not look for migrations. A run's folder holds a lock for as long as the run or its
server lives, however they end; folders whose lock is free are removed by the next run.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from contextlib import closing, suppress
from pathlib import Path

from einfluence.embedded import cache_folder
from einfluence.errors import InputError

IDLE = (
    "SCHEDULER", "LATE_RUNS", "CANCELLATION_CLEANUP", "FOREMAN", "PAUSE_EXPIRATIONS", "REPOSSESSOR",
    "CLEANUP_RECONCILER", "TRIGGERS",
)  # fmt: skip
"""Services of Prefect's server that a single run has no use for: there is no deployment, worker or automation."""
YOUNG = 60.0  # seconds for which a folder without a lock is left alone: whoever made it is about to take the lock


class Database:
    """An empty database in a new folder.

    Raises:
        InputError: When neither einfluence's cache nor the system's folder for temporary files can be written.
    """

    def __init__(self) -> None:
        self.folder = _new_folder()
        self.lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        _sweep(self.folder.parent, but=self.folder)
        self._file = self.folder / "prefect.db"
        with suppress(OSError):
            shutil.copyfile(self._empty, self._file)
        self._made = _whole(self._file)
        if not self._made:
            self._file.unlink(missing_ok=True)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of Prefect's server, for its environment."""
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{self._file}",
            "PREFECT_SERVER_MEMO_STORE_PATH": str(self.folder / "memo_store.toml"),
            "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",  # nobody will look for them here
            "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false" if self._made else "true",
            **{f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false" for name in IDLE},
        }

    def keep_empty(self) -> None:
        """Once the server answers: keeps a copy of the database for later runs, if there is none."""
        if self._made:
            return
        copy = self._empty.with_name(f"{secrets.token_hex(8)}.db")
        with suppress(OSError, sqlite3.Error):
            with closing(sqlite3.connect(self._file)) as connection:
                connection.execute("vacuum into ?", [str(copy)])
            os.replace(copy, self._empty)
        copy.unlink(missing_ok=True)

    def doubt_empty(self) -> None:
        """The server did not start: the next run shall not begin with the same copy."""
        with suppress(OSError):
            self._empty.unlink(missing_ok=True)

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _empty(self) -> Path:
        from prefect import __version__

        return self.folder.parent / f"empty-{__version__}.db"


def _whole(file: Path) -> bool:
    """Whether a file is a database that Prefect has migrated, and not a part of one."""
    if not file.exists():
        return False
    try:
        with closing(sqlite3.connect(file)) as connection:
            migrated = connection.execute("select count(*) from alembic_version").fetchone() == (1,)
            return migrated and connection.execute("pragma quick_check").fetchone() == ("ok",)
    except sqlite3.Error:
        return False


def _new_folder() -> Path:
    places = [cache_folder() / "prefect", Path(tempfile.gettempdir()) / f"einfluence-prefect-{os.getuid()}"]
    for place in places:
        with suppress(OSError):
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            if place.stat().st_uid == os.getuid():
                return Path(tempfile.mkdtemp(prefix="run-", dir=place))
    fix = "EINFLUENCE_CACHE or TMPDIR names a folder that can be written, PREFECT_API_URL a server that runs already"
    raise InputError("Prefect", f"neither {places[0]} nor {places[1]} can be written", "a place for a database", fix)


def _sweep(place: Path, but: Path) -> None:
    """Removes what runs left behind that were killed together with their servers."""
    for folder in place.glob("run-*"):
        with suppress(OSError):
            if folder == but or time.time() - folder.stat().st_mtime < YOUNG:
                continue
            handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(handle)
