"""Faults of feeds, planted into nights that were written: a silent feed, and each kind of drift.

A hospital's export breaks in ways that leave every row good: only the days before tell.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from pipelines.simulate.deliver import FILES
from pipelines.simulate.dirt import FOREIGN_CODES

#: LOINC of total calcium, and milligrams of it in a millimole, in a tenth of a litre.
_CALCIUM, _MG_PER_MMOL = "17861-6", 4.008
_VITAL_SWAP = ("8867-4", "9279-1")
_REPEATS = 20
#: What is planted, the file that it is planted in, and the drift check that must find it.
DRIFTS = {
    "rows_repeated": ("labs", "drift_volume"),
    "column_lost": ("labs", "drift_null"),
    "unit_changed": ("labs", "drift_unit"),
    "codes_swapped": ("vitals", "drift_code"),
    "code_renamed": ("labs", "drift_unmapped"),
}


def merge(nights: Sequence[Path], into: Path) -> None:
    """Write several nights as one delivery, dated as the last of them."""
    into.mkdir(parents=True)
    for file in FILES:
        rows = pl.concat([_read(night, file) for night in nights])
        rows.write_csv(into / f"{file}.csv")
    shutil.copy(nights[-1] / "delivery.toml", into / "delivery.toml")


def silence(night: Path, file: str) -> None:
    """Take every row of a file out of a night; what the night declares stays as it is."""
    _read(night, file).clear().write_csv(night / f"{file}.csv")


def plant(delivery: Path, drift: str) -> None:
    """Plant one drift of `DRIFTS` into a delivery."""
    file, _ = DRIFTS[drift]
    rows = _read(delivery, file)
    code, value = pl.col("code"), pl.col("value")
    match drift:
        case "rows_repeated":  # a join that multiplies rows, each with an id of its own
            ids = [pl.col("id") + f"-{number}" for number in range(_REPEATS)]
            rows = pl.concat([rows.with_columns(id=one) for one in ids])
        case "column_lost":
            rows = rows.with_columns(low=pl.lit(None, pl.String))
        case "unit_changed":
            in_mmol = (value.cast(pl.Float64, strict=False) / _MG_PER_MMOL).round(2).cast(pl.String)
            is_told = (code == _CALCIUM) & (pl.col("unit") == "mg/dL")
            rows = rows.with_columns(
                value=pl.when(is_told).then(in_mmol).otherwise(value),
                unit=pl.when(is_told).then(pl.lit("mmol/L")).otherwise(pl.col("unit")),
            )
        case "codes_swapped":
            rows = rows.with_columns(code=code.replace(*_VITAL_SWAP))
        case "code_renamed":
            rows = rows.with_columns(code=code.replace(_CALCIUM, FOREIGN_CODES[file]))
    rows.write_csv(delivery / f"{file}.csv")


def _read(delivery: Path, file: str) -> pl.DataFrame:
    return pl.read_csv(delivery / f"{file}.csv", infer_schema=False)
