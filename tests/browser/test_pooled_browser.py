"""The report of pooled hospitals in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.looks import overlapping, severe
from tests.pooled_kit import HOSPITALS, pooled_file
from warehouse.pooled_report import write_pooled_report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", params=[len(HOSPITALS), 1])
def pooled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of six hospitals, of which one masks; and of one alone."""
    folder = tmp_path_factory.mktemp("pooled")
    file = pooled_file(folder / "pooled.duckdb", tuple(HOSPITALS)[: request.param])
    return write_pooled_report(file, folder / "pooled.html", known=["castle"]).path


def test_nothing_is_asked_of_anybody_and_the_console_is_silent(page: Page, pooled: Path) -> None:
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.goto(pooled.as_uri())
    page.wait_for_load_state("networkidle")
    assert asked == [pooled.as_uri()]
    assert said == []
    assert "SYNTHETIC" in page.inner_text("body")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_can_be_read_by_all(
    browser: Browser, pooled: Path, width: int, scheme: Any
) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto(pooled.as_uri())
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    assert not severe(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sizes = page.eval_on_selector_all(
        "svg text", "all => all.map(text => text.getBoundingClientRect().height)"
    )
    assert min(sizes, default=10) > 9
    assert not overlapping(page)
    context.close()


def test_a_masked_hospital_is_drawn_as_a_bar_without_a_dot(page: Page, pooled: Path) -> None:
    """Lines of the fever plot: five hospitals with a dot, one with a pale bar, one pooled bar."""
    page.goto(pooled.as_uri())
    plots = page.locator('figure[id^="s1-forest-"]').filter(has_text="Fever")
    plot = plots.locator("svg")
    n_dots = plot.locator(".mark-symbol path").count()
    bars = plot.locator('line[stroke-opacity="0.45"]').count()
    assert (n_dots, bars) == ((5, 2) if "hill" in page.inner_text("main") else (1, 0))
