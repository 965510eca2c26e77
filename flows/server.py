"""A Prefect server of our own on loopback, where ``PREFECT_API_URL`` names none."""

from __future__ import annotations

import atexit
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
from contextlib import contextmanager
from typing import Any

from einfluence.errors import InputError

LOOPBACK = "127.0.0.1"
PATIENCE = 20.0  # seconds that a server may take to end


@contextmanager
def a_server(port: int) -> Generator[str]:
    """The API of the server that ``PREFECT_API_URL`` names; without one, of a server on a port while this lasts.

    Raises:
        InputError: When it does not start.
    """
    given = _given()
    if given:
        yield given
        return
    server = _start(port, {})
    try:
        yield _ready(port, server)
    finally:
        _stop(server)


def server_for_a_run() -> Callable[[], None]:
    """Starts a server for this process, if none is named, and returns at once: it takes seconds, which others can use.

    Prefect would start one by itself, but only where a flow begins, and would load the server's code here too.

    Returns:
        To be called before the first flow: returns when the server answers. The server ends with this process, after
        what Prefect still has to tell it.
    """
    if _given():
        return lambda: None
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port: int = free.getsockname()[1]
    server = _start(port, {"PREFECT_UI_ENABLED": "false"})
    atexit.register(_stop, server)
    return lambda: _ready(port, server) and None


def wait_for(url: str, server: subprocess.Popen[Any], seconds: float = 180.0) -> None:
    """Returns once a server answers.

    Raises:
        InputError: When it ends or does not answer in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    fix = "is the port taken? PREFECT_API_URL names a server that runs already"
    raise InputError("Prefect", f"no server at {url}", "a server that answers", fix)


def _given() -> str | None:
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value()


def _start(port: int, more: dict[str, str]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "flows.server", str(port)]
    ours = {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_UI_API_URL": _url(port), **more}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, **ours}, **pipes)


def _ready(port: int, server: subprocess.Popen[bytes]) -> str:
    """Waits for a server and makes it the one that this process and its children talk to."""
    from prefect.context import refresh_global_settings_context

    wait_for(_url(port), server)
    os.environ["PREFECT_API_URL"] = _url(port)
    refresh_global_settings_context()
    return _url(port)


def _serve(port: str) -> None:
    """Serves until it is told to end, or until whoever started this process has ended, however it did."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    sys.argv = ["prefect", "server", "start", "--host", LOOPBACK, "--port", port]
    runpy.run_module("prefect", run_name="__main__")


def _end_with_stdin() -> None:
    sys.stdin.buffer.read()  # the pipe closes when its other end is gone, killed processes included
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/api"


if __name__ == "__main__":
    _serve(sys.argv[1])
