"""A local page over a store that may still be growing, served by marimo on the loopback interface alone."""

from __future__ import annotations

import importlib.util
import secrets
import subprocess
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from einfluence.errors import InputError

HOST = "127.0.0.1"


def explore_command(store: Path, *, port: int | None = None, token: str = "", browser: bool = True) -> Sequence[str]:
    """The command that serves the page.

    Args:
        store: The store's folder.
        port: Where to listen; marimo chooses a free one otherwise.
        token: What the address must carry to be let in; a random one otherwise.
        browser: Whether to open the reader's browser.

    Raises:
        InputError: When marimo, an optional dependency, is not installed.
    """
    if importlib.util.find_spec("marimo") is None:
        raise InputError("explore", "no marimo", "marimo to be installed", "pip install 'einfluence[explore]'")
    page = str(resources.files("einfluence.report") / "explorer.py")
    command = [sys.executable, "-m", "marimo", "-q", "run", page, "--host", HOST, "--no-sandbox", "--no-check"]
    command += ["--token", "--token-password", token or secrets.token_urlsafe(12)]
    command += [] if port is None else ["--port", str(port)]
    command += [] if browser else ["--headless"]
    return [*command, "--", "--store", str(store.resolve())]


def explore(store: Path, *, port: int | None = None, token: str = "", browser: bool = True) -> int:
    """Serves the page until interrupted; see :func:`explore_command`. Returns marimo's exit status."""
    try:
        return subprocess.run(explore_command(store, port=port, token=token, browser=browser), check=False).returncode
    except KeyboardInterrupt:
        return 0
