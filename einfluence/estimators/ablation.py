"""One block of restorations: what is left of what each probe taught when one layer's change is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from einfluence import engine
from einfluence.arms import FineTune
from einfluence.engine import LayerAblation
from einfluence.estimators.finetune import encode_probe, kept_trainings
from einfluence.estimators.measure import Measured
from einfluence.models.base import Base
from einfluence.objectives import encode_all
from einfluence.samples import ProbeSamples, Sample
from einfluence.store.parts import columns_of


def ablate_block(
    base: Base,
    arm: FineTune,
    seed: int,
    probes: Mapping[str, ProbeSamples],
    queries: Sequence[Sequence[Sample]],
    *,
    kept: Callable[[str], Path | None] = lambda _: None,
    on_probe: Callable[[], None] = lambda: None,
) -> Measured:
    """Undoes each layer's change of N probes, one layer at a time, and scores each probe's own queries.

    Args:
        base: The loaded base.
        arm: Recipe of the training.
        seed: Seed of the adapter's initialisation.
        probes: The samples of each probe by probe_id.
        queries: Of each probe.
        kept: The safetensors file of an earlier training of a probe_id, or None.
        on_probe: Called after each probe, for progress.

    Raises:
        InputError: When a sample does not fit the base.
    """
    deltas = kept_trainings(map(kept, probes))
    items = [encode_probe(base, arm.recipe, probe) for probe in probes.values()]
    queried = [list(encode_all(base, each)) for each in queries]
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    cells = 0
    for (name, each), (_, tuned, why) in zip(
        zip(probes, queries, strict=True),
        engine.ablate_layers(base, arm.recipe, items, queried, seed, kept=deltas, engine=arm.engine),
        strict=True,
    ):
        if tuned is None or not _finite(tuned):
            failed[name] = why or "a query's log-probability is not finite after training"
        else:
            rows += _rows(name, each, tuned)
            cells += len(each)
        on_probe()
    return Measured({"restorations": pa.Table.from_pylist(rows, columns_of("restorations"))}, {}, cells, failed)


def _rows(probe_id: str, queries: Sequence[Sample], tuned: LayerAblation) -> Iterator[dict[str, Any]]:
    for layer, scores in tuned.without.items():
        place = "outside the layers" if layer is None else f"layer {layer}"
        for index, query in enumerate(queries):
            yield {
                "probe_id": probe_id,
                "query_id": query.sample_id,
                "place": place,
                "layer": layer,
                "logprob_before": tuned.before.logprob[index],
                "logprob_after": tuned.after.logprob[index],
                "logprob_restored": scores.logprob[index],
            }


def _finite(tuned: LayerAblation) -> bool:
    return all(np.isfinite(scores.logprob).all() for scores in (tuned.after, *tuned.without.values()))
