"""The main job: curate → plan missing cells → fine-tune and measure them in blocks → score and report."""

from __future__ import annotations

from contextlib import nullcontext

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from einfluence.score import Result, start_run
from einfluence.spec import load_spec
from einfluence.store.run_lock import run_lock
from einfluence.store.store import Store
from tasks import progress
from tasks.runners import Runner, measure_blocks
from tasks.steps import curate, plan, score


@flow(name="measure", flow_run_name="measure {spec_file}", persist_result=False)
def measure(
    spec_file: str,
    store: str,
    runner: Runner = "inline",
    workers: int = 2,
    dask_address: str | None = None,
    in_turn: bool = False,
) -> Result | State[Result]:
    """Measures every cell that the spec wants and the store lacks.

    Args:
        spec_file: The spec (YAML).
        store: Root of the store: a folder or a URL such as s3://bucket/prefix.
        runner: Where blocks of probes are computed: inline, threads, processes, dask or ray.
        workers: How many blocks at once, but for inline.
        dask_address: A Dask scheduler that is there already.
        in_turn: Wait for a run that goes on with this store; and do nothing where another run waits already.
    """
    with run_lock(Store(store).root) if in_turn else nullcontext(True) as mine:
        if not mine:
            return Completed(message="another run waits for its turn and will see all that this one would")
        return _measure(spec_file, store, runner, workers, dask_address)


def _measure(spec_file: str, store: str, runner: Runner, workers: int, dask_address: str | None) -> Result:
    run = start_run()
    spec = load_spec(spec_file)
    prepared = [curate(spec, part, store) for part in spec.parts]
    todo = plan(spec, prepared, store)
    progress.meter.start(sum(len(job.probe_ids) for job in todo.jobs))
    try:
        done = measure_blocks(todo, runner, workers, dask_address)
    finally:
        progress.meter.stop()
    return score(spec, store, run, todo, done)
