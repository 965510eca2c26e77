from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from einfluence.errors import InputError
from einfluence.report.explore import explore, explore_command
from tests.removals import Removals
from tests.store.made_up import prepared

pytest.importorskip("marimo", reason="einfluence[explore] is not installed")


@pytest.mark.parametrize("browser", [True, False])
def test_the_page_is_on_the_loopback_alone_and_its_address_is_printed(tmp_path: Path, browser: bool) -> None:
    store, said = prepared(tmp_path / "store").root, tmp_path / "said.txt"
    command = [sys.executable, "-m", "flows.cli", "explore", "--store", str(store)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "BROWSER": "no-such-browser"}
    with open(said, "wb") as out:
        server = subprocess.Popen(
            [*command, *([] if browser else ["--no-browser"])], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        address = _until(lambda: re.search(r"http://127\.0\.0\.1:\d+/[\w-]{12,}/", said.read_text()))[0]
        with urllib.request.urlopen(address, timeout=60) as page:
            assert "einfluence explore" in page.read().decode()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen("/".join(address.split("/")[:3]), timeout=60)
        with pytest.raises(InputError, match="--port: found .*free port"):
            explore(store, print, port=int(address.split("/")[2].split(":")[1]))
    finally:
        server.terminate()
        assert server.wait(30) == 0
    _until(lambda: _closed(int(address.split("/")[2].split(":")[1])))


def _closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _until(done: Callable[[], Any]) -> Any:
    end = time.monotonic() + 120
    while not (found := done()):
        assert time.monotonic() < end, "nothing came of it in two minutes"
        time.sleep(0.2)
    return found


@pytest.mark.browser
def test_explore_has_the_rooms_of_the_report_by_day_and_by_night_and_answers_sql(
    chromium: Any, removals: Removals
) -> None:
    _, store, _ = removals
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = explore_command(store.root, port=port, token="word", browser=False)
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _until(lambda: not _closed(port))
        page = chromium.new_page(viewport={"width": 1440, "height": 900}, color_scheme="light")
        page.goto(f"http://127.0.0.1:{port}/word/")
        page.get_by_role("tab", name="Actions").wait_for(timeout=120_000)
        rooms = [tab.inner_text() for tab in page.get_by_role("tab").all()]
        assert rooms == ["Verdict", "Matrix", "Training set", "Actions", "Distance", "One probe"]  # and no estimates
        colours = set[tuple[str, str, str]]()
        for width, scheme in ((1440, "light"), (1440, "dark"), (390, "dark"), (390, "light")):
            page.set_viewport_size({"width": width, "height": 900})
            page.emulate_media(color_scheme=scheme)
            for room, text in (
                ("Training set", "Samples to look at, by"),
                ("Actions", "Removed samples"),
                ("Matrix", "brown hurt, blue helped"),
            ):
                page.get_by_role("tab", name=room).click()
                shown = page.get_by_text(text).locator("visible=true")
                shown.first.wait_for(timeout=30_000)
                assert shown.count() == 1, room  # of two heat maps that of the scheme
            ink = (
                page.locator(".room")
                .locator("visible=true")
                .evaluate("room => getComputedStyle(room).getPropertyValue('--ink')")
            )
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            colours.add((scheme, ink, paper))
        assert [len(set(column)) for column in zip(*colours, strict=True)] == [2, 2, 2]  # at either width the same
        _ask(page)
        page.close()
    finally:
        server.terminate()
        server.wait()


def _ask(page: Any) -> None:
    for query, answer in (("drop view samples", "a DROP statement"), ("select 6 * 7 as n", "42")):
        page.locator(".cm-content").first.click()
        page.keyboard.press("Control+a")
        page.keyboard.type(query)
        page.get_by_role("button", name="Run").click()
        page.get_by_text(answer).first.wait_for(timeout=30_000)
