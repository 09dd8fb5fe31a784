"""A copy of the shipped study that a test may spoil."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.base.errors import ConfigError
from studies.limit_tables import SHARED
from studies.load import HERE, load_study

SHIPPED = HERE / "iv_bisphosphonate"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The shipped study with the tables that it shares as its own."""
    made = Path(shutil.copytree(SHIPPED, tmp_path / "study"))
    shutil.copytree(SHARED, made / "limits", dirs_exist_ok=True)
    return made


def line_of(folder: Path, text: str) -> int:
    lines = (folder / "study.toml").read_text().splitlines()
    return next(n for n, line in enumerate(lines, start=1) if text in line)


def named_lines(folder: Path) -> list[str]:
    """What `study check` says, each mistake on a line."""
    with pytest.raises(ConfigError) as caught:
        load_study(str(folder))
    return [line.strip() for line in caught.value.what.splitlines()[1:]]
