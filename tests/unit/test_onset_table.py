"""`signals.onset`: counts against rows of a linked site, curves against slow obvious ones."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest

from pipelines.signals import onset_table as table
from pipelines.signals.counts import COUNTS, ONSET
from pipelines.signals.onset import estimate_curves
from pipelines.signals.onset_table import CURVE, ONSET_SCHEMA, onset_table
from studies.load import Study, load_study
from studies.outcomes import WindowTable
from tests.counts_kit import counts, row
from tests.linkage_cases import ZONE, with_settings
from tests.reference.studies import changed_outcomes
from tests.signal_rows import Row, signal_rows

COUNTED = ("event", "no_event", "censored", "untested", "unobserved", "undetermined")
HOUR = timedelta(hours=1)
SHIPPED = load_study("iv_bisphosphonate")
LEAVING = ("n_events", "n_died", "n_censored", "n_completed")


def local_date(at: datetime) -> Any:
    return at.replace(tzinfo=UTC).astimezone(ZoneInfo(ZONE)).date()


def leaves(unit: Row, scale: str) -> tuple[int, str]:
    """In which bin a unit leaves the risk, and as what."""
    by_day = "day_resolution" in unit["flags"]
    if unit["status"] == "event":
        if scale == "day":
            gone = (local_date(unit["onset_at"]) - unit["index_date"]).days
        elif unit["onset_precision"] == "day":
            return -1, "n_events"
        else:
            gone = (unit["onset_at"] - unit["started_at"]) // HOUR
        return max(0, gone), "n_events"
    last = unit["cut_at"] - timedelta(microseconds=1)
    if scale == "day":
        gone = ((last.date() if by_day else local_date(last)) - unit["index_date"]).days
    else:
        gone = (last - unit["started_at"]) // HOUR
    why = {"death": "n_died", None: "n_completed"}
    return gone, why.get(unit["cut_reason"], "n_censored")


def counted_slowly() -> dict[tuple[Any, ...], Counter[str]]:
    """By curve and bin, how many leave as what."""
    found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for unit in signal_rows().rows:
        if unit["status"] not in COUNTED or unit["window_name"] not in {"risk", "extended"}:
            continue
        ordinal = "first" if unit["ordinal_in_record"] == 1 else "later"
        for scale in ("day", "hour")[: 1 if "day_resolution" in unit["flags"] else 2]:
            gone, why = leaves(unit, scale)
            for stratum in (("all", "all"), ("drug", unit["drug"]), ("ordinal", ordinal)):
                about = (unit["outcome"], unit["window_name"], *stratum, scale)
                found[*about, gone][why] += 1
    return found


def test_who_leaves_when_is_what_the_rows_of_units_say() -> None:
    slow = counted_slowly()
    fast = {
        tuple(one[name] for name in ONSET.keys[2:]): {name: one[name] for name in LEAVING}
        | {"n_left": one["n_left"]}
        for one in signal_rows().counts[ONSET.name].to_pylist()
    }
    assert fast == {
        key: {name: told[name] for name in LEAVING} | {"n_left": told.total()}
        for key, told in slow.items()
    }
    # Every way to leave is there, events without an hour too.
    assert all(sum(told[name] for told in slow.values()) for name in LEAVING)
    assert any(key[-1] == -1 for key in slow)


def redistributed(left: list[tuple[int, str]], kinds: set[str], until: int) -> float:
    """The share gone by these ways: who leaves by another hands on its mass to those who stay.

    Efron 1967: the same as the product-limit estimate, and with a second way as Aalen-Johansen's.
    """
    mass = {unit: 1 / len(left) for unit in range(len(left))}
    share = 0.0
    for time in range(until + 1):
        now = [unit for unit in mass if left[unit][0] == time]
        for unit in [unit for unit in now if left[unit][1] in kinds]:
            share += mass.pop(unit) if left[unit][1] == "n_events" else 0 * mass.pop(unit)
        handed = sum(mass.pop(unit) for unit in now if unit in mass)
        for unit in mass:
            mass[unit] += handed / len(mass)
    return share


def test_curves_and_quantiles_are_those_of_the_units_one_by_one() -> None:
    given = signal_rows()
    units: dict[tuple[Any, ...], list[tuple[int, str]]] = defaultdict(list)
    for key, told in counted_slowly().items():
        units[key[:-1]] += [(key[-1], why) for why, n in told.items() for _ in range(n)]
    n_told = 0
    for one in onset_table(given.counts, [given.study]).to_pylist():
        left = units.get(tuple(one[name] for name in CURVE[2:]))
        if left is None:
            assert one["note"] == table.NOT_FROM_INDEX
            continue
        untimed = sum(gone < 0 for gone, _ in left)
        events = sorted(gone for gone, why in left if why == "n_events")
        assert (one["n_units"], one["n_all_events"]) == (len(left), len(events))
        assert one["n_untimed_events"] == untimed
        if untimed:
            assert (one["note"], one["n_at_risk"]) == (table.UNTIMED, None)
            assert one["event_free"] is one["onset_median"] is None
            continue
        at = one["bin_end"] - 1
        assert one["n_at_risk"] == sum(gone >= at for gone, _ in left)
        for name, tenths in (("onset_p10", 1), ("onset_median", 5), ("onset_p90", 9)):
            assert one[name] == (events[-(-tenths * len(events) // 10) - 1] if events else None)
        if at > min((gone for gone, why in left if why == "n_completed"), default=at):
            assert (one["note"], one["event_free"]) == (table.BEYOND, None)
            continue
        n_told += 1
        free = 1 - redistributed(left, {"n_events"}, at)
        incidence = redistributed(left, {"n_events", "n_died"}, at)
        assert one["event_free"] == pytest.approx(free, abs=1e-12)
        assert one["cumulative_incidence"] == pytest.approx(incidence, abs=1e-12)
        for name in ("event_free", "cumulative_incidence"):
            if one[f"{name}_low"] is not None:
                assert one[f"{name}_low"] <= one[name] <= one[f"{name}_high"]
    assert n_told > 100


def left(at: int, **why: int) -> Row:
    """How many leave in a bin of fever's risk window, and why."""
    about = {"study_id": SHIPPED.id, "site_id": "north", "outcome": "fever", "window_name": "risk"}
    about |= {"stratum": "all", "stratum_value": "all", "scale": "day"}
    return about | {name: why.get(name, 0) for name in LEAVING} | {
        "bin": at, "n_left": sum(why.values())
    }  # fmt: skip


def made(*rows: Row, study: Study = SHIPPED, units: pa.Table | None = None) -> list[Row]:
    onset = pa.Table.from_pylist(list(rows), schema=ONSET.schema)
    given = {ONSET.name: onset, COUNTS.name: counts() if units is None else units}
    return [dict(one) for one in onset_table(given, [study]).to_pylist()]


#: Acute myelogenous leukaemia, maintained arm (Miller 1981), and limits by R's survfit.
AML = [(9, 1, 0), (13, 1, 1), (18, 1, 0), (23, 1, 0), (28, 0, 1), (31, 1, 0), (34, 1, 0),
       (45, 0, 1), (48, 1, 0), (161, 0, 1)]  # fmt: skip
FREE = [0.909091, 0.818182, 0.715909, 0.613636, 0.490909, 0.368182, 0.184091]


def test_a_published_curve_comes_out_of_the_table() -> None:
    rows = made(*(left(at, n_events=events, n_censored=gone) for at, events, gone in AML))
    steps = [one for one in rows if one["n_events"]]
    assert [one["event_free"] for one in steps] == pytest.approx(FREE, abs=5e-7)
    assert [1 - one["cumulative_incidence"] for one in steps] == pytest.approx(FREE, abs=5e-7)
    ends = [(one["event_free_low"], one["event_free_high"]) for one in (steps[0], steps[-1])]
    assert ends == [
        pytest.approx((0.5081, 0.987), abs=5e-4),
        pytest.approx((0.0117, 0.525), abs=5e-4),
    ]
    assert [one["n_at_risk"] for one in rows] == [11, 11, 10, 8, 7, 6, 5, 4, 3, 2, 1]
    assert (rows[0]["bin_end"], rows[0]["bin"], rows[0]["event_free"]) == (0, None, 1.0)
    assert {(one["onset_p10"], one["onset_median"], one["onset_p90"]) for one in rows} == {
        (9, 23, 48)
    }


def test_no_events_all_events_and_a_single_unit_leave_limits_out() -> None:
    none = made(left(2, n_completed=5))
    assert {one["note"] for one in none} == {table.NO_EVENT}
    assert {(one["event_free"], one["cumulative_incidence"]) for one in none} == {(1.0, 0.0)}
    assert none[0]["onset_median"] is None
    for rows in (made(left(1, n_events=1), left(2, n_events=2)), made(left(1, n_events=1))):
        last = rows[-1]
        assert (last["event_free"], last["cumulative_incidence"]) == (0.0, 1.0)
        assert last["cumulative_incidence_high"] is last["event_free_low"] is None
        assert last["note"] == table.ALL_EVENTS


def test_where_the_last_had_it_and_others_died_only_the_incidence_has_limits() -> None:
    last = made(left(1, n_died=3), left(2, n_events=2))[-1]
    assert (last["event_free"], last["event_free_low"]) == (0.0, None)
    assert last["cumulative_incidence"] == pytest.approx(2 / 5)
    # Without anybody lost to follow-up it is a proportion: binomial variance, log-log limits.
    half = 1.959963984540054 * (0.4 * 0.6 / 5) ** 0.5 / (0.6 * -math.log(0.6))
    assert last["cumulative_incidence_high"] == pytest.approx(1 - 0.6 ** math.exp(half))
    assert last["note"] == table.NOBODY_LEFT


def test_who_leaves_in_a_bin_counts_as_at_risk_beside_an_event_in_it() -> None:
    [_, tie, _] = made(
        left(1, n_events=1, n_died=1, n_censored=1, n_completed=1), left(2, n_died=1)
    )
    assert tie["event_free"] == pytest.approx(4 / 5)
    assert tie["cumulative_incidence"] == pytest.approx(1 / 5)


def test_beyond_the_shortest_window_there_is_no_curve() -> None:
    rows = made(left(0, n_events=1), left(3, n_completed=8), left(4, n_events=1, n_completed=1))
    assert [one["event_free"] for one in rows] == pytest.approx([1.0, 10 / 11, 10 / 11, None])
    assert (rows[-1]["note"], rows[-1]["method"]) == (table.BEYOND, "none")
    assert (rows[-1]["n_at_risk"], rows[-1]["onset_p90"]) == (2, 4)


def test_what_keeps_a_curve_from_being_told_is_said() -> None:
    late = WindowTable(start_offset_hours=24)
    clean = changed_outcomes(SHIPPED, fever={"clean_window_days": 30})
    shifted = changed_outcomes(SHIPPED, fever={"window": [late]})
    by_day = with_settings(SHIPPED, study={"resolution": "day"})
    nobody = counts(row(0, 0, study_id=SHIPPED.id, denominator="all"))
    some = counts(row(1, 9, study_id=SHIPPED.id, denominator="all"))
    [_, told] = made(left(1, n_events=2), study=clean)
    assert (told["note"], told["event_free"], told["onset_median"]) == (table.CLEAN, None, 1)
    [start] = made(left(-1, n_events=2))
    assert (start["note"], start["n_untimed_events"]) == (table.UNTIMED, 2)
    told_of = {
        "none": (made(units=nobody), [(0, table.NO_UNITS)] * 2),
        "late": (made(units=some, study=shifted), [(None, table.NOT_FROM_INDEX)] * 2),
        "days": (made(left(1, n_events=9), units=some)[2:], [(0, table.NO_HOURS)]),
        "no hours": (made(units=nobody, study=by_day), [(0, table.NO_UNITS)]),
    }
    for rows, expected in told_of.values():
        assert [(one["n_units"], one["note"]) for one in rows] == expected
        assert all(one["event_free"] is one["cumulative_incidence"] is None for one in rows)
    assert onset_table({ONSET.name: ONSET.schema.empty_table(), COUNTS.name: counts()}, []) == (
        ONSET_SCHEMA.empty_table()
    )


def test_a_curve_is_the_same_to_the_last_digit_whatever_is_beside_it() -> None:
    rng = np.random.default_rng(7)
    sizes = rng.integers(1, 12, 40)
    curve = np.repeat(np.arange(40), sizes)
    left_at = rng.integers(0, 5, (len(curve), 3)).astype(float)
    after = [left_at[n:][curve[n:] == one].sum() for n, one in enumerate(curve)]
    columns = (np.array(after), left_at[:, 0], left_at[:, 1])
    together = estimate_curves(curve, *columns)
    for one in range(40):
        mine = curve == one
        alone = estimate_curves(np.zeros(mine.sum(), np.intp), *(x[mine] for x in columns))
        for name, values in vars(alone).items():
            assert np.array_equal(values, getattr(together, name)[mine], equal_nan=True)
