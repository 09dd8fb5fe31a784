"""Patients by the hundred whose events fall on and around the edges of their windows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

from tests.linkage_cases import ZONE, Patient, utc
from tests.reference.edges import (
    BIRTHS,
    CELSIUS,
    DRUGS,
    DURATIONS,
    FAHRENHEIT,
    HEART_RATES,
    HISTORY,
    HOUR,
    HOURS_TO_NEXT,
    LABS,
    ORDERS,
    REACTIONS,
    SECOND,
    SHIFTS,
    STARTS,
)
from tests.reference.rarer import Rarer
from tests.reference.timed import text


class Maker(Rarer):
    """One made-up patient."""

    def make(self) -> Patient:
        self.infusions()
        self.registered()
        for number, add in (
            (2, self.history), (4, self.temperature), (4, self.heart_rate), (3, self.report),
            (5, self.lab), (2, self.encounter), (1, self.medication), (1, self.pair),
            (1, self.second_source), (2, self.supply), (1, self.restart), (2, self.specimen),
            (1, self.undated), (2, self.remedy),
        ):  # fmt: skip
            for _ in range(self.random.randint(0, number)):
                add()
        return self.patient

    def infusions(self) -> None:
        start = datetime.fromisoformat(self.random.choice(STARTS))
        moment = start.replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC).replace(tzinfo=None)
        code = self.random.choice(DRUGS)
        by_day = self.chance(0.12)
        for _ in range(self.random.choice((1, 1, 1, 2, 2, 3, 4))):
            self.infusion(moment, code, by_day=by_day)
            gap = self.random.choice(HOURS_TO_NEXT) * HOUR
            if self.chance(0.6) and code == "11473":
                gap = self.random.choice((24, 48, 96)) * HOUR
            base = self.random.choice((moment, self.anchors[-1]))
            moment = base + gap + self.random.choice((timedelta(), timedelta(), SECOND))
            if gap == 0 * HOUR or self.chance(0.3):
                code = self.random.choice(DRUGS)

    def infusion(self, start: datetime, code: str, *, by_day: bool) -> None:
        fields: dict[str, Any] = {}
        if self.chance(0.2):
            fields["order_key"] = self.random.choice(ORDERS)
        hours = self.random.choice(DURATIONS)
        status = self.random.choice(("completed",) * 8 + ("stopped", "in-progress", "not-done"))
        ended = None if hours is None or by_day else start + hours * HOUR
        at = text(start)[:10] if by_day else text(start)
        self.patient.infusion(
            at, text(ended) if ended else None, code=code, status=status, **fields
        )
        self.anchors += [start, ended or start]

    def infusions_so_far(self) -> list[dict[str, Any]]:
        rows = [row for name, row in self.patient.events if name == "InfusionRecorded"]
        return [row for row in rows if row["occurred_at"] is not None]

    def second_source(self) -> None:
        """Some infusions told again, as a point or with a duration, and doses beside them."""
        for row in self.infusions_so_far():
            if self.chance(0.3):
                continue
            hours = self.random.choice((0, 0, 0, 1 / 6, 0.5, -0.5, 2, 3))
            start = row["occurred_at"] + hours * HOUR
            lasts = self.random.choice((None, None, 0.5, 1))
            is_day = row["time_precision"] == "day"
            order = f"b-{row['order_key']}" if row.get("order_key") and self.chance(0.7) else None
            self.patient.infusion(
                text(row["occurred_at"])[:10] if is_day else text(start),
                None if is_day or lasts is None else text(start + lasts * HOUR),
                code=row["code"], source="b", order_key=order,
                status=self.random.choice(("completed", "completed", "stopped", "in-progress")),
            )  # fmt: skip

    def supply(self) -> None:
        """An order or a dispense near an infusion, or on its own."""
        infusion = self.random.choice(self.infusions_so_far())
        days = self.random.choice((0, 0, -1 / 24, 1 / 24, -1, 1, -3, 6, -7, 7, 8, -20))
        at = text(infusion["occurred_at"] + days * 24 * HOUR + self.random.choice(SHIFTS))
        fields: dict[str, Any] = {
            "evidence": self.random.choice(("ordered", "ordered", "dispensed", "stated")),
            "status": self.random.choice(
                ("completed", "completed", "stopped", "active", "on-hold", "unknown", "cancelled",
                 "entered-in-error", "in-progress")
            ),
            "order_key": self.random.choice((None, *ORDERS)),
            "source": self.random.choice(("ehr", "ehr", "b")),
        }  # fmt: skip
        if fields["evidence"] in {"dispensed", "stated"} and self.chance(0.3):
            fields |= {"occurred_at": None, "time_precision": None}
        elif self.chance(0.1):
            at = at[:10]
        if self.chance(0.2):
            fields["ended_at"] = utc(at) + 24 * HOUR
        code = infusion["code"] if self.chance(0.8) else self.random.choice(DRUGS)
        self.patient.infusion(at, code=code, **fields)

    def registered(self) -> None:
        if self.chance(0.03):
            return
        fields: dict[str, Any] = {}
        if self.chance(0.12):
            fields["died_at"] = self.near(lo=-1)
            if self.chance(0.2):
                fields["died_at"] = utc(text(fields["died_at"])[:10])
        if self.chance(0.12):
            fields["observation_end_at"] = self.near(lo=-1)
        sex = self.random.choice(("male", "female", "unknown"))
        self.patient.born(self.random.choice(BIRTHS), sex, **fields)
        if self.chance(0.9):
            self.patient.diagnosis("2018-01-01", self.random.choice(HISTORY))

    def history(self) -> None:
        code = self.random.choice((*HISTORY, "E83.52", "Z79.83"))
        if self.chance(0.5):
            self.patient.diagnosis(self.time(day=0.5), code, **self.vague())

    def temperature(self) -> None:
        unit, values = self.random.choice(
            (("Cel", CELSIUS), ("Cel", CELSIUS), ("[degF]", FAHRENHEIT))
        )
        unit = "K" if self.chance(0.05) else unit
        value = None if self.chance(0.05) else self.random.choice(values)
        self.patient.temperature(self.time(day=0.05), value, unit)

    def heart_rate(self) -> None:
        self.patient.heart_rate(self.time(day=0.05), self.random.choice(HEART_RATES))

    def report(self) -> None:
        fields: dict[str, Any] = {}
        if self.chance(0.5):
            fields["grade"] = self.random.randint(1, 4)
        if self.chance(0.2):
            fields["is_serious"] = True
        at = self.time(day=0.35)
        if self.chance(0.15) and len(at) > len("2024-03-01"):
            later = datetime.fromisoformat(at) + self.random.choice((1, 24, 80, 400)) * HOUR
            fields["ended_at"] = datetime.fromisoformat(later.isoformat())
        if self.chance(0.05):
            fields["time_precision"] = "month"
        code = self.random.choice(REACTIONS)
        if "grade" in fields or self.chance(0.5):
            self.patient.report(at, code, **fields)
        else:
            fields.pop("is_serious", None)
            self.patient.diagnosis(at, code, **fields)

    def pair(self) -> None:
        """Two of a kind, as far apart as one event or a grade 4 allows, or a second more."""
        first = self.near(lo=-100, hi=72)
        later = first + self.random.choice((24, 72)) * HOUR + self.random.choice(SHIFTS)
        if self.chance(0.5):
            code = self.random.choice(("R51.9", "R50.9"))
            for at in (first, later):
                self.patient.report(text(at), code, grade=self.random.randint(1, 2))
            return
        for at, value in ((first, 40.1), (later, 40.2)):
            self.patient.temperature(text(at), value)
        if self.chance(0.5):
            value = self.random.choice((40.0, 40.1))
            self.patient.temperature(text(first + 2 * HOUR), value)

    def lab(self) -> None:
        code, unit, values, limits = self.random.choice(LABS)
        fields: dict[str, Any] = {"low_limit": self.random.choice(limits)}
        if self.chance(0.15):
            fields["comparator"] = self.random.choice(("<", ">"))
        if self.chance(0.1):
            fields["status"] = self.random.choice(("preliminary", "cancelled", "corrected"))
        if self.chance(0.04):
            fields["specimen_quality"] = "haemolysed"
        if self.chance(0.05):
            unit = "UNK"
        value = None if self.chance(0.05) else self.random.choice(values)
        at = self.time()
        if self.chance(0.05):
            fields |= {"occurred_at": None, "resulted_at": utc(at)}
        self.patient.lab(at, code, value, unit, **fields)

    def encounter(self) -> None:
        start = self.near() - (400 * 24 * HOUR if self.chance(0.3) else timedelta())
        hours = self.random.choice((0.5, 1, 6, 30, 30, 31, 54))
        at = text(start)[: 10 if self.chance(0.1) else None]
        fields: dict[str, Any] = {
            "setting": self.random.choice(("inpatient", "outpatient", "home", "emergency")),
            "admission_type": self.random.choice((None, "elective", "unplanned")),
        }
        if self.chance(0.9):
            fields["ended_at"] = start + hours * HOUR
        self.patient.add("EncounterOccurred", at, **fields)

    def medication(self) -> None:
        code = self.random.choice(("161", "161", "46041"))
        at = self.time(lo=-100, hi=24)
        status = self.random.choice(("completed", "completed", "unknown"))
        drug = {"code": code, "code_system": "rxnorm", "status": status}
        self.patient.add("MedicationGiven", at, **drug, **self.vague())

    def vague(self) -> dict[str, Any]:
        """Sometimes, that no more than the month or year is known."""
        return (
            {"time_precision": self.random.choice(("month", "year"))} if self.chance(0.15) else {}
        )


def make_patients(seed: int, number: int) -> list[Patient]:
    """Return patients that depend on the arguments alone."""
    random = Random(seed)  # noqa: S311 - test data
    return [Maker(f"p{seed}-{place}", random).make() for place in range(number)]


def brief(patient: Patient) -> str:
    """A made-up patient's events, one a line, times on the wall clock."""
    hidden = {
        "site_id", "source", "event_type", "version", "operation", "patient_key", "zone", "flags",
        "source_file_sha", "source_row", "content_hash", "occurred_at", "time_precision",
        "code_system",
    }  # fmt: skip
    lines = []
    for event_type, row in patient.events:
        at, precision = row["occurred_at"], row["time_precision"]
        shown = "-" if at is None else text(at)
        rest = {
            name: text(value) if isinstance(value, datetime) else value
            for name, value in row.items()
            if name not in hidden and value is not None
        }
        fields = " ".join(
            f"{name}={value.isoformat() if isinstance(value, date) else value}"
            for name, value in rest.items()
        )
        lines.append(f"  {event_type} {shown[:10] if precision == 'day' else shown} {fields}")
    return "\n".join(lines)
