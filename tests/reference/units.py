"""Sections 2 and 6: which records are an administration, which administrations a unit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from math import ceil
from typing import Any

from studies.load import Study
from studies.model import DrugTable
from tests.reference.clock import Axis, When, age_in_months, local_date, micros, vague_days
from tests.reference.doses import IN_FORCE, STATED, Administration, drug_of, is_in_force
from tests.reference.events import Event
from tests.reference.evidence import administrations_of, supplied

UNKNOWN = "unknown"


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
        return any(one.is_running for one in self.administrations)

    @property
    def evidence(self) -> str:
        """The strongest of its doses."""
        kinds = {one.evidence for one in self.administrations}
        return next(one for one in ("administered", "dispensed", "ordered") if one in kinds)

    @property
    def is_dispensed_undated(self) -> bool:
        return any(one.is_dispensed_undated for one in self.administrations)

    @property
    def is_interrupted(self) -> bool:
        return any(one.is_interrupted for one in self.administrations)

    @property
    def start(self) -> int:
        return micros(self.start_at) if self.axis == "instant" else self.index_date.toordinal()

    @property
    def end(self) -> int:
        return micros(self.end_at) if self.axis == "instant" else self.end_date.toordinal()

    def order(self) -> tuple[datetime, datetime]:
        return self.start_at, self.end_at


def continues(course: list[Administration], later: Administration, gap_hours: float) -> bool:
    """Whether a course goes on; by days where a day is all that is known of either."""
    return any(
        (later.first - one.last).days <= ceil(gap_hours / 24)
        if later.is_day or one.is_day
        else later.start - one.end <= timedelta(hours=gap_hours)
        for one in course
    )


def units_of(study: Study, events: list[Event]) -> list[Unit]:
    """All units of a patient, in order within their drug class."""
    counted = administrations_of(study, events)
    found: list[Unit] = []
    for drug in study.model.drug:
        doses = [one for one in counted if one.drug.name == drug.name]
        runs: list[list[Administration]] = []
        for dose in doses:
            is_course = study.model.study.unit == "course"
            if is_course and runs and continues(runs[-1], dose, drug.course_gap_hours):
                runs[-1].append(dose)
            else:
                runs.append([dose])
        for run in runs:
            by_days = study.model.study.resolution == "day" or any(one.is_day for one in run)
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
    """Whether one of the concepts is known of at the index; of a month or year, by its last day."""
    facts = [event for event in events if event.means(concepts)]
    vague = [days for event in facts if (days := vague_days(event.row)) is not None]
    return any(last <= unit.index_date for _, last in vague) or any(
        event.when is not None and is_at_or_before(unit, event.when) for event in facts
    )


def is_naive(study: Study, events: list[Event], unit: Unit) -> bool | None:
    """False with a sign of earlier exposure; null where one may be earlier, or nobody knows."""
    given = [
        one
        for one in supplied(study, events)
        if (drug := drug_of(study, one)) is not None and drug.drug_class == unit.drug.drug_class
    ]
    signs = given + [
        event
        for event in events
        if event.means(study.model.naive.prior_concepts)
        and event.type != "InfusionRecorded"
        and event.row.get("status") in {None, *STATED}
    ]
    vague = [days for event in signs if (days := vague_days(event.row)) is not None]
    if (
        unit.ordinal > 1
        or any(event.when is not None and event.when.at < unit.start_at for event in signs)
        or any(last < unit.index_date for _, last in vague)
    ):
        return False
    if any(first <= unit.index_date <= last for first, last in vague):
        return None
    starts = [one.when.at for one in events if one.when is not None and begins_record(one)]
    lookback = timedelta(days=study.model.naive.lookback_days)
    return True if starts and unit.start_at - min(starts) >= lookback else None


def begins_record(event: Event) -> bool:
    """An encounter, or an infusion that was at least dispensed."""
    if event.type == "InfusionRecorded":
        return is_in_force(event) and event.row["evidence"] not in {"ordered", "stated"}
    return event.type == "EncounterOccurred"


def premedicated(study: Study, events: list[Event], unit: Unit) -> bool:
    """Given in the hours before the start; by its day, on a date in them but not the index's."""
    strata = study.model.strata
    since = unit.start_at - timedelta(hours=strata.premedication_hours)
    for event in events:
        # A box of tablets, or a list of what is taken at home, is no dose.
        is_dose = event.row.get("status") in IN_FORCE["administered"]
        if event.when is None or not is_dose or not event.means(strata.premedication_concepts):
            continue
        if event.when.is_day or unit.is_day_known:
            first = local_date(since, event.row["zone"])
            if unit.is_day_known:
                first = unit.index_date - timedelta(days=ceil(strata.premedication_hours / 24))
            if first <= event.when.first < unit.index_date:
                return True
        elif since <= event.when.at < unit.start_at:
            return True
    return False


def setting(events: list[Event], unit: Unit) -> str:
    """Setting of the encounter that holds the start: of several, the one that began last."""
    holding: list[tuple[datetime, str, str]] = []
    for event in events:
        if event.type != "EncounterOccurred" or event.span is None:
            continue
        lo, hi = event.span.on("day" if unit.is_day_known else "instant")
        start = unit.start if unit.is_day_known else micros(unit.start_at)
        # A stay without an end goes on.
        if lo <= start and (start < hi or event.row.get("ended_at") is None):
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
