"""Schedules, events and watched files, against a real Prefect server on loopback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from einfluence.errors import InputError
from einfluence.store.store import Store
from flows import serve
from flows.measure import measure
from flows.server import a_server
from tests.flows.test_runners import ENVIRONMENT, ROOT, write_spec

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    """The API of a Prefect server of its own, whose scheduler looks every second."""
    home = tmp_path_factory.mktemp("prefect")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PREFECT_API_URL", raising=False)
        patch.setenv("PREFECT_HOME", str(home))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS", "1")
        with temporary_settings(restore_defaults={PREFECT_API_URL}), a_server(port) as url:
            yield url


def _runs(url: str, deployment: str) -> list[Any]:
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import DeploymentFilter

    of = DeploymentFilter.model_validate({"name": {"any_": [deployment]}})
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        return client.read_flow_runs(deployment_filter=of)


def _until(done: Callable[[], object], seconds: float = 240.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, "nothing came of it in time"
        time.sleep(0.5)
    return found


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:  # a Prefect worker that was asked to stop may wait for good
        process.kill()
        process.wait()


def test_a_cron_schedule_creates_runs(api: str) -> None:
    with temporary_settings({PREFECT_API_URL: api}):
        deployment: Any = measure.to_deployment(
            "nightly", cron="0 2 * * *", parameters={"spec_file": "s", "store": "t"}
        )
        deployment.apply()
    runs = _until(lambda: _runs(api, "nightly"), 60.0)
    assert {run.expected_start_time.hour for run in runs} == {2}


def test_a_server_listens_on_loopback_alone(api: str) -> None:
    port = int(api.split(":")[2].split("/")[0])
    others = {
        info[4][0]
        for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
        if info[4][0] != "127.0.0.1"
    }
    for address in others:
        with pytest.raises(OSError), socket.create_connection((str(address), port), timeout=2):
            pass


def test_what_a_run_leaves_for_prefects_pages(api: str, tmp_path: Path, gpt2_folder: Path) -> None:
    spec, store = write_spec(tmp_path, gpt2_folder), tmp_path / "store"
    command = [sys.executable, "-m", "flows.cli", "run", str(spec), "--store", str(store)]
    ended = subprocess.run(command, env={**ENVIRONMENT, "PREFECT_API_URL": api}, capture_output=True, text=True)
    assert ended.returncode == 0 and "prefect" not in ended.stderr.lower(), ended.stderr

    def asked(what: str) -> list[dict[str, Any]]:
        body = urllib.request.Request(f"{api}/{what}/filter", b"{}", {"content-type": "application/json"})
        with urllib.request.urlopen(body, timeout=30) as answer:
            return json.load(answer)

    assert f"measure {spec}" in {run["name"] for run in asked("flow_runs")}
    names = {
        run["name"] for run in _until(lambda: [run for run in asked("task_runs") if "probes" in run["name"]], 30.0)
    }
    assert any("LoRA" in name and "2 probes x 6 queries" in name for name in names)
    artifacts = {(made["type"], made["key"]): made["data"] for made in asked("artifacts")}
    assert {("markdown", "plan"), ("table", "scorecard"), ("progress", None)} <= set(artifacts)
    assert artifacts["progress", None] == 100.0 and "report.html" in artifacts["markdown", "report"]
    probes = {row[0] for row in Store(store).influence().project("probe_id").distinct().fetchall()}
    logs = _until(lambda: [line["message"] for line in asked("logs") if ": probes " in line["message"]], 30.0)
    assert probes == {probe for line in logs for probe in line.split(": probes ")[1].split()}


def test_what_cannot_be_served_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cron"):
        serve.serve("x", {}, "every night", [])
    with pytest.raises(InputError, match="--watch.*not there"):
        serve.serve("x", {}, None, [tmp_path / "nothing"])


def test_a_look_sees_content_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text("a")
    before = serve.looks([tmp_path])
    os.utime(tmp_path / "facts.yaml", (1, 1))
    for name in (".facts.yaml.swp", "facts.yaml~", "half.tmp"):
        (tmp_path / name).write_text("in between")
    assert serve.looks([tmp_path]) == before
    (tmp_path / "facts.yaml").write_text("b")
    assert serve.looks([tmp_path]) != before


def test_changes_while_somebody_writes_become_one_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "samples.jsonl"
    file.write_text("1")
    sent: list[dict[str, Any]] = []
    monkeypatch.setattr(serve, "LOOK_EVERY", 0.5)
    monkeypatch.setattr("prefect.events.emit_event", lambda event, **more: sent.append({"event": event, **more}))
    threading.Thread(target=serve._watch, args=("x", [tmp_path]), daemon=True).start()
    for number in range(12):
        time.sleep(0.1)
        file.write_text(f"{number}")
    _until(lambda: sent, 20.0)
    time.sleep(1.2)
    resource = {"prefect.resource.id": "einfluence.x"}
    assert sent == [{"event": serve.CHANGED, "resource": resource, "payload": {"changed": [str(file)]}}]


def test_prefect_yaml_names_what_there_is() -> None:
    import inspect

    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert [deployment["name"] for deployment in deployments] == ["nightly", "on-change"]
    for deployment in deployments:
        file, name = deployment["entrypoint"].split(":")
        assert (ROOT / file).is_file() and name == "measure"
        inspect.signature(measure.fn).bind(**deployment["parameters"])
    assert deployments[1]["triggers"][0]["expect"] == [serve.CHANGED]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_serve_runs_by_the_clock_on_a_change_on_an_event_and_when_asked(
    api: str, tmp_path: Path, gpt2_folder: Path
) -> None:
    spec = write_spec(tmp_path, gpt2_folder)
    samples = tmp_path / "samples.jsonl"
    environment = {**ENVIRONMENT, "PREFECT_API_URL": api}
    command = [sys.executable, "-m", "flows.cli", "serve", str(spec), "--store", str(tmp_path / "store")]
    command += ["--cron", "*/4 * * * *", "--watch", str(samples), "--name", "live"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def finished() -> int:
        assert process.poll() is None
        return sum(run.state_type == "COMPLETED" for run in _runs(api, "live"))

    def after(act: Callable[[], object]) -> None:
        before = finished()
        act()
        _until(lambda: finished() > before)

    try:
        _until(finished, 400.0)  # by the clock
        more = json.dumps({"id": "new", "prompt": "wug has", "target": "wings"}) + "\n"
        after(lambda: samples.write_text(samples.read_text() + more))
        notes = [json.loads(path.read_text()) for path in (tmp_path / "store" / "runs").glob("*.json")]
        assert max(note["wanted"] for note in notes) == 49
        with temporary_settings({PREFECT_API_URL: api}):
            from prefect.client.orchestration import get_client

            event = {"occurred": "", "event": serve.CHANGED, "resource": {"prefect.resource.id": "einfluence.live"}}

            def emit() -> None:
                import uuid
                from datetime import UTC, datetime

                body = {**event, "id": str(uuid.uuid4()), "occurred": datetime.now(UTC).isoformat()}
                with get_client(sync_client=True) as client:
                    client._client.post("/events", json=[body]).raise_for_status()

            after(emit)
        asked = [sys.executable, "-m", "prefect", "deployment", "run", "measure/live"]
        after(lambda: subprocess.run(asked, env=environment, check=True, capture_output=True))
    finally:
        _stop(process)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_prefect_deploy_and_a_process_worker_run_it(api: str, tmp_path: Path, gpt2_folder: Path) -> None:
    spec = write_spec(tmp_path, gpt2_folder)
    environment = {**ENVIRONMENT, "PREFECT_API_URL": api}

    def prefect(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "prefect", *arguments], env=environment, cwd=ROOT, check=True)

    prefect("work-pool", "create", "--type", "process", "einfluence")
    prefect("--no-prompt", "deploy", "--all")
    worker = subprocess.Popen(
        [sys.executable, "-m", "prefect", "worker", "start", "--pool", "einfluence"], env=environment, cwd=ROOT
    )
    try:
        parameters = [
            "--param",
            f"spec_file={spec}",
            "--param",
            f"store={tmp_path / 'store'}",
            "--param",
            "runner=inline",
        ]
        prefect("deployment", "run", "measure/nightly", *parameters)
        _until(lambda: [run for run in _runs(api, "nightly") if run.state_type in ("COMPLETED", "FAILED")], 400.0)
    finally:
        _stop(worker)
    assert (tmp_path / "store" / "report.html").is_file()
