"""Small patients for tests of linkage: events from short calls, linked all at once.

Times are local wall clock of a zone with half-hour offset and daylight saving, so that a rule that
forgets the zone fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from pipelines.base.zones import to_utc
from pipelines.linkage.kernel import RAW_TABLES, LinkageInput, link_tables
from studies.load import Study, load_study

ZONE = "Australia/Adelaide"
THROUGH = datetime.fromisoformat("2025-01-01")
ALL_TYPES = tuple(RAW_TABLES.values())


def utc(local: str) -> datetime:
    """Naive UTC of a local time such as `2024-03-01 09:00` or `2024-03-01`."""
    return to_utc(datetime.fromisoformat(local), ZONE).replace(tzinfo=None)


@dataclass
class Patient:
    """One patient's events; every method adds one and returns the patient."""

    key: str
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def add(self, event_type: str, at: str | None = None, **fields: Any) -> Patient:
        is_day = at is not None and len(at) == len("2024-03-01")
        number = len(self.events)
        row = {
            "site_id": "here",
            "source": "ehr",
            "event_type": event_type,
            "record_key": f"{self.key}-{number:03d}",
            "version": 1,
            "operation": "upsert",
            "patient_key": self.key,
            "occurred_at": None if at is None else utc(at),
            "time_precision": "day" if is_day else "instant",
            "zone": ZONE,
            "flags": [],
            "source_file_sha": "f" * 64,
            "source_row": number + 1,
            "content_hash": f"{number:064d}",
            **fields,
        }
        self.events.append((event_type, row))
        return self

    def born(self, day: str, sex: str = "male", **fields: Any) -> Patient:
        return self.add("PatientRegistered", birth_date=date.fromisoformat(day), sex=sex, **fields)

    def infusion(
        self, start: str, end: str | None = None, code: str = "77655", **fields: Any
    ) -> Patient:
        given = {"status": "completed", "evidence": "administered", "route": "intravenous"} | fields
        ended = {"ended_at": utc(end)} if end else {}
        return self.add(
            "InfusionRecorded", start, code=code, code_system="rxnorm", **ended, **given
        )

    def diagnosis(self, at: str, code: str, **fields: Any) -> Patient:
        return self.add("DiagnosisRecorded", at, code=code, code_system="icd10cm", **fields)

    def report(self, at: str | None, code: str, **fields: Any) -> Patient:
        return self.add("AdverseEventReported", at, code=code, code_system="icd10cm", **fields)

    def lab(self, at: str, code: str, value: float | None, unit: str, **fields: Any) -> Patient:
        return self.add(
            "LabResulted", at, code=code, code_system="loinc", value=value, unit=unit, **fields
        )

    def calcium(self, at: str, value: float | None, unit: str = "mg/dL", **fields: Any) -> Patient:
        return self.lab(at, "17861-6", value, unit, **fields)

    def phosphate(self, at: str, value: float, unit: str = "mg/dL", **fields: Any) -> Patient:
        return self.lab(at, "2777-1", value, unit, **fields)

    def vital(self, at: str, code: str, value: float | None, unit: str | None) -> Patient:
        return self.add(
            "VitalSignMeasured", at, code=code, code_system="loinc", value=value, unit=unit
        )

    def temperature(self, at: str, value: float | None, unit: str = "Cel") -> Patient:
        return self.vital(at, "8310-5", value, unit)

    def heart_rate(self, at: str, value: float, unit: str | None = "/min") -> Patient:
        return self.vital(at, "8867-4", value, unit)

    def encounter(self, start: str, end: str, setting: str = "outpatient") -> Patient:
        return self.add("EncounterOccurred", start, ended_at=utc(end), setting=setting)


def child(key: str, born: str = "2016-05-10", **fields: Any) -> Patient:
    """An eligible child: registered, with osteogenesis imperfecta long before any infusion."""
    return Patient(key).born(born, **fields).diagnosis("2018-01-01", "Q78.0")


@dataclass(frozen=True)
class Linked:
    """What linkage gave, as rows to ask questions of."""

    outcomes: list[dict[str, Any]]
    units: list[dict[str, Any]]
    infusions: list[dict[str, Any]]
    evidence: list[dict[str, Any]]
    counts: list[tuple[Any, ...]]
    attrition: list[tuple[Any, ...]]

    def of(self, key: str, outcome: str, unit: int = 1, window: str = "risk") -> dict[str, Any]:
        """The row of one outcome of a patient's nth unit."""
        [unit_id] = [
            u["unit_id"]
            for u in self.units
            if u["patient_key"] == key and u["ordinal_in_record"] == unit
        ]
        [row] = [
            o
            for o in self.outcomes
            if o["unit_id"] == unit_id and o["outcome"] == outcome and o["window_name"] == window
        ]
        return row

    def units_of(self, key: str) -> list[dict[str, Any]]:
        """A patient's units in order."""
        found = [unit for unit in self.units if unit["patient_key"] == key]
        return sorted(found, key=lambda unit: int(unit["ordinal_in_record"]))


def with_settings(base: Study, **tables: dict[str, Any]) -> Study:
    """The study with some settings changed, such as `study={"resolution": "day"}`."""
    changed = {
        name: getattr(base.model, name).model_copy(update=update) for name, update in tables.items()
    }
    return Study(base.model.model_copy(update=changed), base.codelist, base.limits, base.folder)


def event_tables(patients: Iterable[Patient]) -> dict[str, pa.Table]:
    """Arrow tables by event type."""
    by_type: dict[str, list[dict[str, Any]]] = {}
    for patient in patients:
        for event_type, row in patient.events:
            by_type.setdefault(event_type, []).append(row)
    return {name: _table(rows) for name, rows in by_type.items()}


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    types = {"flags": pa.list_(pa.string()), "occurred_at": pa.timestamp("us")}
    return pa.table(
        {name: pa.array([row.get(name) for row in rows], types.get(name)) for name in names}
    )


def link(
    patients: Iterable[Patient],
    study: Study | None = None,
    *,
    through: dict[str, datetime] | None = None,
    patients_implied: bool = False,
) -> Linked:
    """Link patients and read everything back."""
    feeds = dict.fromkeys(ALL_TYPES, THROUGH) if through is None else through
    given = LinkageInput(
        study or load_study("iv_bisphosphonate"),
        tuple(("here", name, instant) for name, instant in feeds.items()),
        patients_implied=patients_implied,
    )
    with tempfile.TemporaryDirectory() as folder:
        linked = link_tables(event_tables(patients), given, Path(folder))
        rows = {table: _rows(path) for table, path in linked.files.items()}
    return Linked(
        rows["linkage.unit_outcome"],
        rows["linkage.course"],
        rows["linkage.infusion"],
        rows["linkage.evidence"],
        linked.counts["signals.counts"],
        linked.attrition,
    )


def _rows(path: str) -> list[dict[str, Any]]:
    table = duckdb.read_parquet(path)
    return [dict(zip(table.columns, row, strict=True)) for row in table.fetchall()]
