"""From rendered rows to nightly deliveries: wall clock, record ids, versions, who arrives when."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipelines.simulate.clock import CLOCKS, DAY, WallClock
from pipelines.simulate.codes import ZONE
from pipelines.simulate.cohort import END, Patients, Units
from pipelines.simulate.truth import patient_ids

#: Columns of each file, in order.
FILES: dict[str, tuple[str, ...]] = {
    "patients": ("id", "version", "patient_id", "birth_date", "sex", "died", "observation_end"),
    "encounters": (
        *("id", "version", "patient_id", "start", "end"),
        *("setting", "admission_type", "discharge_to"),
    ),
    "medications": (
        *("id", "version", "record_state", "patient_id", "category", "status", "code", "name"),
        *("start", "end", "route", "dose", "dose_unit", "rate", "rate_unit"),
        *("order_id", "encounter_id"),
    ),
    "labs": (
        *("id", "version", "patient_id", "collected", "resulted", "code", "name", "value"),
        *("unit", "low", "high", "status", "specimen", "encounter_id"),
    ),
    "vitals": (
        *("id", "version", "patient_id", "measured", "code", "name", "value", "unit"),
        *("site", "encounter_id"),
    ),
    "diagnoses": (
        *("id", "version", "patient_id", "diagnosed", "code", "name", "category"),
        "encounter_id",
    ),
    "adverse_events": (
        *("id", "version", "patient_id", "onset", "resolved", "code", "name", "grade"),
        *("serious", "outcome", "encounter_id"),
    ),
    "dxa": (
        *("id", "version", "patient_id", "scanned", "code", "site", "z_score"),
        *("ha_z_score", "bmd"),
    ),
}
#: The column that `t` and `t_end` go to, and the prefix of the file's record ids.
TIME_COLUMNS: dict[str, tuple[str | None, str | None, str]] = {
    "patients": (None, None, "P"),
    "encounters": ("start", "end", "E"),
    "medications": ("start", "end", "M"),
    "labs": ("collected", None, "L"),
    "vitals": ("measured", None, "V"),
    "diagnoses": ("diagnosed", None, "D"),
    "adverse_events": ("onset", "resolved", "A"),
    "dxa": ("scanned", None, "B"),
}
MINUTE_FORMAT = "%Y-%m-%d %H:%M"
DAY_FORMAT = "%Y-%m-%d"
LATE_SHARE = 0.015
EXPORTED_AFTER_MINUTES = 120


@dataclass(frozen=True)
class Night:
    """One nightly delivery: complete to its midnight, exported two hours later.

    The laboratory's feed fell silent `silent_days` before.
    """

    number: int
    n_nights: int
    silent_days: int = 0
    wall: WallClock = CLOCKS[ZONE]

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"night-{self.number:03d}"

    def through(self, *, minutes: int = 0) -> str:
        """Return the instant to which it is complete, so many minutes later, as UTC text."""
        local = np.array([END - (self.n_nights - self.number) * DAY])
        return f"{np.datetime64(int(self.wall.to_utc(local)[0]) + minutes, 'm')}:00Z"


def finish(
    rng: np.random.Generator,
    file: str,
    rows: pl.DataFrame,
    patients: Patients,
    units: Units,
    nights: int,
    silent_days: int = 0,
) -> pl.DataFrame:
    """Return a file's rows as text, with `night`, `unit_index` and every version of each record.

    What the laboratory found in its last `silent_days` is not delivered.
    """
    rows = _on_wall_clock(rows, units)
    if file == "labs" and silent_days:
        rows = rows.filter(pl.col("t") <= END - silent_days * DAY)
    if file != "patients":
        left_at = pl.Series(patients.left_at).gather(rows["patient"])
        rows = rows.filter((pl.col("t") <= END) & (pl.col("t") < left_at))
    rows = rows.with_columns(
        t_end=pl.when(pl.col("t_end") <= END).then(pl.col("t_end")),
    ).sort("patient", "t", maintain_order=True)
    rows = _with_nights(rng, file, rows, nights)
    prefix = TIME_COLUMNS[file][2]
    number = pl.int_range(1, pl.len() + 1).cast(pl.String).str.zfill(8)
    given = pl.col("id") if "id" in rows.columns else pl.lit(None, pl.String)
    rows = rows.with_columns(
        id=pl.coalesce(given, pl.lit(prefix) + number),
        patient_id=patient_ids(patients.n).gather(rows["patient"]),
    )
    return _as_text(file, _with_versions(rows, nights), patients)


def _on_wall_clock(rows: pl.DataFrame, units: Units) -> pl.DataFrame:
    """Let the wall clock jump for the units that cross a clock change."""
    wanted = {"t_end": pl.Int64, "unit_index": pl.Int64, "night": pl.Int64}
    rows = rows.with_columns(
        *(
            pl.lit(None, kind).alias(name)
            for name, kind in wanted.items()
            if name not in rows.columns
        )
    )
    at = pl.col("unit_index")
    shift = pl.Series(units.shift).gather(rows["unit_index"])
    shift_at = pl.Series(units.shift_at).gather(rows["unit_index"])

    def jump(column: str) -> pl.Expr:
        moved = pl.when(pl.col(column) >= shift_at).then(pl.col(column) + shift)
        return pl.when(at.is_null()).then(pl.col(column)).otherwise(moved.otherwise(pl.col(column)))

    return rows.with_columns(t=jump("t"), t_end=jump("t_end"))


def _with_nights(
    rng: np.random.Generator, file: str, rows: pl.DataFrame, nights: int
) -> pl.DataFrame:
    """Deliver a row in the first night that can know it, its unit's night, or one later."""
    known = pl.max_horizontal("t", "t_end") if file != "patients" else pl.col("t")
    first = (nights - (END - known) // DAY).clip(1, nights)
    night = pl.max_horizontal(first, pl.col("night").fill_null(1))
    if file in ("labs", "diagnoses", "adverse_events"):
        is_late = pl.Series(rng.random(rows.height) < LATE_SHARE)
        amended = pl.col("was_value") if "was_value" in rows.columns else pl.lit(None, pl.Float64)
        night = pl.when(is_late & amended.is_null()).then(night + 1).otherwise(night)
    return rows.with_columns(night=night.clip(1, nights))


def _with_versions(rows: pl.DataFrame, nights: int) -> pl.DataFrame:
    """Split records that a later night amends or takes back into their versions."""
    rows = rows.with_columns(version=pl.lit(1), record_state=pl.lit("active"))
    if "was_value" in rows.columns:
        amended = pl.col("was_value").is_not_null() & (pl.col("night") < nights)
        before = rows.filter(amended).with_columns(value=pl.col("was_value"))
        after = rows.filter(amended).with_columns(
            version=pl.lit(2), night=pl.col("night") + 1, status=pl.lit("corrected")
        )
        rows = pl.concat([rows.filter(~amended), before, after])
    if "is_withdrawn" in rows.columns:
        withdrawn = pl.col("is_withdrawn").fill_null(value=False)
        taken_back = pl.col("night") + _withdrawn_after(rows)
        before = rows.filter(withdrawn & (taken_back <= nights))
        after = before.with_columns(
            version=pl.lit(2), night=taken_back, record_state=pl.lit("deleted")
        )
        rows = pl.concat([rows.filter(~withdrawn), before, after])
    return rows.sort("night", "patient", "t", "id", maintain_order=True)


def _withdrawn_after(rows: pl.DataFrame) -> pl.Expr:
    """Nights until a record is taken back: the next one, unless its scenario says how many."""
    if "withdrawn_after" not in rows.columns:
        return pl.lit(1, pl.Int64)
    return pl.col("withdrawn_after").fill_null(1)


def _clock_text(column: str, pattern: str) -> pl.Expr:
    return (pl.col(column) * 60_000_000).cast(pl.Datetime("us")).dt.strftime(pattern)


def _as_text(file: str, rows: pl.DataFrame, patients: Patients) -> pl.DataFrame:
    start, end, _ = TIME_COLUMNS[file]
    pattern = DAY_FORMAT if file == "diagnoses" else MINUTE_FORMAT
    made: list[pl.Expr] = []
    if start:
        made.append(_clock_text("t", pattern).alias(start))
    if end:
        made.append(_clock_text("t_end", pattern).alias(end))
    if file == "labs":
        resulted = (pl.col("t") + 75) * 60_000_000
        made.append(resulted.cast(pl.Datetime("us")).dt.strftime(pattern).alias("resulted"))
        made.append(pl.coalesce(pl.col("value").cast(pl.String), pl.col("text")).alias("value"))
    if file == "patients":
        born = pl.Series(patients.birth).gather(rows["patient"])
        rows = rows.with_columns(born=born * DAY)
        made.append(_clock_text("born", DAY_FORMAT).alias("birth_date"))
        made.append(_clock_text("left", MINUTE_FORMAT).alias("observation_end"))
        made.append(_clock_text("dead", MINUTE_FORMAT).alias("died"))
    rows = rows.with_columns(made)
    columns = FILES[file]
    missing = [pl.lit(None, pl.String).alias(name) for name in columns if name not in rows.columns]
    rows = rows.with_columns(missing)
    return rows.select("night", "unit_index", *(pl.col(name).cast(pl.String) for name in columns))
