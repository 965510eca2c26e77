"""`einfluence doctor` names what is missing, and how to mend it."""

from __future__ import annotations

import json
import socket
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from einfluence.store.marker import write_marker
from einfluence.store.store import Store
from flows import cli, doctor
from flows.doctor import Finding


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No Prefect, no hub, a cache of its own."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("EINFLUENCE_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def looked(store: str = "store") -> dict[str, Finding]:
    return {found.what: found for found in doctor.examine(store)}


def test_a_machine_that_can_run_lacks_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["einfluence", "doctor", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and said["ok"]
    found = {each["what"]: each for each in said["findings"]}
    assert {"python", "torch", "transformers", "peft", "prefect", "duckdb", "cache", "store", "cpu"} <= set(found)
    assert found["store"]["state"] == "note" and "none yet" in found["store"]["found"]
    assert found["model hub"]["found"] == "offline (HF_HUB_OFFLINE)"
    assert found["prefect server"]["state"] == "ok" and "starts one for itself" in found["prefect server"]["found"]


def test_a_package_of_another_version_or_none_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = doctor.version

    def version(name: str) -> str:
        if name in ("peft", "marimo"):
            raise PackageNotFoundError(name)
        return "0.151.2" if name == "fastapi" else real(name)

    monkeypatch.setattr(doctor, "version", version)
    found = looked()
    assert (found["peft"].state, found["peft"].found) == ("missing", "not installed")
    assert found["peft"].fix == "pip install 'peft>=0.21'"
    assert found["fastapi"].state == "missing" and found["fastapi"].found == "0.151.2, where <0.151 is needed"
    assert found["marimo (explore)"] == Finding(
        "marimo (explore)", "note", "not installed", "pip install 'einfluence[explore]'"
    )
    monkeypatch.setattr(sys, "argv", ["einfluence", "doctor", "--quiet"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out = capsys.readouterr().out
    assert ended.value.code == 1 and "✗ peft " in out and "pip install 'peft>=0.21'" in out and "✓" not in out


def test_a_store_that_is_there_and_one_of_another_version(tmp_path: Path) -> None:
    opened = Store(tmp_path / "store")
    write_marker(opened.files)
    opened.write_run({"started": "2026-01-01T00:00:00"})
    assert looked()["store"].found.endswith("1 run")
    marker = tmp_path / "store" / "einfluence.json"
    marker.write_text(json.dumps({**json.loads(marker.read_text()), "store_version": 1}))
    found = looked()["store"]
    assert found.state == "missing" and "--migrate" in found.fix


def test_a_place_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EINFLUENCE_CACHE", str(tmp_path / "file" / "cache"))
    found = looked()["cache"]
    assert found.state == "missing" and "EINFLUENCE_CACHE" in found.fix
    monkeypatch.setattr(doctor, "SPARE", float("inf"))
    assert looked()["disk of the store"].state == "note"


def test_a_server_that_is_named_and_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = "http://127.0.0.1:1/api"
    monkeypatch.setenv("PREFECT_API_URL", url)
    with temporary_settings({PREFECT_API_URL: url}):  # this process has read its settings before
        found = looked()["prefect server"]
    assert found.state == "missing" and url in found.found and "prefect server start" in found.fix


def test_prefect_is_asked_only_where_one_of_the_places_that_it_reads_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("flows.server.named_server", lambda: asked.append(1))
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert "none named" in looked()["prefect server"].found and asked == []
    (tmp_path / "pyproject.toml").write_text("[tool.prefect.api]\n")
    assert "none named" in looked()["prefect server"].found and asked == [1]
    monkeypatch.setenv("PREFECT_API_URL", "")
    (tmp_path / "pyproject.toml").unlink()
    looked()
    assert asked == [1, 1]


def test_a_hub_that_answers_and_one_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert looked()["model hub"] == Finding("model hub", "ok", "127.0.0.1 can be reached")
    found = looked()["model hub"]
    assert found.state == "note" and found.found.startswith("offline: 127.0.0.1 cannot be reached")


def test_what_fails_unforeseen_is_a_finding_and_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_cache", lambda: iter([1 / 0]))
    found = looked()
    assert found["cache"].state == "missing" and found["cache"].found.startswith("ZeroDivisionError")
    assert found["cpu"].state == "ok"
