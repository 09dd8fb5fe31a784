"""What `doctor` says about the installation itself, whatever the site."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from flows.reply import OUR_PACKAGES, version

Level = Literal["ok", "warn", "fail"]

#: Distributions whose versions decide what a run does.
PACKAGES = (
    "apache-beam",
    "duckdb",
    "fastavro",
    "great-expectations",
    "polars",
    "prefect",
    "pyarrow",
    "tzdata",
)


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `ok`, `warn` (works, but) or `fail` (tonight's run would fail)."""

    level: Level
    what: str
    found: str
    remedy: str = ""


def installation() -> Iterator[Finding]:
    """Yield what there is to say about interpreter, libraries and our own packages."""
    yield Finding("ok", "dripwatch", version())
    good = sys.version_info >= (3, 11)
    yield Finding(
        "ok" if good else "fail",
        "python",
        f"{sys.version.split()[0]} ({sys.executable})",
        "" if good else "Install Python 3.11 or newer.",
    )
    for name in PACKAGES:
        yield _package(name)
    yield from _imports()
    yield _safe_path()


def _package(name: str) -> Finding:
    try:
        return Finding("ok", name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding("fail", name, "not installed", "pip install -r requirements.lock")


def _imports() -> Iterator[Finding]:
    """Folder names are import names, and generic ones: another `flows` could be found first."""
    home = Path(__file__).parents[1]
    for name in OUR_PACKAGES:
        spec = importlib.util.find_spec(name)
        places = list(spec.submodule_search_locations or []) if spec else []
        is_ours = bool(places) and Path(places[0]).resolve().parent == home.resolve()
        yield Finding(
            "ok" if is_ours else "fail",
            f"package {name}",
            ", ".join(places) or "not found",
            "" if is_ours else "Another package of this name comes first: use an own venv.",
        )


def _safe_path() -> Finding:
    if sys.flags.safe_path:
        return Finding("ok", "PYTHONSAFEPATH", "set")
    return Finding(
        "warn",
        "PYTHONSAFEPATH",
        "not set",
        "Set PYTHONSAFEPATH=1 for the scheduler, so that no folder it starts in is imported from.",
    )
