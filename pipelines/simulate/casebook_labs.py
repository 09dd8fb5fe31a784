"""The worked edges of laboratory outcomes: see `casebook.py`."""

from __future__ import annotations

from pipelines.simulate import codes
from pipelines.simulate.casebook import (
    AFTER,
    BEFORE,
    CALCIUM,
    CALCIUM_SI,
    CUT,
    END,
    EVENT,
    FREE,
    HYPO,
    HYPO_1,
    LOW_CALCIUM,
    LOW_PHOSPHATE,
    PHOSPHATE,
    PHOSPHATE_SI,
    START,
    Case,
    Dosing,
    Record,
    infusion,
    lab,
    seen,
)
from pipelines.simulate.clock import DAY, HOUR

LOW_EVERYWHERE = LOW_CALCIUM | {f"{HYPO}/extended": EVENT}
SECOND = 85 * DAY
SWITCHED = {(HYPO, "flags"): "measure_switch"}


def _calcium(
    *records: Record, is_event: bool, grade: int, is_new: bool = True
) -> tuple[tuple[Record, ...], Dosing]:
    """A child with one infusion, these results, and the worst grade after it.

    `is_new` says that an outcome from grade 1 on counts it.
    """
    dosing = Dosing(
        has_calcium=True,
        answers=(LOW_EVERYWHERE if is_event else {}) | {HYPO_1: EVENT if is_new else FREE},
        facts={(HYPO, "grade"): str(grade)},
    )
    return (infusion(), *records, *seen()), dosing


def _phosphate(analyte: codes.Analyte, value: float, grade: int) -> Case:
    return Case(
        f"phosphate {value} {analyte.unit}",
        (infusion(), lab(AFTER, analyte, value), *seen()),
        (
            Dosing(
                has_phosphate=True,
                answers=LOW_PHOSPHATE | {"hypophosphataemia/extended": EVENT},
                facts={("hypophosphataemia", "grade"): str(grade)},
            ),
        ),
    )


def grades() -> list[Case]:
    """One result before and one after, in both unit systems."""
    told = {
        "calcium grade 1 before, 1 after": _calcium(
            lab(BEFORE, CALCIUM, 8.3),
            lab(AFTER, CALCIUM, 8.2),
            is_event=False,
            grade=1,
            is_new=False,
        ),
        "calcium 9.0 before, 9.1 under a higher limit after": _calcium(
            lab(BEFORE, CALCIUM, 9.0),
            lab(AFTER, CALCIUM, 9.1, low=9.2),
            is_event=False,
            grade=1,
            is_new=False,
        ),
        "calcium grade 1 before, 2 after": _calcium(
            lab(BEFORE, CALCIUM, 8.3), lab(AFTER, CALCIUM, 7.9), is_event=True, grade=2
        ),
        "calcium 8.0 mg/dL, limit 8.5": _calcium(lab(AFTER, CALCIUM, 8.0), is_event=False, grade=1),
        "calcium 2.0 mmol/L, limit 2.12": _calcium(
            lab(AFTER, CALCIUM_SI, 2.0), is_event=False, grade=1
        ),
        "ionised 1.20 at 2 h; total 6.8, albumin 4.2 at 48 h": _calcium(
            lab(START + 2 * HOUR, codes.IONISED, 1.20),
            lab(2 * DAY + START, CALCIUM, 6.8),
            lab(2 * DAY + START, codes.ALBUMIN, 4.2),
            is_event=True,
            grade=3,
        ),
        "calcium corrected upward next night": _calcium(
            lab(AFTER, CALCIUM, 9.6, was_value=7.0), is_event=False, grade=0, is_new=False
        ),
    }
    return [
        *(Case(name, records, (dosing,)) for name, (records, dosing) in told.items()),
        _phosphate(PHOSPHATE_SI, 0.62, 2),
        _phosphate(PHOSPHATE, 1.92, 3),
    ]


def baselines() -> list[Case]:
    """What is no baseline, or none that can be compared."""
    nadir = (
        infusion(),
        *seen(),
        lab(3 * DAY + 8 * HOUR, CALCIUM, 7.8),
        infusion(SECOND + START, SECOND + END),
        *(_later(one) for one in seen()),
        lab(SECOND + AFTER, CALCIUM, 7.8),
    )
    fallen = Dosing(has_calcium=True, answers=LOW_EVERYWHERE)
    again = Dosing(
        SECOND + START,
        SECOND + END,
        has_calcium=True,
        answers=LOW_EVERYWHERE,
        facts={(HYPO, "has_baseline"): "false"},
    )
    second = 2 * DAY + START
    grace = (
        infusion(),
        infusion(second, 2 * DAY + END),
        lab(second + 20, CALCIUM, 7.8),
        *seen(3 * DAY + 11 * HOUR),
    )
    switch = (infusion(), lab(BEFORE, CALCIUM, 8.3), lab(BEFORE, codes.ALBUMIN, 2.9), *seen())
    unlike = Dosing(has_calcium=True, answers={HYPO_1: FREE}, facts=SWITCHED)
    return [
        Case("nadir grade 2 on day 3 after unit 1, next infusion day 85", nadir, (fallen, again)),
        Case(
            "second infusion 48 h after the first, calcium 20 min after it",
            grace,
            (
                Dosing(cut_at=second, has_calcium=True, answers=CUT | LOW_EVERYWHERE),
                Dosing(second, 2 * DAY + END, facts={(HYPO, "has_baseline"): "false"}),
            ),
        ),
        Case(
            "before: Ca 8.3, albumin 2.9; after: Ca 8.3, no albumin",
            (*switch, lab(AFTER, CALCIUM, 8.3)),
            (unlike,),
        ),
        Case(
            "before: Ca 8.3, albumin 2.9; after: Ca 7.8, no albumin",
            (*switch, lab(AFTER, CALCIUM, 7.8)),
            (unlike,),
        ),
    ]


def _later(one: Record) -> Record:
    end = None if one.t_end is None else one.t_end + SECOND
    return Record(one.file, one.t + SECOND, one.fields, end)
