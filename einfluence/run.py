"""The run in one process: prepare, plan, fit, compute, attribute, learn, act, explain, score.

The flow orchestrates the same steps.
"""

from __future__ import annotations

import json
import logging
import time
from functools import partial
from pathlib import Path

from einfluence.actions.learning import each_of, learn, to_learn
from einfluence.actions.planning import check_actions, plan_actions
from einfluence.attribute import attribute
from einfluence.execute import Executor, execute, fit_all
from einfluence.fit import fit
from einfluence.inputs import NotTrained
from einfluence.plan import Plan, plan
from einfluence.prepare import find_part, prepare
from einfluence.runners import Processes, find_executor
from einfluence.salient import explain, to_explain
from einfluence.score import Result, check_scoring, finish_run, metrics_digest, start_run
from einfluence.session import session_here
from einfluence.spec import Spec, load_spec
from einfluence.store.store import Store


def measure(
    spec: Spec | str | Path,
    store: Store | str | Path,
    *,
    report: bool = True,
    runner: str | Executor = "inline",
    workers: int = 2,
    device: str = "auto",
) -> Result:
    """Runs a whole spec, without Prefect. A probe that fails is recorded, and the others are kept.

    Args:
        spec: A spec, or the path of its file.
        store: A store, or its folder.
        report: Whether to write ``report.html`` into the store.
        runner: Where shards are computed: a name or an address that :func:`einfluence.runners.find_executor` knows,
            or an :class:`einfluence.execute.Executor` of your own.
        workers: How many shards at once, where the runner is named.
        device: ``auto`` (a CUDA GPU if there is one), ``cpu``, ``cuda``, ``cuda:1`` or ``mps``. Of several GPUs, each
            worker process takes one.

    Raises:
        InputError: When the spec or what it names cannot be used, or the device or the runner is not there.
    """
    spec = spec if isinstance(spec, Spec) else load_spec(spec)
    store = store if isinstance(store, Store) else Store(store)
    run, session = start_run(), session_here(device, None)
    executor = find_executor(runner, session, workers, device) if isinstance(runner, str) else runner
    prepared = [prepare(spec, part, store, session) for part in spec.parts]
    for item in prepared:
        check_actions(spec, item, store)
    check_scoring(spec, store)
    todo = plan(spec, prepared, store)
    left, done = fit_all(todo, partial(fit, session=session))
    done += execute(left, executor, Processes(1, device))
    done += [attribute(cells) for cells in todo.attributions]
    log = logging.getLogger(__name__).error
    done += each_of(to_learn(spec, prepared, store), partial(learn, session=session), log)
    acts = plan_actions(spec, prepared, store)
    done += execute(acts, executor, Processes(1, device))
    done += each_of(to_explain(spec, prepared, store), partial(explain, session=session), log)
    return finish_run(spec, store, run, todo + acts, done, report=report)


def nothing_to_do(spec: Spec, store: Store) -> Result | None:
    """What a run would say if it found nothing to do, or None if there is something; computes nothing.

    Nothing is left when the latest run of this spec wanted the same data of the same bases and arms, no cell of it is
    missing, and its scorecard was made with the metrics of today.
    """
    begun = time.perf_counter()
    last = next((note for note in reversed(store.runs()) if note["study"] == spec.name), None)
    shown = store.scored and (store.root / "report.html").is_file()
    if last is None or last["metrics"] != metrics_digest(spec) or not shown:
        return None
    try:
        prepared = [find_part(spec, part) for part in spec.parts]
    except NotTrained:
        return None
    current = store.current_curations()
    if any(store.curation(item.curation) not in current for item in prepared):
        return None
    if last["spec"] != json.loads(spec.model_dump_json()):
        return None
    # The tables are as that run left them: no need to compare them cell by cell.
    untouched = last.get("log") == store.log.state().version and not last["failed"] and store.whole
    todo = Plan(last["wanted"], last["wanted"], ()) if untouched else plan(spec, prepared, store)
    todo += Plan(0, 0, ()) if untouched or not todo.empty else plan_actions(spec, prepared, store)
    if not todo.empty:
        return None
    if not untouched and (to_learn(spec, prepared, store) or to_explain(spec, prepared, store)):
        return None
    seconds = round(time.perf_counter() - begun, 2)
    return Result(todo.wanted, todo.present, 0, 0, seconds, store.url, str(store.root / "report.html"))
