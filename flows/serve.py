"""A measurement that runs by itself: at set times, when its files change, on an event, or on request.

``einfluence serve`` keeps one deployment of the flow at a Prefect server and runs it in this process's children.
One run at a time: what falls due during a run becomes one run after it (:mod:`einfluence.store.run_lock`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from einfluence.digests import digest
from einfluence.errors import InputError

CHANGED = "einfluence.input.changed"
LOOK_EVERY = 2.0  # seconds between looks at the watched files


def serve(name: str, parameters: dict[str, Any], cron: str | None, watch: Sequence[Path]) -> None:
    """Keeps the deployment ``measure/NAME`` and runs what falls due, until it is stopped.

    Args:
        name: Name of the deployment; the event ``einfluence.input.changed`` of the resource ``einfluence.NAME``
            triggers it.
        parameters: Of :func:`flows.measure.measure`.
        cron: When to run, e.g. ``0 2 * * *`` (UTC).
        watch: Files and folders; a change of their content triggers a run.

    Raises:
        InputError: When the cron expression or a watched path cannot be used.
    """
    from prefect import serve as serve_deployments
    from prefect.events import DeploymentEventTrigger
    from prefect.types.entrypoint import EntrypointType

    from flows.measure import measure

    check(cron, watch)
    trigger = DeploymentEventTrigger(
        name=f"{name}: input changed", expect={CHANGED}, match={"prefect.resource.id": f"einfluence.{name}"}
    )
    deployment: Any = measure.to_deployment(
        name,
        parameters={**parameters, "in_turn": True},
        cron=cron,
        triggers=[trigger],
        enforce_parameter_schema=True,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    if watch:
        threading.Thread(target=_watch, args=(name, watch), daemon=True).start()
    serve_deployments(deployment, print_starting_message=False, pause_on_shutdown=True)


def looks(paths: Sequence[Path]) -> dict[str, str]:
    """Content hashes of all watched files, by path; what is hidden or temporary does not count."""
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*")))]
    found: dict[str, str] = {}
    for file in files:
        if file.is_file() and not file.name.startswith(".") and not file.name.endswith(("~", ".tmp", ".swp")):
            try:
                found[str(file)] = digest(file)
            except OSError:
                continue  # it went away between the listing and the reading
    return found


def _watch(name: str, paths: Sequence[Path]) -> None:
    from prefect.events import emit_event

    before = looks(paths)
    while True:
        time.sleep(LOOK_EVERY)
        now = looks(paths)
        if now == before:
            continue
        time.sleep(LOOK_EVERY)
        while (later := looks(paths)) != now:  # whoever writes has not finished yet
            now = later
            time.sleep(LOOK_EVERY)
        changed = sorted(path for path in {*before, *now} if before.get(path) != now.get(path))
        emit_event(CHANGED, resource={"prefect.resource.id": f"einfluence.{name}"}, payload={"changed": changed})
        before = now


def check(cron: str | None, watch: Sequence[Path]) -> None:
    """Refuses what cannot be served.

    Raises:
        InputError: When the cron expression or a watched path cannot be used.
    """
    from prefect.client.schemas.schedules import CronSchedule

    try:
        _ = CronSchedule(cron=cron) if cron is not None else None
    except ValueError as error:
        raise InputError("--cron", f"{cron!r}", "five fields, e.g. '0 2 * * *' for every day at two (UTC)") from error
    for path in watch:
        if not path.exists():
            raise InputError("--watch", f"{path}, which is not there", "a file or a folder")
