"""The product's rows beside the reference's, and the smallest patient on which they differ."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from studies.load import Study
from tests.linkage_cases import ALL_TYPES, THROUGH, Linked, Patient, link, utc
from tests.reference.linkage import link_patient
from tests.reference.patients import brief
from tests.reference.rows import Row, UnitRow
from tests.unmeasured import unmeasured

FEEDS = dict.fromkeys(ALL_TYPES, THROUGH)
#: Feeds that end while windows are open; nobody delivers diagnoses.
OPEN_FEEDS = {
    "InfusionRecorded": utc("2024-06-15 08:45"),
    "AdverseEventReported": utc("2024-06-15 08:45"),
    "VitalSignMeasured": utc("2024-06-15 08:15"),
    "LabResulted": utc("2024-06-17 08:45"),
    "EncounterOccurred": utc("2024-03-01 00:00"),
}
#: Where nothing can be said of a unit, what lies in its windows is not compared.
WITHOUT_WINDOW = {"unplaceable", "ineligible", "not_at_risk", "superseded_same_day", "merged"}
UNIT_FIELDS = (
    "n_infusions", "is_eligible", "age_months", "indication_type", "setting", "is_naive",
    "premedicated", "evidence", "is_dispensed_undated", "interrupted",
)  # fmt: skip
#: Unit flags that are fields of the reference.
UNIT_FLAGS = {"is_dispensed_undated": "dispensed_undated", "interrupted": "interrupted"}
ROW_FLAGS = {"is_missing_start": "missing_start", "is_in_clean_window": "in_clean_window"}
DAYS = ("person_days", "at_risk_days", "at_risk_days_uncleaned")


Kind = tuple[Any, ...]


@dataclass(frozen=True)
class Difference:
    """One field of one row on which the two disagree."""

    patient: str
    unit: str
    where: str
    field: str
    reference: Any
    product: Any

    @property
    def kind(self) -> Kind:
        """Differences of one kind have one cause, as a rule."""
        is_named = self.field in {"status", "cut_reason", "indication_type", "setting"}
        return self.where, self.field, *((self.reference, self.product) if is_named else ())

    def __str__(self) -> str:
        return (
            f"{self.unit} {self.where} {self.field}: "
            f"reference {self.reference!r}, product {self.product!r}"
        )


def expected_of(row: Row) -> dict[str, Any]:
    """What the product's row must say."""
    common: dict[str, Any] = {"status": row.status}
    if row.status in WITHOUT_WINDOW:
        return common
    common["cut_reason"] = row.cut_reason
    common["is_pre_existing"] = row.is_pre_existing
    common["is_worsened"] = row.is_worsened
    if row.has_event and row.onset is not None:
        is_day = row.is_by_days or row.onset.is_day or row.onset.is_guess
        common["onset_precision"] = "day" if is_day else "instant"
        if not is_day:
            common["onset_at"] = row.onset.at
    common |= of_event(row) | of_time(row)
    if row.is_tested is not None:
        common |= {"measure": row.measure, "baseline_measure": row.baseline_measure}
        common |= {"is_tested": row.is_tested, "baseline_value": row.baseline_value}
        common["grade"] = row.grade
    if row.is_observed is not None:
        common["is_observed"] = row.is_observed
        if row.has_event:
            common["grade"] = row.grade
    if row.is_determined is not None:
        common["is_determined"] = row.is_determined
    return common


def of_event(row: Row) -> dict[str, Any]:
    """What is said of an event only."""
    found: dict[str, Any] = {}
    if row.onset is not None:
        found["n_candidate_units"] = row.n_candidate_units
    if row.has_event:
        found["is_serious"] = row.is_serious
        found["serious_criteria"] = row.serious_criteria
        found["is_treated"] = row.is_treated
        found["has_remedy"] = row.has_remedy
        found["remedy_after_hours"] = row.remedy_after_hours
    return found


def of_time(row: Row) -> dict[str, Any]:
    """Events and time at risk."""
    found: dict[str, Any] = {name: getattr(row, name) for name in DAYS}
    names = ["is_missing_start", "n_events", "n_events_uncleaned"]
    # Of an event that counts nobody says that another one beside it does not.
    names += [] if row.has_event else ["is_in_clean_window"]
    return found | {name: getattr(row, name) for name in names}


def of_product(row: dict[str, Any]) -> dict[str, Any]:
    """The product's row, with its flags as fields."""
    flags = {name: flag in row["flags"] for name, flag in ROW_FLAGS.items()}
    return row | flags | {"serious_criteria": tuple(sorted(row["serious_criteria"] or ()))}


def is_same(name: str, one: Any, other: Any) -> bool:
    if name in DAYS and one is not None and other is not None:
        return bool(abs(one - other) <= 1e-9)
    return bool(one == other)


def differences(
    patients: Iterable[Patient], study: Study, feeds: dict[str, datetime] | None = None
) -> list[Difference]:
    """Link patients twice and return where the two differ."""
    patients = list(patients)
    through = FEEDS if feeds is None else feeds
    return differences_from(patients, study, through, link(patients, study, through=through))


def differences_from(
    patients: Iterable[Patient], study: Study, through: dict[str, datetime], linked: Linked
) -> list[Difference]:
    """What a linkage that was done already says, beside the reference."""
    product_units, product_rows = by_patient(linked.units), by_patient(linked.outcomes)
    found: list[Difference] = []
    with unmeasured():
        for patient in patients:
            key = patient.key
            units, rows = link_patient(patient.events, study, through)
            found += unit_differences(key, units, product_units.get(key, []))
            found += row_differences(key, rows, product_rows.get(key, []))
    return found


def by_patient(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["patient_key"], []).append(row)
    return found


def unit_differences(
    key: str, units: list[UnitRow], found_units: list[dict[str, Any]]
) -> list[Difference]:
    product = {
        one["unit_id"]: one | {name: flag in one["flags"] for name, flag in UNIT_FLAGS.items()}
        for one in found_units
    }
    expected = {one.key: one for one in units}
    if set(product) != set(expected):
        return [Difference(key, "-", "units", "unit_id", sorted(expected), sorted(product))]
    found = []
    for unit_id, unit in expected.items():
        fields = {"ordinal_in_record": unit.ordinal} | {
            name: getattr(unit, name) for name in UNIT_FIELDS
        }
        if not unit.interrupted:
            # A bag after a stopped one interrupts too, which the reference does not tell.
            del fields["interrupted"]
        for name, value in fields.items():
            if product[unit_id][name] != value:
                found.append(Difference(key, unit_id, "unit", name, value, product[unit_id][name]))
    return found


def row_differences(
    key: str, rows: list[Row], found_rows: list[dict[str, Any]]
) -> list[Difference]:
    product = {
        (one["unit_id"], one["outcome"], one["window_name"]): of_product(one) for one in found_rows
    }
    expected = {(row.unit, row.outcome, row.window): row for row in rows}
    if set(product) != set(expected):
        odd = set(product) ^ set(expected)
        return [Difference(key, "-", "rows", "which", len(expected), sorted(odd)[:3])]
    return [
        Difference(key, row.unit, f"{row.outcome}/{row.window}", name, value, product[at][name])
        for at, row in expected.items()
        for name, value in expected_of(row).items()
        if not is_same(name, value, product[at][name])
    ]


def without(patient: Patient, place: int, key: str) -> Patient:
    """The patient under another key, without one event; record keys keep their order."""
    kept = patient.events[:place] + patient.events[place + 1 :]
    renamed = [
        (
            event_type,
            row | {"patient_key": key, "record_key": f"{key}-{row['record_key'][-3:]}"},
        )
        for event_type, row in kept
    ]
    return Patient(key, renamed)


def shrink(
    patient: Patient, study: Study, kind: Kind, feeds: dict[str, datetime] | None = None
) -> Patient:
    """Drop events one at a time while the two still differ in the same way."""
    while True:
        fewer = [
            without(
                patient, place, f"{patient.key.split('/')[0]}/{len(patient.events)}-{place:03d}"
            )
            for place, (event_type, _) in enumerate(patient.events)
            if event_type != "InfusionRecorded" or count_infusions(patient) > 1
        ]
        odd = {one.patient for one in differences(fewer, study, feeds) if one.kind == kind}
        smaller = [one for one in fewer if one.key in odd]
        if not smaller:
            return patient
        patient = smaller[0]


def count_infusions(patient: Patient) -> int:
    return sum(event_type == "InfusionRecorded" for event_type, _ in patient.events)


def explain(
    found: list[Difference],
    patients: Iterable[Patient],
    study: Study,
    feeds: dict[str, datetime] | None = None,
) -> str:
    """The first patient that differs, made as small as it goes, and what differs there."""
    by_key = {one.key: one for one in patients}
    smallest = shrink(by_key[found[0].patient], study, found[0].kind, feeds)
    left = differences([smallest], study, feeds)
    count = len({one.patient for one in found})
    lines = [f"{count} patients differ; the first, shrunk:", brief(smallest), *map(str, left[:12])]
    return "\n".join(lines)
