"""Asking a warehouse: opened for reading, shut off from files and network."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from flows.reply import Reply, UsageError
from pipelines.base import duck
from pipelines.base.errors import QueryError, StorageError

#: Errors of these classes quote the statement alone; all others can quote values of a patient.
_ABOUT_THE_STATEMENT = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.PermissionException,
    duckdb.NotImplementedException,
)


@dataclass(frozen=True)
class Answer:
    """Columns and rows of a statement's result."""

    columns: list[str]
    rows: list[tuple[Any, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return columns and rows as JSON-ready values (others become text when dumped)."""
        return {"columns": self.columns, "rows": [list(row) for row in self.rows]}


def open_for_reading(file: Path) -> duckdb.DuckDBPyConnection:
    """Open a published file so that nothing can be written and nothing else be reached.

    Errors:
        StorageError: the file is absent, not a DuckDB database, or open for writing elsewhere.
    """
    if not file.is_file():
        raise StorageError(
            "There is no such file.",
            where=str(file),
            remedy="Name a published warehouse.duckdb; `dripwatch refresh` makes one.",
        )
    con = duck.connect()
    try:
        # ATTACH, not connect(file): a process that already has an older file of this name open
        # would be given that one again.
        con.execute(f"ATTACH {duck.literal(str(file))} AS warehouse (READ_ONLY)")
        con.execute("USE warehouse")
        con.execute("SET enable_external_access = false")
        con.execute("SET lock_configuration = true")
    except duckdb.Error:
        con.close()
        raise StorageError(
            "The file cannot be opened as a DuckDB database.",
            where=str(file),
            remedy="Name a published warehouse.duckdb that nobody has open for writing.",
        ) from None
    return con


def ask(file: Path, statement: str) -> Answer:
    """Run a statement on a published file.

    Errors:
        QueryError: the statement cannot be run.
        StorageError: see `open_for_reading`.
    """
    with open_for_reading(file) as con:
        try:
            cursor = con.execute(statement)
            columns = [column[0] for column in cursor.description or []]
            return Answer(columns, cursor.fetchall() if columns else [])
        except duckdb.Error as error:
            is_safe = isinstance(error, _ABOUT_THE_STATEMENT)
            first = str(error).strip().splitlines()[0] if is_safe else type(error).__name__
            raise QueryError(
                f"The statement cannot be run: {first}",
                where=str(file),
                remedy="Mend it; `select * from reference.dictionary` names tables and columns.",
            ) from None


def show(found: Answer, answer: Reply, *, as_csv: bool) -> None:
    """Print an answer as CSV or as a table; `--json` prints it by itself."""
    if answer.as_json:
        return
    if as_csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(found.columns)
        writer.writerows(found.rows)
        return
    is_number = [_is_number(found.rows, place) for place in range(len(found.columns))]
    header = [
        f">{name}" if number else name
        for name, number in zip(found.columns, is_number, strict=True)
    ]
    rows = [["" if cell is None else str(cell) for cell in row] for row in found.rows]
    answer.console.table("", header, rows)


def _is_number(rows: list[tuple[Any, ...]], place: int) -> bool:
    cells = [row[place] for row in rows if row[place] is not None]
    return bool(cells) and all(
        isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells
    )


def digest_of(file: Path, level: str) -> dict[str, Any]:
    """Return the digest of a published file as JSON-ready values.

    Errors:
        UsageError: there is no such level.
        StorageError: the file is not there.
    """
    from warehouse.digest import digest

    if level != "state":
        raise UsageError(
            f"There is no level `{level}`.", remedy="Write `--level state`, or leave it out."
        )
    if not file.is_file():
        raise StorageError(
            "There is no such file.", where=str(file), remedy="Name a published warehouse.duckdb."
        )
    found = digest(file, level)
    return {"level": level, "digest": str(found)}
