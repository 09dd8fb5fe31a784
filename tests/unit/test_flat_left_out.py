"""Flat rows of a delta that make no event: what they say of an older version of their record."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources.flat.left_out import remarks
from studies.load import ConceptRow
from tests.flat_kit import HEADER, MAPPING, FlatSite, make_site, rows

CALCIUM = [ConceptRow("LabResulted", "loinc", "17861-6", "exact", "x")]
VERSION = '[file.version]\ncolumn = "n"\n\n[file.patient]'
TWO_TYPES = """event = [
    { when = [{ column = "unit", equals = "mmol/L" }], event = "LabResulted" },
    { when = [{ column = "unit", equals = "none" }], event = "out_of_scope" },
    { when = [], event = "VitalSignMeasured" },
]"""
WITHDRAWN = "SELECT source_row, version, reason, recorded_at FROM fate.withdrawn ORDER BY ALL"


@pytest.fixture
def flat_site(tmp_path: Path) -> Iterator[FlatSite]:
    with pytest.MonkeyPatch.context() as patch:
        yield make_site(tmp_path, patch)


def labs(*told: tuple[str, str, str, str]) -> str:
    lines = [f"{i},P-7,2025-03-01 08:30,{code},2.2,{unit},F,{n}" for i, code, unit, n in told]
    return "\n".join([HEADER + ",n", *lines, ""])


def mapping(old: str = "", new: str = "") -> str:
    text = MAPPING.replace("[file.patient]", VERSION)
    assert old in text
    return text.replace(old, new, 1) if old else text


def withdrawn(site: FlatSite, text: str, content: str) -> list[tuple[Any, ...]]:
    site.deliver(labs_csv=content)
    with site.extracted(text, CALCIUM) as con:
        return rows(con, WITHDRAWN)


def test_a_row_whose_code_no_study_asks_for_withdraws_the_record_it_would_have_been(
    flat_site: FlatSite,
) -> None:
    flat_site.deliver(labs_csv=labs(("1", "17861-6", "mmol/L", "1"), ("2", "2-2", "mmol/L", "5")))
    with flat_site.extracted(mapping(), CALCIUM) as con:
        found = rows(con, "SELECT resource_key, version, reason FROM fate.withdrawn")
        assert remarks(con, None, "lis") == []
    expected = flat_site.key.record("north", "lis", "LabResulted", "2")
    assert found == [(expected, 5, "out_of_scope")]


def test_versions_of_rows_left_out_are_read_as_those_of_events_are(flat_site: FlatSite) -> None:
    told = labs(
        ("1", "2-2", "g", "01.02.2026 03:00"), ("2", "2-2", "g", "?"), ("3", "2-2", "g", "")
    )
    changed = '[file.last_updated]\ncolumn = "n"\nformat = "%d.%m.%Y %H:%M"\n\n[file.patient]'
    text = MAPPING.replace("[file.patient]", changed).replace("2026-01-06", "2026-03-06")
    in_utc = datetime(2026, 2, 1, 2)  # noqa: DTZ001 - columns are naive UTC
    exported = datetime(2026, 3, 6, 2)  # noqa: DTZ001
    us = [int((at - datetime(1970, 1, 1)).total_seconds() * 1e6) for at in (in_utc, exported)]  # noqa: DTZ001
    assert withdrawn(flat_site, text, told) == [
        (1, us[0], "out_of_scope", in_utc),
        (3, us[1], "out_of_scope", exported),
    ]
    # the same rows as events have the same versions; what cannot be read has none
    with flat_site.extracted(text) as con:
        events = rows(con, 'SELECT source_row, version FROM event."LabResulted" ORDER BY 1')
    assert events == [(1, us[0]), (2, None), (3, us[1])]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('kind = "delta"', 'kind = "snapshot"'),
        ('key = ["id"]', 'key = ["id"]\nmay_leave_scope = false'),
        ('key = ["id"]', 'key = ["id"]\noccurrence = true'),
        ('key = ["id"]', 'key = ["id", "test"]'),
    ],
    ids=["a snapshot", "the mapping says so", "no version replaces another", "the code is the key"],
)
def test_no_key_is_kept_where_no_older_version_can_be_in_force(
    flat_site: FlatSite, old: str, new: str
) -> None:
    assert withdrawn(flat_site, mapping(old, new), labs(("1", "2-2", "g", "1"))) == []


def test_a_row_that_where_refuses_withdraws_too(flat_site: FlatSite) -> None:
    text = mapping('key = ["id"]', 'key = ["id"]\nwhere = [{ column = "unit", not_in = ["?"] }]')
    told = labs(("1", "17861-6", "mmol/L", "1"), ("2", "17861-6", "?", "2"))
    assert [row[:3] for row in withdrawn(flat_site, text, told)] == [(2, 2, "out_of_scope")]


def test_rows_that_can_be_of_two_types_are_one_record(flat_site: FlatSite) -> None:
    text = mapping('event = "LabResulted"', TWO_TYPES).replace(
        'status = { column = "state"', '[file.LabResulted.fields]\nstatus = { column = "state"'
    )
    told = labs(("1", "17861-6", "mmol/L", "1"), ("1", "x", "g", "2"), ("2", "x", "none", "3"))
    flat_site.deliver(labs_csv=told)
    with flat_site.extracted(text) as con:
        keys = [
            rows(con, f'SELECT resource_key, version FROM event."{name}"')
            for name in ("LabResulted", "VitalSignMeasured")
        ]
        gone = rows(con, "SELECT resource_key, version FROM fate.withdrawn")
        [remark] = remarks(con, None, "lis")
    assert remark.startswith("1 keys of a delivery of lis name rows of several event types")
    assert keys[0][0][0] == keys[1][0][0] is not None
    assert [n for (_, n) in (*keys[0], *keys[1], *gone)] == [1, 2, 3]
    assert gone[0][0] not in (None, keys[0][0][0])
