"""Great Expectations, the SQL pass and a judge by hand agree on dirty rows."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from expectations.table import checks_of
from studies.analytes import analytes, known_units
from tests.checks_staging import AT, CONCEPTS, THROUGH, Rows, good, staged
from tests.verdict_kit import DRIP, LAB, failures, judge


def dirty(seed: int, n_rows: int) -> Rows:
    """Return rows in which every field may be absent, absurd or at an edge."""
    draw = random.Random(seed)  # noqa: S311 - not a secret
    latest = THROUGH.replace(tzinfo=None) + timedelta(days=1)
    common: Mapping[str, Sequence[Any]] = {
        "record_key": ("k", "k", "k", None, " "),
        "version": (1, 1, 1, None),
        "operation": ("upsert", "upsert", "upsert", "retract", None, "x"),
        "patient_key": ("p", "p", "p", None),
        "occurred_at": (AT, AT, latest, latest + timedelta(seconds=1), None, datetime(1800, 1, 1)),  # noqa: DTZ001
        "time_precision": ("instant", "day", None, "hour"),
        "flags": (None, [], ["bad_time"], ["bad_end_time", "end_missing"], ["bad_value"]),
        "code_system": ("loinc", "loinc", "rxnorm", None, "http://loinc.org"),
    }
    lab = {
        "code": ("17861-6", "17861-6", "2823-3", "1988-5", "9", None),
        "value": (9.1, 9.1, 1.0, 32.0, 0.5, 1e9, -1.0, None, float("nan"), float("inf")),
        "unit": ("mg/dL", "mg/dL", "mmol/L", "UNK", None, " "),
        "low_limit": (8.8, None, 12.0),
        "high_limit": (10.8, None),
        "status": ("final", "odd", None),
    }
    drip = {
        "code": ("77655", "77655", "1", None),
        "code_system": ("rxnorm", "rxnorm", None, "a b"),
        "dose_value": (2.0, 2.0, 0.0, 500.0, 501.0, -1.0, None, float("nan")),
        "dose_unit": ("mg", "mg", "g", "mg/kg", None),
        "ended_at": (AT, AT - timedelta(hours=2), AT - timedelta(hours=30), latest, None),
        "end_precision": ("instant", "day", "month", "year", None),
        "status": ("completed", "not-done", "odd", None),
        "route": ("intravenous", "odd", None),
        "evidence": ("administered", "odd", None),
    }

    def row(event_type: str, choices: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        drawn = {name: draw.choice(options) for name, options in choices.items()}
        return good(event_type, **drawn)

    return {
        LAB: [row(LAB, {**common, **lab}) for _ in range(n_rows)],
        DRIP: [row(DRIP, {**common, **drip}) for _ in range(n_rows)],
    }


UNITS = {(one.concept, one.unit): one for one in analytes()}
CODES = {(one.event_type, one.code_system, one.code): one.concept for one in CONCEPTS}


def told(row: Mapping[str, Any], name: str) -> bool:
    value = row.get(name)
    return value is not None and not (isinstance(value, str) and not value.strip())


def by_hand(row: Mapping[str, Any]) -> set[str]:
    """Judge one row slowly and obviously, from the words of the checks and none of their code."""
    found = set()
    if not told(row, "record_key"):
        found.add("key_present")
    if row["version"] is None:
        found.add("version_present")
    if row["operation"] not in ("upsert", "retract"):
        found.add("operation_known")
    if row["operation"] == "retract":
        return found
    if not told(row, "patient_key"):
        found.add("patient_present")
    if not told(row, "code"):
        found.add("code_present")
    system = row["code_system"]
    if system is not None and (":" in system or " " in system):
        found.add("code_system_shaped")
    if "bad_time" in (row["flags"] or []):
        found.add("time_readable")
    if "bad_value" in (row["flags"] or []):
        found.add("value_readable")
    found |= times_by_hand(row)
    return found | (lab_by_hand(row) if row["event_type"] == LAB else drip_by_hand(row))


def times_by_hand(row: Mapping[str, Any]) -> set[str]:
    at = row["occurred_at"]
    if at is None:
        return {"time_present"}
    found = set()
    if at.year < 1900:
        found.add("time_not_ancient")
    if at - THROUGH.replace(tzinfo=None) > timedelta(days=1):
        found.add("time_in_extract")
    if row["time_precision"] not in ("instant", "day", "month", "year"):
        found.add("precision_known")
    return found


def lab_by_hand(row: Mapping[str, Any]) -> set[str]:
    found = set()
    value, unit = row["value"], row["unit"]
    concept = CODES.get((LAB, row["code_system"], row["code"]))
    measured = concept in {one.concept for one in analytes()}
    if value is None:
        found.add("no_number")
    elif measured and (concept, unit) not in UNITS:
        found.add("unknown_unit")
    elif measured:
        bounds = UNITS[str(concept), unit]
        if not bounds.possible_low <= value <= bounds.possible_high:
            found.add("value_possible")
    elif told(row, "unit") and unit not in known_units():
        found.add("unknown_unit")
    low, high = row["low_limit"], row["high_limit"]
    if low is not None and high is not None and high < low:
        found.add("limits_in_order")
    if row["status"] == "odd":
        found.add("result_status_known")
    return found


def drip_by_hand(row: Mapping[str, Any]) -> set[str]:
    found = {f"{name}_known" for name in ("status", "route") if row[name] == "odd"}
    if row["evidence"] != "administered":
        found.add("evidence_known")
    if "bad_end_time" in (row["flags"] or []):
        found.add("end_readable")
    slack = {"day": 25, "month": 32 * 24, "year": 367 * 24}.get(row["end_precision"], 0)
    start, end = row["occurred_at"], row["ended_at"]
    if start is not None and end is not None and end + timedelta(hours=slack) < start:
        found.add("times_in_order")
    if (DRIP, row["code_system"], row["code"]) in CODES:
        factor = {"mg": 1.0, "g": 1000.0}.get(row["dose_unit"])
        if factor is None or row["dose_value"] is None:
            found |= set() if row["status"] == "not-done" else {"dose_not_judged"}
        elif not 0 <= row["dose_value"] * factor <= 500:
            found.add("dose_possible")
    return found


@pytest.mark.parametrize("seed", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_gx_sql_and_a_judge_by_hand_agree_on_dirty_rows(seed: int) -> None:
    rows = dirty(seed, 600)
    con = staged(rows)
    verdict = judge(con, (LAB, DRIP), min_rows=100_000)

    expected = Counter(
        (event_type, check_id, number)
        for event_type, some in rows.items()
        for number, row in enumerate(some, start=1)
        for check_id in by_hand(row)
    )
    assert failures(con) == expected

    per_check = Counter((name, check_id) for name, check_id, _ in expected.elements())
    for result in verdict.checks:
        if result.event_type in rows:
            counted = per_check[result.event_type, result.check_id]
            assert (result.n_failed_gx, result.n_failed_sql) == (counted, counted), result.check_id
    assert verdict.hold_reasons == ()
    # The rows are dirty enough to say something about nearly every check of the two types.
    untouched = {check.id for name in rows for check in checks_of(name)} - {
        check_id for _, check_id in per_check
    }
    assert untouched == {"event_type_known"}
