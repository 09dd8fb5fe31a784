"""Infusions, other medicines and encounters: what the hospital did."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.simulate import codes
from pipelines.simulate.clock import DAY, HOUR
from pipelines.simulate.cohort import Ints, Patients, Units
from pipelines.simulate.rows import block, pick, stack, texts, unit_label
from pipelines.simulate.scenario import Plan

Index = npt.NDArray[np.intp]


def render_medications(
    rng: np.random.Generator, patients: Patients, units: Units, plan: Plan, nights: int
) -> pl.DataFrame:
    """Return the rows of medications.csv: infusions first, then what was swallowed or injected."""
    return stack(
        [
            *_infusions(rng, patients, units),
            *_not_infused(rng, patients, units, nights),
            *_other_medicines(rng, patients, units, plan),
        ]
    ).with_columns(file=pl.lit("medications"))


def _infusions(rng: np.random.Generator, patients: Patients, units: Units) -> list[pl.DataFrame]:
    """Each administration of each course; some in two bags, some recorded twice."""
    zoledronic = units.drug == codes.ZOLEDRONIC
    whole = np.flatnonzero(zoledronic & ~units.is_split)
    split = np.flatnonzero(units.is_split)
    pam = np.flatnonzero(~zoledronic)
    start, end = units.start, units.end
    parts = [
        _infusion(patients, units, whole, start[whole], end[whole]),
        _infusion(patients, units, split, start[split], start[split] + 25, share=0.5),
        _infusion(patients, units, split, start[split] + 50, end[split], share=0.5),
    ]
    for day in range(3):
        begin = start[pam] + day * DAY
        parts.append(_infusion(patients, units, pam, begin, begin + 4 * HOUR, share=1 / 3))
    twice = pick(rng, zoledronic & ~units.is_split & ~units.has_no_end, 0.02)
    parts.append(_infusion(patients, units, twice, start[twice] + 10, end[twice]))
    return parts


def _infusion(
    patients: Patients, units: Units, at: Index, start: Ints, end: Ints, share: float = 1.0
) -> pl.DataFrame:
    drug = units.drug[at]
    years = (units.start[at] / DAY - patients.birth[units.patient[at]]) / 365.25
    weight = np.clip(8 + 2.6 * years, 8, 60)
    dose = np.asarray(codes.DOSE_MG_PER_KG)[drug] * weight * np.where(drug == 1, 3, 1)
    dose = np.minimum(dose, np.asarray(codes.DOSE_MG_MOST)[drug] * np.where(drug == 1, 3, 1))
    dose = np.round(dose * share, 2)
    hours = np.maximum((end - start) / 60, 0.5)
    ends = np.where(units.has_no_end[at], np.nan, end.astype(np.float64))
    return block(
        len(at),
        unit_index=at,
        patient=units.patient[at],
        t=start,
        t_end=ends,
        night=units.night[at],
        category="infusion",
        status="completed",
        code=texts(list(codes.DRUG_CODES), drug),
        name=texts(list(codes.DRUG_DISPLAYS), drug),
        route="IV",
        dose=dose,
        dose_unit="mg",
        rate=np.round(100 / hours, 1),
        rate_unit="mL/h",
        order_id=unit_label("O", at),
        encounter_id=unit_label("E", at),
    ).with_columns(t_end=pl.col("t_end").cast(pl.Int64))


def _not_infused(
    rng: np.random.Generator, patients: Patients, units: Units, nights: int
) -> list[pl.DataFrame]:
    """Doses that were not given, entered in error, or taken back by the next night."""
    parts = []
    for status, share in (("not-done", 0.02), ("entered-in-error", 0.012)):
        at = pick(rng, ~units.is_restart & (units.ordinal > 1), share)
        begin = units.start[at] - 40 * DAY
        rows = _infusion(patients, units, at, begin, begin + 30)
        parts.append(rows.with_columns(status=pl.lit(status), order_id=None, encounter_id=None))
    if nights > 1:
        at = pick(rng, ~units.is_restart & (units.night < nights) & (units.ordinal > 1), 0.012)
        begin = units.start[at] - 55 * DAY
        rows = _infusion(patients, units, at, begin, begin + 30)
        parts.append(
            rows.with_columns(is_withdrawn=pl.lit(value=True), order_id=None, encounter_id=None)
        )
    return parts


def _other_medicines(
    rng: np.random.Generator, patients: Patients, units: Units, plan: Plan
) -> list[pl.DataFrame]:
    premedicated = np.flatnonzero(plan.is_premedicated)
    choice = rng.integers(0, 3, len(premedicated))
    drugs = [codes.ACETAMINOPHEN, codes.IBUPROFEN, codes.CALCIUM_GIVEN]
    aching = np.flatnonzero(plan.has[:, : codes.LOW_CA].any(axis=1))
    low = np.flatnonzero(plan.has[:, codes.LOW_CA])
    # Remedies follow the contact; a cut unit's never reach the day before the next start.
    parts = [
        _medicine(units, premedicated, units.start[premedicated] - 45, texts(drugs, choice)),
        _medicine(units, aching, units.end[aching] + 7 * HOUR, codes.ACETAMINOPHEN),
        _medicine(
            units,
            aching[::3],
            np.minimum(units.end[aching[::3]] + 9 * HOUR, units.cut_at[aching[::3]]),
            codes.IBUPROFEN,
        ),
        _medicine(units, low, _supplement_at(units, plan)[low], codes.CALCIUM_GIVEN),
    ]
    first = np.flatnonzero((units.ordinal == 1) & (patients.prior[units.patient] == 1))
    parts.append(_medicine(units, first, units.start[first] - 210 * DAY, codes.ALENDRONATE))
    return parts


def _supplement_at(units: Units, plan: Plan) -> Ints:
    """When calcium is given for a low one: every other time after the draw, else blindly before.

    Never later than 40 h after the end, so that no next infusion is premedicated by it.
    """
    after_draw = plan.contact_at + 3 * HOUR
    is_soon = (np.arange(units.n) % 2 == 0) & (after_draw <= units.end + 40 * HOUR)
    return np.where(is_soon, after_draw, units.end + 12 * HOUR)


def _medicine(units: Units, at: Index, moment: Ints, code: str | pl.Series) -> pl.DataFrame:
    given = block(
        len(at),
        unit_index=at,
        patient=units.patient[at],
        t=moment,
        night=units.night[at],
        category="oral",
        status="completed",
        code=code,
        route="PO",
        dose=500.0,
        dose_unit="mg",
    )
    return given.with_columns(
        name=pl.col("code").replace_strict(codes.MEDICATION_DISPLAYS, return_dtype=pl.String)
    )


def render_encounters(
    rng: np.random.Generator, patients: Patients, units: Units, plan: Plan
) -> pl.DataFrame:
    """Return the rows of encounters.csv: the infusion's, its follow-up's, an early visit."""
    inpatient = units.setting == codes.INPATIENT
    everyone = np.arange(units.n)
    stay = units.end + 28 * HOUR + rng.integers(0, 12 * HOUR, units.n)
    infusion_end = np.where(inpatient, np.minimum(stay, units.cut_at), units.end + 45)
    place = texts(list(codes.SETTING_NAMES), units.setting)
    visits = _encounter(units, everyone, "E", units.start - 60, infusion_end, place)
    is_planned = pl.when(pl.Series(inpatient)).then(pl.lit("elective"))
    parts = [visits.with_columns(admission_type=is_planned)]
    contact = np.flatnonzero(plan.is_observed & ~inpatient)
    setting = np.where(plan.is_call[contact], "phone", "outpatient")
    at_home = (units.setting[contact] == codes.HOME) & ~plan.is_call[contact]
    setting = np.where(at_home, "home", setting)
    hospital = plan.has[contact, codes.FEVER] & (rng.random(len(contact)) < 0.12)
    setting = np.where(hospital, "emergency", setting)
    moment = plan.contact_at[contact]
    rows = _encounter(units, contact, "F", moment, moment + 40, pl.Series(setting))
    emergency = pl.col("setting") == "emergency"
    parts.append(rows.with_columns(admission_type=pl.when(emergency).then(pl.lit("unplanned"))))
    known = (units.ordinal == 1) & patients.is_known_long[units.patient]
    first = np.flatnonzero(known)
    early = units.start[first] - rng.integers(400, 431, len(first)) * DAY
    visit = pl.Series(["outpatient"] * len(first), dtype=pl.String)
    parts.append(_encounter(units, first, "H", early, early + 30, visit))
    return stack(parts).with_columns(file=pl.lit("encounters"))


def _encounter(
    units: Units, at: Index, label: str, start: Ints, end: Ints, setting: pl.Series
) -> pl.DataFrame:
    return block(
        len(at),
        unit_index=at,
        id=unit_label(label, at),
        patient=units.patient[at],
        t=start,
        t_end=end,
        night=units.night[at],
        setting=setting,
    )
