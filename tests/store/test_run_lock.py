"""Runs under one lock: one runs, one waits, the others need not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

from einfluence.store.run_lock import run_lock


def test_what_falls_due_during_a_run_becomes_one_run_after_it(tmp_path: Path) -> None:
    went: list[str] = []
    at_once: list[bool] = []

    def run(name: str) -> None:
        with run_lock(tmp_path) as mine:
            if mine:
                went.append(name)
            else:
                at_once.append(True)

    with run_lock(tmp_path) as mine:
        assert mine
        threads = [threading.Thread(target=run, args=(f"{n}",)) for n in range(5)]
        for thread in threads:
            thread.start()
        while len(at_once) < 4:
            time.sleep(0.01)
        assert went == []
    for thread in threads:
        thread.join()
    assert len(went) == 1 and len(at_once) == 4
    with run_lock(tmp_path) as mine:
        assert mine


def test_a_killed_run_holds_up_nobody(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from einfluence.store.run_lock import run_lock\n"
        "with run_lock(Path(sys.argv[1])):\n    print('mine', flush=True); time.sleep(100)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    process.kill()
    process.stdout.close()
    process.wait()
    with run_lock(tmp_path) as mine:
        assert mine
