from __future__ import annotations

import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from einfluence.report.explore import explore_command

pytest.importorskip("marimo", reason="einfluence[explore] is not installed")


def test_the_page_is_served_on_the_loopback_alone_and_asks_for_a_token(tmp_path: Path) -> None:
    command = list(explore_command(tmp_path))
    assert command[command.index("--host") + 1] == "127.0.0.1"
    tokens = {explore_command(tmp_path)[command.index("--token-password") + 1] for _ in range(3)}
    assert len(tokens) == 3


@pytest.mark.slow
@pytest.mark.browser
def test_explore_answers_sql_and_refuses_to_write(chromium: Any, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = explore_command(_store(tmp_path), port=port, token="word", browser=False)
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(port)
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{port}/?access_token=word")
        page.get_by_role("button", name="Run").wait_for(timeout=120_000)
        for query, answer in (("drop view samples", "a DROP statement"), ("select 6 * 7 as n", "42")):
            page.locator(".cm-content").first.click()
            page.keyboard.press("Control+a")
            page.keyboard.type(query)
            page.get_by_role("button", name="Run").click()
            page.get_by_text(answer).first.wait_for(timeout=60_000)
        page.close()
    finally:
        server.terminate()
        server.wait()


def _store(folder: Path) -> Path:
    from einfluence.store.store import Store

    return Store(folder / "store").root


def _wait(port: int) -> None:
    for _ in range(240):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise AssertionError("the page was not served within two minutes")
