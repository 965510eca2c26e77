"""One block of the influence table: probes x queries by one estimator, as rows ready for the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from jaxtyping import Shaped
from torch import Tensor

from einfluence.arms import Arm
from einfluence.engine.measurement import Measurement, Tuned
from einfluence.engine.memory import held
from einfluence.engine.pieces import Piece, only, wanted
from einfluence.engine.structure import layer_of
from einfluence.estimators.estimate import Estimates
from einfluence.estimators.within import TrainedSet
from einfluence.models.base import Base
from einfluence.samples import ProbeSamples, Sample
from einfluence.store.parts import columns_of


class Implementation(Protocol):
    """The module of an estimator."""

    def block(
        self,
        base: Base,
        arm: Any,
        seed: int,
        probes: Sequence[ProbeSamples],
        queries: Sequence[Sample],
        *,
        kept: Callable[[int], Path | None],
        state: Mapping[str, Tensor] | None,
        **within: TrainedSet,
    ) -> Measurement | Estimates:
        """Influence of N probes on Q queries.

        Args:
            base: The loaded base; it is left bit-identical.
            arm: Of the estimator's own kind.
            seed: Of what the recipe draws.
            probes: The samples of each probe, and whether they are trained sequentially.
            queries: The queries.
            kept: The safetensors file of an earlier training of the probe of an index, or None.
            state: What ``fit`` gave, as it was kept; None for an estimator without it.
            within: The argument ``within``, for an estimate of what an intervention in a training set would find: that
                set, which all probes are in. Interventions and estimates of one probe alone never get it.

        Returns:
            What was measured before and after each probe, or where it is an estimate, what it says.

        Raises:
            InputError: When the base, a sample or the recipe does not fit. A probe that cannot be measured fails alone.
        """
        ...

    def fit(
        self, base: Base, arm: Any, seed: int, samples: Sequence[Sample], **within: TrainedSet
    ) -> Mapping[str, Tensor]:
        """What the estimator needs to know of all samples of a curation before it says anything of one.

        Where it is about a training set, ``samples`` are those of the set, and ``within`` is as for :meth:`block`.

        Only estimators that are registered with ``fits`` have it. The tensors share no memory.
        """
        ...


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
    state: Mapping[str, Tensor] | None = None,
    within: TrainedSet | None = None,
    pieces: Sequence[Piece] | None = None,
    on_probe: Callable[[], None] = lambda: None,
) -> Measured:
    """Measures or estimates N probes x Q queries.

    Args:
        base: The loaded base.
        arm: Estimator and recipe.
        seed: Of what the recipe draws.
        probes: The samples of each probe by probe_id.
        queries: The queries.
        kept: The safetensors file of an earlier training of a probe_id, or None.
        state: What the estimator was fitted to, where it is.
        within: The training set that an estimate is about; its places are those of the probes.
        pieces: Of `finetune`: only these cells.
        on_probe: Called after each probe, for progress.

    Raises:
        InputError: When a sample does not fit the base.
    """
    failed = {name: reason for name, probe in probes.items() if (reason := unreadable(probe.samples))}
    outcomes = [_outcome(name, Tuned({}, [], math.nan, math.nan, failed=reason)) for name, reason in failed.items()]
    pieces = None if pieces is None else only(pieces, [i for i, name in enumerate(probes) if name not in failed])
    probes = {name: probe for name, probe in probes.items() if name not in failed}
    for _ in failed:
        on_probe()
    ids = list(probes)
    given: dict[str, Any] = {} if within is None else {"within": within}
    given |= {} if pieces is None else {"pieces": pieces}
    implementation: Implementation = arm.made_by.implementation
    with held(next(base.model.parameters()).device) as memory:
        found = implementation.block(
            base, arm, seed, list(probes.values()), queries, kept=lambda index: kept(ids[index]), state=state, **given
        )
        rest = measured(base, ids, queries, found, on_probe, pieces)
    rows = pa.concat_tables([_outcome_table(outcomes), rest.tables["outcomes"]])
    tables = {**rest.tables, "outcomes": _costing(rows, memory.bytes, _share(base, found))}
    return replace(rest, tables=tables, failed=failed | rest.failed)


def measured(
    base: Base,
    ids: Sequence[str],
    queries: Sequence[Sample],
    found: Measurement | Estimates,
    on_probe: Callable[[], None] = lambda: None,
    pieces: Sequence[Piece] | None = None,
) -> Measured:
    """The tables of what was found of N probes, named by their ids; a probe that failed has an outcome and no cell.

    Of ``pieces`` only the cells in them have rows.
    """
    cells = None if pieces is None else wanted(pieces, len(ids), len(queries))
    outcomes: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    layers: list[dict[str, Any]] = []
    influence: list[pa.Table] = []
    deltas: dict[str, dict[str, Any]] = {}
    query_ids = pa.array([query.sample_id for query in queries], pa.string())
    for index, tuned, change in _changes(found):
        name, own_ids = ids[index], query_ids
        if change is not None and cells is not None:
            own_ids = query_ids.filter(pa.array(cells[index]))
            change = {column: values[cells[index]] for column, values in change.items()}
        if change is not None and not np.isfinite(change["influence"]).all():
            tuned, change = _failed(tuned, "a query's log-probability is not finite after training"), None
        if tuned.losses or tuned.failed or math.isfinite(tuned.update_norm):
            outcomes.append(_outcome(name, tuned))
        layers += _layers(base, name, tuned)
        if change is None:
            failed[name] = tuned.failed or "unknown"
        else:
            influence.append(influence_rows(name, own_ids, change))
            deltas |= {name: tuned.delta} if tuned.delta else {}
        on_probe()
    tables = {
        "influence": pa.concat_tables([columns_of("influence").empty_table(), *influence]).combine_chunks(),
        "outcomes": _outcome_table(outcomes),
        "layer_updates": pa.Table.from_pylist(layers, columns_of("layer_updates")),
    }
    return Measured(tables, deltas, tables["influence"].num_rows, failed)


def unreadable(probe: Sequence[Sample]) -> str | None:
    """Why a probe cannot be trained on: an image in it that could not be read; or None."""
    return next((f"{sample.source}: an image that cannot be read" for sample in probe if sample.unreadable), None)


Change = Mapping[str, Shaped[npt.NDArray[Any], " Q"]]
"""Columns of ``influence`` for the Q queries of one probe; what was not measured is left out."""


def _changes(found: Measurement | Estimates) -> Iterator[tuple[int, Tuned, Change | None]]:
    if isinstance(found, Estimates):
        for row in found.rows:
            moved = math.nan if row.failed else 0.0
            tuned = Tuned({}, [], math.nan, moved, {}, row.seconds, failed=row.failed, note=row.note)
            yield row.probe, tuned, None if row.influence is None else {"influence": row.influence}
        return
    before = found.before
    for index, tuned, after in found.rows:
        if after is None:
            yield index, tuned, None
            continue
        yield (
            index,
            tuned,
            {
                "influence": after.logprob - before.logprob,
                "logprob_before": before.logprob,
                "logprob_after": after.logprob,
                "n_tokens": before.n_tokens,
                "rank_before": before.rank,
                "rank_after": after.rank,
            },
        )


def influence_rows(probe_id: str, query_ids: pa.Array, change: Change) -> pa.Table:
    """The cells of one probe, without the arm's columns."""
    schema = columns_of("influence")
    columns = {"probe_id": pa.repeat(pa.scalar(probe_id, pa.string()), len(query_ids)), "query_id": query_ids}
    for field in schema:
        if field.name not in columns:
            known = field.name in change
            columns[field.name] = (
                pa.array(change[field.name], field.type) if known else pa.nulls(len(query_ids), field.type)
            )
    return pa.table(columns, schema=schema)


def _share(base: Base, found: Measurement | Estimates) -> float | None:
    """The numbers that an estimate's gradients are of, over the base's parameters."""
    numbers = found.numbers if isinstance(found, Estimates) else None
    return None if numbers is None else numbers / sum(value.numel() for value in base.model.parameters())


def _costing(outcomes: pa.Table, memory: int | None, share: float | None) -> pa.Table:
    """The outcomes of a block, each with what the whole block took."""
    for name, value in (("memory", memory), ("parameter_share", share)):
        place, field = outcomes.schema.get_field_index(name), outcomes.schema.field(name)
        outcomes = outcomes.set_column(place, field, pa.array([value] * outcomes.num_rows, field.type))
    return outcomes


def _outcome_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, columns_of("outcomes"))


def _outcome(probe_id: str, tuned: Tuned) -> dict[str, Any]:
    return {
        "probe_id": probe_id,
        "status": "failed" if tuned.failed else "done",
        "reason": tuned.failed or tuned.note,
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
