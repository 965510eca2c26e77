"""The page in a real Chromium; screenshots are left in tests/report/screenshots (ignored by git)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from einfluence.report import write_report
from einfluence.visible import visible
from tests.report.tables import grid_store, tall_store

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).parent / "screenshots"
Open = Callable[..., Any]
PROBES = "probes join probe_members using (probe_id) join samples using (sample_id)"
RULES = ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]


@pytest.fixture
def opened(chromium: Any, page_file: Path) -> Iterator[Open]:
    """Opens the page; afterwards nothing may have been logged, thrown or fetched."""
    pages: list[Any] = []
    heard: list[str] = []

    def open_page(width: int = 1440, scheme: str = "light", address: str = "", **more: Any) -> Any:
        page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme, **more)
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: heard.append(request.url) if not _own(request.url, page_file) else None)
        page.goto(page_file.as_uri() + address)
        pages.append(page)
        return page

    yield open_page
    for page in pages:
        if page.evaluate("typeof window.pwned") != "undefined":
            heard.append("a sample's text was run as code")
        page.close()
    assert heard == []


def _own(url: str, page_file: Path) -> bool:
    return url.startswith(("data:", "blob:")) or url.split("#")[0] == page_file.as_uri()


def _count(store: duckdb.DuckDBPyConnection, query: str) -> int:
    return store.execute(query).fetchall()[0][0]


def _settle(page: Any) -> None:
    """Scrolls through the page, so that everything that waits to be seen is drawn."""
    page.evaluate(
        "async () => { for (let y = 0; y < document.body.scrollHeight; y += 700) {"
        " scrollTo({top: y, behavior: 'instant'}); await new Promise(done => setTimeout(done, 30)); }"
        " scrollTo({top: 0, behavior: 'instant'}); }"
    )
    page.wait_for_function("document.querySelectorAll('.stage:not([data-ready])').length === 0")
    page.wait_for_selector("#probe-detail h3")


def _marks(page: Any, figure: str) -> int:
    return page.locator(f"[data-figure={figure}] .chart-wide [aria-roledescription=point]").count()


def test_every_section_has_the_marks_that_sql_counts(opened: Open, store: duckdb.DuckDBPyConnection) -> None:
    page = opened()
    text = "base = (select base from bases where modality = 'text')"
    image = "base = (select base from bases where modality = 'image')"
    elsewhere = "('asymmetry', 'layer_restoration', 'prompt_rescue')"
    lines = f"select count(*) from desiderata where {text} and desideratum not in {elsewhere} and variant <> 'nats'"
    assert _marks(page, "scorecard-text") == _count(store, lines)
    rescued = f"select count(*) from desiderata where {text} and desideratum = 'prompt_rescue'"
    assert _marks(page, "rescue-text") == _count(store, rescued)
    kinds = "('paraphrase', 'negation', 'entailed', 'reversed', 'sibling')"
    pairs = "influence join relations using (probe_id, query_id)"
    slopes = f"select count(distinct (recipe, kind)) from {pairs} where {text} and kind in {kinds}"
    assert _marks(page, "arms-text") == _count(store, slopes)
    levels = (
        "select count(distinct (recipe, noise, level)) from influence join probe_members using (probe_id) "
        f"join samples using (sample_id) where {image} and noise <> 'label_flip'"
    )
    assert _marks(page, "noise-quality-image") == _marks(page, "noise-invariance-image") == _count(store, levels)
    tiles = page.locator("[data-figure=restored-text-0] .chart-wide .mark-rect path[aria-label]")
    lost = f"select count(*) from desiderata where {text} and desideratum = 'layer_restoration'"
    places = 4
    assert tiles.count() == _count(store, lost) / 2 + places  # of one of two arms, and a row for the size of its change
    tiles = page.locator("[data-figure=layers-text-0] .chart-wide .mark-rect path[aria-label]")
    assert tiles.count() == _count(store, f"select count(distinct parameter) from layer_updates where {text}")
    shown = page.locator(".levels img").count()
    per_level = "select count(distinct (noise, level)) + count(distinct noise) from samples where noise <> 'label_flip'"
    assert shown == 3 * _count(store, per_level)


def test_heat_maps_are_drawn_though_nobody_scrolls_to_them(opened: Open) -> None:
    page = opened()
    page.wait_for_function("document.querySelectorAll('.stage:not([data-ready])').length === 0")
    assert page.evaluate("scrollY") == 0 and page.locator(".stage canvas").count() > 1


def test_pointing_at_a_cell_names_both_samples_and_the_nats_of_sql(
    opened: Open, store: duckdb.DuckDBPyConnection
) -> None:
    page = opened()
    stage = page.locator("[data-part='0'] .heatmap:not(.skew) .stage")
    stage.scroll_into_view_if_needed()
    page.wait_for_selector("[data-part='0'] .heatmap:not(.skew) .stage[data-ready]")
    box = stage.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.6)
    panel = page.locator("[data-part='0'] .inspector")
    panel.locator("h4").first.wait_for()
    probe, query = panel.locator(".sample").all_inner_texts()
    number = panel.locator(".figure-number").inner_text().split()[0].replace("\u2212", "-")
    found = store.execute(
        "select influence from influence join probe_members using (probe_id) "
        "join samples as mine on mine.sample_id = probe_members.sample_id "
        "join samples as other on other.sample_id = query_id join recipes using (recipe) "
        "where concat(mine.prompt, ' ', mine.target) = $1 and concat(other.prompt, ' ', other.target) = $2 "
        "and recipes.label like '%AdamW%'",
        [probe, query],
    ).fetchall()
    assert float(number) == pytest.approx(found[0][0], abs=0.006)


def test_the_heat_map_is_walked_zoomed_and_left_by_keyboard(opened: Open) -> None:
    page = opened()
    stage = page.locator("[data-part='1'] .heatmap:not(.skew) .stage")
    stage.scroll_into_view_if_needed()
    page.wait_for_selector("[data-part='1'] .heatmap:not(.skew) .stage[data-ready]")
    stage.focus()
    for key in ("ArrowRight", "ArrowDown", "+", "-", "0"):
        page.keyboard.press(key)
    panel = page.locator("[data-part='1'] .inspector")
    assert "class" in panel.inner_text() and panel.locator(".thumb").count() == 2
    panel.get_by_role("link", name="All about this probe").click()
    page.wait_for_function("location.hash.startsWith('#probe=')")
    assert page.locator("#probe-detail .thumb").count() > 0


def test_another_arm_and_dark_colours_are_drawn_at_once(opened: Open) -> None:
    page = opened()
    stage = page.locator("[data-part='0'] .heatmap:not(.skew) .stage")
    stage.scroll_into_view_if_needed()
    page.wait_for_selector("[data-part='0'] .heatmap:not(.skew) .stage[data-ready]")
    picture = "document.querySelector(\"[data-part='0'] .stage canvas\").toDataURL()"
    first = page.evaluate(picture)
    page.get_by_role("radio", name="in the prompt").check()
    page.wait_for_timeout(200)
    second = page.evaluate(picture)
    page.get_by_role("button", name="Dark").click()
    page.wait_for_timeout(200)
    assert len({first, second, page.evaluate(picture)}) == 3
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 22, 26)"


def test_a_probe_is_found_by_its_words_and_shown_with_its_relations(
    opened: Open, store: duckdb.DuckDBPyConnection
) -> None:
    page = opened()
    page.locator("#probe").scroll_into_view_if_needed()
    page.get_by_role("searchbox").fill("Vask20")
    links = page.locator("#results a")
    assert links.count() == _count(store, f"select count(*) from {PROBES} where target like '%Vask20%'")
    links.first.click()
    page.locator("#probe-detail h3", has_text="trade/20").wait_for()
    rows = page.locator("#probe-detail .arm").first.locator("table").first.locator("tbody tr")
    claims = "relations join probes using (probe_id) where name = 'trade/20' and relations.kind <> 'unrelated'"
    assert rows.count() == _count(store, f"select count(*) from {claims}")


def test_the_address_of_a_probe_opens_it(opened: Open, store: duckdb.DuckDBPyConnection) -> None:
    probe = store.execute("select probe_id from probes where name = 'kinship/7'").fetchall()[0][0]
    opened(address=f"#probe={probe}").locator("#probe-detail h3", has_text=re.compile("^kinship/7$")).wait_for()
    page = opened(address="#probe=%3Cb%3Enobody")
    page.locator("#results li").first.wait_for()  # what the section shows when it comes into sight has been drawn
    assert "No probe called <b>nobody" in page.locator("#probe-detail").inner_text()
    opened(address="#probe=%E0%A4%A")


def test_a_probe_says_how_likely_each_query_was_and_of_what_it_is_no_part(
    opened: Open, store: duckdb.DuckDBPyConnection
) -> None:
    page = opened(address="#probe=kinship/7")
    page.locator("#probe-detail .arm").first.wait_for()
    odds = page.locator("#probe-detail .arm").nth(1).locator(".odds").first.inner_text()
    found = store.execute(
        "select exp(logprob_before) from influence join relations using (probe_id, query_id) "
        "join probes using (probe_id) join recipes using (recipe) "
        "where name = 'kinship/7' and relations.kind = 'self' and recipes.label like '%SGD%' and base like 'b%'"
    ).fetchall()[0][0]
    kind, before = odds.split(" → ")[0].split(" · ")
    assert kind == "self" and float(before.rstrip("%")) / 100 == pytest.approx(found, rel=0.1, abs=0.0006)
    assert "for want of such a query: contrapositive." in page.locator("#probe-detail .excluded").first.inner_text()
    assert "a damaged version has" in opened(address="#probe=digit/3%2Bblur-1").locator("#probe-detail").inner_text()
    assert "✗ failed: the loss is nan" in opened(address="#probe=geography/3").locator("#probe-detail").inner_text()


def test_a_matrix_too_tall_is_shown_as_means_with_single_cells_to_drill_down_to(chromium: Any, tmp_path: Path) -> None:
    made = write_report(tall_store(), tmp_path / "tall.html", run={})
    page = chromium.new_page(viewport={"width": 1440, "height": 900})
    page.goto(made.as_uri())
    stage = page.locator(".heatmap:not(.skew) .stage")
    stage.scroll_into_view_if_needed()
    page.wait_for_selector(".heatmap:not(.skew) .stage[data-ready]")
    panel, number = page.locator(".inspector"), page.locator(".inspector .figure-number")
    stage.focus()
    assert "mean of up to 2 cells" in panel.inner_text()
    page.get_by_role("radio", name="single cells of a random 256 × 40").check()
    page.wait_for_function("!document.querySelector('.inspector').textContent.includes('mean of')")
    page.keyboard.press("Tab")
    stage.focus()
    page.keyboard.press("ArrowUp")
    word = int(panel.locator(".sample").first.inner_text().split()[1])
    query = int(panel.locator(".sample").nth(1).inner_text().split()[1])
    assert float(number.inner_text().split()[0]) == pytest.approx((word + query / 100) / 1000, abs=0.006)
    page.close()


@pytest.mark.parametrize("index", range(6))
def test_hostile_text_is_shown_as_text(opened: Open, store: duckdb.DuckDBPyConnection, index: int) -> None:
    query = f"select probe_id, target from {PROBES} where probes.name = $1"
    probe, target = store.execute(query, [f"geography/{index}"]).fetchall()[0]
    page = opened(address=f"#probe={probe}")
    assert visible(target) in page.locator("#probe-detail blockquote").evaluate("node => node.textContent")
    assert page.locator("#probe-detail img, #probe-detail script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_its_screen(opened: Open, width: int, scheme: str) -> None:
    page = opened(width, scheme)
    _settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"report-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize("width", [390, 1440])
def test_a_page_of_many_arms_fits_its_screen_and_has_the_marks_that_sql_counts(
    chromium: Any, tmp_path: Path, width: int
) -> None:
    store = grid_store()
    page = chromium.new_page(viewport={"width": width, "height": 900})
    page.goto(write_report(store, tmp_path / "grid.html", run={}).as_uri())
    _settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    elsewhere = "desideratum in ('layer_restoration', 'prompt_rescue') or variant = 'nats'"
    recipes = f"desiderata where estimator = 'finetune' and not ({elsewhere})"
    assert _marks(page, "recipes-text") == _count(store, f"select count(*) from {recipes}")
    arms = _count(store, "select count(distinct (estimator, recipe)) from influence")
    assert page.locator(".verdicts.many tbody tr").first.locator("td").count() == arms == 7
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"grid-{width}.png", full_page=True)
    page.close()


@pytest.mark.parametrize(("width", "scheme", "left_out"), [(390, "light", []), (1440, "dark", [["figure svg"]])])
def test_axe_finds_no_fault(opened: Open, width: int, scheme: str, left_out: list[list[str]]) -> None:
    """Inside the charts every mark is alike: they are gone through once, their colours in test_theme.py."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = opened(width, scheme)
    _settle(page)
    found = axe.Axe().run(page, context={"include": [["html"]], "exclude": left_out}, options={"runOnly": RULES})
    assert [(item["id"], [node["target"] for node in item["nodes"]][:3]) for item in found.response["violations"]] == []


def test_the_verdict_can_be_read_without_javascript_and_printed(opened: Open) -> None:
    page = opened(java_script_enabled=False)
    assert page.locator(".verdicts .badge").count() > 20
    page.emulate_media(media="print")
    assert not page.locator("nav.contents").is_visible()
