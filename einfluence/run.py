"""The run, step by step: prepare, plan, compute, score. The flow orchestrates these; notebooks call `measure`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from einfluence.curate import curate
from einfluence.curate.classes import class_names
from einfluence.curate.key import data_key
from einfluence.errors import InputError
from einfluence.estimators import VERSIONS
from einfluence.keys import content_hash, file_digest
from einfluence.models.base import Base, BaseInfo
from einfluence.models.load import find_base
from einfluence.samples import Curated, Sample, mapped
from einfluence.shards import BLOCK, Job, Shards
from einfluence.spec import Arm, FineTune, InContext, Part, Spec, byte_count, load_spec
from einfluence.store.curations import curated_rows, sample_rows
from einfluence.store.schema import PARTED, TABLES
from einfluence.store.store import ArmKey, Block, Restoration, Store

if TYPE_CHECKING:
    import numpy.typing as npt

_loading = threading.Lock()
_engine = threading.Lock()  # engines change the model that they measure, and draw from torch's one generator


LOADED = 2  # bases that a process holds
SMALL = 20_000_000  # parameters of a base that one thread serves best


@dataclass(frozen=True)
class Prepared:
    """A part of the spec with its base and the key of its curated data."""

    part: Part
    base: BaseInfo
    curation: str


@dataclass(frozen=True)
class Plan:
    """What a run has to do.

    Args:
        wanted: Cells that the spec wants.
        present: Cells that the store has.
        jobs: One for each block of missing cells.
        fixed: Whether the spec says how many probes a shard has; else :class:`Shards` puts blocks together.
    """

    wanted: int
    present: int
    jobs: tuple[Job, ...]
    fixed: bool = False


@dataclass(frozen=True)
class Done:
    """What one job did: cells written, why each failed probe failed, and how long it took without loading the base."""

    cells: int
    failed: dict[str, str]
    seconds: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a run did. Exit code and JSON of the command line come from here."""

    wanted: int
    present: int
    computed: int
    failed: int
    seconds: float
    store: str
    report: str | None
    reasons: dict[str, str] = field(default_factory=dict[str, str])

    def to_json(self) -> dict[str, Any]:
        """The contract of ``--json``."""
        names = ("wanted", "present", "computed", "failed", "seconds", "store", "report")
        return {name: getattr(self, name) for name in names}


def measure(spec: Spec | str | Path, store: Store | str | Path, *, report: bool = True) -> Result:
    """Runs a whole spec in this process, without Prefect.

    Args:
        spec: A spec, or the path of its file.
        store: A store, or its folder.
        report: Whether to write ``report.html`` into the store.

    Raises:
        InputError: When the spec or what it names cannot be used.
    """
    spec = spec if isinstance(spec, Spec) else load_spec(spec)
    store = store if isinstance(store, Store) else Store(store)
    run = start_run()
    prepared = [prepare(spec, part, store) for part in spec.parts]
    todo = plan(spec, prepared, store)
    shards, done = Shards(todo.jobs, fixed=todo.fixed), list[Done]()
    while (job := shards.take()) is not None:
        done.append(compute(job))
        shards.took(job, done[-1].seconds)
    return finish_run(spec, store, run, todo, done, report=report)


def start_run() -> dict[str, Any]:
    """Notes when a run began."""
    return {"started": datetime.now(UTC).isoformat(timespec="seconds"), "clock": time.perf_counter()}


def nothing_to_do(spec: Spec, store: Store) -> Result | None:
    """What a run would say if it found nothing to do, or None if there is something; computes nothing.

    Nothing is left when the latest run of this spec wanted the same data of the same bases and arms, no cell of it is
    missing, and its scorecard was made with the metrics of today.
    """
    begun = time.perf_counter()
    last = next((note for note in reversed(store.runs()) if note["study"] == spec.name), None)
    shown = all((store.root / name).is_file() for name in ("report.html", "desiderata/current.parquet"))
    if last is None or last["metrics"] != metrics_digest(spec) or not shown:
        return None
    prepared = [find_part(spec, part) for part in spec.parts]
    current = store.current_curations()
    if any(store.curation(item.curation) not in current for item in prepared):
        return None
    if last["spec"] != json.loads(spec.model_dump_json()):
        return None
    # The tables are as that run left them: no need to compare them cell by cell.
    untouched = last.get("log") == store.log.state().version and not last["failed"] and store.whole
    todo = Plan(last["wanted"], last["wanted"], ()) if untouched else plan(spec, prepared, store)
    if todo.jobs:
        return None
    seconds = round(time.perf_counter() - begun, 2)
    return Result(todo.wanted, todo.present, 0, 0, seconds, store.url, str(store.root / "report.html"))


def load_ahead(spec: Spec, store: Store, *, computes: bool = True) -> None:
    """Loads the bases that this process will need, so that it can be done while something else is waited for.

    Args:
        spec: The spec.
        store: The store.
        computes: Whether cells are computed in this process; else a base is needed only to curate.
    """
    for part in spec.parts[:LOADED]:
        found = find_part(spec, part)
        if computes or store.curation(found.curation) is None:
            loaded_base(found.base, part.trust_remote_code)


def prepare(spec: Spec, part: Part, store: Store) -> Prepared:
    """Finds a part's base and curates its data, unless that very curation is in the store.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    study = f"{spec.name}/{part.name}"
    found = find_part(spec, part)
    _check_chat(found)
    store.open_for_writing()
    if store.curation(found.curation) is None:
        curated = curated_part(spec, part)
        store.add_curation(found.curation, curated, {"origin": study, "part": json.loads(part.model_dump_json())})
    store.add_rows("bases", [_base_row(found.base)])
    store.add_rows("recipes", [arm.row for arm in part.arms])
    store.point_study(study, found.curation, order=time.time_ns())
    return found


def _check_chat(item: Prepared) -> None:
    """Raises InputError before anything is computed if an arm asks for a chat template that cannot be used."""
    chats = [arm.recipe for arm in item.part.arms if isinstance(arm, InContext) and arm.recipe.chat]
    if chats and item.base.modality == "text":
        from einfluence.estimators.in_context import beginning

        base = loaded_base(item.base, item.part.trust_remote_code)
        beginning(base, chats[0], f"parts.{item.part.name}: arms recipe.chat")


def find_part(spec: Spec, part: Part) -> Prepared:
    """A part's base, and the key that its curation has or will have."""
    base = part_base(spec, part)
    return Prepared(part, base, content_hash((data_key(part, spec), base.base_id)))


def part_base(spec: Spec, part: Part) -> BaseInfo:
    """Finds the base of a part.

    Raises:
        InputError: When there is none of that name, or its folder lacks what a base needs.
    """
    where, remote = f"parts.{part.name}.base", part.trust_remote_code
    found = find_base(part.base, where, relative_to=spec.folder, trust_remote_code=remote)
    if found.modality == "image" and part.bos != "auto":
        raise InputError(f"parts.{part.name}.bos", f"`bos: {part.bos}` for an image base", "a text base, or no `bos`")
    return found.beginning(part.bos)


def curated_part(spec: Spec, part: Part) -> Curated:
    """Curates a part's data for its base, without a store.

    Raises:
        InputError: When base or data cannot be used, or a sample does not fit the base.
    """
    from einfluence.estimators.measure import encode

    base = loaded_base(part_base(spec, part), part.trust_remote_code)
    curated = _curate(part, spec, base)
    for sample in sample_rows(curated.samples):
        if not sample.unreadable:
            encode(base, sample)
    return curated


def plan(spec: Spec, prepared: Sequence[Prepared], store: Store) -> Plan:
    """Wanted cells minus present cells, in jobs."""
    wanted, missing, jobs = 0, 0, list[Job]()
    for item in prepared:
        folder = store.root / "curations" / item.curation
        for arm, key in arm_keys(item):
            cells, blocks = wanted_blocks(spec, folder, arm, key, store)
            wanted += cells
            for block in blocks:
                missing += block.cells
                keep = byte_count(spec.keep_deltas)
                jobs.append(
                    Job(store.url, item.base, item.curation, arm, key, (block,), keep, item.part.trust_remote_code)
                )
    return Plan(wanted, wanted - missing, tuple(jobs), fixed=spec.shard is not None)


def wanted_blocks(spec: Spec, curation: Path, arm: Arm, key: ArmKey, store: Store) -> tuple[int, list[Block]]:
    """How many cells a spec wants of one arm of a curation, and the blocks that a store lacks; restorations last."""
    size = spec.shard or BLOCK
    wanted = pq.read_metadata(curation / "relations.parquet").num_rows
    blocks: list[Block] = [*store.missing(curation, key, size)]
    if isinstance(arm, FineTune) and arm.restore:
        restorations, more = store.unrestored(curation, key, size, arm.restore)
        return wanted + restorations, [*blocks, *more]
    return wanted, blocks


def arm_keys(item: Prepared) -> Iterator[tuple[Arm, ArmKey]]:
    """The arms of a part, once for each seed where one changes anything; else with seed 0."""
    for arm in item.part.arms:
        for seed in item.part.seeds if arm.recipe.draws else (0,):
            version = VERSIONS[arm.estimator]
            yield arm, ArmKey(item.base.base_id, arm.estimator, arm.recipe_id, seed, version)


def compute(job: Job, on_probe: Callable[[], None] = lambda: None, threads: int | None = None) -> Done:
    """Computes one job's cells and commits them to the store.

    Args:
        job: The job.
        on_probe: Called after each probe, for progress.
        threads: Most threads that torch may use; None takes all cores. A small base is always given one.

    Raises:
        InputError: When a sample does not fit the base, or the store cannot be written.
    """
    from einfluence.estimators.measure import measure_block
    from einfluence.estimators.restore import restore_block

    store = Store(job.store)
    base = loaded_base(job.base, job.trust_remote_code, threads)
    samples, members = curated_rows(store.root / "curations" / job.curation)
    kept = store.kept_deltas(job.key, job.probe_ids).get
    begun = time.perf_counter()
    tables, deltas, failed, cells = list[dict[str, pa.Table]](), dict[str, dict[str, Any]](), dict[str, str](), 0
    for block in job.blocks:
        probes = {probe: mapped(members[probe], samples.__getitem__) for probe in block.probe_ids}
        with _engine:
            if isinstance(block, Restoration) and isinstance(job.arm, FineTune):
                asked = [[samples[query] for query in queries] for queries in block.wanted]
                measured = restore_block(base, job.arm, job.key.seed, probes, asked, kept=kept, on_probe=on_probe)
            else:
                queries = [samples[query] for query in block.query_ids]
                measured = measure_block(base, job.arm, job.key.seed, probes, queries, kept=kept, on_probe=on_probe)
        tables.append(measured.tables)
        deltas |= measured.deltas if job.keep_deltas else {}
        failed |= measured.failed
        cells += measured.cells
    present = {name: [one[name] for one in tables if name in one] for name in PARTED}
    whole = {name: pa.concat_tables(found) for name, found in present.items() if found}
    store.add_part(job.key, whole, since=job.blocks[0].since)
    store.keep_deltas(job.key, deltas, job.keep_deltas)
    return Done(cells, failed, time.perf_counter() - begun)


def record_failure(job: Job, reason: str) -> Done:
    """Commits that a whole job failed: an outcome with the reason for each of its probes, and no cell."""
    rows = [{"probe_id": probe, "status": "failed", "reason": reason} for probe in job.probe_ids]
    empty = {name: TABLES[name].empty_table().drop_columns(_arm_columns(name)) for name in PARTED}
    outcomes = pa.Table.from_pylist(rows, empty["outcomes"].schema)
    Store(job.store).add_part(job.key, {**empty, "outcomes": outcomes})
    return Done(0, dict.fromkeys(job.probe_ids, reason))


def _arm_columns(name: str) -> list[str]:
    return [column for column in vars(ArmKey("", "", "", 0, "")) if column in TABLES[name].names]


def score_store(store: Store, user_sql: Path | None = None) -> pa.Table:
    """Computes all desiderata from the store's tables, then the user's own, and writes them back."""
    from einfluence.metrics import score

    with store.connect() as connection:
        table = score(connection, user_sql=user_sql)
    store.write_desiderata(table)
    return table


def report_store(store: Store, out: Path, run: dict[str, Any]) -> Path:
    """Writes the HTML report of a store."""
    from einfluence.report import write_report

    with store.connect() as connection:
        return write_report(connection, out, run=run)


def finish_run(
    spec: Spec, store: Store, run: dict[str, Any], todo: Plan, done: Sequence[Done], *, report: bool = True
) -> Result:
    """Tidies the store, scores, reports and notes a run."""
    store.tidy()
    score_store(store, spec.path(spec.metrics) if spec.metrics else None)
    out = store.root / "report.html"
    failed = {probe: reason for item in done for probe, reason in item.failed.items()}
    result = Result(
        wanted=todo.wanted,
        present=todo.present,
        computed=sum(item.cells for item in done),
        failed=len(failed),
        seconds=round(time.perf_counter() - run["clock"], 2),
        store=store.url,
        report=str(out) if report else None,
        reasons=failed,
    )
    note = {**provenance(spec, run, result), "log": store.log.state().version}
    store.write_run(note)
    if report:
        report_store(store, out, note)
        store.publish("report.html")
    return result


def provenance(spec: Spec, run: dict[str, Any], result: Result) -> dict[str, Any]:
    """All that is needed to say where numbers came from; of the machine only what they may depend on."""
    packages = ("einfluence", "torch", "transformers", "peft", "numpy", "duckdb", "pyarrow")
    return {
        "started": run["started"],
        "study": spec.name,
        "spec": json.loads(spec.model_dump_json()),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "estimators": dict(VERSIONS),
        "metrics": metrics_digest(spec),
        "failed_probes": result.reasons,
        **result.to_json(),
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def loaded_base(base: BaseInfo, trust_remote_code: bool, threads: int | None = None) -> Base:
    """A base with its weights, loaded once in each process, and torch's threads set for it.

    Args:
        base: From :func:`find_base`.
        trust_remote_code: Whether the model's own Python files may be run.
        threads: Most threads that torch may use; None takes all cores. A small base is always given one.
    """
    import torch

    with _loading:  # two threads that start together share one copy
        loaded = _load_once(base, trust_remote_code)
    # Threads of a small network wait for each other longer than they work: on a busy machine ten times over.
    small = sum(parameter.numel() for parameter in loaded.model.parameters()) < SMALL
    torch.set_num_threads(1 if small else threads or os.cpu_count() or 1)
    return loaded


@lru_cache(maxsize=LOADED)
def _load_once(base: BaseInfo, trust_remote_code: bool) -> Base:
    from einfluence.models.load import load_base

    return load_base(base, trust_remote_code=trust_remote_code)


def _curate(part: Part, spec: Spec, base: Base) -> Curated:
    def features(samples: Sequence[Sample]) -> npt.NDArray[np.float32]:
        from einfluence.engine.features import features as of_base

        return of_base(base, samples)

    if base.info.modality == "image":
        names = class_names(base.info.config, base.n_classes)
        return curate(part, spec, features, n_classes=base.n_classes, shape=base.input_shape, class_names=names)

    from einfluence.engine import TextItem, TextReader
    from einfluence.estimators.measure import encode

    read = TextReader(base)  # one for all that is asked, so that it is held against the definition once

    def tokenize(text: str) -> list[int]:
        return base.tokenizer(text, add_special_tokens=False)["input_ids"]

    def logprobs(samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
        return read([cast("TextItem", encode(base, sample)) for sample in samples]).logprob

    added = getattr(base.tokenizer, "added_tokens_decoder", {}).values()
    specials = {*base.tokenizer.all_special_tokens, *(str(token) for token in added if token.special)}
    limits: dict[str, Any] = {"max_tokens": base.max_length, "specials": specials}
    return curate(part, spec, features, tokenize=tokenize, logprobs=logprobs, **limits)


def _base_row(base: BaseInfo) -> dict[str, Any]:
    about = {"label": base.label, "config": base.config, "modality": base.modality}
    return {
        "base": base.base_id,
        "label": base.label,
        "modality": base.modality,
        "json": json.dumps(about, sort_keys=True),
    }


def metrics_digest(spec: Spec) -> str:
    """Content hash of the SQL that the scorecard is computed with, the user's own included."""
    folders = [Path(__file__).parent / "metrics", *([spec.path(spec.metrics)] if spec.metrics else [])]
    return content_hash(
        [(path.name, file_digest(path)) for folder in folders for path in sorted(folder.rglob("*.sql"))]
    )
