"""One block of the influence table: probes x queries by one estimator, as rows ready for the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from einfluence import engine
from einfluence.engine.anatomy import layer_of
from einfluence.engine.items import Measurement, Scores, Tuned
from einfluence.estimators.in_context import prompted
from einfluence.models.base import Base
from einfluence.objectives import encode
from einfluence.samples import ProbeSamples, Sample
from einfluence.spec import Arm, InContext, Recipe
from einfluence.store.schema import TABLES

ARM_COLUMNS = ("base", "estimator", "recipe", "seed", "engine_version")


@dataclass(frozen=True)
class Measured:
    """What one block gave: tables without the arm's columns, the tuned parameters by probe_id, cells, failed probes."""

    tables: dict[str, pa.Table]
    deltas: dict[str, dict[str, Any]]
    cells: int
    failed: dict[str, str]


def measure_block(
    base: Base,
    arm: Arm,
    seed: int,
    probes: Mapping[str, ProbeSamples],
    queries: Sequence[Sample],
    *,
    kept: Callable[[str], Path | None] = lambda _: None,
    on_probe: Callable[[], None] = lambda: None,
) -> Measured:
    """Measures N probes x Q queries.

    Args:
        base: The loaded base.
        arm: Estimator and recipe.
        seed: Seed of the adapter's initialisation; without meaning for ``in_context``.
        probes: The samples of each probe by probe_id.
        queries: The queries.
        kept: The safetensors file of an earlier training of a probe_id, or None.
        on_probe: Called after each probe, for progress.

    Raises:
        InputError: When a sample does not fit the base.
    """
    failed = {name: reason for name, probe in probes.items() if (reason := unreadable(probe.samples))}
    outcomes = [_outcome(name, Tuned({}, [], math.nan, math.nan, failed=reason)) for name, reason in failed.items()]
    probes = {name: probe for name, probe in probes.items() if name not in failed}
    for _ in failed:
        on_probe()
    ids = list(probes)
    before, found = _start(
        base, arm, seed, list(probes.values()), queries, {i: kept(name) for i, name in enumerate(ids)}
    )
    layers: list[dict[str, Any]] = []
    influence: list[pa.Table] = []
    deltas: dict[str, dict[str, Any]] = {}
    query_ids = pa.array([query.sample_id for query in queries], pa.string())
    for index, tuned, after in found:
        name = ids[index]
        if after is not None and not np.isfinite(after.logprob).all():
            tuned, after = _failed(tuned, "a query's log-probability is not finite after training"), None
        if tuned.losses or tuned.failed or math.isfinite(tuned.update_norm):
            outcomes.append(_outcome(name, tuned))
        layers += _layers(base, name, tuned)
        if after is None:
            failed[name] = tuned.failed or "unknown"
        else:
            influence.append(_rows(name, query_ids, before, after))
            deltas |= {name: tuned.delta} if tuned.delta else {}
        on_probe()
    tables = {
        "influence": pa.concat_tables([columns_of("influence").empty_table(), *influence]).combine_chunks(),
        "outcomes": pa.Table.from_pylist(outcomes, columns_of("outcomes")),
        "layer_updates": pa.Table.from_pylist(layers, columns_of("layer_updates")),
    }
    return Measured(tables, deltas, tables["influence"].num_rows, failed)


def unreadable(probe: Sequence[Sample]) -> str | None:
    """Why a probe cannot be trained on: an image in it that could not be read; or None."""
    return next((f"{sample.source}: an image that cannot be read" for sample in probe if sample.unreadable), None)


def encode_probe(base: Base, recipe: Recipe, probe: ProbeSamples) -> engine.Training[engine.Item]:
    """The training that a probe stands for.

    Raises:
        InputError: When one of its samples does not fit.
    """
    items = [encode(base, sample) for sample in probe.samples]
    return engine.probe_training(items, recipe.steps, in_turn=probe.in_turn)


def _start(
    base: Base,
    arm: Arm,
    seed: int,
    probes: list[ProbeSamples],
    queries: Sequence[Sample],
    kept: dict[int, Path | None],
) -> Measurement:
    if isinstance(arm, InContext):
        return prompted(base, arm.recipe, [probe.samples for probe in probes], queries)
    from safetensors.torch import load_file

    deltas = {index: load_file(path) for index, path in kept.items() if path is not None}
    items = [encode_probe(base, arm.recipe, probe) for probe in probes]
    asked = [encode(base, query) for query in queries]
    return engine.measure(base, arm.recipe, items, asked, seed, kept=deltas, engine=arm.engine)


def _rows(probe_id: str, query_ids: pa.Array, before: Scores, after: Scores) -> pa.Table:
    columns = {
        "probe_id": pa.repeat(pa.scalar(probe_id, pa.string()), len(query_ids)),
        "query_id": query_ids,
        "influence": pa.array(after.logprob - before.logprob),
        "logprob_before": pa.array(before.logprob),
        "logprob_after": pa.array(after.logprob),
        "n_tokens": pa.array(before.n_tokens, pa.int32()),
        "rank_before": pa.array(before.rank, pa.int32()),
        "rank_after": pa.array(after.rank, pa.int32()),
    }
    return pa.table(columns, schema=columns_of("influence"))


def _outcome(probe_id: str, tuned: Tuned) -> dict[str, Any]:
    return {
        "probe_id": probe_id,
        "status": "failed" if tuned.failed else "done",
        "reason": tuned.failed,
        "losses": tuned.losses,
        "grad_norm": _number(tuned.grad_norm),
        "update_norm": _number(tuned.update_norm),
        "noise_rms": tuned.noise_rms,
        "engine": tuned.engine,
        "fallback": tuned.fallback,
        "seconds": tuned.seconds,
    }


def _layers(base: Base, probe_id: str, tuned: Tuned) -> Iterator[dict[str, Any]]:
    for parameter, (change, norm) in tuned.layer_updates.items():
        yield {
            "probe_id": probe_id,
            "parameter": parameter,
            "layer": layer_of(base.model, parameter),
            "update_norm": _number(change),
            "relative_update": _number(change / norm) if norm else None,
        }


def _failed(tuned: Tuned, reason: str) -> Tuned:
    return replace(tuned, delta={}, layer_updates={}, failed=reason)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def columns_of(name: str) -> pa.Schema:
    """A table's columns without those that the arm gives."""
    return pa.schema([field for field in TABLES[name] if field.name not in ARM_COLUMNS])
