"""What the report costs: time and memory to write it, bytes, first paint, and frames while a heat map is moved.

Run by hand: ``python -m benchmarks.bench_report [--probes 1000] [--queries 1000] [--store FOLDER]``. Numbers are made
up; ``--store`` adds the first paint of the report of a store that is there. Prints one line a figure.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.report import write_report
from einfluence.score import report_store
from einfluence.store.schema import TABLES
from einfluence.store.store import Store
from tests.report.conftest import CHROMIUM, FLAGS

MOVES = 180
FRAMES = """() => {
  const mine = (window.frames_ = []);
  let last = performance.now();
  const tick = (now) => { mine.push(now - last); last = now; if (mine === frames_) requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}"""


def made_up(folder: Path, probes: int, queries: int) -> None:
    """Writes the tables of a store: every probe meets every query in one arm, at a distance."""
    rng = np.random.default_rng(0)
    count = max(probes, queries)
    ids = np.array([f"{i:020x}" for i in range(count)])
    pairs = {"probe_id": np.repeat(ids[:probes], queries), "query_id": np.tile(ids[:queries], probes)}
    near = np.abs(np.repeat(np.arange(probes), queries) - np.tile(np.arange(queries), probes))
    gain = rng.normal(size=near.size) / (1 + near) + 3.0 * (near == 0)
    kinds = np.select([near == 0, near == 1, near == 2], ["self", "paraphrase", "negation"], "unrelated")
    arm = {"base": "b" * 20, "estimator": "finetune", "recipe": "c" * 20}
    label = {"label": "embedded:world", "modality": "text", "json": "{}"}
    columns: dict[str, dict[str, Any]] = {
        "samples": {
            "sample_id": ids, "name": ids, "modality": ["text"] * count, "target": [f"town {i}" for i in range(count)],
            "prompt": [f"The river number {i} flows through" for i in range(count)],
            "domain": [f"domain {8 * i // count}" for i in range(count)], "cluster": ids,
        },
        "probes": {"probe_id": ids[:probes], "name": ids[:probes], "kind": ["sample"] * probes},
        "probe_members": {"probe_id": ids[:probes], "sample_id": ids[:probes], "position": [0] * probes},
        "relations": {**pairs, "kind": kinds, "distance": np.minimum(1.0, near / 100)},
        "bases": {"base": [arm["base"]], **{key: [value] for key, value in label.items()}},
        "recipes": {"recipe": [arm["recipe"]], "estimator": ["finetune"], "label": ["LoRA r8, AdamW, lr 0.001 × 10"],
                    "json": ["{}"]},
        "influence": {
            **{key: [value] * near.size for key, value in arm.items()}, **pairs, "influence": gain,
            "logprob_before": np.full(near.size, -4.0), "logprob_after": gain - 4.0, "seed": np.zeros(near.size, int),
        },
        "outcomes": {
            **{key: [value] * probes for key, value in arm.items()}, "probe_id": ids[:probes], "seed": [0] * probes,
            "status": ["done"] * probes, "losses": [[4.0 - step / 4 for step in range(10)]] * probes,
        },
    }  # fmt: skip
    for name, schema in TABLES.items():
        given = columns.get(name, {})
        rows = len(next(iter(given.values()), []))
        wanted = [(field.name, field.type) for field in schema]
        wanted += [("influence", pa.float64())] if name == "influence" else []
        table = pa.table({key: pa.array(given.get(key, [None] * rows), kind) for key, kind in wanted})
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")


def write(folder: Path, out: Path) -> None:
    """Writes the report of such tables, and prints its seconds, processor seconds and peak memory."""
    connection = duckdb.connect(config={"python_enable_replacements": False})
    for name in TABLES:
        connection.execute(f"create view {name} as from read_parquet('{folder / name}.parquet')")
    start, worked = time.perf_counter(), time.process_time()
    write_report(connection, out, run={"study": "made up"})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    took, worked = time.perf_counter() - start, time.process_time() - worked
    print(f"{took:.1f} s, {worked:.1f} processor s, {peak:.2f} GB at most, {out.stat().st_size / 1e6:.1f} MB")


def first_paint(browser: Any, page_file: Path) -> str:
    """Milliseconds from navigation to the first contentful paint, in five fresh pages: median and worst."""
    found = []
    for _ in range(5):
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(page_file.as_uri())
        paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        page.wait_for_function(f"{paint} > 0")
        found.append(page.evaluate(paint))
        page.close()
    return f"first paint {np.median(found):.0f} ms, at worst {max(found):.0f} ms"


def frames(browser: Any, page_file: Path) -> list[str]:
    """Frame times while the pointer moves over the heat map, drags it, and zooms it."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.goto(page_file.as_uri())
    stage = page.locator(".heatmap:not(.skew) .stage").first
    stage.scroll_into_view_if_needed()
    page.wait_for_selector(".heatmap:not(.skew) .stage[data-ready]")
    page.wait_for_timeout(500)
    box = stage.bounding_box()
    middle = (box["x"] + box["width"] * 0.55, box["y"] + box["height"] / 2)

    def measured(name: str, act: Any) -> str:
        page.evaluate(FRAMES)
        for step in range(MOVES):
            act(step)
        found = np.array(page.evaluate("frames_")[1:])
        low, mid, high = np.median(found), np.quantile(found, 0.95), found.max()
        return f"{name}: frames of {low:.1f} ms, 95% under {mid:.1f}, longest {high:.1f} ({len(found)} frames)"

    def over(step: int) -> None:
        page.mouse.move(middle[0] + 150 * np.sin(step / 7), middle[1] + 120 * np.cos(step / 5))

    def wheel(step: int) -> None:
        page.mouse.wheel(0, -60 if (step // 20) % 2 == 0 else 60)

    told = [measured("hover", over)]
    page.keyboard.down("Control")
    told.append(measured("zoom", wheel))
    page.keyboard.up("Control")
    page.mouse.down()
    told.append(measured("drag", over))
    page.mouse.up()
    page.close()
    return told


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--probes", type=int, default=1000)
    given.add_argument("--queries", type=int, default=1000)
    given.add_argument("--store", help="also the first paint of this store's report")
    given.add_argument("--write", nargs=2, type=Path, help=argparse.SUPPRESS)
    asked = given.parse_args()
    if asked.write:
        return write(*asked.write)
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made_up(folder, asked.probes, asked.queries)
        print(f"{asked.probes:,} × {asked.queries:,}: ", end="", flush=True)
        again = [sys.executable, "-m", "benchmarks.bench_report", "--write", name, str(folder / "report.html")]
        subprocess.run(again, check=True)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            print(first_paint(browser, folder / "report.html"))
            print("\n".join(frames(browser, folder / "report.html")))
            if asked.store:
                page_file = report_store(Store(asked.store), folder / "store.html", {})
                print(f"{asked.store}: {page_file.stat().st_size / 1e6:.1f} MB, {first_paint(browser, page_file)}")
            browser.close()


if __name__ == "__main__":
    main()
