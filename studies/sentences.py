"""A study in sentences, for an epidemiologist who checks what will be counted before it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from studies.outcomes import (
    CompositeOutcome,
    Episodic,
    FeverOutcome,
    GradeOutcome,
    LabOutcome,
    Outcome,
    RatioOutcome,
    SymptomOutcome,
    ThresholdOutcome,
    VitalLimitOutcome,
    WindowTable,
)
from studies.phrases import days, hours, listed

if TYPE_CHECKING:
    from studies.load import Study
    from studies.model import StudyModel

_OWNERS = {
    "latest": "The next {unit}{of} cuts the window: an event has one owner, the latest.",
    "all": "No {unit} cuts another's window: an event counts in every window that holds it.",
    "merge": "Windows{of} that share time are one, of the first {unit}: an event counts once.",
}
_SAME_DAY = {
    "after": "counts as after it",
    "before": "counts as before it",
    "exclude": "is on neither side",
}
_FOUND = {
    "differential": "Who was infused is watched more (differential): no self-controlled ratio.",
    "independent": "It is found as surely without an infusion (independent).",
}


def about(study: Study) -> list[str]:
    """Return who counts, what a unit is, and on which clock, a sentence or two each."""
    model = study.model
    return [*_units(model), *_people(model), *_time(model), *_serious(model)]


def _units(model: StudyModel) -> Iterable[str]:
    doses = model.administration
    drugs = [f"{one.name} ({one.drug_class})" for one in model.drug]
    yield f"Drugs, with the class that shares windows: {listed(drugs)}."
    yield (
        f"A dose counts where it is {listed(model.study.evidence, 'or')} and its route is "
        f"{listed(model.study.routes, 'or')}."
    )
    yield (
        f"Records that overlap or follow within {hours(doses.bag_gap_hours)} are one "
        f"administration; what follows a stopped one within {hours(doses.restart_hours)} is its "
        "restart."
    )
    if model.study.unit == "administration":
        yield "A unit is an administration."
    else:
        runs = [
            f"{one.name} goes on while the next administration starts within "
            f"{hours(one.course_gap_hours)} of the end of the one before"
            for one in model.drug
            if one.course_gap_hours
        ]
        alone = [one.name for one in model.drug if not one.course_gap_hours]
        if alone:
            runs.append(f"of {listed(alone)} each administration is a course")
        yield f"A unit is a course: {'; '.join(runs)}."


def _people(model: StudyModel) -> Iterable[str]:
    rules = model.eligibility
    if rules.max_age_years is not None:
        yield f"A unit counts while the patient is younger than {rules.max_age_years:g} years."
    if model.indication:
        groups = [f"{one.type} ({listed(one.concepts, 'or')})" for one in model.indication]
        needs = "It needs a diagnosis before its start of" if rules.requires_indication else (
            "The indication, which no unit needs, is"
        )  # fmt: skip
        yield f"{needs} {listed(groups, 'or')}; the first that fits names the type."
    if rules.excluded_concepts:
        yield f"An earlier diagnosis of {listed(rules.excluded_concepts, 'or')} excludes it."
    if rules.never_event_concepts:
        yield (
            f"Codes of {listed(rules.never_event_concepts, 'or')}, and of the indication, are "
            "evidence of no outcome."
        )
    signs = listed(model.naive.prior_concepts, "or")
    yield (
        f"A patient is naive with {days(model.naive.lookback_days)} of record before the first "
        f"unit and no earlier dose{f' or sign of one ({signs})' if signs else ''}."
    )
    strata = model.strata
    if strata.premedication_concepts:
        yield (
            f"It is premedicated with {listed(strata.premedication_concepts, 'or')} in the "
            f"{hours(strata.premedication_hours)} before the start."
        )
    if strata.co_infusion_concepts:
        yield (
            f"Another infusion of {listed(strata.co_infusion_concepts, 'or')} then, or within "
            f"{hours(strata.co_infusion_hours)} of the end, is a co-infusion."
        )


def _time(model: StudyModel) -> Iterable[str]:
    if model.study.resolution == "day":
        yield "Windows are whole local days, first and last included; hours are rounded up to days."
    else:
        yield (
            "Windows hold their first instant and not their last. Where a dose is known by its "
            "day, they are whole days."
        )
    seen = hours(model.follow_up.seen_after_hours)
    yield (
        f"Nobody looked at the child without a reading, contact or report {seen} or more after the "
        "end, or in the window where it opens later."
    )
    grace = model.follow_up.contact_grace_days
    late = f", {days(grace)} after the last contact" if grace is not None else ""
    yield f"Follow-up ends with death, the end of observation{late} or the extract."
    if lags := model.follow_up.settle_lag_hours:
        told = [f"{hours(lag)} for {name}" for name, lag in lags.items()]
        yield f"A window closes once its feeds are complete past its end, plus {listed(told)}."
    two_way = [" by ".join(pair) for pair in model.strata.two_way]
    yield f"Results are told by {listed([*model.strata.by, *two_way])}."


def _serious(model: StudyModel) -> Iterable[str]:
    rules = model.serious
    lasting = listed([*rules.disability_concepts, *rules.important_concepts], "or")
    stays = [f"{hours(most)} ({name})" for name, most in rules.expected_stay_hours.items()]
    yield (
        f"An event is serious with death, grade {rules.life_threatening_grade} or more, an "
        "unplanned admission, a reporter who says so"
        + (f", {lasting}" if lasting else "")
        + (
            f", or a stay {hours(rules.stay_excess_hours)} beyond what is planned: {listed(stays)}"
            if stays
            else ""
        )
        + "."
    )


def outcome_sentences(study: Study, one: Outcome) -> list[str]:
    """Return what makes an event of an outcome, where it counts, and among whom."""
    model = study.model
    unit = unit_word(model)
    parts = [_what(one)]
    parts += [f"{window_sentence(model, window, unit)}." for window in one.window]
    if one.drug_classes:
        parts.append(f"It is watched after {listed(one.drug_classes, 'or')} only.")
    across = " of any class" if one.overlap_across_classes else " of the class"
    parts.append(_OWNERS[one.overlap].format(unit=unit, of=across))
    if not isinstance(one, CompositeOutcome):
        parts.append(
            f"On the day of the start, what is known by its day {_SAME_DAY[one.same_day]}."
        )
    if isinstance(one, Episodic):
        parts += _episodes(one)
    if isinstance(one, LabOutcome):
        parts += _baseline(model, one)
    if one.remedy_concepts:
        parts.append(
            f"It is treated where {listed(one.remedy_concepts, 'or')} begins, or rises, within "
            f"{hours(model.treatment.gap_hours)} of the onset."
        )
    parts.append(_FOUND[one.ascertainment] if one.publish else "")
    parts.append(f"Its window needs {listed(study.reads(one))}.")
    parts.append(f"Denominators: complete (the headline), all, {listed(denominators(one))}.")
    return [part for part in parts if part]


def denominators(one: Outcome) -> list[str]:
    """Return the denominators that an outcome has besides `complete` and `all`."""
    if isinstance(one, LabOutcome):
        return ["tested", "tested_with_baseline"]
    return ["determined"] if isinstance(one, CompositeOutcome) else ["observed"]


def window_sentence(model: StudyModel, window: WindowTable, unit: str) -> str:
    """Return a window as a sentence without its full stop."""
    head = "It counts" if window.name == "risk" else f"Its {window.name} window goes"
    return f"{head} {_stretch(model, window, unit)}"


def window_words(model: StudyModel, window: WindowTable) -> str:
    """Return from when to when a window looks: `From the start of the course to ...`."""
    text = _stretch(model, window, unit_word(model))
    return f"{text[0].upper()}{text[1:]}."


def _stretch(model: StudyModel, window: WindowTable, unit: str) -> str:
    ends = [
        _edge(model, window.start_anchor, window.start_offset_hours, unit),
        _edge(model, window.end_anchor, window.end_offset_hours, unit),
    ]
    return f"from {ends[0]} to {ends[1].replace(f'the end of the {unit}', 'its end')}"


def unit_word(model: StudyModel) -> str:
    """Return what a study calls its unit of analysis."""
    return "course" if model.study.unit == "course" else "infusion"


def _edge(model: StudyModel, anchor: str, offset: float, unit: str) -> str:
    if model.study.resolution == "day":
        name = f"the {'first' if anchor == 'start' else 'last'} day of the {unit}"
        amount = days(-(-abs(offset) // 24) if offset > 0 else abs(offset) // 24)
        if not offset:
            return name
    else:
        name, amount = f"the {anchor} of the {unit}", hours(abs(offset))
    if not offset:
        return name
    return f"{amount} {'after' if offset > 0 else 'before'} {name}"


def _what(one: Outcome) -> str:
    reports = listed(getattr(one, "report_concepts", ()), "or")
    told = f" Reports and diagnoses of {reports} show it too." if reports else ""
    if isinstance(one, SymptomOutcome):
        return f"Reports and diagnoses of {reports} show it."
    if isinstance(one, FeverOutcome):
        return f"A temperature from 38.0 C, of grade {one.min_grade} or more, shows it.{told}"
    if isinstance(one, VitalLimitOutcome):
        return (
            f"It takes two readings of {one.concept} above the limit of the age ({one.limits}), "
            f"{one.confirm_minutes:g} min apart, the first {one.settle_minutes:g} min or more "
            f"after the start, both {one.rise_percent:g} % above the last one before.{told}"
        )
    if isinstance(one, GradeOutcome):
        return (
            f"A result of {one.concept} of grade {one.min_grade} or more ({one.cuts}), and above "
            f"the grade at baseline, is one.{_calcium(one)}"
        )
    if isinstance(one, ThresholdOutcome):
        return f"A result of {one.concept} {one.operator} {one.value:g} {one.unit} is one."
    if isinstance(one, RatioOutcome):
        return f"A result of {one.concept} of at least {one.ratio:g} times its baseline is one."
    groups = [listed(group, "or") for group in one.of]
    if len(groups) == 1:
        return f"It is true where {groups[0]} is."
    least = "any" if one.at_least == 1 else f"at least {one.at_least}"
    return f"It is true with {least} of: {'; '.join(groups)}."


def _calcium(one: GradeOutcome) -> str:
    calcium, told = one.calcium, ""
    if calcium and calcium.ionised_concept:
        told += (
            f" Where the specimen has one (within {calcium.specimen_minutes:g} min), "
            f"{calcium.ionised_concept} is graded instead ({calcium.ionised_cuts})."
        )
    if calcium and calcium.albumin_concept:
        told += (
            f" A total is corrected by {calcium.albumin_concept} within "
            f"{hours(calcium.albumin_gap_hours)}."
        )
    return told


def _episodes(one: Episodic) -> Iterable[str]:
    gap = one.same_episode_gap_hours
    if gap == "none":
        yield "Each piece of evidence is an event of its own."
    else:
        yield f"Evidence at most {hours(float(gap))} apart is one event."
    yield "One that began before the window counts only where it got worse."
    if one.clean_window_days is not None:
        yield (
            f"An event within {days(one.clean_window_days)} of the end of an earlier one is not a "
            "new one, and that time is not at risk."
        )
    if one.chronic_concepts:
        yield f"{listed(one.chronic_concepts)} never ends."
    if one.missing_start == "emergent":
        yield "Without a start, it is taken to have begun after the start, unless it ended before."


def _baseline(model: StudyModel, one: LabOutcome) -> Iterable[str]:
    yield (
        f"Baseline: the last result of the {days(one.baseline_days)} before, up to "
        f"{model.administration.baseline_grace_minutes:g} min after the start."
    )
