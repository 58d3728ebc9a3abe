"""Both pages in a real browser, with scripts and without: nothing fails, nothing is fetched, and nothing a stranger named runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from crossgeo.engine.explain import Explanation, save_page


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for the module."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def query_path(told: Explanation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "query.html"
    save_page(path, told, "geo query a.jpg")
    return path


def opened(browser: Browser, path: Path, said: list[str], scripts: bool = True, width: int = 1200, dark: bool = False) -> Page:
    """Open a page in a context of its own; `said` gets what it complains of and what it asks for."""
    scheme = "dark" if dark else "light"
    context = browser.new_context(java_script_enabled=scripts, viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else said.append(request.url))
    page.goto(path.as_uri())
    return page


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("width", [1200, 360])
def test_pages_open_without_a_word_and_fit_the_screen(
    browser: Browser, query_path: Path, report_path: Path, scripts: bool, width: int
) -> None:
    for path in (query_path, report_path):
        said: list[str] = []
        page = opened(browser, path, said, scripts, width)
        assert page.get_by_role("heading", level=1).is_visible()
        assert page.locator("img").count() > 5
        if scripts:
            assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.context.close()
        assert said == [], path.name


@pytest.mark.parametrize("dark", [False, True])
def test_no_serious_finding_of_axe_in_either_scheme(browser: Browser, query_path: Path, report_path: Path, dark: bool) -> None:
    for path in (query_path, report_path):
        page = opened(browser, path, [], dark=dark)
        found = Axe().run(page).response["violations"]
        page.context.close()
        assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == [], found


def test_a_report_is_sorted_and_filtered(browser: Browser, report_path: Path) -> None:
    page = opened(browser, report_path, [])
    rows = page.locator("table.answers tbody tr")
    page.get_by_role("button", name="score").click()
    scores = [row.get_attribute("data-score") for row in rows.all()]
    numbers = [float(score) for score in scores if score]
    assert numbers == sorted(numbers) and scores[len(numbers) :] == ["", ""], "what has none comes last"
    page.get_by_role("button", name="score").click()
    assert [row.get_attribute("data-score") for row in rows.all()][: len(numbers)] == [f"{number:g}" for number in sorted(numbers)[::-1]]
    page.get_by_label("Status").select_option("located")
    assert page.get_by_text("2 of 6 rows").is_visible()
    assert [row.get_attribute("data-status") for row in rows.all() if row.is_visible()] == ["located", "located"]
    page.get_by_label("Search").fill("no picture")
    assert page.get_by_text("1 of 6 rows").is_visible()
    page.context.close()


def test_without_scripts_every_row_is_there_and_no_tool_is_shown(browser: Browser, report_path: Path) -> None:
    page = opened(browser, report_path, [], scripts=False)
    assert sum(row.is_visible() for row in page.locator("table.answers tbody tr").all()) == 6
    assert not page.get_by_label("Search").is_visible()
    page.context.close()
