"""The end of a run: the scorecard, the report, and a note of where the numbers came from."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from einfluence.arms import estimators
from einfluence.compute import Done
from einfluence.errors import InputError
from einfluence.feature import located
from einfluence.keys import content_hash, file_digest
from einfluence.plan import Plan
from einfluence.rules import Rules
from einfluence.spec import Spec
from einfluence.store.store import Store

if TYPE_CHECKING:
    from einfluence.report.notebook import Scorecard


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

    def scorecard(self) -> Scorecard:
        """The scorecard of the store that was written to, which notebooks show as a table."""
        return scorecard(self.store)

    def _repr_html_(self) -> str:
        from einfluence.report.notebook import html

        return html(self.scorecard().parts if Store(self.store).exists else [], self)


def scorecard(store: str | Path) -> Scorecard:
    """The scorecard of a store; a table where a notebook shows it, plain text where it is printed.

    Raises:
        InputError: When there is no store.
    """
    from einfluence.report.notebook import scorecard_of

    opened = Store(store)
    if not opened.exists:
        raise InputError("store", f"{str(store)!r}, which holds no store", "one that a run has written to")
    with opened.connect() as connection:
        return scorecard_of(connection)


def start_run() -> dict[str, Any]:
    """Notes when a run began."""
    return {"started": datetime.now(UTC).isoformat(timespec="seconds"), "clock": time.perf_counter()}


def finish_run(
    spec: Spec, store: Store, run: dict[str, Any], todo: Plan, done: Sequence[Done], *, report: bool = True
) -> Result:
    """Tidies the store, scores, reports and notes a run."""
    store.tidy()
    own, features = spec.path(spec.metrics) if spec.metrics else None, located(spec.features, spec.folder)
    score_store(store, own, features, spec.verdicts)
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


def check_scoring(spec: Spec, store: Store) -> None:
    """Refuses features of a spec that cannot be used, once its parts are curated and before anything is computed.

    Raises:
        InputError: For the first.
    """
    from einfluence.metrics.artifacts import check_features

    features = located(spec.features, spec.folder)
    if any(isinstance(one, Path) for one in features):
        with store.connect() as connection:
            check_features(connection, features)


def score_store(
    store: Store,
    user_sql: Path | None = None,
    features: Sequence[str | Path] = (),
    rules: Rules | None = None,
) -> pa.Table:
    """Computes all desiderata from the store's tables, then the user's own, and writes them back.

    Args:
        store: The store.
        user_sql: A folder of the user's own models.
        features: What `artifact` looks at, see :func:`einfluence.metrics.score`.
        rules: How far is far enough for a verdict; those of the last scoring by default.
    """
    from einfluence.metrics import scored
    from einfluence.metrics.verdicts import rules_of

    with store.connect() as connection:
        rules = rules or rules_of(connection)
        tables = scored(connection, user_sql=user_sql, features=features, rules=rules)
    store.write_scores(tables)
    return tables["desiderata"]


def report_store(store: Store, out: Path, run: dict[str, Any]) -> Path:
    """Writes the HTML report of a store."""
    from einfluence.report import write_report

    with store.connect() as connection:
        return write_report(connection, out, run=run)


def provenance(spec: Spec, run: dict[str, Any], result: Result) -> dict[str, Any]:
    """All that is needed to say where numbers came from; of the machine only what they may depend on."""
    packages = ("einfluence", "torch", "transformers", "peft", "numpy", "duckdb", "pyarrow")
    return {
        "started": run["started"],
        "study": spec.name,
        "spec": json.loads(spec.model_dump_json()),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "machine": {"cpu": platform.machine(), "cores": os.cpu_count()},
        "estimators": {name: each.version for name, each in estimators().items()},
        "metrics": metrics_digest(spec),
        "failed_probes": result.reasons,
        **result.to_json(),
    }


def metrics_digest(spec: Spec) -> str:
    """Content hash of what the scorecard is computed with: our SQL and Python, the user's own SQL and features."""
    ours, own = Path(__file__).parent / "metrics", [spec.path(spec.metrics)] if spec.metrics else []
    files = [path for path in sorted(ours.rglob("*")) if path.suffix in (".sql", ".py")]
    files += [path for folder in own for path in sorted(folder.rglob("*.sql"))]
    files += [path for path in located(spec.features, spec.folder) if isinstance(path, Path)]
    return content_hash([(path.name, file_digest(path)) for path in files])


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
