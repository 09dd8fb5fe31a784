"""The worked edges as patients of a hospital: copies of every case on days of their own.

What is true of a case was typed beside its records; here and in `casetruth.py` it is only copied,
so that nothing computes an answer from the records.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from pipelines.simulate import casebook_labs, codes
from pipelines.simulate.casebook import Case, Record, diagnosis
from pipelines.simulate.casebook_events import deaths_and_doses, fevers
from pipelines.simulate.clock import DAY, HOUR
from pipelines.simulate.cohort import END, Ints, Patients

CASES: tuple[Case, ...] = (
    *fevers(),
    *deaths_and_doses(),
    *casebook_labs.grades(),
    *casebook_labs.baselines(),
)
#: Days 0 lie from mid-April to mid-July, so that no window of a case meets a clock change.
FIRST_YEAR, LAST_YEAR, FIRST_DAY, N_DAYS = 2009, 2018, 105, 85


@dataclass(frozen=True)
class Book:
    """The patients of the worked edges.

    Attributes:
        patient: index of each patient, in the order of `case` and copy.
        case: its place in `CASES`.
        day: day number of its day 0.
        nights: number of nights of the hospital.
    """

    patient: Ints
    case: Ints
    day: Ints
    nights: int

    @property
    def n(self) -> int:
        """Number of patients."""
        return len(self.patient)


def open_book(rng: np.random.Generator, first: int, copies: int, nights: int) -> Book:
    """Give every case `copies` patients, numbered from `first` on, each with a day 0."""
    case = np.repeat(np.arange(len(CASES)), copies).astype(np.int64)
    years = np.array(
        [f"{year}-01-01" for year in range(FIRST_YEAR, LAST_YEAR + 1)], dtype="datetime64[D]"
    ).astype(np.int64)
    day = rng.choice(years, len(case)) + FIRST_DAY + rng.integers(0, N_DAYS, len(case))
    is_tonight = np.array([one.is_tonight for one in CASES])[case]
    last = END // DAY - 1
    patient = first + np.arange(len(case), dtype=np.int64)
    return Book(patient, case, np.where(is_tonight, last, day), nights)


def with_patients(book: Book, people: Patients) -> Patients:
    """Return the hospital's patients with those of the book behind them."""
    if not book.n:
        return people
    years = np.array([one.years for one in CASES])[book.case]
    # Who died tonight is told so tonight.
    is_late = np.array([one.is_registered_late or one.is_tonight for one in CASES])[book.case]
    died = np.array([-1 if one.died is None else one.died for one in CASES])[book.case]
    n, no = book.n, np.zeros(book.n, dtype=np.bool_)
    far = END + 365 * DAY
    own = Patients(
        birth=(book.day - np.round(years * 365.25)).astype(np.int64),
        is_female=np.arange(n) % 2 == 0,
        group=np.full(n, codes.PRIMARY, dtype=np.int64),
        frailty=np.ones(n),
        is_si=no,
        has_indication=~no,
        prior=np.zeros(n, dtype=np.int64),
        is_known_long=no,
        left_at=np.full(n, far, dtype=np.int64),
        night=np.where(is_late, book.nights, 1).astype(np.int64),
        died_at=np.where(died < 0, far, book.day * DAY + died).astype(np.int64),
    )
    joined = {
        name: np.concatenate([getattr(people, name), getattr(own, name)])
        for name in Patients.__dataclass_fields__
    }
    return replace(people, **joined)


def rows_of(book: Book, file: str) -> pl.DataFrame:
    """Return the rows that the book adds to a file, steering columns included."""
    template = pl.DataFrame(
        [
            {"case": place, "t": one.t, "t_end": one.t_end, **one.fields}
            for place, case in enumerate(CASES)
            for one in _records(case)
            if one.file == file
        ],
        infer_schema_length=None,
    )
    if template.is_empty() or not book.n:
        return pl.DataFrame()
    owners = pl.DataFrame({"case": book.case, "patient": book.patient, "day": book.day})
    number = pl.col("patient").cast(pl.String).str.zfill(7)
    rows = owners.join(template, on="case", maintain_order="left_right").with_columns(
        pl.lit(file).alias("file"),
        pl.lit(1, pl.Int64).alias("night"),
        t=pl.col("t") + pl.col("day") * DAY,
        t_end=pl.col("t_end").cast(pl.Int64) + pl.col("day") * DAY,
    )
    labels = {"id": "C", "order_id": "CO", "encounter_id": "C"}
    named = [name for name in labels if name in rows.columns]
    return rows.with_columns(
        pl.concat_str(pl.lit(labels[name]), pl.col(name), pl.lit("-"), number).alias(name)
        for name in named
    ).drop("case", "day")


def _records(case: Case) -> list[Record]:
    """What a case told of itself, its indication, and the visits of its infusions."""
    visits = [
        Record(
            "encounters",
            unit.start - HOUR,
            {"id": f"E{nth}", "setting": case.setting},
            unit.end + 45,
        )
        for nth, unit in enumerate(case.units, start=1)
    ]
    told = [
        Record("encounters", one.t, one.fields | {"id": f"F{nth}"}, one.t_end)
        if one.file == "encounters"
        else one
        for nth, one in enumerate(case.records)
    ]
    return [diagnosis(-100 * DAY + 10 * HOUR, "Q78.0", "problem-list"), *visits, *told]
