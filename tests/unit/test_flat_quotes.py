"""Quotes and line ends that are not as they should be never move a value to another patient."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.base.errors import DeliveryError
from pipelines.sources.flat import reader, records
from tests.flat_kit import HEADER, MAPPING, FlatSite, make_site, rows

VALUES = 'SELECT source_row, value, unit FROM event."LabResulted" ORDER BY source_row'
UNREADABLE = "SELECT source_row, raw FROM fate.unreadable ORDER BY source_row"


@pytest.fixture
def flat_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlatSite:
    return make_site(tmp_path, monkeypatch)


def options(*lines: str) -> str:
    return MAPPING.replace('pattern = "labs*"', "\n".join(['pattern = "labs*"', *lines]))


def lab(number: int, value: str = "2.21", unit: str = "mmol/L", patient: str = "P-7") -> str:
    return f"{number},{patient},2025-03-01 08:30,17861-6,{value},{unit},F"


def deliver(site: FlatSite, *lines: str, end: str = "\n") -> None:
    site.deliver(labs_csv="\n".join([HEADER, *lines]) + end)


SPANNING = "newlines_in_cells = true"


def test_two_lone_quotes_cannot_merge_two_patients(flat_site: FlatSite) -> None:
    """A lenient parser reads the first patient with the second one's value."""
    first, second = '1,P-7,"2025-03-01 08:30,17861-6,2.21,mmol/L,F', '2,P-8,"x,17861-6,9.9,mmol/L,F'
    deliver(flat_site, first, second, lab(3))
    with flat_site.extracted() as con:
        assert rows(con, VALUES) == [(3, 2.21, "mmol/L")]
        assert rows(con, UNREADABLE) == [(1, first), (2, second)]
        assert rows(con, "SELECT n_rows FROM fate.file") == [(3,)]


@pytest.mark.parametrize("lines", [(), (SPANNING,)])
def test_text_after_a_closing_quote_is_not_glued_to_the_number(
    flat_site: FlatSite, lines: tuple[str, ...]
) -> None:
    bad = lab(1, '"2.21"9')
    deliver(flat_site, bad, lab(2, '"2.3"'), lab(3, '"2.21" "'))
    with flat_site.extracted(options(*lines)) as con:
        assert rows(con, VALUES) == [(2, 2.3, "mmol/L")]
        assert rows(con, UNREADABLE)[0] == (1, bad)


def test_a_quote_never_closed_costs_its_line_alone(flat_site: FlatSite) -> None:
    deliver(flat_site, *(lab(n, unit='"mmol/L' if n == 3 else "mmol/L") for n in range(1, 51)))
    with flat_site.extracted() as con:
        assert [row for row, *_ in rows(con, VALUES)] == [n for n in range(1, 51) if n != 3]


def test_a_quote_never_closed_stops_a_file_whose_cells_may_hold_line_ends(
    flat_site: FlatSite,
) -> None:
    deliver(flat_site, lab(1), lab(2, unit='"Secret'), lab(3))
    with (
        pytest.raises(DeliveryError, match="never closed") as caught,
        flat_site.extracted(options(SPANNING)),
    ):
        pass
    assert "Secret" not in str(caught.value)


def test_a_record_inside_another_ones_cell_is_none(flat_site: FlatSite) -> None:
    deliver(flat_site, lab(1, unit='"see'), lab(9, "9.9", patient="P-9") + '"', lab(2))
    with flat_site.extracted() as con:
        assert [row for row, *_ in rows(con, VALUES)] == [3]


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 20])
def test_line_ends_in_cells_are_kept_where_the_mapping_says_so(
    flat_site: FlatSite, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """However the content is cut into chunks, and with a bad record among the others."""
    monkeypatch.setattr(records, "_CHUNK", size)
    deliver(flat_site, lab(1, unit='"a\n\n""b"'), lab(2, unit='"c"d'), lab(3, unit='5"'), lab(4))
    with flat_site.extracted(options(SPANNING)) as con:
        assert [(row, unit) for row, _, unit in rows(con, VALUES)] == [
            (1, 'a\n\n"b'),
            (4, "mmol/L"),
        ]


def test_an_escaped_line_end_merges_no_lines(flat_site: FlatSite) -> None:
    deliver(flat_site, lab(1)[:-1] + "\\", lab(2), lab(3, unit="a\\,b"))
    with flat_site.extracted(options('escape = "\\\\"')) as con:
        assert [(row, unit) for row, _, unit in rows(con, VALUES)] == [(2, "mmol/L"), (3, "a,b")]


@pytest.mark.parametrize("lines", [(), (SPANNING,)])
def test_a_last_line_without_its_end_is_cut_off(
    flat_site: FlatSite, lines: tuple[str, ...]
) -> None:
    """`10.3` of a file that is still being copied would be 1."""
    cut = "2,P-7,2025-03-01 08:30,17861-6,1,mmol/L,"
    deliver(flat_site, lab(1), cut, end="")
    with flat_site.extracted(options(*lines)) as con:
        assert [row for row, *_ in rows(con, VALUES)] == [1]
        assert rows(con, UNREADABLE) == [(2, cut)]
        fates = "SELECT fate, reason FROM fate.row"
        assert rows(con, fates) == [("quarantined", "unreadable_record")]
    with flat_site.extracted(options(*lines, "last_line_may_lack_newline = true")) as con:
        assert [row for row, *_ in rows(con, VALUES)] == [1, 2]


def test_a_header_that_may_be_cut_off_is_refused(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=HEADER)
    with pytest.raises(DeliveryError, match="cut off"), flat_site.extracted():
        pass
    with flat_site.extracted(options("last_line_may_lack_newline = true")) as con:
        assert rows(con, "SELECT n_rows FROM fate.file") == [(0,)]


@pytest.mark.parametrize("cell", ["a\udcff", "\udcff,more"])
def test_broken_bytes_in_a_record_of_other_length_cost_it_alone(
    flat_site: FlatSite, cell: str
) -> None:
    text = "\n".join([HEADER, lab(1), f"2,{cell}", lab(3)]) + "\n"
    flat_site.deliver(labs_csv=text.encode("utf-8", "surrogateescape"))
    with flat_site.extracted() as con:
        assert [row for row, *_ in rows(con, VALUES)] == [1, 3]


def test_a_file_of_one_column_keeps_count(
    flat_site: FlatSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK", 2048)
    mapping = MAPPING.split("[file.fields]", maxsplit=1)[0].replace('"patient"', '"id"')
    mapping = mapping.replace("LabResulted", "PatientRegistered")
    flat_site.deliver(labs_csv='id\n1\n"2\n3\n')
    with flat_site.extracted(mapping) as con:
        assert rows(con, UNREADABLE) == [(2, '"2')]
        assert rows(con, "SELECT n_rows FROM fate.file") == [(3,)]
