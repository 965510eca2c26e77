"""The main job: curate → plan missing cells → fine-tune and measure them in blocks → score and report."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.states import Completed

from einfluence.actions.learning import each_of, to_learn
from einfluence.compute import Done
from einfluence.execute import Watch, fit_all
from einfluence.plan import Plan
from einfluence.runners import addressed
from einfluence.salient import to_explain
from einfluence.score import Result, start_run
from einfluence.session import Session, session_here
from einfluence.spec import load_spec
from einfluence.store.run_lock import run_lock
from einfluence.store.store import Store
from tasks import progress
from tasks.runners import measure_shards
from tasks.steps import act, attribute, curate, explain, fit, learn, plan, score


@flow(name="measure", flow_run_name="measure {spec_file}", persist_result=False)
def measure(
    spec_file: str,
    store: str,
    runner: str = "inline",
    workers: int = 2,
    dask_address: str | None = None,
    in_turn: bool = False,
    device: str = "auto",
) -> Result | State[Result]:
    """Measures every cell that the spec wants and the store lacks.

    Args:
        spec_file: The spec (YAML).
        store: Root of the store: a folder or a URL such as s3://bucket/prefix.
        runner: Where shards are computed: inline, threads, processes, dask, ray, or an address such as dask://host:8786.
        workers: How many shards at once, but for inline and for an address.
        dask_address: ``tcp://host:8786`` beside ``runner="dask"`` is the same as ``runner="dask://host:8786"``.
        in_turn: Wait for a run that is using this store; and do nothing where another run waits already.
        device: auto, cpu, cuda, cuda:1, … or mps.
    """
    with run_lock(Store(store).root) if in_turn else nullcontext(True) as mine:
        if not mine:
            return Completed(message="another run waits for its turn and will see all that this one would")
        return _measure(spec_file, store, addressed(runner, dask_address), workers, device)


def _measure(spec_file: str, store: str, runner: str, workers: int, device: str) -> Result:
    run, session = start_run(), session_here(device, None)
    spec = load_spec(spec_file)
    prepared = [curate(spec, part, store, session) for part in spec.parts]
    todo = plan(spec, prepared, store)
    left, done = fit_all(todo, partial(fit, session=session), Watch(failed=get_run_logger().error))
    compute = partial(_computed, runner=runner, workers=workers, device=device, session=session)
    done += compute(left)
    done += [attribute(cells) for cells in todo.attributions]
    if any(part.actions for part in spec.parts):
        lessons = to_learn(spec, prepared, Store(store))
        done += each_of(lessons, partial(learn, session=session), get_run_logger().error)
        acts = act(spec, prepared, store)
        done += compute(acts)
        todo += acts
    done += each_of(to_explain(spec, prepared, Store(store)), partial(explain, session=session), get_run_logger().error)
    return score(spec, store, run, todo, done)


def _computed(todo: Plan, runner: str, workers: int, device: str, session: Session) -> list[Done]:
    progress.meter.start(sum(len(job.probe_ids) for job in todo.jobs))
    try:
        return measure_shards(todo, runner, workers, device, session)
    finally:
        progress.meter.stop()
