"""Reports, coded diagnoses and bone density: what is written about a patient in words and codes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.simulate import codes
from pipelines.simulate.clock import DAY, HOUR
from pipelines.simulate.cohort import END, Ints, Patients, Units
from pipelines.simulate.edges import Style, Trap
from pipelines.simulate.rows import block, pick, stack, texts, visit_labels
from pipelines.simulate.scenario import Plan

Index = npt.NDArray[np.intp]
BY_CODE_DAY = (Style.CODE_ON_INFUSION_DAY, Style.CODE_ON_LAST_DAY)


def render_reports(rng: np.random.Generator, units: Units, plan: Plan) -> pl.DataFrame:
    """Return the rows of adverse_events.csv: symptoms with a time."""
    limit = units.own_until
    parts = []
    for component in codes.SYMPTOM_CODES:
        timed = plan.has[:, component] & ~np.isin(plan.symptom_style, BY_CODE_DAY)
        at = np.flatnonzero(timed)
        latest = np.minimum(limit[at] - HOUR, units.end[at] + 60 * HOUR)
        onset = units.end[at] + rng.integers(HOUR, latest - units.end[at])
        parts.append(_report(rng, units, at, onset, component))
    ongoing = np.flatnonzero(plan.trap == Trap.HEADACHE_ONGOING)
    for hours in (-30, 10):
        moment = units.start[ongoing] + hours * HOUR
        report = _report(rng, units, ongoing, moment, codes.HEADACHE)
        parts.append(report.with_columns(grade=pl.lit(1), t_end=pl.lit(None, pl.Int64)))
    return stack(parts).with_columns(file=pl.lit("adverse_events"))


def _report(
    rng: np.random.Generator, units: Units, at: Index, onset: Ints, component: int
) -> pl.DataFrame:
    known = codes.SYMPTOM_CODES[component]
    choice = rng.integers(0, len(known), len(at))
    lasts = rng.integers(4 * HOUR, 30 * HOUR, len(at))
    grade = rng.choice((1, 2), len(at), p=(0.75, 0.25))
    return block(
        len(at),
        unit_index=at,
        patient=units.patient[at],
        t=onset,
        t_end=np.where(rng.random(len(at)) < 0.3, onset + lasts, np.nan),
        night=units.night[at],
        code=texts([code for code, _ in known], choice),
        name=texts([name for _, name in known], choice),
        grade=grade,
        serious="false",
        outcome="recovered",
        encounter_id=visit_labels(units, at, onset),
    ).with_columns(t_end=pl.col("t_end").cast(pl.Int64))


def render_diagnoses(
    rng: np.random.Generator, patients: Patients, units: Units, plan: Plan
) -> pl.DataFrame:
    """Return the rows of diagnoses.csv, known by their day: symptoms and what the child has."""
    parts = _coded_symptoms(rng, units, plan) + _background(rng, patients, units)
    return stack(parts).with_columns(file=pl.lit("diagnoses"))


def _coded_symptoms(rng: np.random.Generator, units: Units, plan: Plan) -> list[pl.DataFrame]:
    parts = []
    for component, known in codes.SYMPTOM_CODES.items():
        for style, anchor in (
            (Style.CODE_ON_INFUSION_DAY, units.start),
            (Style.CODE_ON_LAST_DAY, units.window_end),
        ):
            at = np.flatnonzero(plan.has[:, component] & (plan.symptom_style == style))
            choice = rng.integers(0, len(known), len(at))
            parts.append(
                _diagnosis(
                    units,
                    at,
                    anchor[at],
                    texts([code for code, _ in known], choice),
                    texts([name for _, name in known], choice),
                )
            )
    # A fever that was measured is sometimes coded too: one event with two pieces of evidence.
    # A code of a cut unit's day, or of the day that cuts it, would touch two windows.
    is_plain = (plan.fever_style == Style.PLAIN) & ~units.is_restart
    fever = pick(rng, plan.has[:, codes.FEVER] & is_plain, 0.3)
    parts.append(_diagnosis(units, fever, units.start[fever], "R50.9", "Fever, unspecified"))
    late = np.flatnonzero(plan.trap == Trap.CODE_DAY_AFTER_WINDOW)
    parts.append(
        _diagnosis(units, late, units.window_end[late] + DAY, "R51.9", "Headache, unspecified")
    )
    return parts


def _diagnosis(
    units: Units, at: Index, moment: Ints, code: str | pl.Series, name: str | pl.Series
) -> pl.DataFrame:
    return block(
        len(at),
        unit_index=at,
        patient=units.patient[at],
        t=moment,
        night=units.night[at],
        code=code,
        name=name,
        category="encounter",
    )


def _background(rng: np.random.Generator, patients: Patients, units: Units) -> list[pl.DataFrame]:
    first = np.flatnonzero(units.ordinal == 1)
    owner = units.patient[first]
    moment = units.start[first] - rng.integers(20, 300, len(first)) * DAY
    group, ill = patients.group[owner], patients.has_indication[owner]
    parts = []
    for number, known in enumerate(codes.GROUP_CODES):
        at = np.flatnonzero(ill & (group == number))
        code = texts(list(known), rng.integers(0, len(known), len(at)))
        parts.append(_problem(patients, units, first[at], moment[at], code))
    on_steroids = ill & (
        (group == codes.GLUCOCORTICOID)
        | ((group != codes.GLUCOCORTICOID) & (rng.random(len(first)) < 0.2))
    )
    at = np.flatnonzero(on_steroids)
    parts.append(_problem(patients, units, first[at], moment[at], codes.LONG_TERM_STEROIDS))
    at = np.flatnonzero(ill & (rng.random(len(first)) < 0.5))
    parts.append(_problem(patients, units, first[at], moment[at], "M81.8"))
    at = np.flatnonzero(patients.prior[owner] == 2)
    parts.append(_problem(patients, units, first[at], moment[at], codes.PRIOR_BISPHOSPHONATE))
    return parts


def _problem(
    patients: Patients, units: Units, at: Index, moment: Ints, code: str | pl.Series
) -> pl.DataFrame:
    made = _diagnosis(units, at, moment, code, "")
    night = patients.night[units.patient[at]]
    return made.with_columns(
        name=None, category=pl.lit("problem-list"), night=pl.Series(night, dtype=pl.Int64)
    )


def render_density(rng: np.random.Generator, units: Units) -> pl.DataFrame:
    """Return the rows of dxa.csv: a lumbar spine scan before every second unit, rising."""
    at = np.flatnonzero(units.ordinal % 2 == 1)
    rise = 0.22 * np.minimum(units.ordinal[at], 9)
    z_score = np.round(-2.6 + rise + rng.normal(0, 0.45, len(at)), 2)
    return block(
        len(at),
        file="dxa",
        unit_index=at,
        patient=units.patient[at],
        t=units.start[at] - rng.integers(16, 28, len(at)) * DAY,
        night=units.night[at],
        code=codes.DXA_SPINE,
        site="lumbar spine",
        z_score=z_score,
        ha_z_score=np.round(z_score + 0.3, 2),
        bmd=np.round(0.55 + 0.08 * (z_score + 3), 3),
    )


def render_patients(patients: Patients) -> pl.DataFrame:
    """Return the rows of patients.csv: one per patient."""
    left, died = (
        np.where(at < END + 365 * DAY, at, np.nan) for at in (patients.left_at, patients.died_at)
    )
    return block(
        patients.n,
        file="patients",
        patient=np.arange(patients.n),
        t=patients.birth * DAY,
        night=patients.night,
        sex=np.where(patients.is_female, "F", "M"),
        left=left,
        dead=died,
    ).with_columns(pl.col("left", "dead").cast(pl.Int64))
