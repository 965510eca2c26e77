"""Cosines of gradients, and what RelatIF makes of their products, of all parameters, as files of scores to import.

Run: ``python benchmarks/cosine.py STORE BASE FOLDER`` on a store that has measured a base (``embedded:world``). It
writes ``cosine.parquet`` and ``relatif.parquet``: each probe of one sample on all queries of the store's curation.
``einfluence import FOLDER/cosine.parquet --estimator cosine --stands-for finetune --store STORE`` holds them against
what was measured. RelatIF (Barshan et al. 2020) divides a product by the norm of the probe's gradient, cosines by both.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from einfluence.engine.gradients.collector import Collector
from einfluence.engine.gradients.definition import Point
from einfluence.engine.gradients.features import squared_norms
from einfluence.engine.measurement import Item
from einfluence.estimators.grad_dot import plain
from einfluence.estimators.pushes import Push, Pushes, scores
from einfluence.objectives import encode_all
from einfluence.prepare import part_base
from einfluence.recipe import Recipe
from einfluence.session import Session
from einfluence.spec import Facts, Part, Spec
from einfluence.store.curations import sample_rows
from einfluence.store.store import Store


def norms(collector: Collector, items: Sequence[Item]) -> npt.NDArray[np.float64]:
    """Of each sample's gradient."""
    found = np.zeros(len(items))
    for names in collector.groups(items):
        found += sum(squared_norms(each).numpy() for each in collector.collect(items, names).values())
    return np.sqrt(found)


def main(folder: Path, name: str, out: Path) -> None:
    """Writes both files."""
    torch.set_num_threads(1)
    store = Store(folder)
    part = Part(base=name, facts=Facts())  # of which only the base is read
    base = Session("cpu", 1).base(part_base(Spec(parts=(part,), folder=Path(".")), part), trust_remote_code=False)
    samples = sorted(
        sample_rows(pq.read_table(store.curations()[0] / "samples.parquet")), key=lambda sample: sample.sample_id
    )
    items = dict(zip([sample.sample_id for sample in samples], encode_all(base, samples), strict=True))
    with store.connect() as connection:
        members = connection.sql("select * from probes join probe_members using (probe_id) where kind = 'sample'")
        rows = sorted(members.select("probe_id", "sample_id").fetchall())
    probes, queries = [items[sample] for _, sample in rows], list(items.values())
    collector = Collector(Point.start(base, Recipe.model_validate({"adapter": "full"}), 0))
    pushes = Pushes(tuple((Push(1.0, ((item, 1.0),)),) for item in probes))
    relatif = scores(collector, pushes, queries, plain).T / norms(collector, probes)[:, None]
    ids = {
        "train_id": np.repeat([probe for probe, _ in rows], len(queries)), "query_id": np.tile(list(items), len(probes))
    }  # fmt: skip
    for kind, found in (("relatif", relatif), ("cosine", relatif / norms(collector, queries))):
        pq.write_table(pa.table({**ids, "score": found.reshape(-1)}), out / f"{kind}.parquet")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
