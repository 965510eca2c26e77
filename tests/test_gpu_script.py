"""The script for a machine with a GPU keeps its promise of time, whatever takes long."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.sh"


@pytest.mark.parametrize(("mode", "minutes", "steps"), [("whole", 8, 6), ("quick", 3, 4)])
def test_limits_add_up_to_the_minutes_of_the_mode(tmp_path: Path, mode: str, minutes: int, steps: int) -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert "all within 8 minutes, or the first of it within 3" in text
    environment = {**os.environ, "PYTHON": "true", "DEVICE": "cpu"}
    ended = subprocess.run(
        ["bash", SCRIPT, tmp_path, mode], env=environment, capture_output=True, text=True, check=True
    )
    limits = [int(limit) for limit in re.findall(r"exit 0 after \d+ of (\d+) s", ended.stdout)]
    (kill,) = re.findall(r"--kill-after=(\d+)", text)
    assert len(limits) == steps
    assert sum(limits) + steps * int(kill) <= 60 * minutes
