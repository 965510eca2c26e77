"""Prefect servers that are named and not there, and the servers that runs start for themselves."""

from __future__ import annotations

import http.server
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from einfluence.errors import InputError
from flows import server
from flows.database import Database
from tests.flows.test_runners import ENVIRONMENT, write_spec

Address = Callable[[], Generator[str]]


@contextmanager
def silent() -> Generator[str]:
    """Takes connections and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/api"


@contextmanager
def answering(status: int) -> Generator[str]:
    """Answers everything with one status and a page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        do_GET = do_POST = _answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as served:
        thread = threading.Thread(target=served.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{served.server_port}/api"
        served.shutdown()
        thread.join()


@contextmanager
def nothing(url: str) -> Generator[str]:
    """Whatever a setting may hold."""
    yield url


@pytest.mark.parametrize(
    ("address", "says"),
    [
        (lambda: nothing("http://127.0.0.1:9/api"), "prefect server start"),
        (lambda: nothing("http://prefect.invalid:4200/api"), "prefect server start"),
        (lambda: nothing("not a url"), "expected the API of a server, e.g. http"),
        (lambda: nothing("ftp://127.0.0.1/api"), "expected the API of a server, e.g. http"),
        (silent, "Timeout"),
        (lambda: answering(404), "404"),
        (lambda: answering(401), "PREFECT_API_KEY or PREFECT_API_AUTH_STRING"),
        (lambda: answering(403), "PREFECT_API_KEY or PREFECT_API_AUTH_STRING"),
        (lambda: answering(500), "500"),
        (lambda: answering(200), "where no Prefect server answers as it should"),
    ],
)
def test_a_server_that_is_named_and_does_not_answer_is_told_before_anything_is_done(
    address: Address, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "ANSWER", 1.0)
    with address() as url, temporary_settings({PREFECT_API_URL: url}):
        monkeypatch.setenv("PREFECT_API_URL", url)
        with pytest.raises(InputError, match=f"^PREFECT_API_URL: found {url}") as error:
            server.server_for_a_run()
        assert says in str(error.value)


def test_a_server_that_a_profile_names_is_taken_out_of_the_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        with pytest.raises(InputError, match="prefect config unset PREFECT_API_URL"):
            server.server_for_a_run()


def test_a_server_that_goes_away_is_told() -> None:
    with pytest.raises(InputError, match="PREFECT_API_URL: found no more answer .*What was finished is kept"):
        with server.its_loss_reported():
            raise httpx.ConnectError("refused")


def test_a_port_that_is_taken_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with socket.socket() as taken, temporary_settings(restore_defaults={PREFECT_API_URL}):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="--port: found .*free port"):
            with server.a_server(taken.getsockname()[1]):
                pass


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EINFLUENCE_CACHE", str(tmp_path))
    return tmp_path / "prefect"


def _file(database: Database) -> Path:
    return Path(database.settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"].removeprefix("sqlite+aiosqlite:///"))


def test_later_runs_begin_with_a_copy_of_the_empty_database(place: Path) -> None:
    first = Database()
    assert not _file(first).exists()  # Prefect makes it
    with closing(sqlite3.connect(_file(first))) as connection:
        connection.execute("create table made (once)")
        connection.execute("create table alembic_version as select 'a' as version_num")
        connection.commit()
    first.keep_empty()
    first.remove()
    second, third = Database(), Database()
    assert _file(second) != _file(third)
    for database in (second, third):
        with closing(sqlite3.connect(_file(database))) as connection:
            assert connection.execute("select count(*) from made").fetchall() == [(0,)]
        database.remove()
    assert [path.suffix for path in place.iterdir()] == [".db"]
    assert second.settings["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "false"
    [empty] = place.iterdir()
    empty.write_bytes(empty.read_bytes()[:5000])
    fourth = Database()
    assert fourth.settings["PREFECT_SERVER_DATABASE_MIGRATE_ON_START"] == "true" and not _file(fourth).exists()
    fourth.remove()
    second.doubt_empty()
    assert list(place.iterdir()) == []


def test_what_killed_runs_left_is_removed_and_what_lives_is_not(place: Path) -> None:
    alive, killed, young = Database(), Database(), Database()
    os.close(killed.lock)
    os.close(young.lock)
    for database in (alive, killed):
        os.utime(database.folder, (1, 1))
    last = Database()
    assert sorted(path for path in place.glob("run-*")) == sorted([alive.folder, young.folder, last.folder])


def test_a_cache_that_cannot_be_written_is_not_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("EINFLUENCE_CACHE", str(tmp_path / "file" / "x"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    database = Database()
    assert database.folder.is_relative_to(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    with pytest.raises(InputError, match="EINFLUENCE_CACHE or TMPDIR"):
        Database()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_several_first_runs_at_once_on_a_machine_where_prefect_never_ran(tmp_path: Path, gpt2_folder: Path) -> None:
    spec = write_spec(tmp_path, gpt2_folder)
    own = {name: str(tmp_path / "home" / name) for name in ("HOME", "PREFECT_HOME", "EINFLUENCE_CACHE")}
    (tmp_path / "home" / "HOME").mkdir(parents=True)
    environment = {name: value for name, value in {**ENVIRONMENT, **own}.items() if name != "PREFECT_API_URL"}
    runs = [
        subprocess.Popen(
            [
                sys.executable,
                "-m",
                "flows.cli",
                "run",
                str(spec),
                "--store",
                str(tmp_path / f"store{number}"),
                "--json",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for run in runs:
        out, err = run.communicate(timeout=600)
        assert run.returncode == 0, err
        assert json.loads(out)["computed"] == json.loads(out)["wanted"] > 0
    kept = [path.name for path in (tmp_path / "home" / "EINFLUENCE_CACHE" / "prefect").iterdir()]
    assert len(kept) == 1 and kept[0].startswith("empty-")
