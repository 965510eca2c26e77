"""The steps of a run as Prefect tasks: run names, retries and logs around one call of the library each.

There is one cache, the store: Prefect's own is off, so that it can return nothing that our keys would not.
"""

from __future__ import annotations

from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE

from einfluence.actions.attempt import Lesson
from einfluence.actions.learning import learn as learn_state
from einfluence.actions.planning import check_actions, plan_actions
from einfluence.attribute import attribute as attribute_trainings
from einfluence.compute import Done
from einfluence.execute import Executor
from einfluence.fit import Fit
from einfluence.fit import fit as fit_estimator
from einfluence.plan import Plan
from einfluence.plan import plan as missing_cells
from einfluence.prepare import Prepared, prepare
from einfluence.salient import ToExplain
from einfluence.salient import explain as explain_words
from einfluence.score import Result, check_scoring, finish_run
from einfluence.session import Session
from einfluence.shards import Job
from einfluence.spec import Part, Spec
from einfluence.store.store import Store
from einfluence.trainings import Attribution
from tasks import artifacts

OURS: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


@task(name="curate", task_run_name="curate {part.name}", **OURS)
def curate(spec: Spec, part: Part, store: str, session: Session) -> Prepared:
    """Finds a part's base and curates its data into the store."""
    found = prepare(spec, part, Store(store), session)
    check_actions(spec, found, Store(store))
    return found


@task(name="plan", task_run_name="plan missing cells", **OURS)
def plan(spec: Spec, prepared: list[Prepared], store: str) -> Plan:
    """Wanted cells minus present cells."""
    check_scoring(spec, Store(store))
    todo = missing_cells(spec, prepared, Store(store))
    artifacts.show_plan(todo)
    return todo


@task(name="fit", task_run_name="{missing.label}", **OURS)
def fit(missing: Fit, session: Session) -> None:
    """Fits an estimator to a curation, once, and keeps what it learned."""
    fit_estimator(missing, session)


@task(name="measure", task_run_name="{job.label}", **OURS)
def measure_shard(job: Job, executor: Executor) -> Done:
    """Has one shard of probes fine-tuned, measured and committed, and waits for it."""
    get_run_logger().info("%s: probes %s", job.label, " ".join(job.probe_ids))
    done = executor.submit(job).result()
    for probe, reason in done.failed.items():
        get_run_logger().warning("probe %s failed: %s", probe, reason)
    return done


@task(name="attribute", task_run_name="attribute {cells.label}", **OURS)
def attribute(cells: Attribution) -> Done:
    """Computes what trainings of a set say of each of its probes."""
    done = attribute_trainings(cells)
    for probe, reason in done.failed.items():
        get_run_logger().warning("probe %s failed: %s", probe, reason)
    return done


@task(name="learn", task_run_name="{lesson.label}", **OURS)
def learn(lesson: Lesson, session: Session) -> None:
    """Learns what an action needs before it can name its trainings, once, and keeps it."""
    learn_state(lesson, session)


@task(name="act", task_run_name="act", **OURS)
def act(spec: Spec, prepared: list[Prepared], store: str) -> Plan:
    """What the spec's actions want to train, now that influence is known, minus what is there."""
    return plan_actions(spec, prepared, Store(store))


@task(name="explain", task_run_name="{missing.label}", **OURS)
def explain(missing: ToExplain, session: Session) -> None:
    """Asks what a whole set trains which words of its queries speak for their targets, and keeps the answers."""
    explain_words(missing, session)


@task(name="score", task_run_name="score and report", **OURS)
def score(spec: Spec, store: str, run: dict[str, Any], todo: Plan, done: list[Done]) -> Result:
    """Desiderata from SQL, the report, and a note of the run."""
    opened = Store(store)
    result = finish_run(spec, opened, run, todo, done)
    artifacts.show_result(result, opened)
    return result
