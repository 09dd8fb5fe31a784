"""A small site over a synthetic hospital, for tests of whole runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from unittest.mock import patch

import pytest

from expectations import docs, suites
from flows import stages
from flows.console import SilentConsole
from flows.init import site_toml, write_new
from flows.refresh import refresh
from flows.run import RunResult
from pipelines.base.files import make_private
from pipelines.base.site import Site, load_site
from pipelines.simulate import simulate
from tests.checks_staging import as_sql_says
from warehouse.digest import digest

NIGHTS = 2
KEY = "5f" * 8 + "0123456789abcdef" * 3
CLI = "from flows.cli import main; main()"


@pytest.fixture(scope="session")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Deliveries of two nights, their mapping and the truth; read only."""
    folder = tmp_path_factory.mktemp("hospital") / "made"
    simulate(8, "refresh-tests", NIGHTS, 0.02, folder)
    return folder


def make_site(root: Path, hospital: Path, **tables: dict[str, object]) -> Site:
    """Make a site whose inbox is empty; tables of site.toml may be given."""
    settings: dict[str, dict[str, object]] = {
        "site": {
            "id": "north",
            "zone": "America/New_York",
            "studies": ["iv_bisphosphonate"],
            "row_level": "internal",
            "synthetic": True,
        },
        "resources": {"buckets": 2, "memory_limit": "1GB"},
    }
    for name, table in tables.items():
        settings[name] = {**settings.get(name, {}), **table}
    make_private(root / "restricted")
    (root / "inbox").mkdir()
    write_new(root / "restricted" / "site.key", KEY, 0o600)
    is_fhir = (hospital / "fhir.toml").exists()
    mapping = "fhir.toml" if is_fhir else "mapping.toml"
    shutil.copy(hospital / mapping, root / mapping)
    kind = "fhir" if is_fhir else "flat"
    source = {"name": "ehr", "kind": kind, "mapping": mapping, "path": "inbox"}
    write_new(root / "site.toml", site_toml(settings, [source]), 0o644)
    return load_site(root / "site.toml")


def deliver(site: Site, hospital: Path, *nights: int) -> None:
    """Let the deliveries of some nights arrive."""
    for night in nights:
        name = f"night-{night:03d}"
        shutil.copytree(hospital / "deliveries" / name, site.root / "inbox" / name)


def run(site: Site, *, with_gx: bool = False) -> RunResult:
    """Refresh in this process.

    Great Expectations takes longer than all the rest of a small night. It judges where a test is
    about a whole run, and wherever the command is run; elsewhere the SQL pass speaks for both.
    The report's pictures take as long again, and are drawn where the command is run alone.
    """
    with nullcontext() if with_gx else without_gx(), without_page():
        return refresh(site, console=SilentConsole())


def without_page() -> AbstractContextManager[object]:
    """Let no report be drawn."""
    return patch.object(stages, "write_page", lambda _context: "")


@contextmanager
def without_gx() -> Iterator[None]:
    """Let the SQL pass speak for Great Expectations, too."""
    with patch.object(suites, "run", as_sql_says), patch.object(docs, "_gx_body", _no_page):
        yield


def _no_page(_event_type: str, _verdicts: object) -> str:
    return ""


def state(site: Site) -> str:
    return digest(site.warehouse, "state").value


def dripwatch(
    *arguments: str | Path, seconds: float = 280, **environment: str
) -> subprocess.CompletedProcess[str]:
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    return subprocess.run(
        [sys.executable, "-P", "-c", CLI, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**kept, **environment},
        cwd="/",
        check=False,
        timeout=seconds,
    )
