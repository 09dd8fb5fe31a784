"""One laboratory row of a flat file, mapped in one way or another."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.flat_kit import HEADER, MAPPING, ROW, FlatSite, make_site, rows


@pytest.fixture
def flat_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlatSite:
    return make_site(tmp_path, monkeypatch)


def field(name: str, rule: str, text: str = MAPPING) -> str:
    """The mapping with one field's rule replaced or added."""
    lines = [line for line in text.splitlines() if not line.startswith(f"{name} =")]
    return "\n".join([*lines, f"{name} = {rule}"]) + "\n"


def lab(flat_site: FlatSite, mapping: str, columns: str, **cells: str) -> tuple[Any, ...]:
    """The one event of one row with some cells changed."""
    names = HEADER.split(",")
    values = dict(zip(names, ROW.split(","), strict=True)) | cells
    content = ";".join(values) + "\n" + ";".join(values.values()) + "\n"
    flat_site.deliver(labs_csv=content)
    told = mapping.replace('pattern = "labs*"', 'pattern = "labs*"\ndelimiter = ";"')
    with flat_site.extracted(told) as con:
        (row,) = rows(con, f'SELECT {columns} FROM event."LabResulted"')
    return row


def at(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type] # noqa: DTZ001 - columns are naive UTC
