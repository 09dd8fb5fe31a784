"""What was made of a synthetic hospital: counts for the console and for `truth/summary.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl


@dataclass(frozen=True)
class SimulationSummary:
    """What was made: counts for the console, and where it lies.

    Attributes:
        n_rows: delivered rows, dirty ones included.
        n_events_any: counted units with any side effect; `n_first_any` of them first in record.
        risks: the truth's `all` rows as {"outcome/window": [n_events, n_units]}.
    """

    seed: str
    n_patients: int
    n_units: int
    n_first_units: int
    n_any: int
    n_first_any: int
    n_nights: int
    n_rows: int
    n_dirty: int
    rows_by_file: dict[str, int]
    risks: dict[str, list[int]]
    out: str


def summarise(
    seed: str,
    nights: int,
    table: pl.DataFrame,
    risks: pl.DataFrame,
    counts: dict[str, int],
    fates: pl.DataFrame,
    out: Path,
) -> SimulationSummary:
    """Count what was planted and delivered."""

    def counted(stratum: str, value: str) -> tuple[int, int]:
        row = risks.filter(
            (pl.col("outcome") == "any_side_effect")
            & (pl.col("stratum") == stratum)
            & (pl.col("stratum_value") == value)
        )
        return (int(row["n_units"].sum()), int(row["n_events"].sum()))

    n_units, n_any = counted("all", "all")
    n_first, n_first_any = counted("ordinal", "first")
    whole = risks.filter(pl.col("stratum") == "all")
    return SimulationSummary(
        seed=seed,
        n_patients=table["patient_id"].n_unique(),
        n_units=n_units,
        n_first_units=n_first,
        n_any=n_any,
        n_first_any=n_first_any,
        n_nights=nights,
        n_rows=sum(counts.values()),
        n_dirty=fates.height,
        rows_by_file=counts,
        risks={
            f"{row['outcome']}/{row['window']}": [row["n_events"], row["n_units"]]
            for row in whole.iter_rows(named=True)
        },
        out=str(out),
    )
