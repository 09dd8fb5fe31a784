"""Fixtures that every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FUNCTIONAL = ROOT / "tests" / "functional"
#: Its one run over a small hospital is what coverage sees of whole runs.
MEASURED = FUNCTIONAL / "test_docs.py"
#: Need Chromium, and libraries that only `make test-browser` installs.
BROWSER = ROOT / "tests" / "browser"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests in a browser to those who ask for them by their mark."""
    return (collection_path == BROWSER and "browser" not in config.option.markexpr) or None


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what a whole run left out."""
    if "browser" not in config.option.markexpr and config.option.verbose >= 0:
        terminalreporter.write_line("left out: the tests in a browser (make test-browser)")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Measure no coverage of whole runs, but one: tracing costs two fifths of their time.

    Nearly all of that goes to lines of Great Expectations, Beam and Prefect.
    """
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = getattr(plugin, "cov_controller", None)
    if controller is None or item.path.parent != FUNCTIONAL or item.path == MEASURED:
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of the real extracts and oracles; tests skip, saying so, where it is absent."""
    folder = Path(os.environ.get("DRIPWATCH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the real extracts and oracles are not here (DRIPWATCH_SHARED)")
    return folder
