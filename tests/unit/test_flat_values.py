"""From the cells of flat files to times, numbers and words."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flat_cells import at, field, flat_site, lab
from tests.flat_kit import MAPPING, FlatSite

__all__ = ["flat_site"]


WHEN = "occurred_at, time_precision, flags"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-03-01 08:30", (at(2025, 3, 1, 7, 30), "instant", [])),
        ("2025-07-01T08:30:15.25", (at(2025, 7, 1, 6, 30, 15, 250_000), "instant", [])),
        ("2025-07-01T08:30:15,123456789", (at(2025, 7, 1, 6, 30, 15, 123_456), "instant", [])),
        ("2025-03-01T08:30:00Z", (at(2025, 3, 1, 8, 30), "instant", [])),
        ("2025-03-01T08:30:00-05:00", (at(2025, 3, 1, 13, 30), "instant", [])),
        ("2025-03-01 08:30:00+0530", (at(2025, 3, 1, 3, 0), "instant", [])),
        ("2025-03-01 08:30 +02", (at(2025, 3, 1, 6, 30), "instant", [])),
        ("2025-03-01", (at(2025, 2, 28, 23), "day", [])),
        ("2025-03", (at(2025, 2, 28, 23), "month", [])),
        ("2025", (at(2024, 12, 31, 23), "year", [])),
        ("2150-07-01 12:00", (at(2150, 7, 1, 10), "instant", [])),
        ("2025-10-26 02:30", (at(2025, 10, 26, 0, 30), "instant", ["ambiguous_local_time"])),
        ("2025-10-26 02:30+01:00", (at(2025, 10, 26, 1, 30), "instant", [])),
        ("2025-03-30 02:30", (at(2025, 3, 30, 1, 30), "instant", ["missing_local_time"])),
        ("  2025-03-01 08:30\t", (at(2025, 3, 1, 7, 30), "instant", [])),
        ("", (None, None, [])),
        ("yesterday", (None, None, ["bad_time"])),
        ("2025-02-30", (None, None, ["bad_time"])),
        ("2025-03-01 25:00", (None, None, ["bad_time"])),
        ("2025-03-01 08:30+99:00", (None, None, ["bad_time"])),
        ("infinity", (None, None, ["bad_time"])),
        ("epoch", (None, None, ["bad_time"])),
        ("0000-01-01 00:00", (None, None, ["bad_time"])),
        ("0001-01-01 00:00", (None, None, ["bad_time"])),
    ],
)
def test_iso_times(flat_site: FlatSite, text: str, expected: tuple[Any, ...]) -> None:
    assert lab(flat_site, MAPPING, WHEN, taken=text) == expected


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ('format = "%d.%m.%Y %H:%M"', "01.03.2025 08:30", (at(2025, 3, 1, 7, 30), "instant", [])),
        ('format = "%d.%m.%Y %H:%M"', "31.02.2025 08:30", (None, None, ["bad_time"])),
        ('format = "%d.%m.%Y"', "01.03.2025", (at(2025, 2, 28, 23), "day", [])),
        ('format = "%m/%Y"', "03/2025", (at(2025, 2, 28, 23), "month", [])),
        (
            'format = "%Y%m%d%H%M%S%z"',
            "20250301083000-0500",
            (at(2025, 3, 1, 13, 30), "instant", []),
        ),
        (
            'format = "%m/%d/%Y %I:%M %p"',
            "3/1/2025 8:30 PM",
            (at(2025, 3, 1, 19, 30), "instant", []),
        ),
        ('zone = "Asia/Tokyo"', "2025-03-01 08:30", (at(2025, 2, 28, 23, 30), "instant", [])),
        ('precision = "day"', "2025-03-01 08:30", (at(2025, 2, 28, 23), "day", [])),
        ('precision = "day"', "2025-03-01 23:30-05:00", (at(2025, 2, 28, 23), "day", [])),
        ('precision = "instant"', "2025-03-01", (at(2025, 2, 28, 23), "instant", [])),
    ],
)
def test_formats_zones_and_precision(
    flat_site: FlatSite, rule: str, text: str, expected: tuple[Any, ...]
) -> None:
    mapping = field("occurred_at", f'{{ column = "taken", {rule} }}')
    assert lab(flat_site, mapping, WHEN, taken=text) == expected


def test_date_and_time_in_two_columns(flat_site: FlatSite) -> None:
    mapping = field("occurred_at", '{ columns = ["day", "hour"] }')
    assert lab(flat_site, mapping, WHEN, day="2025-03-01", hour="08:30")[:2] == (
        at(2025, 3, 1, 7, 30),
        "instant",
    )
    assert lab(flat_site, mapping, WHEN, day="2025-03-01", hour="")[1] == "day"
    assert lab(flat_site, mapping, WHEN, day="", hour="")[0] is None


NUMBER = "value, value_text, comparator, flags"


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("2.21", "", (2.21, None, None, [])),
        ("-1e-3", "", (-0.001, None, None, [])),
        (".5", "", (0.5, None, None, [])),
        ("<5.0", "", (5.0, None, "<", [])),
        (">= 5", "", (5.0, None, ">=", [])),
        ("≤5", "", (5.0, None, "<=", [])),
        ("2,21", ', decimal = ","', (2.21, None, None, [])),
        ("2.21", ', decimal = ","', (None, "2.21", None, ["bad_number"])),
        ("1.234,5", ', decimal = ",", thousands = "."', (1234.5, None, None, [])),
        ("1.23,5", ', decimal = ",", thousands = "."', (None, "1.23,5", None, ["bad_number"])),
        ("2,21", "", (None, "2,21", None, ["bad_number"])),
        ("NaN", "", (None, "NaN", None, ["bad_number"])),
        ("inf", "", (None, "inf", None, ["bad_number"])),
        ("1e999", "", (None, "1e999", None, ["bad_number"])),
        ("1_000", "", (None, "1_000", None, ["bad_number"])),
        ("0x10", "", (None, "0x10", None, ["bad_number"])),
        ("negative", "", (None, "negative", None, ["bad_number"])),
        ("<negative", "", (None, "<negative", None, ["bad_number"])),
        ("", "", (None, None, None, [])),
        ("traces", ', values = { traces = "0" }', (0.0, None, None, [])),
    ],
)
def test_numbers(flat_site: FlatSite, text: str, rule: str, expected: tuple[Any, ...]) -> None:
    mapping = field("value", f'{{ column = "result"{rule} }}')
    assert lab(flat_site, mapping, NUMBER, result=text) == expected


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        ('values = { F = "final" }', "F", "final"),
        ('values = { F = "final" }', "X", "X"),
        ('values = { F = "final" }, default = "unknown"', "X", "unknown"),
        ('values = { F = "final" }, default = "unknown"', "", None),
        ('values = { F = "final" }, if_missing = "preliminary"', "", "preliminary"),
        ('values = { F = "" }, if_missing = "preliminary"', "F", None),
    ],
)
def test_words(flat_site: FlatSite, rule: str, text: str, expected: str | None) -> None:
    mapping = field("status", f'{{ column = "state", {rule} }}')
    assert lab(flat_site, mapping, "status", state=text) == (expected,)


def test_null_texts_are_empty_cells(flat_site: FlatSite) -> None:
    mapping = MAPPING.replace('key = ["id"]', 'key = ["id"]\nnull = ["NULL", "n/a"]')
    assert lab(flat_site, mapping, "value, unit, flags", result="NULL", unit=" n/a ") == (
        None,
        None,
        [],
    )


@pytest.mark.parametrize("text", ["') OR 1=1 --", "%s {0} \\", "1e400", "\x00", "𝄞", "NULL"])
def test_texts_that_upset_sql_casts_and_patterns_are_data(flat_site: FlatSite, text: str) -> None:
    assert lab(flat_site, MAPPING, "value_text, flags", result=text) == (text, ["bad_number"])
