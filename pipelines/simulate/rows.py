"""Columns of rows before they become files: a thin, columnar builder."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from pipelines.simulate import codes
from pipelines.simulate.clock import HOUR
from pipelines.simulate.cohort import Ints, Units

#: Columns that steer rendering and never reach a file.
#: `unit` and `patient` own the row, `t` and `t_end` are local minutes, `night` the first delivery,
#: `was_value` what a first version said that a later night amends, `is_withdrawn` a row that a
#: later night takes back, `withdrawn_after` so many nights later.
STEERING = (
    "file",
    "patient",
    "t",
    "t_end",
    "night",
    "was_value",
    "is_withdrawn",
    "withdrawn_after",
)


def block(n: int, **columns: Any) -> pl.DataFrame:  # noqa: ANN401 - scalars, arrays and series
    """Make `n` rows; scalars repeat, NaN becomes null."""
    made = {}
    for name, column in columns.items():
        if isinstance(column, (np.ndarray, pl.Series, list)):
            made[name] = pl.Series(name, column, nan_to_null=True)
        else:
            made[name] = pl.repeat(column, n, eager=True).alias(name)
    return pl.DataFrame(made)


def stack(blocks: list[pl.DataFrame]) -> pl.DataFrame:
    """Put blocks under each other; what a block does not have is null."""
    return pl.concat(blocks, how="diagonal_relaxed")


def pick(
    rng: np.random.Generator, mask: npt.NDArray[np.bool_], share: float = 1.0
) -> npt.NDArray[np.intp]:
    """Return the positions of a mask, or of a random share of it."""
    if share >= 1.0:
        return np.flatnonzero(mask)
    return np.flatnonzero(mask & (rng.random(len(mask)) < share))


def texts(values: tuple[str, ...] | list[str], index: npt.NDArray[np.int64]) -> pl.Series:
    """Look up one text per index."""
    return pl.Series(list(values), dtype=pl.String).gather(index)


def unit_label(prefix: str, units: npt.NDArray[np.intp]) -> pl.Series:
    """Return a label per unit, such as `E000012` for an encounter."""
    return pl.select(pl.lit(prefix) + pl.Series(units).cast(pl.String).str.zfill(7)).to_series()


def visit_labels(units: Units, at: npt.NDArray[np.intp], moment: Ints) -> pl.Series:
    """Return the encounter that a row belongs to: the infusion's `E`, its follow-up's `F`, none."""
    is_later = (moment >= units.end[at] + 6 * HOUR) & (units.setting[at] != codes.INPATIENT)
    stay, follow_up = unit_label("E", at), unit_label("F", at)
    label = pl.when(pl.Series(is_later)).then(follow_up).otherwise(stay)
    is_inside = pl.Series(moment >= units.start[at] - HOUR)
    return pl.select(pl.when(is_inside).then(label)).to_series()
