"""What the workflow engine costs a first study: `einfluence init` and `run` beside `einfluence.measure`, by the wall.

Both measure what `einfluence init` writes, into an empty store, each in a process of its own, in turns. A first pair
is not counted: it fills the caches that a machine keeps. Run it where little else runs:
`python -m benchmarks.bench_startup`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

GOAL = 1.3  # init + run over measure
MEASURE = "import sys, einfluence; einfluence.measure(*sys.argv[1:])"


def seconds(*arguments: str) -> tuple[float, float]:
    """Wall and processor seconds of a Python process and its children."""
    before, begun = os.times(), time.monotonic()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.monotonic() - begun, os.times()
    return wall, after.children_user + after.children_system - before.children_user - before.children_system


def pair(folder: Path) -> tuple[tuple[float, float], tuple[float, float]]:
    """The command's seconds and the function's."""
    study = folder / "study"
    init = seconds("-m", "flows.cli", "init", str(study))
    run = seconds("-m", "flows.cli", "run", str(study / "spec.yaml"), "--store", str(folder / "run"))
    measure = seconds("-c", MEASURE, str(study / "spec.yaml"), str(folder / "measure"))
    shutil.rmtree(folder)
    return (init[0] + run[0], init[1] + run[1]), measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    given = parser.parse_args()
    found = []
    for number in range(given.pairs + 1):
        command, function = pair(Path(tempfile.mkdtemp()))
        if number:
            found.append(command[0] / function[0])
        print(
            f"{'pair ' + str(number) if number else 'not counted'}: init + run {command[0]:.1f} s by the wall "
            f"({command[1]:.1f} s of the processor), measure {function[0]:.1f} s ({function[1]:.1f} s): "
            f"{command[0] / function[0]:.2f}, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    print(f"median {median(found):.2f}, goal {GOAL}: {'met' if median(found) <= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
