"""Settings of one study.toml that contradict each other, or that nothing can come of."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

import schemas
from pipelines.base.tomlcheck import Mistake, did_you_mean
from studies.effectiveness import effectiveness_mistakes
from studies.outcomes import (
    CompositeOutcome,
    Episodic,
    GradeOutcome,
    LabOutcome,
    Outcome,
    SymptomOutcome,
    VitalLimitOutcome,
    WindowTable,
)
from studies.surveillance import surveillance_mistakes

if TYPE_CHECKING:
    from studies.model import StudyModel

SETTINGS_OF_STAYS = ("inpatient", "outpatient", "home", "emergency", "other")
ROUTES = ("intravenous", "oral", "subcutaneous", "intramuscular", "other")
TOTAL_CALCIUM = "calcium_total"


def setting_mistakes(model: StudyModel, wrong: Collection[str] = ()) -> Iterator[Mistake]:
    """Yield every contradiction between settings, with the key path of the one to mend.

    Args:
        model: the study.
        wrong: its tables that something wrong was left out of; what hangs on them is not judged,
            which would only repeat that.
    """
    tables = set(wrong)
    yield from _who_counts(model)
    yield from _words(model)
    for place, one in enumerate(model.outcome):
        path = ("outcome", place)
        yield from _evidence(model, one, path)
        if isinstance(one, GradeOutcome) and one.calcium is not None:
            yield from _calcium(one, (*path, "calcium"))
        if not tables & {"outcome", "study", "administration"}:
            yield from _windows(model, one, path)
        if not tables & {"outcome", "drug"}:
            yield from _classes(model, one, path)
        if not tables & {"outcome", "drug"} and isinstance(one, CompositeOutcome):
            yield from _composite(model, one, path)
    if "effectiveness" not in tables:
        yield from effectiveness_mistakes(model)
    if not tables & {"outcome", "drug", "surveillance"}:
        yield from surveillance_mistakes(model)


Path_ = tuple[str | int, ...]


def _who_counts(model: StudyModel) -> Iterator[Mistake]:
    if model.eligibility.requires_indication and not model.indication:
        yield Mistake(
            ("eligibility", "requires_indication"),
            "no unit would count without an [[indication]]; add one, or write false",
        )
    excluded = set(model.eligibility.excluded_concepts)
    for place, group in enumerate(model.indication):
        if both := sorted(excluded & set(group.concepts)):
            yield Mistake(
                ("indication", place, "concepts"),
                f"{both[0]!r} is also in eligibility.excluded_concepts; take it out of one",
            )
    drugs: dict[str, int] = {}
    for place, drug in enumerate(model.drug):
        if drugs.setdefault(drug.concept, place) != place:
            yield Mistake(
                ("drug", place, "concept"),
                f"{drug.concept!r} is a drug of the study already; name each concept once",
            )
    for key in ("evidence", "routes"):
        if not getattr(model.study, key):
            yield Mistake(("study", key), "no unit would count; name at least one")


def _words(model: StudyModel) -> Iterator[Mistake]:
    """Yield keys and values that no event has."""
    wanted = (
        (("follow_up", "settle_lag_hours"), model.follow_up.settle_lag_hours, "event type",
         schemas.CLINICAL_TYPES),
        (("serious", "expected_stay_hours"), model.serious.expected_stay_hours, "setting",
         SETTINGS_OF_STAYS),
    )  # fmt: skip
    for path, told, what, known in wanted:
        for name in told:
            if name not in known:
                yield Mistake((*path, name), _unknown(what, name, known))
    for name in model.study.routes:
        if name not in ROUTES:
            yield Mistake(("study", "routes"), _unknown("route", name, ROUTES))


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    return f"there is no {what} {name!r}" + (
        did_you_mean(name, known) or f"; known are {', '.join(known)}"
    )


def _classes(model: StudyModel, one: Outcome, path: Path_) -> Iterator[Mistake]:
    classes = {drug.drug_class for drug in model.drug}
    for name in one.drug_classes:
        if name not in classes:
            yield Mistake(
                (*path, "drug_classes"),
                f"{name!r} is a drug class without a drug"
                + (did_you_mean(name, classes) or f"; known are {', '.join(sorted(classes))}"),
            )


def _windows(model: StudyModel, one: Outcome, path: Path_) -> Iterator[Mistake]:
    for place, window in enumerate(one.window):
        yield from _window(model, window, (*path, "window", place))
    named: dict[str, tuple[int, WindowTable]] = {
        window.name: (place, window) for place, window in enumerate(one.window)
    }
    if "control" in named:
        yield from _control(model, one, named, (*path, "window", named["control"][0]))


def _control(
    model: StudyModel, one: Outcome, named: dict[str, tuple[int, WindowTable]], path: Path_
) -> Iterator[Mistake]:
    if isinstance(one, LabOutcome | VitalLimitOutcome):
        yield Mistake(
            path,
            "laboratory outcomes and rates have no control window: their baseline lies at the "
            "start of the infusion, later than the control time; take it out",
        )
    elif "risk" in named and _share_time(model, named):
        days = ", of which windows of days hold the last one, too"
        yield Mistake(
            path,
            "the control window shares time with the risk window"
            f"{days if model.study.resolution == 'day' else ''}; move one of them",
        )


def _window(model: StudyModel, window: WindowTable, path: Path_) -> Iterator[Mistake]:
    longest = model.administration.max_infusion_hours
    if all(hi <= lo for lo, hi in (_span(window, hours) for hours in (0, longest))):
        yield Mistake(path, "the window ends before it starts; mend its anchors and offsets")
    if model.study.resolution == "day":
        for key in ("start_offset_hours", "end_offset_hours"):
            if getattr(window, key) % 1:
                yield Mistake(
                    (*path, key),
                    "windows of days know no minutes; write whole hours, best a multiple of 24",
                )


def _span(window: WindowTable, lasts: float) -> tuple[float, float]:
    """Return start and end in hours since the index, for a unit that lasts so many hours."""
    start = lasts if window.start_anchor == "end" else 0
    end = lasts if window.end_anchor == "end" else 0
    return start + window.start_offset_hours, end + window.end_offset_hours


def _share_time(model: StudyModel, named: dict[str, tuple[int, WindowTable]]) -> bool:
    longest = model.administration.max_infusion_hours
    if model.study.resolution == "day":
        return any(_share_a_day(named, lasts) for lasts in range(math.ceil(longest / 24) + 1))
    for lasts in (0, longest / 2, longest):
        lo, hi = _span(named["risk"][1], lasts)
        other_lo, other_hi = _span(named["control"][1], lasts)
        if max(lo, other_lo) < min(hi, other_hi):
            return True
    return False


def _share_a_day(named: dict[str, tuple[int, WindowTable]], lasts_days: int) -> bool:
    """Windows of days hold their first and their last day; hours are rounded up to days."""
    (lo, hi), (other_lo, other_hi) = (
        [math.ceil(edge / 24) for edge in _span(named[name][1], 24 * lasts_days)]
        for name in ("risk", "control")
    )
    return max(lo, other_lo) <= min(hi, other_hi)


def _evidence(model: StudyModel, one: Outcome, path: Path_) -> Iterator[Mistake]:
    if not isinstance(one, Episodic):
        return
    if isinstance(one, SymptomOutcome) and not one.report_concepts:
        yield Mistake(
            (*path, "report_concepts"), "nothing could show this symptom; name what reports it"
        )
    for name in one.chronic_concepts:
        if name not in one.report_concepts:
            yield Mistake(
                (*path, "chronic_concepts"),
                f"{name!r} is none of its report_concepts; add it there, or leave it out",
            )
    never = {name for group in model.indication for name in group.concepts}
    never.update(model.eligibility.never_event_concepts)
    for name in one.report_concepts:
        if name in never:
            yield Mistake(
                (*path, "report_concepts"),
                f"{name!r} is evidence of no outcome, because an indication or "
                "eligibility.never_event_concepts names it; leave it out of one",
            )


def _calcium(one: GradeOutcome, path: Path_) -> Iterator[Mistake]:
    assert one.calcium is not None  # noqa: S101 - the caller has looked
    if one.concept != TOTAL_CALCIUM:
        yield Mistake(
            path, f"corrects total calcium, and the outcome reads {one.concept!r}; take it out"
        )
    if one.calcium.ionised_concept is None and one.calcium.albumin_concept is None:
        yield Mistake(path, "names neither an ionised analyte nor albumin; name one, or none of it")
    if one.calcium.ionised_concept == one.concept:
        yield Mistake(
            (*path, "ionised_concept"), "is the total that the outcome reads; name the ionised one"
        )


def _composite(model: StudyModel, one: CompositeOutcome, path: Path_) -> Iterator[Mistake]:
    above = {other.name: other for other in model.outcome[: int(path[1])]}
    every = {other.name for other in model.outcome}
    if one.at_least > len(one.of):
        yield Mistake(
            (*path, "at_least"),
            f"asks for more groups than it has ({len(one.of)}); lower it, or add groups",
        )
    for name in dict.fromkeys(name for group in one.of for name in group):
        if name not in above:
            meant = "" if name in every else did_you_mean(name, every)
            yield Mistake((*path, "of"), f"reads {name!r}, which must be defined above it{meant}")
        else:
            yield from _member(model, one, above[name], path)


def _member(
    model: StudyModel, one: CompositeOutcome, member: Outcome, path: Path_
) -> Iterator[Mistake]:
    """Yield what makes a composite and its component speak of different windows or units."""
    theirs = {window.name: window for window in member.window}
    for place, window in enumerate(one.window):
        where = (*path, "window", place)
        if window.name not in theirs:
            yield Mistake(
                where,
                f"has a window {window.name!r} that its component {member.name!r} lacks; "
                "give it to both",
            )
        elif window != theirs[window.name]:
            yield Mistake(
                where,
                f"its component {member.name!r} has another window {window.name!r}; "
                "make the two equal",
            )
    every = {drug.drug_class for drug in model.drug}
    lacking = (set(one.drug_classes) or every) - (set(member.drug_classes) or every)
    if lacking and lacking <= every:
        yield Mistake(
            (*path, "drug_classes"),
            f"its component {member.name!r} is not watched after {min(lacking)!r}; "
            "name the same classes in both",
        )
    if one.ascertainment == "independent" and member.ascertainment != "independent":
        yield Mistake(
            (*path, "ascertainment"),
            f"its component {member.name!r} is found more surely after an infusion; write "
            '"differential", or "independent" in both if that is so',
        )
    for key in ("overlap", "overlap_across_classes"):
        if getattr(one, key) != getattr(member, key):
            yield Mistake(
                (*path, key),
                f"its component {member.name!r} has another {key}; write the same in both",
            )
