"""Section 7: the grade of a result by a table of cuts."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from studies.analytes import analytes
from studies.load import Study
from studies.outcomes import GradeOutcome, RatioOutcome, ThresholdOutcome
from tests.reference.clock import age_in_months
from tests.reference.events import Event
from tests.reference.pieces import exact
from tests.reference.results import Result, Value
from tests.reference.units import registration

CutRow = dict[str, str]


def table_of(study: Study, outcome: GradeOutcome, result: Result) -> tuple[CutRow, ...]:
    """The cuts of what was measured."""
    if result.measure == "ionised" and outcome.calcium and outcome.calcium.ionised_cuts:
        return study.limits[outcome.calcium.ionised_cuts]
    return study.limits[outcome.cuts]


def age_at(events: list[Event], result: Result) -> int | None:
    born = (registration(events) or {}).get("birth_date")
    return None if born is None else age_in_months(born, result.when.first)


def is_of_age(row: CutRow, age: int | None) -> bool:
    """Whether a row holds at an age; one that names none holds at any, also an unknown one."""
    lo, hi = row.get("from_months") or None, row.get("until_months") or None
    if lo is None and hi is None:
        return True
    return age is not None and int(lo or 0) <= age and (hi is None or age < int(hi))


def rows_for(
    study: Study, events: list[Event], outcome: GradeOutcome, result: Result
) -> list[CutRow]:
    """Rows of the result's age; without any, it is no test."""
    age = age_at(events, result)
    return [row for row in table_of(study, outcome, result) if is_of_age(row, age)]


def converted(result: Result, value: Value, unit: str) -> Value:
    """A value in canonical unit, in another; rounded to 9 digits."""
    [factor] = [
        exact(one.to_canonical_factor)
        for one in analytes()
        if (one.concept, one.unit) == (result.unit.concept, unit)
    ]
    return round(value[0] / factor, 9), value[1]


def is_across(value: Value, side: str, cut: Value) -> bool:
    return {
        "below": value < cut,
        "at_or_below": value <= cut,
        "above": value > cut,
        "at_or_above": value >= cut,
    }[side]


def normal_limit(
    study: Study, events: list[Event], outcome: GradeOutcome, result: Result, of: str
) -> Fraction | None:
    """The study's limit of normal for sex and age at the draw, in the result's unit system."""
    name = outcome.normal_limits
    if result.measure == "ionised":
        name = outcome.calcium.ionised_normal_limits if outcome.calcium else None
    person, age = registration(events) or {}, age_at(events, result)
    for row in study.limits[name] if name is not None else ():
        fits = age is not None and int(row["from_months"]) <= age < int(row["until_months"])
        if fits and row["sex"] == person.get("sex") and row["unit"] == result.unit.system_unit:
            return exact(float(row["low" if of == "lower_limit" else "high"]))
    return None


def own_limit(result: Result, of: str) -> Fraction | None:
    own = result.row.get("low_limit" if of == "lower_limit" else "high_limit")
    return None if own is None else exact(own) * exact(result.unit.to_system_factor)


def is_cleared(result: Result, row: CutRow) -> bool:
    """Whether the result's own limit says that it is normal, whatever the number of the cut."""
    if row["of"] in {"baseline", "rise"}:
        return False
    low, high = own_limit(result, "lower_limit"), own_limit(result, "upper_limit")
    if row["side"] in {"below", "at_or_below"}:
        return low is not None and result.value >= (low, 0)
    return high is not None and result.value <= (high, 0)


@dataclass(frozen=True)
class Graded:
    """A result that is graded, beside its baseline; the study's own limits may be left out."""

    result: Result
    baseline: Result | None
    study: Study
    events: list[Event]
    outcome: GradeOutcome
    by_own_limits: bool = False


def holds(row: CutRow, asked: Graded) -> bool:
    """Whether a result is across one cut."""
    result, baseline, study, outcome = asked.result, asked.baseline, asked.study, asked.outcome
    of, side, cut = row["of"], row["side"], exact(float(row["cut"]))
    units = {one["unit"] for one in table_of(study, outcome, result) if one.get("unit")}
    system = result.unit.system_unit
    is_lacking = bool(units) and system not in units
    if row.get("unit") and row["unit"] != system and not is_lacking:
        return False
    if is_cleared(result, row):
        return False
    if of == "value":
        value = converted(result, result.canonical, row["unit"]) if is_lacking else result.value
        return is_across(value, side, (cut, 0))
    if of in {"lower_limit", "upper_limit"}:
        limit = own_limit(result, of)
        if limit is None and row["grade"] == "1" and not asked.by_own_limits:
            limit = normal_limit(study, asked.events, outcome, result, of)
        return limit is not None and is_across(result.value, side, (limit * cut, 0))
    if baseline is None:
        return False
    base = baseline.canonical
    if of == "baseline":
        step = outcome.reporting_resolution
        is_real = step is None or result.canonical >= (base[0] + 2 * exact(step), base[1])
        return is_real and is_across(result.canonical, side, (base[0] * cut, base[1]))
    rise = result.canonical[0] - base[0], result.canonical[1] - base[1]
    return is_across(converted(result, rise, row["unit"]), side, (cut, 0))


def grade_of(asked: Graded) -> int:
    """The highest grade of which any row holds."""
    rows = rows_for(asked.study, asked.events, asked.outcome, asked.result)
    return max((int(row["grade"]) for row in rows if holds(row, asked)), default=0)


def has_own_limit(result: Result, study: Study, outcome: GradeOutcome) -> bool:
    """Whether a result tells the limit of normal that its table asks for."""
    asked = {row["of"] for row in table_of(study, outcome, result)}
    limits = asked & {"lower_limit", "upper_limit"}
    return any(own_limit(result, one) is not None for one in limits)


def is_beyond(result: Result, outcome: ThresholdOutcome) -> bool:
    [factor] = [
        exact(one.to_canonical_factor)
        for one in analytes()
        if (one.concept, one.unit) == (outcome.concept, outcome.unit)
    ]
    side = {"<": "below", "<=": "at_or_below", ">": "above", ">=": "at_or_above"}
    return is_across(result.canonical, side[outcome.operator], (exact(outcome.value) * factor, 0))


def is_raised(result: Result, baseline: Result, outcome: RatioOutcome) -> bool:
    """At least the multiple of baseline, and more than the laboratory's rounding can make."""
    value, base = result.canonical, baseline.canonical
    if value < (base[0] * exact(outcome.ratio), base[1]):
        return False
    if outcome.reporting_resolution is None:
        return True
    return value >= (base[0] + 2 * exact(outcome.reporting_resolution), base[1])
