"""A Prefect server of our own on loopback, where ``PREFECT_API_URL`` names none."""

from __future__ import annotations

import atexit
import gc
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

from einfluence.errors import InputError, first_line
from einfluence.loopback import LOOPBACK, end, free_port
from flows.database import Database

PATIENCE = 20.0  # seconds that a server may take to end
ANSWER = 10.0  # seconds that a server that is named may take to answer


@contextmanager
def a_server(port: int) -> Generator[str]:
    """The API of the server that ``PREFECT_API_URL`` names; without one, of a server on a port while this lasts.

    Raises:
        InputError: When the server that is named does not answer, the port is taken, or the server does not start.
    """
    given = named_server()
    if given:
        yield given
        return
    free_port(port, "Name another; if a Prefect server runs there, PREFECT_API_URL names it")
    server = _start(port, {})
    try:
        yield _ready(port, server)
    finally:
        end(server, PATIENCE)


def server_for_a_run() -> Callable[[], None]:
    """Starts a server for this process, if none is named, and returns at once: it takes seconds, which others can use.

    Prefect would start one by itself, but only where a flow begins, and would load the server's code here too. The
    server has a database of its own, unless the settings name one; both end with this process.

    Returns:
        To be called before the first flow: returns when the server answers.

    Raises:
        InputError: When the server that is named does not answer.
    """
    if named_server():
        return lambda: None
    database = None if _names_a_database() else Database()
    free = socket.socket()  # kept, so that no other run is given the port before the server listens
    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    free.bind((LOOPBACK, 0))
    port: int = free.getsockname()[1]
    if sys.platform != "linux":  # elsewhere a port that is kept cannot be listened on
        free.close()
    server = _start(port, {"PREFECT_UI_ENABLED": "false"}, database)
    waiting = threading.Thread(target=_warm, args=(_url(port), server), daemon=True)
    waiting.start()

    def end_both() -> None:  # after what Prefect still has to tell it
        end(server, PATIENCE if database is None else 0.0)  # a database that goes too needs no care
        free.close()
        if database is not None:
            database.remove()

    atexit.register(end_both)

    def until_it_answers() -> None:
        waiting.join()
        try:
            _ready(port, server)
        except InputError:
            if database is not None:
                database.doubt_empty()
            raise
        if database is not None:
            database.keep_empty()

    return until_it_answers


@contextmanager
def its_loss_reported() -> Generator[None]:
    """Says so when the server goes away while a run needs it.

    Raises:
        InputError: Instead of what Prefect's client raises.
    """
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        reason = (
            f"no more answer from the server at {os.environ.get('PREFECT_API_URL') or _setting()} ({first_line(error)})"
        )
        fix = "What was finished is kept; the same command resumes from there"
        raise InputError("PREFECT_API_URL", reason, "a server that answers as long as a run takes", fix) from error


def wait_for(url: str, server: subprocess.Popen[Any], seconds: float = 180.0) -> None:
    """Returns once a server answers.

    Raises:
        InputError: When it ends or does not answer in time.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    fix = "is the port taken? PREFECT_API_URL names a server that runs already"
    raise InputError("Prefect", f"no server at {url}", "a server that answers", fix)


def _warm(url: str, server: subprocess.Popen[Any]) -> None:
    """Asks a server for something as soon as it answers: its first request takes it longer than a flow should wait."""
    with suppress(InputError, OSError):
        wait_for(url, server)
        with urllib.request.urlopen(f"{url}/admin/version", timeout=ANSWER):
            pass


def named_server() -> str | None:
    """The server that the environment or the profile names.

    Raises:
        InputError: When it does not answer, or does not let us in.
    """
    url = _setting()
    if not url:
        return None
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    quick: dict[Any, Any] = {PREFECT_API_REQUEST_TIMEOUT: ANSWER, PREFECT_CLIENT_MAX_RETRIES: 0}
    try:
        with temporary_settings(quick), get_client(sync_client=True) as client:
            client.read_flow_runs(limit=1)  # that it lets us in counts too
    except (
        Exception
    ) as error:  # a URL that is none, a name that nobody knows, a wrong login, another program's page, ...
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            fix = "PREFECT_API_KEY or PREFECT_API_AUTH_STRING holds the login"
        elif "PREFECT_API_URL" in os.environ:
            fix = "Start it (`prefect server start`), or unset PREFECT_API_URL: a run then starts a server for itself"
        else:
            fix = "`prefect config unset PREFECT_API_URL` clears your profile: a run then starts a server for itself"
        found = f"{url}, where no Prefect server answers as it should ({first_line(error)})"
        raise InputError(
            "PREFECT_API_URL", found, "the API of a server, e.g. http://127.0.0.1:4200/api", fix
        ) from error
    return url


def _setting() -> str | None:
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value()


def _names_a_database() -> bool:
    """Whether the settings say where Prefect's data goes; by default that is one file for all servers of a user."""
    from prefect.settings import PREFECT_HOME, PREFECT_SERVER_DATABASE_CONNECTION_URL

    usual = f"sqlite+aiosqlite:///{PREFECT_HOME.value()}/prefect.db"
    url = PREFECT_SERVER_DATABASE_CONNECTION_URL.value()
    return (url.get_secret_value() if hasattr(url, "get_secret_value") else url) != usual


def _start(port: int, more: dict[str, str], database: Database | None = None) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flows.server", str(port)]
    ours = {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_UI_API_URL": _url(port), **more}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    if database is not None:
        ours |= database.settings
        pipes["pass_fds"] = [database.lock]  # held by the server too, should this process be killed
    return subprocess.Popen[bytes](command, env={**os.environ, **ours}, **pipes)


def _ready(port: int, server: subprocess.Popen[bytes]) -> str:
    """Waits for a server and makes it the one that this process and its children talk to."""
    from prefect.context import refresh_global_settings_context

    wait_for(_url(port), server)
    os.environ["PREFECT_API_URL"] = _url(port)
    refresh_global_settings_context()
    return _url(port)


def _serve(port: str) -> None:
    """Serves until it gets a signal to end, or until whoever started this process has ended, however it did."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    gc.disable()  # what imports make stays: to look for garbage among it takes a fifth of the time to start
    import_module("prefect.server.api.server")
    gc.freeze()
    gc.enable()
    sys.argv = ["prefect", "server", "start", "--host", LOOPBACK, "--port", port]
    runpy.run_module("prefect", run_name="__main__")


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()  # the pipe closes when its other end is gone, killed processes included
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/api"


if __name__ == "__main__":
    _serve(sys.argv[1])
