"""Reading a spec file: Markdown tables of cases under headings.

A cell `"` repeats the cell above it. A case holds by instants (`instant`), by days (`day`) or in
both resolutions (`both`), which makes two cases of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.spec.times import SpecError

FOLDER = Path(__file__).parent
COLUMNS = ("case", "what happens", "by", "settings", "outcome", "expected")
RESOLUTIONS = {"instant": ("instant",), "day": ("day",), "both": ("instant", "day")}


@dataclass(frozen=True)
class Row:
    """One line of a table: a patient, a question and its answer."""

    file: str
    line: int
    number: int
    case: str
    happens: str
    by: str
    settings: str
    outcome: str
    expected: str

    @property
    def key(self) -> str:
        """Key of the row's patient, and of the site of its own that the patient has."""
        return f"{self.file.partition('_')[0]}-{self.number:03d}"

    @property
    def resolutions(self) -> tuple[str, ...]:
        """Resolutions in which the row holds."""
        return RESOLUTIONS[self.by]

    @property
    def where(self) -> str:
        """File and line."""
        return f"tests/spec/{self.file}.md:{self.line}"


@dataclass(frozen=True)
class Table:
    """A heading, the words below it, and rows."""

    title: str
    text: str
    rows: tuple[Row, ...]


def spec_files() -> list[str]:
    """Names of the spec files in the order of their sections."""
    found = [path.stem for path in FOLDER.glob("[0-9]*_*.md")]
    return sorted(found, key=lambda name: int(name.partition("_")[0]))


@cache
def tables_of(file: str) -> tuple[Table, ...]:
    """Read the tables of one file."""
    lines = (FOLDER / f"{file}.md").read_text(encoding="utf-8").splitlines()
    found: list[Table] = []
    title, number = "", 0
    text: list[str] = []
    rows: list[Row] = []
    for place, line in enumerate(lines, start=1):
        if line.startswith("#"):
            if rows:
                found.append(Table(title, "\n".join(text).strip(), tuple(rows)))
            title, text, rows = line.lstrip("# "), [], []
        elif not line.startswith("|"):
            text.append(line)
        elif cells := cells_of(line, f"{file}.md:{place}"):
            number += 1
            rows.append(_row(file, place, number, cells, rows[-1] if rows else None))
    return (*found, Table(title, "\n".join(text).strip(), tuple(rows)))


def rows_of(file: str) -> list[Row]:
    """All rows of one file."""
    return [row for table in tables_of(file) for row in table.rows]


def cells_of(line: str, where: str) -> list[str]:
    """Return the cells of a table's line; none for its head."""
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    if all(re.fullmatch("-+", cell) for cell in cells) or tuple(cells) == COLUMNS:
        return []
    if len(cells) != len(COLUMNS):
        msg = f"{where}: a row has the cells {' | '.join(COLUMNS)}"
        raise SpecError(msg)
    return cells


def _row(file: str, place: int, number: int, cells: list[str], above: Row | None) -> Row:
    if above is not None:
        before = (above.case, above.happens, above.by, above.settings, above.outcome)
        cells = [
            old if cell == '"' else cell
            for cell, old in zip(cells, (*before, above.expected), strict=True)
        ]
    row = Row(file, place, number, *cells)
    if '"' in cells or row.by not in RESOLUTIONS or not row.case or not row.expected:
        msg = f"{row.where}: a case needs a name, an answer, and instant, day or both"
        raise SpecError(msg)
    return row
