"""The truth of the worked edges, as rows of the truth's files: see `casebook.py`."""

from __future__ import annotations

import polars as pl

from pipelines.simulate import codes
from pipelines.simulate.casebook import FREE, UNDETERMINED, UNOBSERVED, UNTESTED, Dosing
from pipelines.simulate.casework import CASES, Book
from pipelines.simulate.clock import DAY, HOUR, WallClock
from pipelines.simulate.cohort import Ints
from pipelines.simulate.truth import LAB, VITAL, WATCHED, patient_ids

RESOLUTIONS = ("instant", "day")


def unit_rows(book: Book, wall: WallClock) -> pl.DataFrame:
    """Return the book's rows of truth/unit.csv."""
    template = pl.DataFrame(
        [
            {
                "case": place,
                "unit_ordinal": nth,
                "start": unit.start,
                "end": unit.end,
                "window_end": unit.end + 72 * HOUR,
                "cut": unit.end + 72 * HOUR if unit.cut_at is None else unit.cut_at,
                "drug": codes.DRUG_NAMES[unit.drug],
                "setting": case.setting,
            }
            for place, case in enumerate(CASES)
            for nth, unit in enumerate(case.units, start=1)
        ]
    )
    rows = _owned(book, template)
    zero = rows["day"].to_numpy() * DAY
    # The offset at the start holds throughout: no window of a case crosses a clock change.
    shift = wall.to_utc(zero + rows["start"].to_numpy()) - rows["start"].to_numpy() - zero
    at = {
        name: _utc_text(zero + rows[name].to_numpy() + shift)
        for name in ("start", "end", "window_end", "cut")
    }
    is_first = pl.col("unit_ordinal") == 1
    is_female = pl.Series((rows["patient"].to_numpy() - book.patient[0]) % 2 == 0)
    return rows.select(
        "patient_id",
        pl.col("unit_ordinal").cast(pl.Int64),
        at["start"].alias("index_start_utc"),
        at["end"].alias("index_end_utc"),
        at["window_end"].alias("window_end_utc"),
        at["cut"].alias("cut_at_utc"),
        "drug",
        pl.lit("primary").alias("indication_type"),
        pl.when(is_first).then(pl.lit("first")).otherwise(pl.lit("later")).alias("ordinal"),
        "setting",
        pl.when(is_female).then(pl.lit("female")).otherwise(pl.lit("male")).alias("sex"),
        pl.lit("no").alias("premedicated"),
        pl.lit(value=True).alias("is_eligible"),
    )


def _owned(book: Book, template: pl.DataFrame) -> pl.DataFrame:
    owners = pl.DataFrame({"case": book.case, "patient": book.patient, "day": book.day})
    ids = patient_ids(int(book.patient[-1]) + 1).gather(owners["patient"])
    owners = owners.with_columns(patient_id=ids)
    return owners.join(template, on="case", maintain_order="left_right")


def _utc_text(minutes: Ints) -> pl.Series:
    times = pl.Series(minutes.astype("datetime64[m]").astype("datetime64[us]"))
    return times.dt.strftime("%Y-%m-%dT%H:%M:%SZ")


def answers_of(unit: Dosing, resolution: str) -> dict[tuple[str, str], str]:
    """Return the status of every outcome and window of a unit that every study watches."""
    watched = {
        "fever": unit.is_seen,
        "tachycardia": unit.is_seen,
        "hypocalcaemia": unit.has_calcium,
        "hypophosphataemia": unit.has_phosphate,
        "acute_phase_reaction": unit.is_seen,
        "any_side_effect": unit.is_seen and unit.has_calcium and unit.has_phosphate,
    }
    typed = unit.answers | (unit.by_days if resolution == "day" else {})
    told = {}
    for outcome, window in WATCHED:
        unknown = UNOBSERVED if outcome in VITAL else UNTESTED if outcome in LAB else UNDETERMINED
        plain = FREE if watched[outcome] else unknown
        key = outcome if window == "risk" else f"{outcome}/{window}"
        told[outcome, window] = typed.get(key, plain)
    return told


def outcome_rows(book: Book, units: pl.DataFrame, resolution: str) -> pl.DataFrame:
    """Return the book's rows of truth/unit_outcome.csv, or of its twin for a study in days."""
    template = pl.DataFrame(
        [
            {
                "case": place,
                "unit_ordinal": nth,
                "outcome": outcome,
                "window": window,
                "status": status,
                "is_observed": unit.is_seen if outcome in VITAL else None,
                "is_tested": status != UNTESTED if outcome in LAB else None,
            }
            for place, case in enumerate(CASES)
            for nth, unit in enumerate(case.units, start=1)
            for (outcome, window), status in answers_of(unit, resolution).items()
        ],
        schema_overrides={"is_observed": pl.Boolean, "is_tested": pl.Boolean},
        infer_schema_length=None,
    ).with_columns(pl.col("unit_ordinal").cast(pl.Int64))
    started = units.select("patient_id", "unit_ordinal", "index_start_utc")
    rows = _owned(book, template).join(
        started, on=("patient_id", "unit_ordinal"), maintain_order="left"
    )
    return rows.select(
        *("patient_id", "unit_ordinal", "index_start_utc", "outcome", "window", "status"),
        *("is_observed", "is_tested"),
    )


def case_rows(book: Book) -> pl.DataFrame:
    """Return truth/case.csv: which patient is which case, and what else is true of its rows.

    One row per unit, resolution, outcome and column: the statuses that the case is about, also of
    outcomes that only a study made for it has (`anaphylaxis`; `fever_all`, with `overlap = all`).
    """
    rows = [
        {
            "case": place,
            "name": case.name,
            "unit_ordinal": nth,
            "resolution": resolution,
            "outcome": outcome,
            "window": "risk",
            "column": column,
            "value": value,
        }
        for place, case in enumerate(CASES)
        for nth, unit in enumerate(case.units, start=1)
        for resolution in RESOLUTIONS
        for (outcome, column), value in _typed(unit, resolution).items()
    ]
    wanted = ("name", "patient_id", "unit_ordinal", "resolution", "outcome", "window")
    return _owned(book, pl.DataFrame(rows)).select(*wanted, "column", "value")


def _typed(unit: Dosing, resolution: str) -> dict[tuple[str, str], str]:
    told = {
        (outcome, "status"): status
        for (outcome, window), status in answers_of(unit, resolution).items()
        if window == "risk"
    }
    own = unit.answers | (unit.by_days if resolution == "day" else {})
    told |= {(name, "status"): status for name, status in own.items() if "/" not in name}
    return told | dict(unit.facts)
