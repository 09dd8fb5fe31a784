"""Sections 2 and 6: which records are an administration, which administrations a unit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any

from studies.load import Study
from studies.model import DrugTable
from tests.reference.clock import Axis, When, age_in_months, meets, micros
from tests.reference.events import Event

GIVEN = {"completed", "stopped", "in-progress"}
UNKNOWN = "unknown"
HOURS_BEFORE = timedelta(hours=24)


@dataclass
class Record:
    """One record of a study drug that was given."""

    key: str
    drug: DrugTable
    when: When
    order: str | None
    is_running: bool

    @property
    def has_duration(self) -> bool:
        return self.end > self.when.at

    @property
    def end(self) -> datetime:
        """Missing end: the start. (A day's 24:00 is not the end of an infusion.)"""
        return self.ended_at or self.when.at

    ended_at: datetime | None = None


@dataclass
class Administration:
    """Records that are one dose."""

    records: list[Record]

    @property
    def key(self) -> str:
        return min(self.records, key=lambda one: (one.when.at, one.key)).key

    @property
    def start(self) -> datetime:
        return min(one.when.at for one in self.records)

    @property
    def end(self) -> datetime:
        return max(one.end for one in self.records)

    @property
    def first(self) -> date:
        return min(one.when.first for one in self.records)

    @property
    def last(self) -> date:
        return max(one.when.last for one in self.records)

    @property
    def is_day(self) -> bool:
        return any(one.when.is_day for one in self.records)


@dataclass
class Unit:
    """What a denominator counts, with its strata."""

    drug: DrugTable
    administrations: list[Administration]
    axis: Axis
    ordinal: int = 0

    @property
    def key(self) -> str:
        return self.administrations[0].key

    @property
    def start_at(self) -> datetime:
        return self.administrations[0].start

    @property
    def end_at(self) -> datetime:
        return max(one.end for one in self.administrations)

    @property
    def index_date(self) -> date:
        return self.administrations[0].first

    @property
    def end_date(self) -> date:
        return max(one.last for one in self.administrations)

    @property
    def is_day_known(self) -> bool:
        """Whether the hour of the index is unknown."""
        return self.administrations[0].is_day

    @property
    def is_running(self) -> bool:
        return any(record.is_running for one in self.administrations for record in one.records)

    @property
    def start(self) -> int:
        return micros(self.start_at) if self.axis == "instant" else self.index_date.toordinal()

    @property
    def end(self) -> int:
        return micros(self.end_at) if self.axis == "instant" else self.end_date.toordinal()

    def order(self) -> tuple[datetime, datetime]:
        return self.start_at, self.end_at


def records_of(study: Study, events: list[Event]) -> list[Record]:
    found = []
    for event in events:
        drugs = [one for one in study.model.drug if event.means([one.concept])]
        if event.type != "InfusionRecorded" or event.span is None or not drugs:
            continue
        row = event.row
        is_given = row["status"] in GIVEN and row["route"] in study.model.study.routes
        if is_given and row["evidence"] == "administered":
            ended_at = row.get("ended_at")
            if ended_at is not None and ended_at < event.span.at:
                continue  # quarantined
            is_running = row["status"] == "in-progress" and ended_at is None
            order = row.get("order_key")
            found.append(
                Record(row["record_key"], drugs[0], event.span, order, is_running, ended_at)
            )
    return sorted(found, key=lambda one: (one.when.at, one.key))


def are_one_dose(study: Study, one: Record, other: Record) -> bool:
    """Two records of one administration."""
    if one.drug.name != other.drug.name:
        return False
    if one.has_duration and other.has_duration:
        gap = timedelta(hours=study.model.administration.bag_gap_hours)
        return one.when.at <= other.end + gap and other.when.at <= one.end + gap
    if one.has_duration or other.has_duration or one.order is None:
        return False
    return one.when == other.when and one.order == other.order


def administrations_of(study: Study, records: list[Record]) -> list[Administration]:
    """Join records until none are left that are one dose with another of the group."""
    groups: list[list[Record]] = []
    for record in records:
        same = [group for group in groups if any(are_one_dose(study, record, one) for one in group)]
        groups = [group for group in groups if group not in same]
        groups.append([one for group in same for one in group] + [record])
    found = [Administration(sorted(group, key=lambda one: one.key)) for group in groups]
    return sorted(found, key=lambda one: (one.start, one.end, one.key))


def continues(course: list[Administration], later: Administration, gap_hours: float) -> bool:
    """Whether a course goes on; by days where a day is all that is known of either."""
    if later.is_day or any(one.is_day for one in course):
        return (later.first - max(one.last for one in course)).days <= ceil(gap_hours / 24)
    return later.start - max(one.end for one in course) <= timedelta(hours=gap_hours)


def units_of(study: Study, events: list[Event]) -> list[Unit]:
    """All units of a patient, in order within their drug class."""
    records = records_of(study, events)
    found: list[Unit] = []
    for drug in study.model.drug:
        doses = administrations_of(study, [one for one in records if one.drug.name == drug.name])
        runs: list[list[Administration]] = []
        for dose in doses:
            is_course = study.model.study.unit == "course"
            if is_course and runs and continues(runs[-1], dose, drug.course_gap_hours):
                runs[-1].append(dose)
            else:
                runs.append([dose])
        for run in runs:
            by_days = study.model.study.resolution == "day" or run[0].is_day
            found.append(Unit(drug, run, "day" if by_days else "instant"))
    # The owner of equal starts (later end, then smaller id) comes last, as the latest index.
    found.sort(key=lambda one: one.key, reverse=True)
    found.sort(key=Unit.order)
    count: dict[str, int] = {}
    for unit in found:
        count[unit.drug.drug_class] = count.get(unit.drug.drug_class, 0) + 1
        unit.ordinal = count[unit.drug.drug_class]
    return found


def is_at_or_before(unit: Unit, placed: When) -> bool:
    """A fact dated at or before the index; one known by its day, or a unit known so: by date."""
    if unit.axis == "day" or placed.is_day:
        return placed.first <= unit.index_date
    return placed.at <= unit.start_at


def knows(events: list[Event], concepts: list[str], unit: Unit) -> bool:
    """Whether one of the concepts is known of at the index."""
    return any(
        event.when is not None and is_at_or_before(unit, event.when)
        for event in events
        if event.means(concepts)
    )


def is_naive(study: Study, events: list[Event], unit: Unit) -> bool | None:
    signs = study.model.naive.prior_concepts
    if unit.ordinal > 1 or any(
        event.when is not None and event.when.at < unit.start_at
        for event in events
        if event.means(signs)
    ):
        return False
    starts = {"EncounterOccurred", "InfusionRecorded"}
    record_start = min(one.when.at for one in events if one.type in starts and one.when)
    lookback = timedelta(days=study.model.naive.lookback_days)
    return True if unit.start_at - record_start >= lookback else None


def premedicated(study: Study, events: list[Event], unit: Unit) -> bool:
    """Given in the 24 h before the start; where that is a day: the day before, or that day."""
    lo, hi = micros(unit.start_at - HOURS_BEFORE), micros(unit.start_at)
    axis: Axis = "instant"
    if unit.is_day_known:
        axis, lo, hi = "day", unit.start - 1, unit.start + 1
    return any(
        meets(event.when.on(axis), lo, hi)
        for event in events
        if event.means(study.model.strata.premedication_concepts) and event.when is not None
    )


def setting(events: list[Event], unit: Unit) -> str:
    """Setting of the encounter that holds the start: of several, the one that began last."""
    holding: list[tuple[datetime, str, str]] = []
    for event in events:
        if event.type != "EncounterOccurred" or event.span is None:
            continue
        lo, hi = event.span.on("day" if unit.is_day_known else "instant")
        start = unit.start if unit.is_day_known else micros(unit.start_at)
        if lo <= start < hi:
            row = event.row
            holding.append((event.span.at, row["record_key"], row["setting"]))
    return max(holding)[2] if holding else UNKNOWN


def registration(events: list[Event]) -> dict[str, Any] | None:
    return next((one.row for one in events if one.type == "PatientRegistered"), None)


def age_months(events: list[Event], unit: Unit) -> int | None:
    born = (registration(events) or {}).get("birth_date")
    return None if born is None else age_in_months(born, unit.index_date)


def indication_type(study: Study, events: list[Event], unit: Unit) -> str:
    """Name of the first group with a diagnosis at or before the index."""
    for group in study.model.indication:
        if knows(events, group.concepts, unit):
            return group.type
    return UNKNOWN


def is_eligible(study: Study, events: list[Event], unit: Unit) -> bool:
    if registration(events) is None:
        return False
    rules = study.model.eligibility
    age = age_months(events, unit)
    if rules.max_age_years is not None and (age is None or age >= rules.max_age_years * 12):
        return False
    if rules.requires_indication and indication_type(study, events, unit) == UNKNOWN:
        return False
    return not knows(events, rules.excluded_concepts, unit)
