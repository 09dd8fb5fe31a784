"""Section 6: where follow-up ends, and when a window is closed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

from studies.load import Study
from studies.outcomes import Episodic, Outcome
from tests.reference.clock import Axis, instant_of, local_date, micros, midnight
from tests.reference.doses import is_in_force
from tests.reference.events import Event
from tests.reference.pieces import is_reading
from tests.reference.units import Unit, registration
from tests.reference.windows import Window, bounds

Cut = tuple[int, int, str]


@dataclass(frozen=True)
class Feeds:
    """Up to when each event type is complete."""

    through: dict[str, datetime]


def after_moment(moment: datetime, zone: str, axis: Axis) -> int:
    """First number that lies beyond the end of follow-up; its own day is still followed."""
    if axis == "instant":
        # Told as midnight it is known by its day, and the whole day belongs to follow-up.
        day = local_date(moment, zone)
        is_day = moment == midnight(day, zone)
        return micros(midnight(day + timedelta(days=1), zone) if is_day else moment)
    return local_date(moment, zone).toordinal() + 1


def ends_of_follow_up(study: Study, unit: Unit, events: list[Event]) -> list[Cut]:
    """Where death, the end of observation and the last contact cut; rank; name."""
    cuts = []
    row = registration(events) or {}
    died, left = row.get("died_at"), row.get("observation_end_at")
    if died is not None:
        # What is told for the very moment of death still happened to the patient.
        still = 1 if unit.axis == "instant" else 0
        cuts.append((after_moment(died, row["zone"], unit.axis) + still, 0, "death"))
    if left is not None and not (died is not None and is_of_death(left, died, row["zone"])):
        cuts.append((after_moment(left, row["zone"], unit.axis), 2, "observation_end"))
    grace = study.model.follow_up.contact_grace_days
    last = last_contact(study, events)
    if grace is not None and last is not None:
        end = last + timedelta(days=grace)
        cut = micros(end)
        if unit.axis == "day":
            zone = str(events[0].row["zone"])
            cut = local_date(end - timedelta(microseconds=1), zone).toordinal() + 1
        cuts.append((cut, 3, "observation_end"))
    return cuts


def is_of_death(left: datetime, died: datetime, zone: str) -> bool:
    """Whether observation ended with death; by dates where one is told as midnight."""
    days = [local_date(one, zone) for one in (left, died)]
    is_day = any(one == midnight(day, zone) for one, day in zip((left, died), days, strict=True))
    return left == died or (is_day and days[0] == days[1])


def last_contact(study: Study, events: list[Event]) -> datetime | None:
    """The last moment at which a dated record shows the patient."""
    moments = []
    for event in events:
        if event.when is None or not is_contact(study, event):
            continue
        is_stay = event.type == "EncounterOccurred" and event.span is not None
        placed = event.span if is_stay and event.span is not None else event.when
        moments.append(placed.until)
    return max(moments, default=None)


def is_contact(study: Study, event: Event) -> bool:
    """A stay, a report, a vital sign that was taken, a result, a dose supplied."""
    if event.type == "InfusionRecorded":
        return is_in_force(event) and event.row["evidence"] not in {"ordered", "stated"}
    if event.type == "VitalSignMeasured":
        return is_reading(event)
    if event.type == "DiagnosisRecorded":
        return is_code_read(study, event)
    return event.type in {"EncounterOccurred", "AdverseEventReported", "LabResulted"}


def is_code_read(study: Study, event: Event) -> bool:
    """Whether a diagnosis code is a report, as an outcome of the study reads it as one."""
    outcomes = [one for one in study.model.outcome if isinstance(one, Episodic)]
    codes = {name for one in outcomes for name in one.report_concepts}
    return event.means(list(codes)) and not event.is_never


def closes_at(study: Study, outcome: Outcome, window: Window, name: str, zone: str) -> datetime:
    """The uncut end up to which feeds must be complete; of merged windows, the last.

    An infusion that runs may go on for its longest: until then nothing of it closes.
    """
    [table] = [one for one in outcome.window if one.name == name]
    hours = timedelta(hours=study.model.administration.max_infusion_hours)
    ends = []
    for unit in window.members:
        _, hi = bounds(table, unit)
        goes_on = unit.is_running and table.end_anchor == "end"
        last_at = unit.end_at + hours
        last_day = local_date(last_at, zone)
        if unit.axis == "instant":
            ends.append(instant_of(hi) + hours if goes_on else instant_of(hi))
        else:
            later = (last_day - unit.end_date).days if goes_on else 0
            ends.append(midnight(date.fromordinal(hi + later), zone))
        if unit.is_running:
            by_day = midnight(last_day + timedelta(days=1), zone)
            ends.append(last_at if unit.axis == "instant" else by_day)
    return max(ends)


def is_closed(
    study: Study, outcome: Outcome, window: Window, name: str, zone: str, feeds: Feeds
) -> bool:
    """Whether every feed that the outcome needs is complete past the uncut end."""
    model, end_at = study.model, closes_at(study, outcome, window, name, zone)
    needed = set(study.reads(outcome))
    either = {"AdverseEventReported", "DiagnosisRecorded"}
    if either & needed and not either & set(feeds.through):
        return False
    for event_type in needed:
        if event_type in either and event_type not in feeds.through:
            continue
        lag = timedelta(hours=model.follow_up.settle_lag_hours.get(event_type, 0))
        through = feeds.through.get(event_type)
        if through is None or through < end_at + lag:
            return False
    return True
