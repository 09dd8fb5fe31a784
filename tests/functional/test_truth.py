"""The road against the synthetic hospital's truth, which was planted before any record existed."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter, defaultdict
from datetime import date, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from scipy import stats

from flows import cookbook
from flows.published import PAGE, STUDY, benchmark_rows, page
from pipelines.simulate import NAMED_NIGHTS, NAMED_PATIENTS, NAMED_SEED, simulate
from pipelines.simulate.clock import DAY
from pipelines.simulate.codes import ZONE
from pipelines.simulate.cohort import END
from studies.load import load_study
from tests.functional import cookbook_truth
from tests.functional.planted import Planted, assert_risks_as_planted
from tests.functional.refresh_site import deliver, make_site, run

#: Column of the truth's risk table, and the denominator whose n_units it is.
DENOMINATORS = {"n_observed": "observed", "n_tested": "tested", "n_determined": "determined"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The named hospital, dirty, and the site that read it."""
    root = tmp_path_factory.mktemp("truth")
    simulate(NAMED_PATIENTS, NAMED_SEED, NAMED_NIGHTS, 0.01, root / "hospital")
    (root / "site").mkdir()
    site = make_site(root / "site", root / "hospital")
    deliver(site, root / "hospital", *range(1, NAMED_NIGHTS + 1))
    assert not run(site, with_gx=True).held
    return Planted(root / "hospital", site)


def test_every_count_of_every_stratum_equals_the_truth(made: Planted) -> None:
    assert_risks_as_planted(made, "iv_bisphosphonate")


def test_the_restricted_denominators_equal_the_truth(made: Planted) -> None:
    truth = {
        (row["outcome"], row["window"], denominator): int(row[column])
        for row in made.truth("risk")
        if row["stratum"] == "all"
        for column, denominator in DENOMINATORS.items()
        if row[column]
    }
    found = {
        (outcome, window, denominator): n
        for outcome, window, denominator, n in made.ask(
            """SELECT outcome, window_name, denominator, n_units FROM signals.risk
               WHERE stratum = 'all' AND denominator IN ('observed', 'tested', 'determined')"""
        )
    }
    assert {key: n for key, n in found.items() if key in truth} == truth


def test_only_the_named_outcomes_are_published(made: Planted) -> None:
    outcomes = {row[0] for row in made.ask("SELECT DISTINCT outcome FROM signals.risk")}
    assert outcomes == {
        "fever",
        "tachycardia",
        "hypocalcaemia",
        "hypocalcaemia_grade1",
        "hypophosphataemia",
        "hypophosphataemia_grade1",
        "acute_phase_reaction",
        "any_side_effect",
    }


def test_quarantined_rows_are_exactly_those_that_must_be(made: Planted) -> None:
    names = {
        (hashlib.sha256(path.read_bytes()).hexdigest()): (path.parent.name, path.name)
        for path in (made.hospital / "deliveries").glob("*/*.csv")
    }
    found = {
        (*names[str(sha)], number): set(checks) if isinstance(checks, list) else set()
        for sha, number, checks in made.ask(
            "SELECT source_file_sha, source_row, check_ids FROM quality.quarantine"
        )
    }
    expected = {
        (f"night-{int(row['night']):03d}", row["file"], int(row["row"])): row["reason"]
        for row in made.truth("fate")
        if row["fate"] == "quarantined"
    }
    assert found.keys() == expected.keys()
    # A time that cannot be read is also missing: the planted reason is always among the checks.
    assert all(expected[row] in checks for row, checks in found.items())


def test_the_other_fates_and_flags_are_as_planted(made: Planted) -> None:
    planted = Counter(row["fate"] for row in made.truth("fate"))
    [(read, accepted, duplicate, superseded, quarantined, out_of_scope)] = made.ask(
        """SELECT sum(n_read)::BIGINT, sum(n_accepted)::BIGINT, sum(n_duplicate)::BIGINT,
                  sum(n_superseded)::BIGINT, sum(n_quarantined)::BIGINT,
                  sum(n_out_of_scope)::BIGINT
           FROM quality.reconciliation"""
    )
    assert (duplicate, quarantined, out_of_scope) == (
        planted["duplicate"],
        planted["quarantined"],
        planted["out_of_scope"],
    )
    assert superseded == planted["superseded"]
    # Fates name the dirty rows only; every other row must be accepted.
    assert isinstance(read, int)
    assert accepted == read - planted.total() + planted["accepted"]
    flagged = Counter(r["reason"] for r in made.truth("fate") if r["fate"] == "accepted")
    failed = dict(
        made.ask(
            """SELECT check_id, sum(n_failed)::BIGINT FROM quality.check_result
               WHERE severity = 'warn' AND event_type <> 'InfusionRecorded' GROUP BY check_id"""
        )
    )
    for check, n in flagged.items():
        got = failed[check]
        assert isinstance(got, int)
        assert got >= n


def test_dirt_changes_no_truth(made: Planted, tmp_path: Path) -> None:
    simulate(NAMED_PATIENTS, NAMED_SEED, NAMED_NIGHTS, 0.0, tmp_path)
    for table in ("risk", "unit_outcome"):
        clean, dirty = (root / "truth" / f"{table}.csv" for root in (tmp_path, made.hospital))
        assert clean.read_bytes() == dirty.read_bytes()


def test_the_headline_is_what_was_planted(made: Planted) -> None:
    found = {
        value: counts
        for value, *counts in made.ask(
            """SELECT stratum_value, n_events, n_units, n_patients FROM signals.risk
               WHERE outcome = 'any_side_effect' AND window_name = 'risk'
                 AND denominator = 'complete' AND stratum IN ('all', 'ordinal')"""
        )
    }
    # The published counts: 7 % of 942 infusions and 27 % of 123 first ones.
    published = {"all": [66, 942, 123], "first": [33, 123, 123]}
    assert {name: found[name] for name in published} == published


COUNTED = {"event", "no_event", "censored", "untested", "unobserved", "undetermined"}


def counted(made: Planted, outcome: str) -> list[dict[str, Any]]:
    """The units that count in the risk window, with what is fixed at their index."""
    rows = made.rows(
        """SELECT u.status, u.person_days, c.drug, c.calendar_quarter
           FROM linkage.unit_outcome AS u JOIN linkage.course AS c USING (study_id, unit_id)
           WHERE u.window_name = 'risk' AND u.outcome = ?""",
        outcome,
    )
    return [one for one in rows if one["status"] in COUNTED]


def test_rates_are_first_events_over_the_days_of_the_linked_rows(made: Planted) -> None:
    events: Counter[str] = Counter()
    days: defaultdict[str, float] = defaultdict(float)
    for one in counted(made, "fever"):
        events[one["drug"]] += one["status"] == "event"
        days[one["drug"]] += one["person_days"]
    told = made.ask(
        """SELECT stratum_value, n_first_events, events_per_1000_person_days FROM signals.rate
           WHERE (outcome, window_name, stratum) = ('fever', 'risk', 'drug') AND is_headline"""
    )
    assert {drug: n for drug, n, _ in told} == events
    assert {drug: rate for drug, _, rate in told} == {
        drug: pytest.approx(1000 * events[drug] / days[drug], rel=1e-9) for drug in days
    }


def test_the_trend_is_that_of_the_linked_rows_by_quarter(made: Planted) -> None:
    known: defaultdict[str, list[bool]] = defaultdict(list)
    for one in counted(made, "any_side_effect"):
        if one["status"] != "censored":
            known[one["calendar_quarter"]].append(one["status"] == "event")
    risks = {quarter: sum(some) / len(some) for quarter, some in known.items()}
    told = made.ask(
        """SELECT calendar_quarter, risk, centre_risk FROM signals.trend
           WHERE (outcome, window_name) = ('any_side_effect', 'risk') AND n_units > 0"""
    )
    assert {quarter: risk for quarter, risk, _ in told} == pytest.approx(risks)
    assert [centre for *_, centre in told] == pytest.approx([median(risks.values())] * len(risks))


def test_who_has_had_it_by_the_end_of_the_curve_is_counted_in_the_linked_rows(
    made: Planted,
) -> None:
    told = made.ask(
        """SELECT outcome, n_units, onset_median, until, incidence_percent FROM analysis.onset
           WHERE (window_name, scale) = ('risk', 'day')"""
    )
    assert "fever" in {outcome for outcome, *_ in told}
    for outcome, n_units, half, until, percent in told:
        days = [
            (status, day)
            for status, day, cut in made.ask(
                f"""SELECT status, onset_day, cut_reason FROM linkage.unit_outcome
                    WHERE (outcome, window_name) = ('{outcome}', 'risk')"""
            )
            if status in COUNTED and (status == "event" or cut is None)
        ]
        # Nobody died or was cut: the curve is the share so far.
        assert len(days) == n_units
        onsets = sorted(day for status, day in days if status == "event")
        assert percent == pytest.approx(100 * sum(day < until for day in onsets) / n_units)
        assert half == onsets[(len(onsets) - 1) // 2]


def test_no_table_of_signals_names_an_outcome_that_is_not_published(made: Planted) -> None:
    tables = [
        name
        for (name,) in made.ask(
            """SELECT DISTINCT table_name FROM information_schema.columns
               WHERE table_schema = 'signals' AND column_name = 'outcome'"""
        )
    ]
    assert {"rate", "trend", "disproportionality", "benchmark"} < set(tables)
    for table in tables:
        assert not made.ask(
            f"""SELECT outcome FROM signals.{table} ANTI JOIN
                (FROM reference.outcome WHERE is_published) AS p USING (study_id, outcome)"""
        )


@pytest.mark.parametrize("asked", list(cookbook.questions(cookbook.PAGE.read_text("utf-8"))))
def test_the_cookbook_prints_what_its_statement_answers_and_that_is_the_truth(
    made: Planted, asked: cookbook.Question
) -> None:
    found = made.rows(asked.sql)
    assert asked.answer == cookbook.as_table(list(found[0]), [list(row.values()) for row in found])
    if asked.number in cookbook_truth.TRUTH:
        planted = cookbook_truth.TRUTH[asked.number](made)
        told = [{name: row[name] for name in planted[0]} for row in found]
        if asked.number in cookbook_truth.IN_PART:
            told = [row for row in told if row in planted]
        assert told == planted


def test_the_cookbook_has_twenty_questions_and_truth_for_most() -> None:
    numbers = [one.number for one in cookbook.questions(cookbook.PAGE.read_text("utf-8"))]
    assert numbers == list(range(1, 21))
    assert set(cookbook_truth.TRUTH) == set(numbers) - {14, 18, 19}


def test_the_page_of_published_and_computed_numbers_is_what_this_hospital_gives(
    made: Planted,
) -> None:
    found = page(load_study(STUDY), benchmark_rows(made.site.warehouse))
    assert found == PAGE.read_text(encoding="utf-8")


#: The first day that no feed has told of.
THROUGH = date(1970, 1, 1) + timedelta(days=END // DAY)


def test_bone_density_changes_as_in_the_delivered_scans(made: Planted) -> None:
    scans = delivered_scans(made)
    treated = [one for one in made.truth("unit") if one["unit_ordinal"] == "1"]
    changes = []
    for one in treated:
        at = datetime.fromisoformat(one["index_start_utc"]).astimezone(ZoneInfo(ZONE)).date()
        days = {(day - at).days: z for day, z in scans[one["patient_id"]].items()}
        before = [day for day in days if -180 <= day <= 0]
        after = [day for day in days if abs(day - 365) <= 90]
        is_closed = at + timedelta(days=455) < THROUGH
        if one["is_eligible"] == "true" and before and after and is_closed:
            nearest = min(after, key=lambda day: (abs(day - 365), day))
            changes.append(days[nearest] - days[max(before)])
    [found] = made.rows(
        """SELECT * FROM signals.effectiveness
           WHERE (measure, stratum) = ('density_z_change', 'all')"""
    )
    told = stats.ttest_1samp(changes, 0)
    assert (found["n_patients"], found["n_height_adjusted"]) == (len(changes), len(changes))
    assert len(changes) > 60
    assert found["estimate"] == pytest.approx(sum(changes) / len(changes), rel=1e-12)
    assert [found["ci_low"], found["ci_high"]] == pytest.approx(
        told.confidence_interval(), rel=1e-12
    )


def delivered_scans(made: Planted) -> dict[str, dict[date, float]]:
    """Height-adjusted Z-scores of each patient by local date, from the files themselves."""
    left_out = {
        (int(row["night"]), row["file"], int(row["row"]))
        for row in made.truth("fate")
        if row["fate"] != "accepted"
    }
    latest: dict[str, dict[str, str]] = {}
    for night in range(1, NAMED_NIGHTS + 1):
        path = made.hospital / "deliveries" / f"night-{night:03d}" / "dxa.csv"
        with path.open(newline="", encoding="utf-8") as stream:
            for number, row in enumerate(csv.DictReader(stream), start=1):
                known = latest.get(row["id"])
                if (night, "dxa.csv", number) not in left_out and (
                    known is None or int(row["version"]) > int(known["version"])
                ):
                    latest[row["id"]] = row
    scans: dict[str, dict[date, float]] = defaultdict(dict)
    for row in latest.values():
        day = datetime.fromisoformat(row["scanned"]).date()
        scans[row["patient_id"]][day] = float(row["ha_z_score"])
    return scans


def test_estimating_equations_stand_beside_each_headline_risk(made: Planted) -> None:
    told = made.rows(
        """SELECT g.*, r.n_events AS other_events, r.n_units AS other_units, r.n_patients AS others
           FROM signals.risk AS r
           LEFT JOIN signals.risk_gee AS g
             USING (study_id, site_id, outcome, window_name, stratum, stratum_value)
           WHERE r.denominator = 'complete' AND r.stratum IN ('all', 'drug', 'ordinal')"""
    )
    counts = ("n_events", "n_units", "n_patients")
    for one in told:
        assert [one[name] for name in counts] == [
            one[name] for name in ("other_events", "other_units", "others")
        ]
        assert one["note"] or one["ci_low"] < one["gee_risk"] < one["ci_high"]
    [whole] = [
        one
        for one in told
        if (one["outcome"], one["window_name"], one["stratum"])
        == ("any_side_effect", "risk", "all")
    ]
    assert (whole["n_events"], whole["n_units"], whole["method"]) == (66, 942, "exchangeable")
