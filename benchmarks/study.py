"""The default study on whatever device there is: its seconds, and its influence, to be held beside another machine's.

    python benchmarks/study.py OUT [SPEC]

Writes OUT/influence.parquet: label of base and recipe, seed, ids of probe and query, and influence.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import einfluence

COLUMNS = "base, recipe, seed, probe_id, query_id, influence"


def main() -> None:
    out = Path(sys.argv[1])
    spec = sys.argv[2] if len(sys.argv) > 2 else str(Path(__file__).parents[1] / "data" / "specs" / "default.yaml")
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        result = einfluence.measure(spec, folder, report=False)
        print(f"{result.wanted} cells in {time.perf_counter() - begin:.1f} s, {result.failed} probes failed")
        with einfluence.Store(folder).connect() as connection:
            print(connection.sql("select engine, fallback, count(*) from outcomes group by all order by all"))
            target = str(out / "influence.parquet")
            connection.execute(
                f"copy (select {COLUMNS} from influence) to '{target}' (format parquet, compression zstd)"
            )


if __name__ == "__main__":
    main()
