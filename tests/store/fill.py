"""Fills a store from another process, so that it can be killed: ``python -m tests.store.fill ROOT [SHARD]``."""

from __future__ import annotations

import sys

from einfluence.store.store import Store
from tests.store.made_up import ARM, computed

if __name__ == "__main__":
    store = Store(sys.argv[1])
    folder = store.root / "curations" / ("c" * 20)
    print("ready", flush=True)  # noqa: T201
    for block in store.missing(folder, ARM, int(sys.argv[2]) if len(sys.argv) > 2 else 2):
        store.add_part(ARM, computed(block), since=block.since)
        print(*block.probe_ids, flush=True)  # noqa: T201
    store.tidy(grace=0.0)
