"""Section 9: what makes an event serious, and whether it was treated."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

from studies.load import Study
from studies.outcomes import OutcomeBase
from tests.reference.clock import When, instant_of, length, local_date, midnight
from tests.reference.doses import IN_FORCE
from tests.reference.events import Event
from tests.reference.units import Unit, registration
from tests.reference.windows import Window

ACUTE = {"emergency", "inpatient"}
REPORTS = {"AdverseEventReported", "DiagnosisRecorded"}
GIVEN = {"completed", "stopped", "in-progress"}


@dataclass(frozen=True)
class Asked:
    """An event of which is asked; without an onset it counts from the window's start."""

    study: Study
    events: list[Event]
    units: list[Unit]
    window: Window
    onset: When
    grade: int | None
    evidence: list[dict[str, Any]]

    @property
    def by_days(self) -> bool:
        return self.window.axis == "day" or self.onset.is_day or self.onset.is_guess

    def is_before_index(self, placed: When) -> bool:
        """Known by an hour before the infusion's own, where the window begins no earlier."""
        unit = self.window.unit
        is_known = not (placed.is_day or unit.is_day_known)
        return is_known and self.window.lo >= unit.start and placed.at < unit.start_at


def window_start(window: Window, zone: str) -> When:
    """The window's start as a time."""
    if window.axis == "instant":
        at = instant_of(window.lo)
        return When(at, at, local_date(at, zone), local_date(at, zone), is_day=False)
    at = midnight(window.unit.index_date, zone)
    day = window.unit.index_date + timedelta(days=window.lo - window.unit.start)
    return When(at, at, day, day, is_day=True)


def is_in_time(asked: Asked, placed: When) -> bool:
    """At or after the onset and before the window's uncut end."""
    window, onset = asked.window, asked.onset
    if asked.by_days or placed.is_day:
        is_after = placed.first >= onset.first
    else:
        is_after = placed.at >= onset.at
    if window.axis == "day":
        return is_after and placed.first.toordinal() < window.hi
    return is_after and placed.on("instant")[0] < window.hi


def is_told_in_time(asked: Asked, placed: When) -> bool:
    """So of an encounter or report; one of an hour before the infusion's is before the onset."""
    return is_in_time(asked, placed) and not asked.is_before_index(placed)


def stay_holds(stay: Event, placed: When, *, by_days: bool) -> bool:
    """From its start to before its end; by days, all its dates; without an end, its first."""
    span, start = stay.span, stay.when
    if span is None or start is None:
        return False
    if stay.row.get("ended_at") is None:
        is_before = not (by_days or start.is_day or placed.is_day) and placed.at < start.at
        return placed.first == start.first and not is_before
    if by_days or start.is_day or placed.is_day:
        return start.first <= placed.first <= span.last
    return start.at <= placed.at < span.until


def is_planned(asked: Asked, stay: Event) -> bool:
    """Elective, or with the start of an administration of a unit of the class in it."""
    if stay.row.get("admission_type") == "elective":
        return True
    drug_class = asked.window.unit.drug.drug_class
    doses = [
        dose
        for unit in asked.units
        if unit.drug.drug_class == drug_class
        for dose in unit.administrations
    ]
    first = [min(dose.records, key=lambda one: one.when.at).when for dose in doses]
    starts = [When(w.at, w.at, w.first, w.first, w.is_day) for w in first]
    return any(stay_holds(stay, start, by_days=start.is_day) for start in starts)


def is_prolonged(asked: Asked, stay: Event) -> bool:
    """Much longer than the study expects of its setting."""
    serious = asked.study.model.serious
    expected = serious.expected_stay_hours.get(stay.row["setting"])
    if expected is None or stay.row.get("ended_at") is None or stay.when is None or not stay.span:
        return False
    if not stay_holds(stay, asked.onset, by_days=asked.by_days):
        return False
    lasted = stay.span.until - stay.when.at
    if stay.when.is_day:
        lasted = stay.span.last - stay.when.first
    return lasted > timedelta(hours=expected + serious.stay_excess_hours)


def death(asked: Asked) -> When | None:
    """When the patient died; told as midnight, it is known by its day."""
    row = registration(asked.events) or {}
    at = row.get("died_at")
    if at is None:
        return None
    day = local_date(at, row["zone"])
    return When(at, at, day, day, is_day=at == midnight(day, row["zone"]))


def criteria(asked: Asked) -> set[str]:
    """Names of what makes the event serious."""
    rules, found = asked.study.model.serious, set()
    died = death(asked)
    if died is not None and is_in_time(asked, died):
        found.add("death")
    if asked.grade is not None and asked.grade >= rules.life_threatening_grade:
        found.add("life_threatening")
    if any(row.get("is_serious") for row in asked.evidence):
        found.add("reported")
    for stay in asked.events:
        if stay.type == "EncounterOccurred" and stay.when is not None:
            found |= of_stay(asked, stay, stay.when)
    later = [
        one
        for one in asked.events
        if one.type in REPORTS and one.when is not None and is_told_in_time(asked, one.when)
    ]
    if any(one.means(rules.disability_concepts) for one in later):
        found.add("disability")
    if any(one.means(rules.important_concepts) for one in later):
        found.add("important")
    return found


def of_stay(asked: Asked, stay: Event, start: When) -> set[str]:
    """What an encounter says of an event."""
    if is_planned(asked, stay):
        return {"prolonged_stay"} if is_prolonged(asked, stay) else set()
    is_acute = stay.row["setting"] in ACUTE and is_told_in_time(asked, start)
    return {"hospitalisation"} if is_acute else set()


def doses_of(asked: Asked, concept: str) -> list[Event]:
    """What was given of a remedy."""
    return [
        one
        for one in asked.events
        if one.when is not None
        and one.means([concept])
        and one.row["status"] in GIVEN
        and one.row.get("evidence", "administered") == "administered"
    ]


def orders_of(asked: Asked, concept: str) -> list[Event]:
    """Infusions of a remedy that were ordered, in force."""
    return [
        one
        for one in asked.events
        if one.type == "InfusionRecorded"
        and one.when is not None
        and one.means([concept])
        and one.row["evidence"] == "ordered"
        and one.row["status"] in IN_FORCE["ordered"]
    ]


def hours_after(asked: Asked, event: Event, hours: float) -> bool:
    """From the onset to so long after; the onset's date is after it."""
    placed, onset = event.when, asked.onset
    assert placed is not None
    if asked.is_before_index(placed):
        return False
    if asked.by_days or placed.is_day:
        return 0 <= (placed.first - onset.first).days <= length(hours, "day")
    return timedelta() <= placed.at - onset.at <= timedelta(hours=hours)


def hours_before(asked: Asked, event: Event, hours: float) -> bool:
    """Begun before the onset, and given or lasting within so long before it."""
    placed, span, onset = event.when, event.span, asked.onset
    assert placed is not None
    assert span is not None
    if asked.by_days or placed.is_day:
        is_late = (onset.first - span.last).days <= length(hours, "day")
        is_early = placed.first < onset.first or asked.is_before_index(placed)
        return is_early and is_late
    return placed.at < onset.at and onset.at - max(span.until, placed.at) <= timedelta(hours=hours)


def dose(event: Event) -> tuple[Fraction, str] | None:
    value = event.row.get("dose_value")
    return None if value is None else (Fraction(str(value)), str(event.row.get("dose_unit")))


def is_raised(event: Event, before: list[Event]) -> bool:
    """Whether its dose is above all of those before, all told in one unit."""
    mine, others = dose(event), [dose(one) for one in before]
    return mine is not None and all(
        one is not None and one[1] == mine[1] and mine[0] > one[0] for one in others
    )


def is_treated(asked: Asked, outcome: OutcomeBase) -> bool | None:
    """Whether a remedy was begun or raised for the event; None where the study knows none."""
    if not outcome.remedy_concepts:
        return None
    rules = asked.study.model.treatment
    for concept in outcome.remedy_concepts:
        given = doses_of(asked, concept)
        before = [
            one
            for one in given + orders_of(asked, concept)
            if hours_before(asked, one, rules.lookback_hours)
        ]
        for one in given:
            if hours_after(asked, one, rules.gap_hours) and is_raised(one, before):
                return True
            if hours_after(asked, one, rules.gap_hours) and not before:
                return True
    return False


def remedies_after(asked: Asked, outcome: OutcomeBase) -> list[Event]:
    """Doses of its remedies soon after the onset."""
    hours = asked.study.model.treatment.gap_hours
    given = [dose for concept in outcome.remedy_concepts for dose in doses_of(asked, concept)]
    return [dose for dose in given if hours_after(asked, dose, hours)]


def remedy_after_hours(asked: Asked, outcome: OutcomeBase) -> float | None:
    """Hours to the first of them, where all are known by the hour."""
    placed = [one.when for one in remedies_after(asked, outcome) if one.when is not None]
    if not placed or asked.by_days or any(one.is_day for one in placed):
        return None
    return (min(one.at for one in placed) - asked.onset.at) / timedelta(hours=1)
