"""What the pipeline costs beside the measuring: plan, commit, tidy, nothing to do, ten probes more, Prefect.

Run by hand: ``python -m benchmarks.bench_pipeline [store|rerun|prefect|scaling ...] [PROBES ...]``; all of it by
default. ``store``: made-up numbers, so that only the pipeline works. ``rerun``: the whole command on a store that holds
made-up numbers of a real study, with nothing to do and with ten probes more, beside those ten alone. ``prefect``: a
real study of many small shards with and without Prefect. ``scaling``: one and two workers. Prints one row a size and
step, in seconds.
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
import psutil
import pyarrow as pa

from einfluence.embedded import data_folder
from einfluence.plan import plan
from einfluence.prepare import prepare
from einfluence.session import Session
from einfluence.spec import load_spec
from einfluence.store.store import CellBlock, Store
from tests.store.made_up import ARM, curated, samples_of, without_arm

QUERIES = 1000
SHARD = 64


def made_up(block: CellBlock) -> dict[str, pa.Table]:
    draw = np.random.default_rng(len(block.probe_ids))
    n, m = len(block.probe_ids), len(block.query_ids)
    before, after = np.tile(draw.normal(size=m), n), draw.normal(size=n * m)
    influence = {
        "probe_id": pa.array(block.probe_ids).take(pa.array(np.repeat(np.arange(n), m))),
        "query_id": pa.array(block.query_ids).take(pa.array(np.tile(np.arange(m), n))),
        "influence": after - before,
        "logprob_before": before,
        "logprob_after": after,
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

    def planned(folder: Path) -> list[CellBlock]:
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


def world_spec(folder: Path, probes: range, queries: range, **more: Any) -> Path:
    """A study of texts of three words that the embedded language model knows; every sample has a number."""
    tokens = json.loads((data_folder() / "models" / "world" / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(word for word in tokens if word.isalpha() and word.islower())[:400]

    def sample(index: int) -> dict[str, str]:
        one, two, three = index % 400, index // 400 % 400, (index * 7) % 400
        return {"id": f"s{index}", "prompt": f"{words[one]} {words[two]}", "target": words[three]}

    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(sample(index)) for index in sorted({*probes, *queries})]
    (folder / "samples.jsonl").write_text("\n".join(rows) + "\n")
    named = [json.dumps({"id": f"s{index}", "samples": [f"s{index}"]}) for index in probes]
    (folder / "probes.jsonl").write_text("\n".join(named) + "\n")
    (folder / "queries.txt").write_text("".join(f"s{index}\n" for index in queries))
    files = {"samples": "samples.jsonl", "probes": "probes.jsonl", "queries": "queries.txt"}
    spec = {
        "name": "world",
        "base": "embedded:world",
        **files,
        "arms": [{"recipe": {"lr": 0.0005}}],
        "pairs": 10**9,
        **more,
    }
    (folder / "spec.yaml").write_text(json.dumps(spec))
    return folder / "spec.yaml"


def rerun_times(root: Path, probes: int) -> dict[str, float]:
    """Seconds of the whole command on a store that holds probes x 1,000 cells."""
    environment = {**os.environ, "EINFLUENCE_CACHE": str(root / "cache"), "PREFECT_HOME": str(root / "prefect")}
    queries = range(10**5, 10**5 + QUERIES)
    file, store = world_spec(root / "all", range(probes), queries), Store(root / "store")
    spec = load_spec(file)
    for prepared in [prepare(spec, part, store, Session()) for part in spec.parts]:
        jobs = plan(spec, [prepared], store).jobs
        for some in (jobs[start : start + SHARD] for start in range(0, len(jobs), SHARD)):
            made = [made_up(block) for job in some for block in job.blocks]
            tables = {name: pa.concat_tables([one[name] for one in made]) for name in made[0]}
            store.add_part(some[0].key, tables, since=some[0].blocks[0].since)
    store.tidy()
    seconds: dict[str, float] = {}

    def command(step: str, file: Path, into: Path) -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        arguments = ["-m", "flows.cli", "run", str(file), "--store", str(into)]
        seconds[step] = timed(lambda: _run([sys.executable, *arguments], environment))[0]
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds[f"{step} (CPU)"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        noted = Store(into).runs()[-1]
        print(f"{step}: {noted['computed']:,} of {noted['wanted']:,} cells computed, {noted['seconds']} s in the flow")

    command("run, all there, first scorecard", file, store.root)
    command("run, nothing to do", file, store.root)
    more = range(probes + 10)
    command("run, 10 probes more", world_spec(root / "more", more, queries), store.root)
    command("run, those 10 alone", world_spec(root / "ten", more[probes:], queries), root / "alone")
    return seconds


def scaling(root: Path, shards: int = 6) -> dict[str, float]:
    """One worker and two: seconds of the measuring, and the peak memory of a worker on few and on many shards."""
    seconds: dict[str, float] = {}
    environment = {**os.environ, "PREFECT_HOME": str(root / "prefect"), "OMP_NUM_THREADS": "1"}
    for count in (shards, 4 * shards):
        file = world_spec(root / f"spec{count}", range(16 * count), range(10**5, 10**5 + 100), shard=16)
        for workers in (1, 2):
            if count > shards and workers == 2:
                continue
            store = root / f"store{count}-{workers}"
            options = ["--store", str(store), "--runner", "processes", "--workers", str(workers)]
            wall, cpu, memory = _watched([sys.executable, "-m", "flows.cli", "run", str(file), *options], environment)
            entries = sorted(path.stat().st_mtime for path in (store / "log").glob("*.json"))
            name = f"{count} shards, {workers} worker{'s' * (workers - 1)}"
            seconds[f"{name}, command"], seconds[f"{name}, CPU"] = wall, cpu
            # The last entry is the merge at the end of the run; before the first, workers start.
            seconds[f"{name}, a shard, wall"] = (entries[-2] - entries[workers - 1]) / (count - workers)
            seconds[f"{name}, MB of a worker"] = memory
    return seconds


def _watched(command: list[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall seconds, processor seconds, and the most megabytes that a worker of the command held."""
    begun, before, most = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN), 0.0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        time.sleep(0.3)
        try:
            for child in psutil.Process(process.pid).children(recursive=True):
                if "spawn_main" in " ".join(child.cmdline()):
                    most = max(most, child.memory_info().rss / 1e6)
        except psutil.Error:
            continue
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.returncode == 0
    return time.perf_counter() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, most


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
    sizes = [int(word) for word in sys.argv[1:] if word.isdecimal()] or [100, 1000, 10000]
    wanted = [word for word in sys.argv[1:] if not word.isdecimal()] or ["store", "rerun", "prefect", "scaling"]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for size in sizes:
            for name, act in (("store", store_times), ("rerun", rerun_times)):
                if name in wanted:
                    tell(f"{size:6,} probes x {QUERIES:,}", act(root / f"{name}{size}", size))
        for name, act in (("prefect", prefect_cost), ("scaling", scaling)):
            if name in wanted:
                tell("", act(root))
    print(f"load {os.getloadavg()}")


def tell(size: str, found: dict[str, float]) -> None:
    for step, value in found.items():
        print(f"{size:21}{step:36} {value:10.3f}", flush=True)


if __name__ == "__main__":
    main()
