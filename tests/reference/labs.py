"""Section 7: laboratory outcomes of one unit's window."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from typing import Any

from studies.analytes import AnalyteUnit, analytes
from studies.load import Study
from studies.outcomes import GradeOutcome, LabOutcome, RatioOutcome, ThresholdOutcome
from tests.reference.clock import When, age_in_months, length, meets
from tests.reference.episodes import exact
from tests.reference.events import Event
from tests.reference.units import Unit, registration
from tests.reference.windows import Window, bounds

SPOILT = {"haemolysed", "contaminated"}
#: A number and what the comparator says of it: -1 just below, +1 just above.
Value = tuple[Fraction, int]


@dataclass
class Result:
    """A result that counts as a test."""

    when: When
    row: dict[str, Any]
    unit: AnalyteUnit

    @property
    def value(self) -> Value:
        """In the cuts' unit of the reported unit system."""
        return self.scaled(self.unit.to_system_factor)

    @property
    def canonical(self) -> Value:
        return self.scaled(self.unit.to_canonical_factor)

    def scaled(self, factor: float) -> Value:
        side = {"<": -1, ">": 1}.get(self.row.get("comparator") or "", 0)
        return exact(self.row["value"]) * exact(factor), side


@dataclass
class Tested:
    """What a laboratory outcome says of a window."""

    is_tested: bool
    baseline: Result | None
    onset: When | None
    grade: int | None
    baseline_grade: int | None
    is_pre_existing: bool


def results_of(events: list[Event], concept: str) -> list[Result]:
    """Results with a number in a known unit, neither cancelled nor of a spoilt specimen."""
    found = []
    for event in events:
        if not event.means([concept]) or event.when is None:
            continue
        row = event.row
        units = [one for one in analytes() if (one.concept, one.unit) == (concept, row["unit"])]
        is_spoilt = row.get("status") == "cancelled" or row.get("specimen_quality") in SPOILT
        if row["value"] is not None and units and not is_spoilt:
            found.append(Result(event.when, row, units[0]))
    return found


def is_post_index(result: Result, window: Window, grace: timedelta) -> bool:
    """Later than the grace after the start, in which a draw still is baseline."""
    if window.axis == "day" or result.when.is_day:
        return True
    return result.when.at > window.unit.start_at + grace


def is_in(result: Result, window: Window, grace: timedelta, *, uncut: bool = False) -> bool:
    return window.holds(result.when, uncut=uncut) and is_post_index(result, window, grace)


def baseline_of(
    results: list[Result],
    outcome: LabOutcome,
    window: Window,
    earlier: list[Window],
    grace: timedelta,
) -> Result | None:
    """The last result before, out of reach of every earlier unit; of equal times the smaller."""
    unit = window.unit
    lo = unit.start - length(outcome.baseline_days * 24, window.axis)
    found = []
    for result in results:
        side = window.side(result.when)
        if side in {"after", "nowhere"}:
            continue
        if window.axis == "instant" and not result.when.is_day:
            is_before = result.when.at <= unit.start_at + grace
            in_reach = is_before and result.when.on("instant")[0] >= lo
        else:
            in_reach = side == "before" or meets(result.when.on(window.axis), lo, unit.start)
        if in_reach and not any(is_in(result, other, grace, uncut=True) for other in earlier):
            found.append(result)
    if not found:
        return None
    last = max(one.when.at for one in found)
    return min((one for one in found if one.when.at == last), key=lambda one: one.canonical)


def grade_of(result: Result, study: Study, outcome: LabOutcome, events: list[Event]) -> int:
    """CTCAE grade of a result, 0 and 1 for thresholds."""
    if isinstance(outcome, ThresholdOutcome):
        return int(is_beyond(result, outcome))
    if not isinstance(outcome, GradeOutcome):
        return 0
    own = result.row.get("low_limit")
    if own is not None and result.value >= (exact(own) * exact(result.unit.to_system_factor), 0):
        return 0
    cuts = [
        int(row["grade"])
        for row in study.limits[outcome.cuts]
        if row["unit"] == result.unit.system_unit and result.value < (exact(float(row["below"])), 0)
    ]
    if cuts:
        return max(cuts)
    if own is not None:
        return 1
    return int(is_below_table(result, study, outcome, events))


def is_below_table(
    result: Result, study: Study, outcome: GradeOutcome, events: list[Event]
) -> bool:
    """Below the study's limit of normal for sex and age at the draw, in its own unit system."""
    row = registration(events) or {}
    born, sex = row.get("birth_date"), row.get("sex")
    if outcome.normal_limits is None or born is None:
        return False
    age = age_in_months(born, result.when.first)
    for row in study.limits[outcome.normal_limits]:
        fits = row["sex"] == sex and int(row["from_months"]) <= age < int(row["until_months"])
        if not fits:
            continue
        if row["unit"] == result.unit.system_unit:
            return result.value < (exact(float(row["low"])), 0)
    return False


def is_beyond(result: Result, outcome: ThresholdOutcome) -> bool:
    [factor] = [
        exact(one.to_canonical_factor)
        for one in analytes()
        if (one.concept, one.unit) == (outcome.concept, outcome.unit)
    ]
    value, limit = result.canonical, (exact(outcome.value) * factor, 0)
    return {
        "<": value < limit,
        "<=": value <= limit,
        ">": value > limit,
        ">=": value >= limit,
    }[outcome.operator]


def is_raised(result: Result, baseline: Result, outcome: RatioOutcome) -> bool:
    """At least the multiple of baseline, and more than the laboratory's rounding can make."""
    value, base = result.canonical, baseline.canonical
    if value < (base[0] * exact(outcome.ratio), base[1]):
        return False
    if outcome.reporting_resolution is None:
        return True
    return value >= (base[0] + 2 * exact(outcome.reporting_resolution), base[1])


def judge_lab(
    study: Study, events: list[Event], outcome: LabOutcome, window: Window, before: list[Unit]
) -> Tested:
    results = results_of(events, outcome.concept)
    grace = timedelta(minutes=study.model.administration.baseline_grace_minutes)
    earlier = [
        Window(one, None, outcome.same_day, *bounds(table, one), 0)
        for one in before
        for table in outcome.window
        if table.name in {"risk", "extended"}
    ]
    baseline = baseline_of(results, outcome, window, earlier, grace)
    inside = sorted(
        (one for one in results if is_in(one, window, grace)),
        key=lambda one: one.when.on("instant"),
    )
    if isinstance(outcome, RatioOutcome):
        grades = [int(baseline is not None and is_raised(one, baseline, outcome)) for one in inside]
        min_grade, base_grade = 1, 0 if baseline else None
    else:
        grades = [grade_of(one, study, outcome, events) for one in inside]
        min_grade = outcome.min_grade if isinstance(outcome, GradeOutcome) else 1
        base_grade = grade_of(baseline, study, outcome, events) if baseline else None
    hits = [
        one
        for one, grade in zip(inside, grades, strict=True)
        if grade >= min_grade and grade > (base_grade or 0)
    ]
    worst = max(grades, default=None)
    return Tested(
        is_tested=bool(inside),
        baseline=baseline,
        onset=hits[0].when if hits else None,
        grade=worst,
        baseline_grade=base_grade,
        is_pre_existing=isinstance(outcome, ThresholdOutcome) and base_grade == 1,
    )
