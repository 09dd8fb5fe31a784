"""What the fields of an event can hold: the side of a mapping that the contracts fix."""

from __future__ import annotations

from functools import cache

import schemas

#: Fields of types that a study names by code, so that a code decides whether a row is in scope.
UNCODED = frozenset({"PatientRegistered", "EncounterOccurred", "BoneDensityMeasured"})

#: Told by the source beside the clinical fields; the rest of the envelope is ours to fill.
_FROM_ENVELOPE = ("occurred_at",)
#: Follows from how another field is written.
_DERIVED = frozenset({"end_precision"})

_MEDICATION_STATUS = frozenset(
    {"completed", "stopped", "in-progress", "not-done", "on-hold", "entered-in-error", "unknown"}
    | {"cancelled", "active", "draft", "declined"}
)
_LAB_STATUS = frozenset(
    {"final", "preliminary", "corrected", "amended", "appended", "cancelled", "entered-in-error"}
    | {"registered", "partial", "unknown"}
)

#: Words that later steps understand; constants and `values` must use them.
VOCABULARY: dict[tuple[str, str], frozenset[str]] = {
    ("PatientRegistered", "sex"): frozenset({"female", "male", "other", "unknown"}),
    ("InfusionRecorded", "evidence"): frozenset({"administered", "dispensed", "ordered", "stated"}),
    ("InfusionRecorded", "status"): _MEDICATION_STATUS,
    ("MedicationGiven", "status"): _MEDICATION_STATUS,
    ("LabResulted", "status"): _LAB_STATUS,
    ("LabResulted", "comparator"): frozenset({"<", "<=", ">", ">="}),
    ("DiagnosisRecorded", "category"): frozenset({"problem-list", "encounter"}),
    ("EncounterOccurred", "setting"): frozenset(
        {"inpatient", "outpatient", "home", "emergency", "other"}
    ),
    ("EncounterOccurred", "admission_type"): frozenset({"elective", "unplanned", "unknown"}),
    **{
        (event_type, "route"): frozenset(
            {"intravenous", "oral", "subcutaneous", "intramuscular", "other"}
        )
        for event_type in ("InfusionRecorded", "MedicationGiven")
    },
}

#: Without these an event says nothing: a mapping must tell them.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "PatientRegistered": (),
    "InfusionRecorded": ("occurred_at", "evidence", "status", "code", "code_system"),
    "BoneDensityMeasured": ("occurred_at",),
    "EncounterOccurred": ("occurred_at", "setting"),
}


@cache
def tellable(event_type: str) -> dict[str, str]:
    """Return the fields that a mapping can tell, with their DuckDB types."""
    found = {f.name: f.duckdb_type for f in schemas.fields(event_type)}
    return {
        name: kind
        for name, kind in found.items()
        if name in _FROM_ENVELOPE or (name not in schemas.ENVELOPE and name not in _DERIVED)
    }


def required(event_type: str) -> tuple[str, ...]:
    """Return the fields that a mapping must tell."""
    return _REQUIRED.get(event_type, ("occurred_at", "code", "code_system"))


def has_field(event_type: str, name: str) -> bool:
    """Whether events of this type have the field, derived ones included."""
    return any(f.name == name for f in schemas.fields(event_type))
