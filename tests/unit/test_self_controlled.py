"""`signals.self_controlled`: counts against rows of a linked site, ratios against printed ones."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
import statsmodels.api as sm

from pipelines.signals import self_controlled as table
from pipelines.signals.counts import COUNTS, SELF_CONTROLLED
from pipelines.signals.rates import compare_rates
from pipelines.signals.self_controlled import SELF_CONTROLLED_SCHEMA, self_controlled_table
from studies.load import Study, load_study
from studies.outcomes import WindowTable
from tests.counts_kit import DAY_US, counts, row
from tests.reference.studies import changed_outcomes
from tests.signal_rows import Row, signal_rows
from warehouse.models import model
from warehouse.row_signals import Rows, case_series

COUNTED = ("event", "no_event", "censored", "untested", "unobserved", "undetermined")
CONTROL = WindowTable(name="control", start_offset_hours=336, end_offset_hours=672)
SHIPPED = load_study("iv_bisphosphonate")


def with_fever(ascertainment: str = "independent", *windows: WindowTable) -> Study:
    windows = windows or (WindowTable(), CONTROL)
    fever = {"ascertainment": ascertainment, "window": list(windows)}
    return changed_outcomes(SHIPPED, fever=fever)


def made(study: Study, **told: Any) -> Row:
    """The row of fever, undivided, from these sums; times in days."""
    about = {"study_id": SHIPPED.id, "site_id": "north", "outcome": "fever"}
    about |= {"stratum": "all", "stratum_value": "all"}
    sums = {name: told.get(name, 0) for name in SELF_CONTROLLED.sums}
    sums |= {
        f"{name}_us": round(told.get(f"{name}_days", 0) * DAY_US) for name in ("risk", "control")
    }
    windows = pa.Table.from_pylist([about | sums] if told else [], schema=SELF_CONTROLLED.schema)
    units = counts(row(2, 9, study_id=SHIPPED.id, outcome="fever"))
    given = {SELF_CONTROLLED.name: windows, COUNTS.name: units}
    [found] = self_controlled_table(given, [study]).to_pylist()
    return dict(found)


def test_the_sums_are_those_of_the_rows_of_units() -> None:
    units: dict[str, dict[str, Row]] = defaultdict(dict)
    for one in signal_rows().rows:
        if one["outcome"] == "ache" and one["status"] in COUNTED:
            units[one["unit_id"]][one["window_name"]] = one
    patients: dict[tuple[str, str, str], list[tuple[Row, Row]]] = defaultdict(list)
    for windows in units.values():
        if {"risk", "control"} <= windows.keys():
            one = windows["risk"]
            ordinal = "first" if one["ordinal_in_record"] == 1 else "later"
            for stratum in (("all", "all"), ("drug", one["drug"]), ("ordinal", ordinal)):
                patients[*stratum, one["patient_key"]].append((one, windows["control"]))
    slow: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (name, value, _), pairs in patients.items():
        risk, control = (sum(p[n]["status"] == "event" for p in pairs) for n in (0, 1))
        if not risk + control:
            continue
        cuts = {p[1]["cut_reason"] for p in pairs}
        for column, amount in {
            "n_risk_events": risk,
            "n_control_events": control,
            "risk_us": sum(round(p[0]["at_risk_days"] * DAY_US) for p in pairs),
            "control_us": sum(round(p[1]["at_risk_days"] * DAY_US) for p in pairs),
            "n_cut_by_next": "next_unit" in cuts,
            "n_cut_by_end": bool(cuts & {"death", "observation_end"}),
            "n_patients": 1,
        }.items():
            slow[name, value][column] += amount
    fast = {
        (one["stratum"], one["stratum_value"]): {name: one[name] for name in SELF_CONTROLLED.sums}
        for one in signal_rows().counts[SELF_CONTROLLED.name].to_pylist()
    }
    assert fast == slow
    assert all(slow["all", "all"].values()), "nothing would be compared"


def test_every_stratum_of_a_linked_site_has_its_ratio_or_a_reason() -> None:
    given = signal_rows()
    found = self_controlled_table(given.counts, [given.study]).to_pylist()
    told = {one["stratum_value"]: one for one in found if one["outcome"] == "ache"}
    one = told["pamidronate"]
    peer = compare_rates(
        one["n_risk_events"], one["risk_days"], one["n_control_events"], one["control_days"]
    )
    assert one["rate_ratio"] == pytest.approx(peer.ratio)
    assert one["ci_low"] < one["rate_ratio"] < one["ci_high"]
    assert one["cut_by_next_share"] == one["n_cut_by_next"] / one["n_patients"]
    assert table.CUT_BY_NEXT in one["note"]
    assert set(told) == {"all", "first", "later", "pamidronate", "zoledronic acid", "ibandronate"}
    others = [one for one in found if one["outcome"] == "high_creatinine"]
    assert {one["note"] for one in others} == {f"{table.DIFFERENTIAL}; {table.NO_CONTROL}"}
    assert len(others) == len(told)


def test_the_case_series_of_linked_rows_is_a_poisson_regression_with_a_term_a_patient() -> None:
    given = signal_rows()
    with duckdb.connect() as con:
        con.execute("CREATE SCHEMA linkage")
        con.register("given", pa.Table.from_pylist(given.rows))
        for name in ("unit_outcome", "course"):
            # Rows hold the flags of the outcome, which are not those of the course.
            columns = ", ".join({*model(f"linkage.{name}").content_columns} - {"flags"})
            con.execute(f"CREATE TABLE linkage.{name} AS SELECT DISTINCT {columns} FROM given")
        found = case_series(Rows(con, "Asia/Kolkata", {}), given.study).to_pylist()
    told = {one["stratum_value"]: one for one in found}
    scri = {
        one["stratum_value"]: one
        for one in self_controlled_table(given.counts, [given.study]).to_pylist()
        if one["outcome"] == "ache"
    }
    shared = ("n_patients", "n_risk_events", "n_control_events", "risk_days", "n_cut_by_next")
    for value, one in told.items():
        assert [one[name] for name in shared] == [scri[value][name] for name in shared]
    whole = told["all"]
    assert (whole["method"], whole["is_converged"]) == ("sccs", True)
    assert [whole["rate_ratio"], whole["ci_low"], whole["ci_high"]] == pytest.approx(
        by_regression(given.rows, with_age=whole["adjusted_for"] is not None), rel=1e-6
    )


def by_regression(rows: list[Row], *, with_age: bool) -> list[float]:
    """The ratio of risk over control windows with its limits, by statsmodels on rows of units."""
    units: dict[str, list[Row]] = defaultdict(list)
    for one in rows:
        if one["outcome"] == "ache" and one["window_name"] in {"risk", "control"}:
            units[one["unit_id"]].append(one)
    pairs = [one for one in units.values() if len(one) == 2]
    kept = [one for pair in pairs if all(x["status"] in COUNTED for x in pair) for one in pair]
    cases = sorted({one["patient_key"] for one in kept if one["status"] == "event"})
    kept = [one for one in kept if one["patient_key"] in cases and one["at_risk_days"] > 0]
    bands = sorted({one["age_band"] or "unknown" for one in kept})[1:] if with_age else []
    columns = [
        [one["window_name"] == "risk"]
        + [(one["age_band"] or "unknown") == band for band in bands]
        + [one["patient_key"] == case for case in cases]
        for one in kept
    ]
    fit = sm.GLM(
        np.array([one["status"] == "event" for one in kept], dtype=float),
        np.array(columns, dtype=float),
        family=sm.families.Poisson(),
        offset=np.log([one["at_risk_days"] for one in kept]),
    ).fit(tol=1e-12, maxiter=200)
    return [float(np.exp(x)) for x in (fit.params[0], *fit.conf_int()[0])]


def test_ratios_are_those_that_the_vaccine_safety_datalink_printed() -> None:
    sums = {"n_patients": 4, "n_risk_events": 3, "n_control_events": 1}
    one = made(with_fever(), **sums, risk_days=28, control_days=84)
    assert one["rate_ratio"] == pytest.approx(9.0)
    assert (one["wald_low"], one["wald_high"]) == pytest.approx((0.9, 86.5), abs=0.05)
    sums = {"n_patients": 60, "n_risk_events": 50, "n_control_events": 10}
    one = made(with_fever(), **sums, risk_days=240, control_days=180)
    assert one["rate_ratio"] == pytest.approx(3.75)
    assert (one["wald_low"], one["wald_high"]) == pytest.approx((1.90, 7.39), abs=5e-3)
    assert (one["ci_low"], one["ci_high"]) == pytest.approx((1.880, 8.294), abs=5e-4)
    assert (one["method"], one["note"]) == ("scri", None)


def test_an_outcome_that_is_looked_for_after_infusions_has_no_ratio() -> None:
    sums = {"n_patients": 4, "n_risk_events": 3, "n_control_events": 1}
    one = made(with_fever("differential"), **sums, risk_days=28, control_days=84)
    assert one["note"] == "differential_ascertainment"
    assert [one[name] for name in ("rate_ratio", "ci_low", "ci_high", "wald_low")] == [None] * 4
    assert one["n_risk_events"] == 3


def test_without_windows_or_events_there_is_a_reason() -> None:
    assert made(with_fever("independent", WindowTable()))["note"] == "no_control_window"
    assert made(with_fever("independent", CONTROL))["note"] == "no_risk_window"
    one = made(with_fever())
    assert (one["note"], one["rate_ratio"], one["cut_by_next_share"]) == (
        table.NO_EVENT,
        None,
        None,
    )
    timeless = made(with_fever(), n_patients=1, n_risk_events=1, risk_days=7)
    assert (timeless["note"], timeless["ci_low"]) == (table.NO_TIME, None)


def test_events_in_one_window_alone_leave_one_exact_limit() -> None:
    days = {"risk_days": 28, "control_days": 28, "n_patients": 4}
    one = made(with_fever(), n_risk_events=4, **days)
    assert (one["rate_ratio"], one["ci_high"], one["wald_low"]) == (None, None, None)
    assert one["ci_low"] == pytest.approx(0.025**0.25 / (1 - 0.025**0.25))
    assert one["note"] == table.UNBOUNDED
    other = made(with_fever(), n_control_events=4, n_cut_by_end=1, **days)
    assert (other["rate_ratio"], other["ci_low"]) == (0.0, 0.0)
    assert other["ci_high"] == pytest.approx(1 / one["ci_low"])
    assert other["note"] == f"{table.ONE_SIDE}; {table.CUT_BY_END}"
    assert other["cut_by_end_share"] == 0.25


def test_no_counts_give_no_rows() -> None:
    empty = {SELF_CONTROLLED.name: SELF_CONTROLLED.schema.empty_table(), COUNTS.name: counts()}
    assert self_controlled_table(empty, []) == SELF_CONTROLLED_SCHEMA.empty_table()
