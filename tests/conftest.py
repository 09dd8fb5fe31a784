"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """Folder of the real extracts and oracles; tests skip, saying so, where it is absent."""
    folder = Path(os.environ.get("DRIPWATCH_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip("the real extracts and oracles are not here (DRIPWATCH_SHARED)")
    return folder
