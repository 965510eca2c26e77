"""A local page over a store that may still be growing, served by marimo on the loopback interface alone."""

from __future__ import annotations

import importlib.util
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from einfluence.errors import InputError
from einfluence.loopback import LOOPBACK, end, free_port

PATIENCE = 10.0  # seconds that marimo may take to end


def explore_command(store: Path, *, port: int, token: str, browser: bool = True) -> Sequence[str]:
    """The command that serves the page.

    Args:
        store: The store's folder.
        port: Where to listen.
        token: The secret in the address: nothing is served anywhere else.
        browser: Whether to open the reader's browser.

    Raises:
        InputError: When marimo, an optional dependency, is not installed.
    """
    if importlib.util.find_spec("marimo") is None:
        raise InputError("explore", "no marimo", "marimo to be installed", "pip install 'einfluence[explore]'")
    page = str(resources.files("einfluence.report.explore") / "app.py")
    command = [sys.executable, "-m", "marimo", "-q", "run", page, "--host", LOOPBACK, "--no-sandbox", "--no-check"]
    # A path that nobody can guess instead of marimo's token, which is lost in a redirect where cookies are not kept.
    command += ["--no-token", "--base-url", f"/{token}", "--port", str(port)]
    command += [] if browser else ["--headless"]
    return [*command, "--", "--store", str(store.resolve())]


def explore(
    store: Path, say: Callable[[str], object], *, port: int | None = None, token: str = "", browser: bool = True
) -> int:
    """Serves the page until interrupted; see :func:`explore_command`. Returns marimo's exit status.

    Args:
        store: The store's folder.
        say: Given the address, token included, once the page answers there.
        port: Where to listen; a free port otherwise.
        token: The secret in the address; a random one otherwise.
        browser: Whether to open the reader's browser.

    Raises:
        InputError: When the port is taken, marimo is not installed or does not start.
    """
    port, token = free_port(port), token or secrets.token_urlsafe(12)
    with _ended_with_us(explore_command(store, port=port, token=token, browser=browser)) as server:
        _await(port, server)
        say(f"http://{LOOPBACK}:{port}/{token}/")
        try:
            return server.wait()
        except KeyboardInterrupt:
            return 0


@contextmanager
def _ended_with_us(command: Sequence[str]) -> Generator[subprocess.Popen[bytes]]:
    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    server = subprocess.Popen(command)
    try:
        yield server
    finally:
        end(server, PATIENCE)
        signal.signal(signal.SIGTERM, before)


def _await(port: int, server: subprocess.Popen[bytes]) -> None:
    while server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((LOOPBACK, port)) == 0:
                return
        time.sleep(0.1)
    raise InputError("explore", f"marimo that ended with status {server.returncode}", "marimo that serves a page")
