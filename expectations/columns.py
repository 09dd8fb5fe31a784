"""What a judged table holds of each event type: SQL over the event row `e` and what it joins."""

from __future__ import annotations

from collections.abc import Mapping

from expectations.table import checks_of
from schemas import fields

#: Schema of the judged tables, in the staging database.
SCHEMA = "judge_in"
#: Event types whose values the vocabulary bounds.
MEASURED = ("LabResulted", "VitalSignMeasured")
#: Event types whose doses the drug's range bounds.
DOSED = ("InfusionRecorded",)
#: A local day is at most this long (the night that summer time ends).
_DAY = "INTERVAL 25 HOUR"


def _text(column: str) -> str:
    return f"nullif(trim(e.{column}), '')"


def _flagged(flag: str) -> str:
    return f"CASE WHEN list_contains(e.flags, '{flag}') THEN '{flag}' END"


_ALWAYS = {
    "source_file_sha": "e.source_file_sha",
    "source_row": "e.source_row",
    "source_part": "e.source_part",
    "is_content": "e.operation IS DISTINCT FROM 'retract'",
    "record_key": _text("record_key"),
    "version": "e.version",
    "operation_told": "coalesce(e.operation, '(none)')",
    "event_type_told": "coalesce(e.event_type, '(none)')",
    "patient_key": _text("patient_key"),
    "latest_at": "$latest",
    "earliest_at": "$earliest",
    "occurred_at": "e.occurred_at",
    "needed_time": "e.occurred_at",
    "unread_time": _flagged("bad_time"),
    "precision_told": "CASE WHEN e.occurred_at IS NOT NULL "
    "THEN coalesce(e.time_precision, '(none)') END",
    "unread_end": _flagged("bad_end_time"),
    "unread_value": _flagged("bad_value"),
}
# An end that only names a day is stored as that day's first instant, and may be as late as its
# last. Types without `end_precision` do not say so: there, an end at local midnight before its own
# start is taken for a day, and the zone is asked for those few rows alone.
_END_WITH_PRECISION = f"""CASE e.end_precision
    WHEN 'day' THEN e.ended_at + {_DAY} WHEN 'month' THEN e.ended_at + INTERVAL 32 DAY
    WHEN 'year' THEN e.ended_at + INTERVAL 367 DAY ELSE e.ended_at END"""
_END_WITHOUT = f"""CASE
    WHEN e.ended_at >= e.occurred_at OR e.ended_at + {_DAY} < e.occurred_at THEN e.ended_at
    WHEN CAST(utc_to_local(e.ended_at, e.zone) AS TIME) = TIME '00:00:00'
    THEN e.ended_at + {_DAY} ELSE e.ended_at END"""
_MEASURED = {
    "number": "e.value",
    "value": "e.value",
    # A unit says something about a number only, and a code outside the vocabulary (pH, a ratio)
    # may have none.
    "known_unit": f"""CASE WHEN e.value IS NULL THEN '(no number)'
        WHEN c.concept IS NOT NULL THEN a.unit
        WHEN {_text("unit")} IS NULL THEN '(no unit)' ELSE u.unit END""",
    "possible_low": "a.possible_low",
    "possible_high": "a.possible_high",
}
MEASURED_JOINS = f"""
    LEFT JOIN {SCHEMA}._code c
        ON c.event_type = $type AND c.code_system = e.code_system AND c.code = e.code
    LEFT JOIN {SCHEMA}._analyte a ON a.concept = c.concept AND a.unit = e.unit
    LEFT JOIN {SCHEMA}._unit u ON u.unit = e.unit"""
_DOSED = {
    "dose_mg": "e.dose_value * m.mg",
    "dose_low_mg": "CASE WHEN d.concept IS NOT NULL THEN 0.0 END",
    "dose_high_mg": "d.possible_high_mg",
    "dose_judged": """CASE WHEN d.concept IS NULL THEN '(no range)'
        WHEN e.status = 'not-done' THEN '(not given)'
        WHEN e.source_part IS NOT NULL AND e.dose_value IS NULL THEN '(part of a mixture)'
        WHEN e.dose_value * m.mg IS NOT NULL THEN 'judged' END""",
}
DOSED_JOINS = f"""
    LEFT JOIN {SCHEMA}._code c
        ON c.event_type = $type AND c.code_system = e.code_system AND c.code = e.code
    LEFT JOIN {SCHEMA}._dose d ON d.concept = c.concept
    LEFT JOIN {SCHEMA}._dose_unit m ON m.unit = e.dose_unit"""
_BY_TYPE: Mapping[str, Mapping[str, str]] = {
    "PatientRegistered": {
        "born_at": "CAST(e.birth_date AS TIMESTAMP)",
        "died_at": "e.died_at",
        # The local date of a birth may be ahead of the UTC instant of a death on that day.
        "death_latest_at": "e.died_at + INTERVAL 1 DAY",
        "sex": "e.sex",
    },
    "InfusionRecorded": {
        **_DOSED,
        # An undated dispense makes no unit, but tells that its order was dispensed.
        "needed_time": "coalesce(e.occurred_at, CASE WHEN e.evidence = 'dispensed' "
        "THEN CAST($earliest AS TIMESTAMP) END)",
        "end_latest_at": _END_WITH_PRECISION,
        "status": "e.status",
        "route": "e.route",
        "evidence_told": "coalesce(e.evidence, '(none)')",
    },
    "MedicationGiven": {"status": "e.status", "route": "e.route"},
    "AdverseEventReported": {"grade": "e.grade"},
    "LabResulted": {
        **_MEASURED,
        "status": "e.status",
        "low_limit": "e.low_limit",
        "high_limit": "e.high_limit",
    },
    "VitalSignMeasured": _MEASURED,
    "BoneDensityMeasured": {
        "number": "coalesce(e.z_score, e.height_adjusted_z_score, e.bmd_g_cm2)",
        "z_score": "e.z_score",
        "code_told": f"coalesce({_text('code')}, {_text('skeletal_site')})",
    },
    "EncounterOccurred": {"setting": "e.setting"},
}


def columns_of(event_type: str) -> dict[str, str]:
    """Return the columns of an event type's judged table, as SQL over the event row `e`."""
    names = {field.name for field in fields(event_type)}
    found = dict(_ALWAYS)
    if "code" in names:
        found |= {"code_told": _text("code"), "code_system": "e.code_system"}
    if "ended_at" in names:
        found["end_latest_at"] = _END_WITHOUT
    found |= _BY_TYPE.get(event_type, {})
    needed = {column for check in checks_of(event_type) for column in check.on}
    identity = {"source_file_sha", "source_row", "source_part", "record_key", "is_content"}
    return {name: sql for name, sql in found.items() if name in needed | identity}
