"""Servers: a port for one of our own on the loopback interface, and its end; whether somebody else's is there."""

from __future__ import annotations

import socket
import subprocess
from typing import Any
from urllib.parse import urlsplit

from einfluence.errors import InputError

LOOPBACK = "127.0.0.1"
ANSWER = 10.0  # seconds that a server may take


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


def listening(name: str, address: str, server: str, port: int) -> None:
    """Refuses an address where nothing listens.

    Args:
        name: Of the runner that it is for.
        address: ``host:port``, with or without a protocol before it.
        server: What should be there, in words.
        port: Of one that is named as an example.

    Raises:
        InputError: When nothing does.
    """
    try:
        place = urlsplit(address if "://" in address else f"tcp://{address}")
        with socket.create_connection((place.hostname or "", place.port or 0), timeout=ANSWER):
            pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        expected = f"the address of {server} that runs, e.g. {name}://{LOOPBACK}:{port}"
        raise InputError("runner", f"'{name}://{address}' ({reason})", expected) from error
