"""Whatever is killed whenever: the next run goes on from what was finished, and ends where an unharmed run ends."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from einfluence.errors import InputError
from einfluence.store.store import Store
from einfluence.store.verify import verify
from tests.store.made_up import ARM, computed, prepared, rows, run

KEY = "c" * 20
ROOT = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands for the moment at which the process is gone."""


def _calls(monkeypatch: pytest.MonkeyPatch, act: Callable[[int, str, Any], None]) -> list[tuple[str, Any]]:
    """Lets ``act`` see every call that changes the disk, before it happens."""
    seen: list[tuple[str, Any]] = []

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(*arguments: Any, **more: Any) -> Any:
            seen.append((name, arguments[0]))
            act(len(seen), name, arguments)
            return real(*arguments, **more)

        return call

    for name in ("replace", "link", "fsync", "unlink"):
        monkeypatch.setattr(os, name, watched(name))
    return seen


def _everything(root: Path) -> None:
    store = Store(root)
    store.open_for_writing()
    run(store, KEY, shard=1)
    store.tidy(grace=0.0)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp("whole")
    prepared(root, probes=10)
    _everything(root)
    return Store(root)


@pytest.mark.parametrize("stride", [41, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_killed_before_any_change_of_the_disk_a_run_goes_on(
    tmp_path: Path, whole: Store, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    prepared(tmp_path / "count", probes=10)
    with monkeypatch.context() as patch:
        seen = _calls(patch, lambda *_: None)
        _everything(tmp_path / "count")
    assert len(seen) > 100
    for moment in range(1, len(seen) + 1, stride):
        root = tmp_path / str(moment)
        prepared(root, probes=10)

        def act(count: int, *_: Any, moment: int = moment) -> None:
            if count >= moment:  # everything after the moment fails as well: nothing is cleaned up
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            _calls(patch, act)
            _everything(root)
        _everything(root)
        assert rows(Store(root)).equals(rows(whole)), moment
        assert rows(Store(root), "outcomes").equals(rows(whole, "outcomes")), moment
        assert {fault.kind for fault in verify(Store(root))[1]} <= {"leftover"}, moment


def test_data_is_on_the_disk_before_it_has_a_name_and_parts_before_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepared(tmp_path, probes=2)
    order: list[str] = []
    real_fsync = os.fsync

    def fsync(handle: int) -> None:
        order.append(f"sync {os.readlink(f'/proc/self/fd/{handle}')}")
        real_fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        for name in ("replace", "link"):
            real = getattr(os, name)
            patch.setattr(os, name, lambda a, b, real=real: (order.append(f"name {a} {b}"), real(a, b)))
        run(store, KEY)
    names = [(index, *line.split()[1:]) for index, line in enumerate(order) if line.startswith("name")]
    for index, temporary, target in names:
        assert f"sync {temporary}" in order[:index]
        assert f"sync {Path(target).parent}" in order[index:]
    assert [Path(target).parts[len(tmp_path.parts)] for *_, target in names] == [
        "influence",
        "outcomes",
        "layer_updates",
        "log",
    ]
    assert f"sync {Path(names[0][2]).parent.parent}" in order, "a new folder's own name is on the disk too"


def _fill(root: Path, kill_after: float | None, kill: int = signal.SIGKILL) -> list[str]:
    """Runs the filling process; returns the probes that it said were finished."""
    command = [sys.executable, "-m", "tests.store.fill", str(root), "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if kill_after is not None:
        time.sleep(kill_after)
        os.killpg(process.pid, kill)
    said = process.stdout.read().split()
    process.stdout.close()
    code = process.wait()
    assert code in ((0,) if kill_after is None else (0, -kill))
    return said


def _kill_and_resume(tmp_path: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    unharmed = prepared(tmp_path / "unharmed", probes=40)
    run(unharmed, KEY, shard=2)
    store = prepared(tmp_path / "killed", probes=40)
    finished: Counter[str] = Counter()
    for _ in range(kills):
        finished.update(_fill(store.root, draw.uniform(0.0, 0.15)))
        there = rows(Store(store.root), "outcomes")["probe_id"].to_pylist()
        assert len(set(there)) == len(there) and set(finished) <= set(there)
        if len(there) == 40:  # begin again
            assert rows(Store(store.root)).equals(rows(unharmed))
            for path in (store.root / "log").iterdir():
                path.unlink()
            finished.clear()
    finished.update(_fill(store.root, None))
    assert rows(Store(store.root)).equals(rows(unharmed))
    assert max(finished.values(), default=1) == 1, "no probe that was finished was computed again"
    assert {fault.kind for fault in verify(Store(store.root))[1]} <= {"leftover"}


def test_kill_9_loses_nothing_that_was_finished(tmp_path: Path) -> None:
    _kill_and_resume(tmp_path, kills=5, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_kill_9_sixty_times(tmp_path: Path) -> None:
    _kill_and_resume(tmp_path, kills=60, seed=2)


def test_a_full_disk_is_told_and_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = prepared(tmp_path)
    blocks = store.missing(tmp_path / "curations" / KEY, ARM, 4)
    store.add_part(ARM, computed(blocks[0]))
    before = rows(store)

    def full(count: int, name: str, _: Any) -> None:
        if name == "fsync":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(InputError, match="No space left.*make room"):
        _calls(patch, full)
        Store(tmp_path).add_part(ARM, computed(blocks[1]))
    assert rows(Store(tmp_path)).equals(before)
    assert not any((tmp_path / ".tmp").iterdir())
    assert run(Store(tmp_path), KEY) == 8


@pytest.mark.slow
def test_a_full_tmpfs_is_told_and_the_run_goes_on_when_there_is_room(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", mount]).returncode:
        pytest.skip("needs to mount a tmpfs")
    try:
        store = prepared(mount, probes=400)
        with pytest.raises(InputError, match="No space left"):
            run(store, KEY, shard=2)
        kept = rows(Store(mount), "outcomes").num_rows
        assert 0 < kept < 400
        subprocess.run(["mount", "-o", "remount,size=50m", mount], check=True)
        assert run(Store(mount), KEY, shard=2) == 400 - kept
        assert verify(Store(mount))[1] == []
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_read_only_store_can_be_read_and_says_why_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = prepared(tmp_path)
    run(store, KEY)
    before = rows(store)

    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        for name in ("replace", "link", "fsync"):
            patch.setattr(os, name, read_only)
        assert rows(Store(tmp_path)).equals(before)
        with pytest.raises(InputError, match="Read-only file system"):
            Store(tmp_path).write_run({"started": "2026-01-01T00:00:00+00:00"})
    assert verify(Store(tmp_path))[1] == []
