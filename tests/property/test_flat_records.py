"""Which lines of a CSV are records, against the standard library's strict parser, line by line."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.flat import records
from pipelines.sources.flat.model import FileRule
from pipelines.sources.flat.reader import load, open_flat

PIECES = st.sampled_from(['"', '""', ",", "a", "9", "é", " ", '",', ',"', "x,y", '"a"', "\\"])
LINE = st.lists(PIECES, max_size=9).map("".join)
TRUE = st.just("1,2,3")
FILES = st.lists(st.one_of(LINE, TRUE), max_size=12).filter(any)


def rule(**told: Any) -> FileRule:
    table = {"name": "f", "pattern": "*", "event": "LabResulted", "key": ["a"]}
    columns = {"header": False, "columns": ["a", "b", "c"], "patient": {"column": "a"}}
    return FileRule.model_validate(table | columns | told)


def read(text: str, told: FileRule) -> tuple[dict[int, list[str]], dict[int, str], int]:
    """Return cells of each good row, texts of the others, and the number of rows."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f.csv"
        path.write_bytes(text.encode())
        con = duckdb.connect()
        file = open_flat(path, told, "here")
        found = load(con, file, ["a", "b", "c"], "CREATE TABLE t AS FROM delivered")
        good = {row: list(cells) for row, *cells in con.execute("FROM t").fetchall()}
        con.close()
    return good, dict(found.unreadable), found.n_rows


def strict(line: str) -> list[str] | None:
    """Return the cells of a line as a parser reads it that forgives nothing."""
    if line.count('"') % 2:
        return None
    try:
        (cells,) = csv.reader([line], strict=True)
    except csv.Error:
        return None
    return [cell.strip() for cell in cells] if len(cells) == 3 else None


@settings(max_examples=120, deadline=None)
@given(FILES, st.sampled_from(["\n", "\r\n", "\r"]))
def test_each_line_is_a_record_or_unreadable_under_its_own_number(
    lines: list[str], end: str
) -> None:
    lines = [line for line in lines if line]  # a blank line is no record
    good, bad, n_rows = read("".join(line + end for line in lines), rule())
    expected = {n: strict(line) for n, line in enumerate(lines, start=1)}
    assert n_rows == len(lines)
    assert good == {n: cells for n, cells in expected.items() if cells}
    assert bad == {n: lines[n - 1] for n, cells in expected.items() if not cells}


CELL = st.text(alphabet='ab,"\n\ré', max_size=6).map(str.strip)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=8), st.integers(1, 40))
def test_what_a_csv_writer_wrote_is_read_however_it_arrives(
    table: list[tuple[str, str, str]], size: int
) -> None:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(table)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "_CHUNK", size)
        good, bad, n_rows = read(text.getvalue(), rule(newlines_in_cells=True))
    assert not bad
    assert n_rows == len(table)
    assert list(good.values()) == [list(row) for row in table]
