"""Section 7: laboratory outcomes of one unit's window."""

from __future__ import annotations

from dataclasses import dataclass

from studies.load import Study
from studies.outcomes import GradeOutcome, LabOutcome, RatioOutcome, ThresholdOutcome
from tests.reference.clock import When, length, meets
from tests.reference.cuts import Graded, grade_of, has_own_limit, is_beyond, is_raised, rows_for
from tests.reference.events import Event
from tests.reference.results import Result, measured
from tests.reference.units import Unit
from tests.reference.windows import Window, index_of, is_before, uncut

BELOW = {"below", "at_or_below"}


@dataclass
class Judged:
    """A result in the window, with the last like it before.

    Attributes:
        is_switch: there were only unlike ones before.
        is_unlike: and it reached the outcome's grade.
    """

    result: Result
    baseline: Result | None
    is_switch: bool
    is_unlike: bool
    grade: int
    is_hit: bool


@dataclass
class Tested:
    """What a laboratory outcome says of a window."""

    is_tested: bool
    baseline: Result | None = None
    onset: When | None = None
    worst: Judged | None = None
    is_switch: bool = False
    is_unlike: bool = False
    is_pre_existing: bool = False


def baselines_of(
    results: list[Result], outcome: LabOutcome, window: Window, earlier: list[Window]
) -> list[Result]:
    """What could be a baseline: near enough before, out of reach of every earlier unit."""
    unit = window.unit
    lo = unit.start - length(outcome.baseline_days * 24, window.axis)
    found = []
    for result in results:
        side = window.side(result.when)
        if side in {"after", "nowhere"}:
            continue
        if window.axis == "instant" and not result.when.is_day:
            is_early = is_before(unit.start_at, result.when, window.grace)
            in_reach = is_early and result.when.on("instant")[0] >= lo
        else:
            in_reach = side == "before" or meets(result.when.on(window.axis), lo, unit.start)
        if in_reach and not any(other.holds(result.when, uncut=True) for other in earlier):
            found.append(result)
    return found


def last_of(results: list[Result]) -> Result | None:
    """The last; of equal times the smaller."""
    if not results:
        return None
    last = max(one.when.at for one in results)
    return min((one for one in results if one.when.at == last), key=lambda one: one.canonical)


def grade(
    result: Result,
    baseline: Result | None,
    study: Study,
    events: list[Event],
    outcome: LabOutcome,
) -> int:
    """Grade of a result; 0 and 1 for thresholds and ratios."""
    if isinstance(outcome, ThresholdOutcome):
        return int(is_beyond(result, outcome))
    if isinstance(outcome, RatioOutcome):
        return int(baseline is not None and is_raised(result, baseline, outcome))
    assert isinstance(outcome, GradeOutcome)
    return grade_of(Graded(result, baseline, study, events, outcome))


def looks_above(study: Study, outcome: LabOutcome) -> bool:
    """Whether the higher number is the worse one."""
    if isinstance(outcome, ThresholdOutcome):
        return outcome.operator in {">", ">="}
    if isinstance(outcome, GradeOutcome):
        return not any(row["side"] in BELOW for row in study.limits[outcome.cuts])
    return True


def judged(
    result: Result,
    before: list[Result],
    study: Study,
    events: list[Event],
    outcome: LabOutcome,
) -> Judged:
    """A result against the last like it; against none of another kind."""
    baseline = last_of([one for one in before if one.is_like(result)])
    is_switch = baseline is None and bool(before)
    reached = grade(result, baseline, study, events, outcome)
    was = 0
    if baseline is not None:
        was = grade_before(result, baseline, study, events, outcome)
    least = outcome.min_grade if isinstance(outcome, GradeOutcome) else 1
    is_hit = reached > was and (baseline is None or is_worse(result, baseline, study, outcome))
    is_reached = reached >= least
    is_hit = is_hit and is_reached and not is_switch
    return Judged(result, baseline, is_switch, is_switch and is_reached, reached, is_hit)


def grade_before(
    result: Result, baseline: Result, study: Study, events: list[Event], outcome: LabOutcome
) -> int:
    """Grade of a baseline; by the study's limits it has none against a result with its own."""
    if isinstance(outcome, GradeOutcome) and has_own_limit(result, study, outcome):
        return grade_of(Graded(baseline, None, study, events, outcome, by_own_limits=True))
    return grade(baseline, None, study, events, outcome)


def is_worse(result: Result, baseline: Result, study: Study, outcome: LabOutcome) -> bool:
    """Whether a result lies beyond its baseline, in the canonical unit."""
    if looks_above(study, outcome):
        return result.canonical > baseline.canonical
    return result.canonical < baseline.canonical


def judge_lab(
    study: Study,
    events: list[Event],
    outcome: LabOutcome,
    window: Window,
    before: list[Unit],
    units: list[Unit],
) -> Tested:
    starts = [index_of(one, [one], outcome.overlap) for one in units]
    results = measured(events, outcome, starts, window.grace)
    if isinstance(outcome, GradeOutcome):
        results = [one for one in results if rows_for(study, events, outcome, one)]
    earlier = [
        uncut(study, outcome, table, one)
        for one in before
        for table in outcome.window
        if table.name in {"risk", "extended"}
    ]
    possible = baselines_of(results, outcome, window, earlier)
    inside = sorted(
        (one for one in results if window.holds(one.when)),
        key=lambda one: one.when.on("instant"),
    )
    each = [judged(one, possible, study, events, outcome) for one in inside]
    if not each:
        last = last_of(possible)
        return Tested(False, last, is_pre_existing=was_beyond(last, outcome))
    hits = [one for one in each if one.is_hit]
    sign = -1 if looks_above(study, outcome) else 1
    worst = min(
        hits or each,
        key=lambda one: (
            -one.grade,
            sign * one.result.canonical[0],
            sign * one.result.canonical[1],
            one.result.when.at,
        ),
    )
    return Tested(
        is_tested=True,
        baseline=worst.baseline,
        onset=hits[0].result.when if hits else None,
        worst=worst,
        is_switch=any(one.is_switch for one in each),
        is_unlike=any(one.is_unlike for one in each),
        is_pre_existing=was_beyond(worst.baseline, outcome),
    )


def was_beyond(baseline: Result | None, outcome: LabOutcome) -> bool:
    """Whether a threshold was passed before already."""
    if baseline is None or not isinstance(outcome, ThresholdOutcome):
        return False
    return is_beyond(baseline, outcome)
