"""What may be told, against an attacker who solves integer programs, and against cases by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from itertools import pairwise

import pyarrow as pa
import pytest

from pipelines.disclosure import PATIENTS, SMALL, by_weight, mask_rows, nested_counts
from pipelines.disclosure.audit import too_narrow
from pipelines.disclosure.plan import plan
from pipelines.disclosure.release import Column, Division, Release, StudyCounts
from pipelines.disclosure.rule import Row
from pipelines.disclosure.tables import mask_counts
from pipelines.signals.counts import COUNTS
from studies.load import load_study
from tests.attack_kit import Attacker, Night, Ward, as_table, primary_only, small, true_rows
from tests.history_kit import Knowing, Rule, drawn

THRESHOLD = 11
#: Of each small count, the attacker must be left with a range this wide and as many values.
WIDTH = math.ceil(THRESHOLD / 2)
FEVER = Column("fever", "risk", "complete")


def watched(seed: int, n_nights: int) -> tuple[Ward, Release, list[Night]]:
    """A ward after some nights, what was told last, and on each night on which anything was."""
    luck = random.Random(seed)  # noqa: S311 - invented wards
    ward = Ward.drawn(luck)
    release, nights = None, []
    for number in range(n_nights):
        if number:
            ward.night(luck)
        counts = ward.counts()
        new = plan(counts, THRESHOLD, release)
        if new != release or number == n_nights - 1:
            nights.append(Night(number, true_rows(new, counts), new.few))
        release = new
    assert release is not None
    return ward, release, nights


def found_out(ward: Ward, nights: Sequence[Night], rule: Release | None = None) -> list[str]:
    """Return the small counts that an attacker knows too well, who may know the rule as well."""
    attacker = Attacker(ward, nights, THRESHOLD)
    if rule is not None:
        attacker.know_the_rule(rule)
    groups = {frozenset(kinds): name for name, kinds in small(ward, THRESHOLD).items()}
    found = []
    for kinds, name in groups.items():
        low, high = attacker.range(set(kinds))
        count = sum(ward.n[kind] for kind in kinds)
        assert low <= count <= high
        n_values = 0
        for value in sorted(range(low, min(high, 3 * THRESHOLD) + 1), key=lambda v: abs(v - count)):
            n_values += attacker.can_be(set(kinds), value)
            if n_values >= WIDTH:
                break
        if high - low < WIDTH or n_values < WIDTH:
            found.append(name)
    return found


@pytest.mark.parametrize(("seed", "n_nights"), [(11, 1), (21, 30)])
def test_no_small_count_can_be_worked_out_from_what_is_told(seed: int, n_nights: int) -> None:
    ward, release, nights = watched(seed, n_nights)
    assert release.whole
    # What a row was left out for, the attacker knows of a single night alone.
    assert not found_out(ward, nights, release if n_nights == 1 else None)


def test_the_attacker_succeeds_where_only_small_rows_are_left_out() -> None:
    ward, _, _ = watched(4, 1)
    assert found_out(ward, [Night(0, primary_only(ward.counts(), THRESHOLD))])


def test_bounds_by_linear_programs_find_what_only_small_rows_left_out_gives_away() -> None:
    counts = Ward.drawn(random.Random(3)).counts()  # noqa: S311 - an invented ward
    assert not too_narrow(counts, plan(counts, THRESHOLD), THRESHOLD)
    assert too_narrow(counts, only_small_left_out(counts, THRESHOLD), THRESHOLD)


def only_small_left_out(counts: StudyCounts, threshold: int) -> Release:
    """What is told where complementary suppression is off."""
    told = primary_only(counts, threshold)
    divisions = {
        stratum: Division(
            rows={
                column: {v: row for v, row in rows.items() if (column, stratum, v) in told}
                for column, rows in columns.items()
            }
        )
        for stratum, columns in counts.strata.items()
    }
    whole = {column: row for (column, stratum, _), row in told.items() if stratum == "all"}
    return Release(threshold, whole, divisions)


def narrow(seed: int, n_nights: int, rule: Rule = plan) -> list[str]:
    """Return small counts of the last night of which too few values tell the same on all nights."""
    ward, history = drawn(seed, n_nights)
    attacker = Knowing(ward, history, [THRESHOLD] * n_nights, rule=rule)
    found = attacker.possible([n_nights - 1])
    return [str(one) for one, values in found.items() if not attacker.is_wide(one, values)]


@pytest.mark.parametrize(("seed", "n_nights"), [(3, 1), (4, 30)])
def test_nobody_who_can_run_the_rule_works_out_a_small_count(seed: int, n_nights: int) -> None:
    assert not narrow(seed, n_nights)


def test_who_can_run_the_rule_succeeds_where_only_small_rows_are_left_out() -> None:
    def naive(counts: StudyCounts, threshold: int, last: Release | None = None) -> Release:  # noqa: ARG001 - the form of a rule
        return only_small_left_out(counts, threshold)

    assert narrow(3, 1, rule=naive)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("n_nights", "seeds"), [(1, (*range(8), 41)), (30, range(7))])
def test_nobody_who_can_run_the_rule_works_out_a_small_count_in_some_worlds(
    n_nights: int, seeds: Sequence[int]
) -> None:
    for seed in seeds:
        assert not narrow(seed, n_nights), seed


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(0, 100, 10))
@pytest.mark.parametrize("n_nights", [1, 30])
def test_no_small_count_can_be_worked_out_in_a_hundred_worlds(seed: int, n_nights: int) -> None:
    n_told = 0
    for one in range(seed, seed + 10):
        ward, release, nights = watched(one, n_nights)
        n_told += len(release.divisions)
        assert not found_out(ward, nights, release if n_nights == 1 else None), one
    assert n_told > 5


# Cases by hand ------------------------------------------------------------------------------


def row(e: int, n: int, g: int | None = None, e2: int | None = None) -> Row:
    """A row of which each patient has one unit, unless told otherwise."""
    patients = n if g is None else g
    n2 = n if g is None else n * n // g
    return {
        "n_units": n,
        "n_events": e,
        "n_patients": patients,
        "sum_e2": e if e2 is None else e2,
        "sum_en": e,
        "sum_n2": n2,
        "person_us": n,
    }


def by_sex(whole: Row, **values: Row) -> StudyCounts:
    return StudyCounts({FEVER: whole}, {"sex": {FEVER: values}}, [FEVER], frozenset())


def counts_table(whole: Row) -> pa.Table:
    table = as_table(by_sex(whole))
    for name in COUNTS.sums:
        if name not in table.column_names:
            table = table.append_column(name, pa.array([0], pa.int64()))
    return table.select([*COUNTS.keys, *COUNTS.sums]).cast(COUNTS.schema)


def told_of(release: Release, stratum: str = "sex") -> dict[str, Row]:
    division = release.divisions.get(stratum)
    return {} if division is None else dict(division.rows.get(FEVER, {}))


def test_the_other_of_two_values_is_left_out_with_the_small_one() -> None:
    counts = by_sex(row(40, 100), girls=row(36, 80), boys=row(4, 20))
    assert not told_of(plan(counts, THRESHOLD))


def test_units_of_unknown_value_count_as_a_value() -> None:
    counts = by_sex(row(40, 103), girls=row(20, 50), boys=row(20, 50))
    # Both told, three children of unknown sex would be too.
    assert len(told_of(plan(counts, THRESHOLD))) == 1


def test_small_values_are_merged_where_their_sum_may_be_told() -> None:
    ages = {"0-1": row(6, 15), "2-5": row(9, 20), "6-11": row(20, 60), "12-20": row(25, 80)}
    counts = by_sex(row(60, 175), **ages)
    assert set(told_of(plan(counts, THRESHOLD))) == {"6-11", "12-20"}


def test_many_events_of_few_children_are_not_told() -> None:
    one_child = row(40, 100, e2=1600)
    assert FEVER not in plan(by_sex(one_child), THRESHOLD).whole


def test_how_many_children_have_no_second_infusion_is_not_told() -> None:
    first, later = row(26, 123), row(40, 800, g=121)
    both = {**row(66, 923, g=123), "sum_e2": 90}
    told = told_of(plan(by_sex(both, first=first, later=later), THRESHOLD))
    assert {name: one["n_patients"] for name, one in told.items()} == {"first": None, "later": None}
    assert told["later"]["n_events"] == 40


@pytest.mark.parametrize(
    ("whole", "what"),
    [
        (row(40, 105, g=100), "five later infusions"),
        (row(55, 100, g=60), "five children without an event"),
    ],
)
def test_patients_are_not_told_where_a_small_count_follows_from_them(whole: Row, what: str) -> None:
    told = plan(by_sex(whole), THRESHOLD).whole[FEVER]
    assert (told["n_events"], told["n_patients"]) == (whole["n_events"], None), what


@pytest.mark.parametrize("n_twice", [1, 4, 10])
def test_how_few_children_had_two_events_does_not_follow_from_sums_over_patients(
    n_twice: int,
) -> None:
    # Each of 100 children has two infusions; some had a fever after both.
    e, n = 40, 200
    whole = {**row(e, n, g=100), "sum_e2": e + 2 * n_twice, "sum_en": 2 * e, "sum_n2": 2 * n}
    told = mask_counts({COUNTS.name: counts_table(whole)}, THRESHOLD).tables[COUNTS.name]
    assert told["sum_e2"].to_pylist() == [e + 2 * THRESHOLD]
    assert told["n_patients"].to_pylist() == [100]


def test_a_figure_stays_until_what_has_changed_may_be_told() -> None:
    first = plan(by_sex(row(20, 100)), THRESHOLD)
    soon = plan(by_sex(row(21, 140)), THRESHOLD, first)
    assert soon.whole == first.whole
    later = plan(by_sex(row(31, 150)), THRESHOLD, Release.from_json(soon.to_json()))
    assert later.whole[FEVER]["n_events"] == 31


@pytest.mark.parametrize("boys", [0, 1])
def test_how_few_more_children_were_lost_does_not_follow_from_several_nights(boys: int) -> None:
    columns = [FEVER, Column("fever", "risk", "all")]

    def night(number: int, lost: int) -> StudyCounts:
        """As many girls as boys, more each night; of the girls more are lost."""
        e, n = 40 + 15 * number, 300 + 30 * number
        values = [
            {"girls": row(e, n + more * lost), "boys": row(e, n + more * (150 + boys * number))}
            for more in (0, 1)
        ]
        whole = [row(2 * e, sum(one["n_units"] or 0 for one in rows.values())) for rows in values]
        strata = {"sex": dict(zip(columns, values, strict=True))}
        return StudyCounts(dict(zip(columns, whole, strict=True)), strata, columns, frozenset())

    known: dict[str, list[int]] = {}
    release = None
    for number, lost in enumerate((150, 152, 152, 158, 175)):
        now = night(number, lost)
        release = Release.from_json(plan(now, THRESHOLD, release).to_json())
        rows = true_rows(release, now)
        for stratum, value in {key[1:] for key in rows}:
            units = [rows.get((column, stratum, value)) for column in columns]
            if units[0] and units[1]:
                gap = (units[1]["n_units"] or 0) - (units[0]["n_units"] or 0)
                known.setdefault(value, []).append(gap)
    assert known["all"][-1] == 325 + 4 * boys
    # A stratum moves as a whole: four more boys are too few.
    assert known["girls"][-1] == (150 if boys else 175)
    for gaps in known.values():
        changes = {abs(b - a) for a, b in pairwise(gaps)}
        assert not changes & set(range(1, THRESHOLD))


def test_what_is_part_of_another_outcome_is_not_told_where_little_is_left() -> None:
    any_event = Column("any", "risk", "complete")
    counts = StudyCounts(
        {any_event: row(40, 200), FEVER: row(35, 200)},
        {},
        [any_event, FEVER],
        frozenset({frozenset({("any", "risk"), ("fever", "risk")})}),
    )
    assert set(plan(counts, THRESHOLD).whole) == {any_event}


def test_a_composite_holds_its_members_and_grades_hold_one_another() -> None:
    nested = nested_counts(load_study("iv_bisphosphonate"))
    for pair in (
        {("any_side_effect", "risk"), ("tachypnoea", "risk")},
        {("any_side_effect", "risk"), ("chills", "risk")},
        {("hypocalcaemia", "risk"), ("hypocalcaemia_grade1", "extended")},
    ):
        assert frozenset(pair) in nested
    assert frozenset({("fever", "risk"), ("hypocalcaemia", "risk")}) not in nested


# Tables -------------------------------------------------------------------------------------


def test_masked_rows_keep_their_order_and_say_why() -> None:
    counts = by_sex(row(40, 100), girls=row(36, 80), boys=row(4, 20))
    table = as_table(counts).append_column("risk", pa.array([0.4, 0.45, 0.2]))
    masked = mask_rows(table, THRESHOLD)
    assert masked["stratum_value"].to_pylist() == table["stratum_value"].to_pylist()
    assert masked["suppressed_reason"].to_pylist() == [None, SMALL, SMALL]
    assert masked["risk"].to_pylist() == [0.4, None, None]
    assert masked["n_events"].to_pylist() == [40, None, None]


def test_a_row_without_its_patients_says_nothing_that_tells_them() -> None:
    both = {**row(66, 923, g=123), "sum_e2": 90}
    counts = by_sex(both, first=row(26, 123), later=row(40, 800, g=121))
    table = as_table(counts).append_column("effective_n", pa.array([1.0, 2.0, 3.0]))
    masked = mask_rows(table, THRESHOLD)
    assert masked["suppressed_reason"].to_pylist() == [None, PATIENTS, PATIENTS]
    assert masked["effective_n"].to_pylist() == [1.0, None, None]


def test_a_threshold_of_one_masks_nothing() -> None:
    table = as_table(by_sex(row(1, 3), girls=row(1, 2), boys=row(0, 1)))
    assert mask_rows(table, 1)["suppressed_reason"].null_count == 3


def test_what_a_study_watches_is_told_before_its_other_outcomes() -> None:
    settings = {
        "outcome": [{"name": "fever"}, {"name": "any"}, {"name": "chills"}],
        "surveillance": {"pair": [{"outcome": "any"}]},
    }
    assert by_weight(settings) == ["any", "fever", "chills"]
    assert by_weight({"outcome": settings["outcome"]}) == ["fever", "any", "chills"]
