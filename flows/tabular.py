"""CSV for spreadsheets: what a cell says is shown there, and never run.

A spreadsheet takes a text that begins with `=`, `+`, `-`, `@`, a tab or a line break for a
formula, and a text in a warehouse can come from an extract. Such texts get an apostrophe in front
(OWASP, CSV Injection); numbers, and texts that are nothing but a number, stay as they are.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

#: Full-width forms are read as the plain ones by spreadsheets of some languages.
_STARTS = ("=", "+", "-", "@", "\t", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def write_csv(
    header: Sequence[str], rows: Iterable[Sequence[object]], stream: TextIO | None = None
) -> None:
    """Write a table as CSV in UTF-8, with a header; null is an empty cell, a list one text."""
    writer = csv.writer(stream or sys.stdout, lineterminator="\n")
    writer.writerow([guarded(name) for name in header])
    writer.writerows([guarded(cell) for cell in row] for row in rows)


def guarded(value: object) -> object:
    """Return what may stand in a cell: a text that would be run as a formula is quoted."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return value
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    # The writer would leave a bare carriage return unquoted, and what follows it begins a row.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.lstrip(" ").startswith(_STARTS) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text
