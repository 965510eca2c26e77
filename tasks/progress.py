"""How far a run is: a bar on a terminal, plain lines otherwise; always on stderr.

Tasks and flows reach :data:`meter` through this module, since they are sent to workers and a lock cannot be.
"""

from __future__ import annotations

import sys
import threading
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 10.0  # seconds between plain lines


class Meter:
    """Counts probes done over all jobs of a run; safe to advance from several threads."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        self._total = self._done = 0
        self._began = self._last_line = 0.0

    def say(self, text: str) -> None:
        """One plain line."""
        self.console.print(text, markup=False, soft_wrap=True)

    def start(self, total: int) -> None:
        """Begins to count towards ``total`` probes."""
        self._total, self._done, self._began = total, 0, time.monotonic()
        self._last_line = self._began
        if sys.stderr.isatty() and total:
            columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True)
            self._bar.add_task("measuring", total=total, rate="")
            self._bar.start()

    def advance(self, count: int = 1) -> None:
        """Counts finished probes."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            rate = self._done / max(now - self._began, 1e-9)
            if self._bar is not None:
                self._bar.update(self._bar.task_ids[0], completed=self._done, rate=f"{rate:.1f} probes/s")
            elif self._total and now - self._last_line > LINE_EVERY:
                self._last_line = now
                left = (self._total - self._done) / rate
                self.say(f"{self._done} of {self._total} probes, {rate:.1f} a second, {left:.0f} s left")

    def stop(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


meter = Meter()
