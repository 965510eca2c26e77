"""Servers of our own on the loopback interface: a port for one, and its end."""

from __future__ import annotations

import socket
import subprocess
from typing import Any

from einfluence.errors import InputError

LOOPBACK = "127.0.0.1"


def free_port(port: int | None, fix: str = "") -> int:
    """The requested port, if nothing listens there; any free one for None.

    Raises:
        InputError: When it is taken; ``fix`` says what to do.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port or 0))
        except OSError as error:
            raise InputError("--port", f"{port} ({error.strerror})", "a free port of this machine", fix) from error
        return int(probe.getsockname()[1])


def end(server: subprocess.Popen[Any], patience: float) -> None:
    """Ends a server, by force where it takes longer than so many seconds."""
    server.terminate()
    try:
        server.wait(patience)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
