"""The main job: curate → plan missing cells → fine-tune and measure in blocks → score and report."""

from __future__ import annotations

from typing import Any, Literal

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner

from einfluence.run import Result, start_run
from einfluence.spec import load_spec
from tasks.progress import meter
from tasks.steps import curate, measure_block, plan, score

Runner = Literal["inline", "threads"]


@flow(name="measure", flow_run_name="measure {spec_file}", persist_result=False)
def measure(spec_file: str, store: str, runner: Runner = "inline") -> Result:
    """Measures every cell that the spec wants and the store lacks.

    Args:
        spec_file: The spec (YAML).
        store: Root of the store.
        runner: ``inline`` computes in this process, one block after the other; ``threads`` two at a time.
    """
    run = start_run()
    spec = load_spec(spec_file)
    prepared = [curate(spec, part, store) for part in spec.parts]
    todo = plan(spec, prepared, store)
    meter.start(sum(len(job.block.probe_ids) for job in todo.jobs))
    if runner == "inline":
        done = [measure_block(job) for job in todo.jobs]
    else:
        done = [future.result() for future in measure_block.map(list(todo.jobs))]
    meter.stop()
    return score(spec, store, run, todo, done)


def with_runner(runner: Runner) -> Any:
    """The flow with the task runner that a choice on the command line stands for."""
    return measure if runner == "inline" else measure.with_options(task_runner=ThreadPoolTaskRunner(max_workers=2))
