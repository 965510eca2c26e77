"""How long the desiderata take: synthetic influence of any size, written as Parquet, then scored.

    python -m benchmarks.bench_desiderata --probes 10000 --queries 10000 --json

The last line is one JSON object: {"cells", "seconds", "peak_mb"}; making the table is not counted, and happens in a
process of its own so that its memory is not either.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path

import duckdb

from einfluence.metrics import score
from einfluence.store.schema import TABLES
from tests.metrics.synthetic import synthetic, tables


def write(folder: Path, probes: int, queries: int) -> None:
    """Writes one arm of texts (cells = probes × queries, and a few bundles and controls) as Parquet."""
    connection = duckdb.connect(config={"threads": 2})
    synthetic(connection, probes=probes, queries=queries, arms=1, images=False, folder=folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--probes", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--memory", default="5GB", help="DuckDB's own limit; NumPy's arrays come on top")
    parser.add_argument("--keep", type=Path, help="a folder for the tables, used again when it is not empty")
    parser.add_argument("--json", action="store_true", help="only the last line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        if not (folder / "influence").exists():
            maker = multiprocessing.get_context("spawn").Process(
                target=write, args=(folder, arguments.probes, arguments.queries)
            )
            maker.start()
            maker.join()
        settings = {"threads": arguments.threads, "memory_limit": arguments.memory, "temp_directory": scratch,
                    "python_enable_replacements": False, "preserve_insertion_order": False}  # fmt: skip
        connection = duckdb.connect(config=settings)
        for name in TABLES:
            tables(connection, name, folder)
        cells = len(connection.view("influence"))
        start, busy = time.perf_counter(), time.process_time()
        card = score(connection, draws=arguments.draws)
        seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if not arguments.json:
        took = f"{seconds:.1f} s ({busy:.1f} s of processors)"
        print(f"{cells:,} cells, {card.num_rows} rows of the scorecard: {took}, {peak:,.0f} MB")
    print(json.dumps({"cells": cells, "seconds": round(seconds, 2), "peak_mb": round(peak)}))


if __name__ == "__main__":
    main()
