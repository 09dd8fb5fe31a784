"""Asking a warehouse: what `dripwatch sql` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.console import plural
from flows.reply import Reply
from flows.tabular import write_csv
from warehouse.query import QueryResult, run_query


def ask(file: Path, statement: str, answer: Reply, *, as_csv: bool) -> None:
    """Run a statement on a published file and print its rows as CSV or as a table.

    Errors:
        QueryError: the statement cannot be run.
        StorageError: there is no such file, or it is no DuckDB database.
    """
    found = run_query(file, statement)
    answer.result = {"columns": list(found.columns), "rows": [list(row) for row in found.rows]}
    answer.message = f"{plural(len(found.rows), 'row')}."
    if answer.as_json:
        return
    if as_csv:
        write_csv(found.columns, found.rows)
        return
    rows = [[_text(cell) for cell in row] for row in found.rows]
    answer.console.wide_table(_header(found), rows)


def _text(cell: object) -> str:
    if isinstance(cell, list | tuple):
        return "; ".join(_text(one) for one in cell)
    return "" if cell is None else str(cell)


def _header(found: QueryResult) -> list[str]:
    return [
        f">{name}" if _is_number([row[place] for row in found.rows]) else name
        for place, name in enumerate(found.columns)
    ]


def _is_number(cells: list[Any]) -> bool:
    told = [cell for cell in cells if cell is not None]
    return bool(told) and all(
        isinstance(cell, int | float) and not isinstance(cell, bool) for cell in told
    )
