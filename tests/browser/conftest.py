"""A browser and a report for the tests that need one: `make test-browser`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.functional.refresh_site import dripwatch

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo of the README: the folder in DRIPWATCH_DEMO where it is one, else made here."""
    given = os.environ.get("DRIPWATCH_DEMO")
    if given and (Path(given) / "warehouse.duckdb").is_file():
        return Path(given)
    folder = tmp_path_factory.mktemp("browser") / "demo"
    done = dripwatch("demo", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless; without its sandbox only where it refuses one: as root."""
    if not Path(CHROMIUM).exists():
        pytest.fail("Chromium is not here: apt install chromium, or name one in CHROMIUM")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page at 1280 px, light."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    yield context.new_page()
    context.close()
