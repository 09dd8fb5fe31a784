"""Has the risk moved? A run chart of calendar quarters, with two rules against its median.

The rules of Anhoj and Olesen 2014, PLoS ONE 9(11):e113825, on the quarters that are not on the
median: the risk has shifted where its longest run on one side of it is longer than
round(log2(n) + 3) (Schilling 2012, Math Mag 85:141), or where it crosses the median less often than
the 5 % quantile of a binomial of n - 1 tosses of a coin (Chen 2010, J Healthc Qual 32:39).

One to four of a hundred steady series of 12 to 40 quarters break a rule by chance, and quarters
share children, so that they are not quite independent: a run chart asks for a look, it is no test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from scipy import stats

from pipelines.signals.columns import (
    first_note,
    group_numbers,
    make_table,
    numbers,
    sorted_by,
    texts,
)
from pipelines.signals.intervals import Floats
from pipelines.signals.risk import HEADLINE, estimate_risks

#: The rules are studied from here on; fewer quarters tell nothing.
MIN_QUARTERS = 10
#: With rarer events half of the quarters have none, the median is 0 and no quarter is below it: the
#: rules, which toss a coin, would call half of all steady series shifted. A bound of ours.
MIN_SHARE_OF_SIDE = 1 / 3

Ints = NDArray[np.int64]

_SERIES = ("study_id", "site_id", "outcome", "window_name")
_MOMENTS = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2")


@dataclass(frozen=True)
class Runs:
    """What the quarters of each series do around its median; nan where that can't be told.

    Attributes:
        centre: median of the risks of quarters with units, of the series.
        side: of each quarter: 1 above the median, -1 below, 0 on it or without units.
        position: of each quarter: how many quarters in a row, up to it, are on its side; 0 on none.
        n_useful: quarters of the series that are on a side.
        longest, longest_limit: quarters of the longest run, and how many it may have.
        crossings, crossings_limit: how often the median is crossed, and how often it must be.
        is_judged: whether the series is long enough, and even enough, for the rules.
    """

    centre: Floats
    side: Ints
    position: Ints
    n_useful: Ints
    longest: Ints
    longest_limit: Ints
    crossings: Ints
    crossings_limit: Ints
    is_judged: NDArray[np.bool_]

    def __str__(self) -> str:
        """Return a line a quarter; all lines of a series end with the same verdict."""
        verdict = np.where(self.is_shifted, "shifted", "steady")
        verdict = np.where(self.is_judged, verdict, "not judged")
        names = {1: "above", 0: "on or without units", -1: "below"}
        told = zip(self.side.tolist(), self.position.tolist(), self.centre, verdict, strict=True)
        return "\n".join(
            f"{names[side]}{f', {position} in a row' if position else ''}; "
            f"median {centre:.1%}; {said}"
            for side, position, centre, said in told
        )

    @property
    def is_shifted(self) -> NDArray[np.bool_]:
        """Whether a rule is broken; of no meaning where `is_judged` is false."""
        return (self.longest > self.longest_limit) | (self.crossings < self.crossings_limit)


def find_runs(series: NDArray[np.intp], risk: Floats) -> Runs:
    """Return the runs of all series at once.

    Args:
        series: number of the series of each quarter, rows of one series together, in time.
        risk: of each quarter; nan without units.
    """
    n_series = int(series.max(initial=-1)) + 1
    centre = _medians(series, risk, n_series)
    side = np.nan_to_num(np.sign(risk - centre[series])).astype(np.int64)
    useful = np.flatnonzero(side)
    on, of = side[useful], series[useful]
    is_same_series = np.concatenate([[False], of[1:] == of[:-1]])[: len(of)]
    is_crossing = is_same_series & np.concatenate([[False], on[1:] != on[:-1]])[: len(of)]
    starts = ~is_same_series | is_crossing
    run_start = np.maximum.accumulate(np.where(starts, np.arange(len(of)), 0))
    position = np.zeros(len(side), dtype=np.int64)
    position[useful] = np.arange(len(of)) - run_start + 1
    longest = np.zeros(n_series, dtype=np.int64)
    np.maximum.at(longest, series, position)
    above, below = (np.bincount(series[side == one], minlength=n_series) for one in (1, -1))
    n = above + below
    return Runs(
        centre[series],
        side,
        position,
        n[series],
        longest[series],
        longest_run_limit(n)[series],
        np.bincount(of[is_crossing], minlength=n_series)[series],
        crossings_limit(n)[series],
        ((n >= MIN_QUARTERS) & (np.minimum(above, below) >= n * MIN_SHARE_OF_SIDE))[series],
    )


def longest_run_limit(n: Ints) -> Ints:
    """Return how long a run of n tosses of a coin may be."""
    return np.asarray(np.rint(np.log2(np.maximum(n, 1)) + 3), dtype=np.int64)


def crossings_limit(n: Ints) -> Ints:
    """Return how often n tosses of a coin must change at least."""
    return np.asarray(stats.binom.ppf(0.05, np.maximum(n - 1, 1), 0.5), dtype=np.int64)


def _medians(series: NDArray[np.intp], risk: Floats, n_series: int) -> Floats:
    """Return the median of each series' risks; nan where it has none."""
    is_told = ~np.isnan(risk)
    order = np.lexsort((risk, ~is_told, series))
    first = np.searchsorted(series, np.arange(n_series))
    n = np.bincount(series[is_told], minlength=n_series)
    middle = [risk[order[first + np.maximum(0, at)]] for at in ((n - 1) // 2, n // 2)]
    return np.where(n > 0, (middle[0] + middle[1]) / 2, np.nan)


_WHOLE = ("n_useful_quarters", "longest_run", "longest_run_limit", "crossings", "crossings_limit")

TREND_SCHEMA = pa.schema(
    [(name, pa.string()) for name in (*_SERIES, "calendar_quarter")]
    + [(name, pa.int64()) for name in ("n_units", "n_events", "n_patients", "n_open")]
    + [(name, pa.float64()) for name in ("risk", "ci_low", "ci_high", "centre_risk")]
    + [("side", pa.string()), ("run_position", pa.int64())]
    + [(name, pa.int64()) for name in _WHOLE]
    + [("is_shifted", pa.bool_()), ("note", pa.string())]
)


def trend_table(counts: pa.Table) -> pa.Table:
    """Return `signals.trend` (TREND_SCHEMA) of rows of `signals.counts`.

    Estimand: the headline risk of the units whose index lies in the quarter, and whether the
    quarters of the whole record scatter around their median as chance would. A quarter without
    any unit has no row.
    """
    is_told = (pc.field("stratum") == "calendar_quarter") & (pc.field("denominator") == HEADLINE)
    rows = sorted_by(counts.filter(is_told), *_SERIES, "stratum_value")
    risks = estimate_risks(*numbers(rows, *_MOMENTS))
    runs = find_runs(group_numbers(rows, *_SERIES), risks.risk)
    judged = runs.is_judged
    sides = np.select(
        [np.isnan(risks.risk), runs.side > 0, runs.side < 0],
        [texts(None, risks.risk), texts("above", risks.risk), texts("below", risks.risk)],
        texts("on", risks.risk),
    )

    def told(column: Ints) -> Floats:
        return np.where(judged, column, np.nan)

    made = {
        "calendar_quarter": rows["stratum_value"],
        "risk": risks.risk,
        "ci_low": risks.ci_low,
        "ci_high": risks.ci_high,
        "centre_risk": runs.centre,
        "side": sides,
        "run_position": np.where(runs.side == 0, np.nan, runs.position),
        "n_useful_quarters": runs.n_useful,
        "longest_run": told(runs.longest),
        "longest_run_limit": told(runs.longest_limit),
        "crossings": told(runs.crossings),
        "crossings_limit": told(runs.crossings_limit),
        "is_shifted": pa.array(runs.is_shifted, pa.bool_(), mask=~judged),
        "note": first_note(
            risks.risk,
            (np.isnan(risks.risk), "no units"),
            (runs.n_useful < MIN_QUARTERS, _SHORT),
            (~judged, _LOPSIDED),
        ),
    }
    return make_table(TREND_SCHEMA, made, rows)


_SHORT = f"fewer than {MIN_QUARTERS} quarters above or below the median: no run rule"
_LOPSIDED = "too many quarters on the median to call its sides even: no run rule"
