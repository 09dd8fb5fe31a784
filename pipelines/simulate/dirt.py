"""Dirty rows, each with the fate that the pipeline owes it.

A dirty row is an extra row: a spoiled copy of a good one, or a copy that the rules must see
through. None of them may change any outcome, so truth is the same with and without dirt.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl

from pipelines.simulate.deliver import TIME_COLUMNS

QUARANTINED, DUPLICATE, SUPERSEDED = "quarantined", "duplicate", "superseded"
OUT_OF_SCOPE, ACCEPTED = "out_of_scope", "accepted"


class Kind(NamedTuple):
    """One way to be dirty.

    Attributes:
        fate: where the row must end.
        reason: check that rejects or flags it, or the reason of its fate.
        files: files that it can happen in.
    """

    fate: str
    reason: str
    files: tuple[str, ...]


_CODED = ("medications", "labs", "vitals", "diagnoses", "adverse_events")
_TIMED = ("encounters", *_CODED)
KINDS: dict[str, Kind] = {
    "missing_id": Kind(QUARANTINED, "key_present", ("patients", *_TIMED)),
    "missing_code": Kind(QUARANTINED, "code_present", _CODED),
    "impossible_value": Kind(QUARANTINED, "value_possible", ("labs", "vitals")),
    "end_before_start": Kind(QUARANTINED, "times_in_order", ("encounters", "medications")),
    "unreadable_time": Kind(QUARANTINED, "time_readable", _TIMED),
    "far_future": Kind(QUARANTINED, "time_in_extract", _TIMED),
    "exact_duplicate": Kind(DUPLICATE, "exact_duplicate", ("patients", *_TIMED)),
    "older_version": Kind(SUPERSEDED, "older_version", ("labs", "vitals", "medications")),
    "foreign_code": Kind(OUT_OF_SCOPE, "code_not_in_scope", _CODED),
    "unknown_unit": Kind(ACCEPTED, "unknown_unit", ("labs",)),
    "no_number": Kind(ACCEPTED, "no_number", ("labs",)),
    "unknown_category": Kind(QUARANTINED, "unknown_event_type", ("medications",)),
    "broken_record": Kind(QUARANTINED, "unreadable_record", ("patients", *_TIMED)),
}
FOREIGN_CODES = {
    "labs": "2345-7",
    "vitals": "8480-6",
    "diagnoses": "J45.909",
    "adverse_events": "L30.9",
    "medications": "723",
}
IMPOSSIBLE = {"8310-5": "3810", "17861-6": "900", "2000-8": "900", "8867-4": "9999"}
FAR_FUTURE = "2031-01-01 10:00"
UNREADABLE = "2017-02-31 10:00"
LONG_AGO = "2001-01-01 10:00"
EVENT_TYPES = {
    "patients": "PatientRegistered",
    "encounters": "EncounterOccurred",
    "labs": "LabResulted",
    "vitals": "VitalSignMeasured",
    "diagnoses": "DiagnosisRecorded",
    "adverse_events": "AdverseEventReported",
    "dxa": "BoneDensityMeasured",
}


def soil(
    rng: np.random.Generator, file: str, clean: pl.DataFrame, share: float, quiet: pl.Series
) -> pl.DataFrame:
    """Add dirty rows to one file of one night: text columns, and `kind` of a dirty row or null.

    `quiet` holds per unit a time (text) at which no outcome reads anything, or null.
    """
    kinds = [name for name, kind in KINDS.items() if file in kind.files]
    pool = clean.with_row_index("place").with_columns(
        pl.col("place").cast(pl.Float64),
        quiet=quiet.gather(clean["unit_index"]),
        kind=pl.lit(None, pl.String),
    )
    dirty = _spoiled(rng, file, kinds, pool, int(share * clean.height))
    # A copy stands somewhere after its row: the later of two equal rows is the duplicate.
    after = dirty["place"] + 0.5 + rng.integers(0, 40, dirty.height)
    dirty = dirty.with_columns(place=after)
    mixed = pl.concat([pool, dirty]).sort("place", maintain_order=True)
    return mixed.drop("unit_index", "quiet", "place")


def _spoiled(
    rng: np.random.Generator, file: str, kinds: list[str], pool: pl.DataFrame, wanted: int
) -> pl.DataFrame:
    """Spoil `wanted` different rows, spread evenly over the kinds that fit them."""
    if not kinds or not wanted:
        return pool.clear()
    shares = np.bincount(rng.permutation(np.resize(np.arange(len(kinds)), wanted)))
    free = pool.gather(rng.permutation(pool.height))
    parts = []
    for name, count in zip(rng.permutation(kinds), rng.permutation(shares), strict=False):
        chosen = free.filter(_fits(name, file)).head(int(count))
        free = free.join(chosen.select("place"), on="place", how="anti", maintain_order="left")
        parts.append(_spoil(name, file, chosen).with_columns(kind=pl.lit(str(name))))
    return pl.concat(parts)


def _fits(kind: str, file: str) -> pl.Expr:
    """Tell which good rows a kind can be made from."""
    if kind == "impossible_value":
        return pl.col("code").is_in(list(IMPOSSIBLE))
    if kind in ("unknown_unit", "no_number"):
        return pl.col("quiet").is_not_null() & (pl.col("name") == "Calcium")
    if kind == "end_before_start":
        return pl.col("end").is_not_null() & pl.col("start").is_not_null()
    if kind == "older_version":
        is_dose = pl.col("category") == "infusion" if file == "medications" else pl.lit(value=True)
        return (pl.col("version") == "1") & is_dose
    return pl.lit(value=True)


def _spoil(kind: str, file: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return spoiled copies; those that are records of their own get ids of their own."""
    time = TIME_COLUMNS[file][0]
    if kind in ("exact_duplicate", "older_version"):
        change = {} if kind == "exact_duplicate" else _older(file)
        return rows.with_columns(**change)
    rows = rows.with_columns(id=pl.lit("X-") + pl.col("id") + pl.lit("-") + pl.col("version"))
    changes: dict[str, pl.Expr] = {
        "missing_id": pl.lit(None, pl.String).alias("id"),
        "missing_code": pl.lit(None, pl.String).alias("code"),
        "foreign_code": pl.lit(FOREIGN_CODES.get(file)).alias("code"),
        "impossible_value": _impossible(),
        "end_before_start": pl.lit(LONG_AGO).alias("end"),
        "unreadable_time": pl.lit(UNREADABLE).alias(time or ""),
        "far_future": pl.lit(FAR_FUTURE).alias(time or ""),
        "unknown_unit": pl.lit("furlong").alias("unit"),
        "no_number": pl.lit("QNS").alias("value"),
        "unknown_category": pl.lit("contrast").alias("category"),
    }
    if kind == "broken_record":
        return rows
    rows = rows.with_columns(changes[kind])
    if kind == "far_future" and "end" in rows.columns:
        rows = rows.with_columns(end=pl.lit(None, pl.String))
    if kind in ("unknown_unit", "no_number"):
        rows = rows.with_columns(pl.col("quiet").alias(time or ""), resulted=pl.col("quiet"))
    return rows


def _older(file: str) -> dict[str, pl.Expr]:
    version = pl.lit("0")
    if file == "medications":
        return {"version": version, "dose": pl.lit("0.1")}
    return {"version": version, "value": pl.lit("6.2" if file == "labs" else "40.4")}


def _impossible() -> pl.Expr:
    return pl.col("code").replace(IMPOSSIBLE).alias("value")


def fates_of(file: str, rows: pl.DataFrame) -> pl.DataFrame:
    """One row per dirty row: where it must end and which check or reason says so.

    `rows` are soiled ones, with their number in the written file as `row`.
    """
    dirty = rows.filter(pl.col("kind").is_not_null())
    table = pl.DataFrame(
        [(name, kind.fate, kind.reason) for name, kind in KINDS.items()],
        schema=["kind", "fate", "reason"],
        orient="row",
    )
    event_type = pl.lit(EVENT_TYPES.get(file, ""))
    if file == "medications":
        is_infusion = pl.col("category") == "infusion"
        event_type = (
            pl.when(is_infusion)
            .then(pl.lit("InfusionRecorded"))
            .when(pl.col("category") != "contrast")
            .then(pl.lit("MedicationGiven"))
        )
    return dirty.select("row", "kind", event_type=event_type).join(
        table, on="kind", how="left", maintain_order="left"
    )
