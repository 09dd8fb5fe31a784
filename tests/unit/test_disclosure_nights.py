"""What lies between two tables, night after night: nothing small comes or goes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence

import pytest

from pipelines.disclosure import others, watched_pairs
from pipelines.disclosure.known import Told
from pipelines.disclosure.others import told_others
from pipelines.disclosure.plan import plan
from pipelines.disclosure.release import ALL, Column, Division, Release, StudyCounts
from pipelines.disclosure.rule import Row
from pipelines.disclosure.statuses import told_statuses
from pipelines.signals.counts import ONSET, PAIRED, PRESENCE_COLUMN, SHARED, STATUS_COLUMNS
from tests.nights_kit import kept
from tests.unit.test_disclosure_others import NESTED, days, row, rows_of

T = 11
COMPLETE, DAYS = Column("any", "risk", "complete"), Column("any", "risk", "all")


def world(last: Release, first: Row, name: str = "ordinal", value: str = "first") -> Told:
    """All is told of `signals.counts`: of 400 and more units, and of first ones."""
    n, e = ((first[one] or 0) + 300 for one in ("n_units", "n_events"))
    whole = {COMPLETE: row(e, n), DAYS: row(e, n)}
    if name == ALL:
        whole = {COMPLETE: first, DAYS: first}
    strata = {} if name == ALL else {name: {COMPLETE: {value: first}}}
    counts = StudyCounts(whole, strata, list(whole), NESTED)
    divisions = {one: Division(rows=columns) for one, columns in strata.items()}
    return Told(counts, Release(T, whole, divisions), last, T)


def after(told: Told, tables: Mapping[str, Sequence[tuple[object, ...]]]) -> Release:
    """Return what is told of the other tables, and of all others, from then on."""
    every = {
        name: table for one, rows in tables.items() for name, table in rows_of(one, rows).items()
    }
    rows, known = told_others(every, told)
    release = Release(T, told.release.whole, told.release.divisions, other=rows, known=known)
    return Release.from_json(release.to_json())


def pairs(n: int, event: int = 40) -> list[tuple[object, ...]]:
    return [("any", "risk", "drug", "complete", 0, event, 0, n - event, event, event, n - event, n)]


def n_first(release: Release) -> int | None:
    [found] = release.other[PAIRED.name].values()
    return found["n_first"]


def test_first_infusions_and_pairs_do_not_tell_that_two_more_were_lost() -> None:
    """First units rise from 120 to 140, pairs from 100 to 118."""
    one = after(world(Release(T), row(40, 120)), {PAIRED.name: pairs(100)})
    two = after(world(one, row(40, 140)), {PAIRED.name: pairs(118)})
    assert (n_first(one), n_first(two)) == (100, 100)
    # They are held against what was known last, however many nights only one has moved.
    three = after(world(two, row(40, 160)), {PAIRED.name: pairs(138)})
    assert n_first(three) == 100
    four = after(world(three, row(40, 180)), {PAIRED.name: pairs(160)})
    assert n_first(four) == 160


def test_what_stands_beside_rows_that_moved_alone_is_known_as_well() -> None:
    """Pairs are the same for a night on which first units rise: what is left then is known, too."""
    one = after(world(Release(T), row(40, 120)), {PAIRED.name: pairs(100)})
    two = after(world(one, row(40, 135)), {PAIRED.name: pairs(100)})
    # 20 were left, then 35; 20 again is little beside neither, 33 is beside the one.
    assert n_first(after(world(two, row(40, 153)), {PAIRED.name: pairs(120)})) == 100
    assert n_first(after(world(two, row(40, 155)), {PAIRED.name: pairs(120)})) == 120


def test_what_was_told_before_there_was_a_list_is_taken_as_of_one_instant() -> None:
    text = json.loads(after(world(Release(T), row(40, 120)), {PAIRED.name: pairs(100)}).to_json())
    del text["known"]
    one = Release.from_json(json.dumps(text))
    assert n_first(after(world(one, row(40, 140)), {PAIRED.name: pairs(118)})) == 100
    assert n_first(after(world(one, row(40, 140)), {PAIRED.name: pairs(120)})) == 120


def test_pairs_stay_while_what_they_are_among_stays() -> None:
    one = after(world(Release(T), row(40, 120)), {PAIRED.name: pairs(100)})
    told = world(one, row(40, 140))
    stale = Release(T, told.release.whole, one.divisions)
    two = after(Told(told.counts, stale, one, T), {PAIRED.name: pairs(120)})
    assert n_first(two) == 100


def test_children_lost_between_two_denominators_of_pairs_do_not_come_one_by_one() -> None:
    def told(last: Release, all_: int, complete: int) -> dict[object, object]:
        columns = {COMPLETE: row(40, complete), DAYS: row(40, all_)}
        whole = {one: row(340, n["n_units"] or 0) for one, n in columns.items()}
        strata = {"ordinal": {one: {"first": first} for one, first in columns.items()}}
        counts = StudyCounts(whole, strata, list(whole), NESTED)
        release = Release(T, whole, {"ordinal": Division(rows=strata["ordinal"])})
        found = after(
            Told(counts, release, last, T),
            {
                PAIRED.name: [
                    (*about[:3], d, *about[4:])
                    for d, n in (("complete", complete), ("all", all_))
                    for about in pairs(n)
                ]
            },
        )
        seen.append(found)
        return {key[-1]: one["n_first"] for key, one in found.other[PAIRED.name].items()}

    seen: list[Release] = []
    assert told(Release(T), 120, 100) == {"all": 120, "complete": 100}
    # Twenty were lost, and then twenty-two.
    assert told(seen[-1], 142, 120) == {"all": 120, "complete": 120}
    assert told(seen[-1], 155, 135) == {"all": 155, "complete": 135}


def test_days_wait_for_the_windows_that_they_are_added_up_beside() -> None:
    def told(last: Release, risk: int, late: int, by_day: dict[int, int]) -> Release:
        whole = {DAYS: row(risk, 400), Column("any", "late", "all"): row(late, 400)}
        counts = StudyCounts(whole, {}, list(whole), NESTED)
        return after(
            Told(counts, Release(T, whole), last, T), {ONSET.name: days("any", by_day, 400)}
        )

    def events(release: Release) -> int:
        return sum(one["n_events"] or 0 for one in release.other[ONSET.name].values())

    one = told(Release(T), 60, 80, {0: 20, 4: 40})
    assert events(one) == 60
    # Between days 2 and 4 nobody had the event; by day 2 it was 20 of 80, now 33 of 95.
    assert events(told(one, 73, 95, {0: 20, 2: 13, 4: 40})) == 60
    assert events(told(one, 73, 93, {0: 20, 2: 13, 4: 40})) == 73


def test_patients_that_were_left_out_for_a_night_are_still_known() -> None:
    key = ("any", "risk", "ordinal", "first", "rest", "rest", "complete")

    def told(last: Release, n: int, patients: int, sums: int) -> Release:
        side = {**row(50, 200), "n_patients": patients}
        counted = [(*key, n, n, sums, sums, sums, sums)]
        return after(world(last, side), {SHARED.name: counted})

    def n_patients(release: Release) -> int | None:
        return release.other[SHARED.name][key]["n_patients"]

    one = told(Release(T), 40, 80, 40)
    two = told(one, 42, 45, 60)  # three are on one side alone
    three = told(two, 43, 80, 80)
    assert [n_patients(each) for each in (one, two, three)] == [40, None, None]
    assert n_patients(told(three, 60, 100, 100)) == 60


@pytest.mark.parametrize("stratum", [ALL, "sex"])
def test_patients_of_a_row_that_were_left_out_are_still_known(stratum: str) -> None:
    """120 patients, then none told, then 127: that would be seven children."""
    told = []
    release = Release(T)
    for n, e, g in ((400, 60, 120), (440, 80, 125), (480, 100, 127), (520, 120, 131)):
        one = {**row(e, n), "n_patients": g}
        two = {name: None if count is None else 2 * count for name, count in one.items()}
        # Girls and boys of whom each has an infusion of both sorts, or none would be left over.
        strata = {} if stratum == ALL else {stratum: {COMPLETE: {"girls": one, "boys": one}}}
        counts = StudyCounts({COMPLETE: one if stratum == ALL else two}, strata, [COMPLETE], NESTED)
        release = Release.from_json(plan(counts, T, release).to_json())
        found = release.row(COMPLETE, stratum, ALL if stratum == ALL else "girls")
        assert found is not None
        assert found["n_units"] == n
        told.append(found["n_patients"])
    assert told == [120, None, None, 131]


def test_statuses_do_not_tell_that_two_more_were_not_observed() -> None:
    place = ("any", "risk")

    def status(closed: int, observed: int) -> dict[str, int | None]:
        none = dict.fromkeys(STATUS_COLUMNS, 0)
        one = {"n_closed_units": closed, "n_observed": observed, PRESENCE_COLUMN: closed}
        return {**none, **one, "n_tested": None, "n_determined": None}

    one = told_statuses({place: status(400, 300)}, {}, Release(T), T)
    assert one == {place: status(400, 300)}
    for now, is_told in (((430, 328), False), ((430, 330), True), ((431, 317), True)):
        two = told_statuses({place: status(*now)}, {}, Release(T, statuses=one), T)
        assert (two == {place: status(*now)}) == is_told


def found_of(seeds: range, n_nights: int, threshold: int) -> tuple[list[object], Counter[object]]:
    found, compared = list[object](), Counter[object]()
    for seed in seeds:
        keeper = kept(seed, n_nights, threshold)
        found += [(seed, *one) for one in keeper.found]
        compared.update(keeper.compared)
    return found, compared


def test_who_keeps_all_tables_of_all_nights_learns_of_no_few() -> None:
    found, compared = found_of(range(3), 14, 5)
    assert not found
    assert len(compared) > 6


def test_without_the_rule_he_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "moves_by_little", lambda *_: False)
    monkeypatch.setattr(watched_pairs, "moves_by_little", lambda *_: False)
    monkeypatch.setattr(watched_pairs.Pairs, "_steps", lambda *_: set())
    found, _ = found_of(range(3), 14, 5)
    assert found


@pytest.mark.slow
@pytest.mark.parametrize("threshold", [11, 5])
def test_on_many_sites_neither(threshold: int) -> None:
    found, compared = found_of(range(150), 30, threshold)
    assert not found
    assert len(compared) > 10
