"""What the pipeline costs beside the measuring: plan, commit, tidy, nothing to do, ten probes more, Prefect.

Run by hand: ``python -m benchmarks.bench_pipeline [PROBES ...]`` (0 for Prefect alone). Numbers are made up, so that
only the pipeline works; the last part runs a real study of many small blocks with and without Prefect. Prints one row
a size and step, in seconds.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from einfluence.store.store import Block, Store
from tests.store.made_up import ARM, curated, samples_of, without_arm

QUERIES = 1000
SHARD = 64


def made_up(block: Block) -> dict[str, pa.Table]:
    draw = np.random.default_rng(len(block.probe_ids))
    n, m = len(block.probe_ids), len(block.query_ids)
    influence = {
        "probe_id": pa.array(block.probe_ids).take(pa.array(np.repeat(np.arange(n), m))),
        "query_id": pa.array(block.query_ids).take(pa.array(np.tile(np.arange(m), n))),
        "logprob_before": np.tile(draw.normal(size=m), n),
        "logprob_after": draw.normal(size=n * m),
        **{name: np.ones(n * m, np.int32) for name in ("n_tokens", "rank_before", "rank_after")},
    }
    outcomes = [
        {
            "probe_id": probe,
            "status": "done",
            "losses": [1.0] * 10,
            "grad_norm": 1.0,
            "update_norm": 1.0,
            "seconds": 0.1,
        }
        for probe in block.probe_ids
    ]
    layers = [
        {"probe_id": probe, "parameter": f"w{index}", "layer": index, "update_norm": 1.0, "relative_update": 0.1}
        for probe in block.probe_ids
        for index in range(8)
    ]
    return {
        "influence": pa.table(influence, without_arm("influence")),
        "outcomes": pa.Table.from_pylist(outcomes, without_arm("outcomes")),
        "layer_updates": pa.Table.from_pylist(layers, without_arm("layer_updates")),
    }


def timed(act: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = act()
    return time.perf_counter() - start, result


def store_times(root: Path, probes: int) -> dict[str, float]:
    """Seconds of each step over a store of probes x 1,000 cells."""
    store = Store(root)
    store.open_for_writing()
    seconds: dict[str, float] = {}

    def curation(name: str, more_probes: int = 0, more_queries: int = 0) -> Path:
        made = curated(samples_of(probes + more_probes), samples_of(QUERIES + more_queries, offset=10**6))
        took, folder = timed(lambda: store.add_curation(name * 20, made, {}))
        seconds.setdefault("write curation", took)
        return folder

    def planned(folder: Path) -> list[Block]:
        return Store(root).missing(folder, ARM, SHARD)

    whole = curation("c")
    seconds["plan, nothing there"], blocks = timed(lambda: planned(whole))
    spent = 0.0
    for block in blocks:
        tables = made_up(block)
        spent += timed(lambda: store.add_part(ARM, tables, since=block.since))[0]  # noqa: B023
    seconds["commit a block"] = spent / len(blocks)
    seconds["plan, all there, untidied"], left = timed(lambda: planned(whole))
    assert left == []
    seconds["tidy"], _ = timed(store.tidy)
    seconds["plan, all there"], left = timed(lambda: planned(whole))
    assert left == []
    longer, wider = curation("d", more_probes=10), curation("e", more_queries=10)
    seconds["plan, 10 probes more"], left = timed(lambda: planned(longer))
    assert sum(len(block.probe_ids) for block in left) == 10
    seconds["plan, 10 queries more"], left = timed(lambda: planned(wider))
    assert sum(block.cells for block in left) == 10 * probes
    seconds["MB on disk"] = sum(path.stat().st_size for path in root.rglob("influence/**/*.parquet")) / 1e6
    seconds["peak MB of memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return seconds


def prefect_cost(root: Path, blocks: int = 60) -> dict[str, float]:
    """What Prefect adds, once a run and for each block: CPU seconds, its server's included.

    A real study on the embedded digits, in one block and in a block for each probe.
    """
    images = {"source": "digits", "probes": blocks, "queries": blocks}
    arm = {"recipe": {"adapter": "last", "optimizer": "sgd", "lr": 0.1, "steps": 1}}
    environment = {**os.environ, "EINFLUENCE_CACHE": str(root / "cache"), "PREFECT_HOME": str(root / "prefect")}
    taken: dict[tuple[str, int], float] = {}
    for shard in (1, blocks):
        spec = {"name": "cost", "base": "embedded:digits", "images": images, "arms": [arm], "shard": shard}
        file = root / f"spec{shard}.yaml"
        file.write_text(json.dumps(spec))
        library = "import sys, einfluence; einfluence.measure(*sys.argv[1:3])"
        commands = {
            "library": [sys.executable, "-c", library, str(file), str(root / f"library{shard}")],
            "flow": [sys.executable, "-m", "flows.cli", "run", str(file), "--store", str(root / f"flow{shard}")],
        }
        for name, command in commands.items():
            taken[name, shard] = _cpu(command, environment)
    again = [sys.executable, "-m", "flows.cli", "run", str(file), "--store", str(root / f"flow{blocks}")]
    nothing = timed(lambda: _run(again, environment))[0]
    once = taken["flow", blocks] - taken["library", blocks]
    each = (taken["flow", 1] - taken["library", 1] - once) / (blocks - 1)
    return {"a run with nothing to do": nothing, "Prefect, once a run (CPU)": once, "Prefect, a block (CPU)": each}


def _cpu(command: list[str], environment: dict[str, str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    _run(command, environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _run(command: list[str], environment: dict[str, str]) -> None:
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        sys.exit(ended.stderr)


def main() -> None:
    sizes = [int(size) for size in sys.argv[1:] if size != "0"] if sys.argv[1:] else [100, 1000, 10000]
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            for step, value in store_times(Path(folder) / str(size), size).items():
                print(f"{size:6,} probes x {QUERIES:,}  {step:28} {value:10.3f}")
        for step, value in prefect_cost(Path(folder)).items():
            print(f"{'':21}{step:28} {value:10.3f}")


if __name__ == "__main__":
    main()
