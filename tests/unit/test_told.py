"""Over nights: what was told stays until its change may be told, by pages and packs together."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, date, datetime
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.encrypt import not_as_said
from pipelines.base import sealed
from pipelines.base.duck import connect
from pipelines.base.errors import ConfigError
from pipelines.base.site import Site, load_site
from pipelines.disclosure import nested_counts
from pipelines.disclosure.others import Told as RuleTold
from pipelines.disclosure.release import Release, StudyCounts
from pipelines.disclosure.rule import coarse
from pipelines.disclosure.tables import mask_counts
from pipelines.disclosure.watched import COLUMNS as WATCHED_COLUMNS
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.disclosure.watched import masked_watched, told_watched
from pipelines.signals.counts import COUNTS
from studies.load import load_study
from tests.at_rest_kit import needs_crypto, nobody_else, site_that_encrypts
from tests.pack_kit import STUDY, Unit, counted, make_site, publish, units_of
from warehouse.packing import Content, pack_content
from warehouse.report import answer, onset
from warehouse.report.held import Held
from warehouse.report.looks import shown_looks
from warehouse.report.masking import told_risks
from warehouse.report.read import Source
from warehouse.told import NotKnownError, Told, load_told, save_told, seal_again

__all__ = ["nobody_else"]

T = 11
AT = datetime(2026, 11, 23, tzinfo=UTC)
UNITS = units_of(2, 200, 0.25)
#: More children of both sexes, all with fever, one a night.
LATER = [
    Unit(1_000 + night, ("female", "male")[night % 2], "first", True, False) for night in range(40)
]


def held_over_nights(values: list[int], kind: str) -> list[int]:
    told: Mapping[str, Any] = {}
    shown = []
    for value in values:
        held = Held(T, told)
        if kind == "count":
            shown.append(held.count("x", value))
        else:
            found = held.rows("x", [{"n": value, "mean": value / 7}], {"n": value})
            shown.append(found[0]["n"])
            assert found[0]["mean"] == found[0]["n"] / 7  # what hangs on a count stays with it
        told = held.now
    return shown


@pytest.mark.parametrize("kind", ["count", "rows"])
def test_a_figure_of_the_page_moves_by_nothing_or_by_the_threshold(kind: str) -> None:
    """Nights of +1, 0 and retractions: 300 of them."""
    luck = random.Random(5)  # noqa: S311 - invented nights
    values = [40]
    for _ in range(300):
        values.append(values[-1] + luck.choice((-1, 0, 1, 1, 1)))
    shown = held_over_nights(values, kind)
    steps = {abs(b - a) for a, b in pairwise(shown)}
    assert min(steps - {0}) >= T
    assert all(abs(told - true) < T for told, true in zip(shown, values, strict=True))
    assert 1 in {abs(b - a) for a, b in pairwise(values)}


def test_what_does_not_hang_on_told_figures_alone_waits_for_them() -> None:
    held = Held(T, {})
    assert held.rows("x", [{"n": 50}], {"n": 50}, may_move=False) == []
    told = Held(T, {})
    told.rows("x", [{"n": 50}], {"n": 50})
    later = Held(T, told.now)
    assert later.rows("x", [{"n": 90}], {"n": 90}, may_move=False) == [{"n": 50}]
    assert later.now == told.now


def test_a_count_that_was_not_told_for_a_night_still_moves_by_no_less() -> None:
    seen: Mapping[str, Any] = {}
    shown = []
    for counts in ({"x": 40, "y": 60}, {"y": 80}, {"x": 42, "y": 100}, {"x": 55, "y": 120}):
        held = Held(T, seen)
        shown.append(held.rows("x", [dict(counts)], counts)[0].get("x"))
        seen = held.now
    assert shown == [40, None, None, 55]


def test_what_is_left_beside_figures_that_moved_alone_is_known() -> None:
    seen: Mapping[str, Any] = {}
    shown = []
    # Beside 60, then 75: twenty are left, thirty-five, and again as many as two more.
    for n, left in ((40, 20), (40, 35), (52, 37), (52, 47)):
        held = Held(T, seen)
        shown.append(held.rows("x", [{"n": n}], {"n": n, "left": left})[0]["n"])
        seen = held.now
    assert shown == [40, 40, 40, 52]


def test_a_figure_that_stays_is_held_against_all_that_was_known_beside_it() -> None:
    """Of 600 and 500, 600 and 511, 614 and 511: three more are in one and not in the other."""
    seen: Mapping[str, Any] = {}
    shown = []
    for n, beside in ((600, 500), (600, 511), (614, 511), (622, 511)):
        held = Held(T, seen)
        counts = {"n": n, "left": n - beside}
        shown.append(held.rows("x", [{"n": n}], counts)[0]["n"])
        seen = held.now
        again = Held(T, seen)
        again.rows("x", [{"n": n}], counts)
        assert again.now == seen  # the same night drawn twice is the same state
    assert shown == [600, 600, 600, 622]


@pytest.mark.parametrize("is_alone", [False, True])
def test_nights_on_which_anything_changed_do_not_add_up_to_a_count(is_alone: bool) -> None:
    """The cards of a page whose risks moved by one child are those of a night with nothing new."""
    con = connect()
    tables = {
        "reference.outcome": "'s' AS study_id, 'fever' AS outcome, 'Fever' AS label",
        "reference.window": "'s' AS study_id, 'fever' AS outcome, 'risk' AS window_name",
        "ops.state": "'published_by_run' AS name, 'now' AS value",
        "ops.change": "'s' AS study_id, 'fever' AS outcome, 'risk' AS window_name, "
        "'now' AS run_id, ['record_retracted'] AS reasons",
        "signals.alert": "'s' AS study_id, 'fever' AS outcome, 'risk' AS window_name, "
        "'all' AS watched, 's/fever/risk' AS alert_key, 'case' AS state, 4 AS n_serious, "
        "'now' AS run_id",
    }
    for schema in ("reference", "ops", "signals"):
        con.execute(f"CREATE SCHEMA {schema}")
    for name, row in tables.items():
        con.execute(f"CREATE TABLE {name} AS SELECT {row}")
    told = []
    for run, n_serious in (("now", 24), ("earlier", 24), ("earlier", 25)):
        con.execute(f"UPDATE signals.alert SET n_serious = {n_serious}")
        con.execute(f"UPDATE ops.change SET run_id = '{run}'")
        con.execute(f"UPDATE signals.alert SET run_id = '{run}'")
        source = Source(con, T, None if is_alone else Told())
        told.append(answer.cards_of_changes(source, {"study_id": "s"}))
    con.close()
    assert (told[0] == told[1]) is not is_alone
    assert (told[1] == told[2]) is not is_alone


def curve_of(told: Told, *events: int) -> tuple[list[int], Told]:
    """Return what a page tells of events by day, of these days, and what is known from then on."""
    con = connect()
    con.execute("CREATE SCHEMA signals")
    about = {"study_id": STUDY, "outcome": "fever", "window_name": "risk"}
    line = {"stratum": "all", "stratum_value": "all", "scale": "day"}
    share = dict.fromkeys(
        ("cumulative_incidence", "cumulative_incidence_low", "cumulative_incidence_high"), 0.1
    )
    rows = [
        {**about, **line, **share, "bin_end": day, "n_events": n, "n_all_events": sum(events)}
        for day, n in enumerate(events)
    ]
    con.register("made", pa.Table.from_pylist(rows))
    con.execute("CREATE TABLE signals.onset AS FROM made")
    source = Source(con, T, told)
    points = onset.points_of(source, about, ("all", "all"), "day", is_current=True)
    con.close()
    return [one["n"] for one in points], Told(figures=source.held.now)


def test_a_curve_and_all_events_do_not_tell_that_two_more_came_later() -> None:
    shown, told = curve_of(Told(), 25, 0, 15)
    assert shown == [25, 40]
    shown, told = curve_of(told, 38, 0, 17)
    assert shown == [25, 40]
    shown, _ = curve_of(told, 38, 0, 26)
    assert shown == [38, 64]


@pytest.mark.parametrize("before", [("all", "hour"), ("all", "day"), ("ordinal", "hour")])
def test_a_curve_is_drawn_as_it_was_first(before: tuple[str, str]) -> None:
    """40 events by hour 24 on one page, and 42 of first and later ones by day 1 on the next."""
    outcome = {"study_id": STUDY, "outcome": "fever", "window_name": "risk"}
    stratum, scale = before
    values = {"all": ["all"], "ordinal": ["first", "later"]}
    points = [{"end": 1, "n": 20}, {"end": 2, "n": 40}]
    con = connect()
    seen = Source(con, T, Told())
    for value in values[stratum]:
        name = "/".join(("onset", STUDY, "fever", "risk", stratum, value, scale))
        seen.held.rows(name, points, {"1": 20, "2": 40})
    later = Source(con, T, Told(figures=seen.held.now))
    every = [tuple((name, value, "") for value in some) for name, some in values.items()]
    for source, n_forms in ((later, 1), (Source(con, T, Told()), 2)):
        for wanted in every:
            found = onset.forms_of(source, outcome, wanted)
            about = [({line[0] for line in lines}, one) for lines, one in found]
            assert len(found) == n_forms
            assert n_forms == 2 or about == [({stratum}, scale)]
    con.close()


def test_what_was_told_under_a_lower_threshold_is_not_told_again() -> None:
    told = Held(5, {})
    told.rows("x", [{"n": 7}], {"n": 7})
    assert Held(T, told.now).rows("x", [{"n": 8}], {"n": 8}) == []


def test_a_count_that_was_told_under_a_lower_threshold_still_moves_by_no_less() -> None:
    told = Held(5, {})
    told.count("x", 7)
    held = Held(T, told.now)
    assert held.count("x", 14) == 7
    assert Held(T, held.now).count("x", 18) == 18


def test_a_count_that_was_told_as_small_may_be_told_under_a_lower_threshold() -> None:
    told = Held(T, {})
    told.count("x", 7)  # the page said: fewer than 11
    assert Held(5, told.now).count("x", 8) == 8


def test_a_figure_that_stays_says_how_far_the_data_reached_when_it_was_told() -> None:
    may, june = date(2019, 5, 22), date(2019, 6, 30)
    told = Held(T, {}, may)
    told.rows("x", [{"n": 50}], {"n": 50})
    told.decided("risk", [50, 400], is_now=True)
    assert told.as_of("x", "risk") == ""
    later = Held(T, told.now, june)
    later.rows("x", [{"n": 51}], {"n": 51})
    later.decided("risk", [50, 400], is_now=False)
    assert [later.as_of(one) for one in ("x", "risk", "not told")] == ["22 May 2019"] * 2 + [""]
    # Told by a pack since: of the publication that the last page is of.
    by_pack = Held(T, later.now, date(2019, 7, 1))
    by_pack.decided("risk", [70, 500], is_now=False)
    assert by_pack.as_of("risk", "x") == "22 May 2019"
    assert by_pack.as_of("risk") == "30 June 2019"


def test_a_row_whose_sums_are_told_coarsely_is_told_as_it_is_now() -> None:
    """Onset and flow of a page wait for rows that are not."""
    counts = counted("north", units_of(2, 200, 0.08))
    rows = [dict(row) for row in counts[COUNTS.name].to_pylist()]
    settings = load_study(STUDY).model.model_dump(mode="json")
    told, _ = told_risks(rows, counts, T, settings, None)
    shown = [(row, one) for row, one in zip(rows, told, strict=True) if one["n_events"] is not None]
    assert any(coarse(row, T) != row for row, _ in shown)
    assert all(one["is_current"] for _, one in shown)


def test_a_page_that_stands_alone_holds_nothing() -> None:
    held = Held(T, None)
    assert [held.count("x", n) for n in (40, 41)] == [40, 41]
    assert held.now == {}


# One state for pages and packs -------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path / "north", "north", UNITS)


def page_of(site: Site, n_later: int, packs: list[dict[str, Any]]) -> Told:
    """What the page of a night tells, recorded as `write_report` does."""
    told = load_told(site, packs)
    study = load_study(STUDY)
    masked = mask_counts(
        counted("north", [*UNITS, *LATER[:n_later]]),
        T,
        told.releases.get(STUDY),
        nested=nested_counts(study),
        outcomes=[one.name for one in study.model.outcome],
    )
    now = Told(told.number + 1, told.after_pack, "state", {STUDY: masked.release})
    save_told(site, now)
    return now


def pack_of(site: Site, n_later: int, packs: list[dict[str, Any]]) -> Content:
    publish(site, counted("north", [*UNITS, *LATER[:n_later]]))
    return pack_content(site, [load_study(STUDY)], packs, AT)


def recorded(content: Content) -> dict[str, Any]:
    release: Release = content.releases[STUDY]
    number = content.facts["number"]
    told = {"study_id": STUDY, "release": release.to_json(), "pack_number": number}
    return {**told, "pack_sha": "0" * 64}


def events(table: pa.Table) -> dict[tuple[str, ...], int]:
    names = ("stratum", "stratum_value", "denominator")
    rows = [row for row in table.to_pylist() if row["n_events"] is not None]
    return {tuple(row[name] for name in names): row["n_events"] for row in rows}


def test_a_pack_tells_what_the_page_of_the_night_before_told(site: Site) -> None:
    """Pages and packs in turn, a child a night: whoever has all of them sees no small step."""
    seen: list[dict[tuple[str, ...], int]] = []
    packs: list[dict[str, Any]] = []
    for night in range(0, 30, 3):
        told = page_of(site, night, packs)
        whole: dict[tuple[str, ...], int] = {
            ("all", "all", column.denominator): row["n_events"] or 0
            for column, row in told.releases[STUDY].whole.items()
        }
        seen.append(whole)
        content = pack_of(site, night + 1, packs)
        packs.append(recorded(content))
        seen.append(events(content.tables[COUNTS.name]))
    steps = {
        abs(after[key] - before[key])
        for before, after in pairwise(seen)
        for key in before
        if key in after
    }
    assert steps > {0}
    assert min(steps - {0}) >= T


def test_without_the_page_s_state_a_pack_would_tell_of_one_child(site: Site) -> None:
    """So that the test above can fail."""
    told = page_of(site, 0, [])
    (site.restricted / "told.json").unlink()
    found = events(pack_of(site, 1, []).tables[COUNTS.name])
    before = {c.denominator: row["n_events"] or 0 for c, row in told.releases[STUDY].whole.items()}
    assert found["all", "all", "complete"] - before["complete"] == 1


def look(number: int, units: int, events: int) -> dict[str, Any]:
    pair = {"study_id": STUDY, "outcome": "fever", "window_name": "risk", "watched": "all"}
    counts = {"n_units_first": units, "n_units_later": 2 * units, "n_events": events}
    return {**pair, **counts, "study_hash": "a", "key": f"{number}"}


def looks_and_packs(*, is_alone: bool) -> list[dict[str, int]]:
    """Return what 60 nights tell of a pair, one more unit and event a night.

    Each third night there is a look; pages tell of looks, packs of the night.
    """
    told, looks, found, seen = Told(), [], [], set[str]()
    con = connect()
    con.execute("CREATE SCHEMA signals")
    for night in range(60):
        now = look(night, 300 + night, 50 + night)
        if night % 3 == 0:
            looks.append(now)
            con.register("taken", pa.Table.from_pylist(looks))
            con.execute("CREATE OR REPLACE TABLE signals.sequential AS FROM taken")
        every = [{**now, "site_id": "north", "n_patients_later": 200, "pair_hash": "a" * 64}]
        watched = pa.Table.from_pylist(every).select(list(WATCHED_COLUMNS))
        source = Source(con, T, None if is_alone else told)
        is_pack = night % 10 == 5
        anew = None if is_pack else source.looked_at(watched, STUDY)
        last = told.releases.get(STUDY, Release(T))
        state = RuleTold(StudyCounts({}, {}, [], frozenset()), Release(T), last, T)
        pairs, known = told_watched(watched, state, anew)
        release = Release(T, other={WATCHED: pairs}, known={WATCHED: known})
        source.releases[STUDY] = release
        if is_pack:
            found += masked_watched(watched, release.other[WATCHED]).to_pylist()
        else:
            shown = zip(looks, shown_looks(source, looks), strict=True)
            new = [one for one, is_shown in shown if is_shown and one["key"] not in seen]
            seen |= {one["key"] for one in new}
            found += new
        told = Told(releases={STUDY: release}, figures=source.held.now)
    con.close()
    names = ("n_units_first", "n_units_later", "n_events")
    return [{name: row[name] for name in names} for row in found if row["n_events"] is not None]


def least_step(found: list[dict[str, int]]) -> int:
    apart = (abs(a[name] - b[name]) for a, b in combinations(found, 2) for name in a)
    return min(one for one in apart if one)


def test_looks_of_the_page_and_what_packs_tell_as_watched_show_no_small_step() -> None:
    found = looks_and_packs(is_alone=False)
    assert len(found) > 4
    assert least_step(found) >= T
    assert least_step(looks_and_packs(is_alone=True)) < T  # else it would prove nothing


def test_what_was_told_survives_its_file(site: Site) -> None:
    told = page_of(site, 0, [])
    again = load_told(site, [])
    assert again.to_json() == told.to_json()
    assert (site.restricted / "told.json").stat().st_mode & 0o077 == 0


@needs_crypto
def test_it_is_sealed_where_the_site_begins_to_encrypt(tmp_path: Path) -> None:
    plain = site_that_encrypts(tmp_path / "north", encrypt=False)
    save_told(plain, Told(3))
    text = plain.config_path.read_text().replace("encrypt = false", "encrypt = true")
    plain.config_path.write_text(text)
    site = load_site(plain.config_path)
    path = site.restricted / "told.json"
    assert sealed.sealed_with(path) is None
    assert path in not_as_said(site)
    with pytest.raises(ConfigError, match="not encrypted"):
        load_told(site, [])
    with sealed.believing_plain():  # as `dripwatch encrypt` does
        seal_again(site)
    assert sealed.sealed_with(path) is not None
    assert path not in not_as_said(site)
    assert load_told(site, []).number == 3


@pytest.mark.parametrize("harm", ["lost", "damaged", "older"])
def test_where_it_is_not_known_nothing_new_is_told(site: Site, harm: str) -> None:
    page_of(site, 0, [])
    path = site.restricted / "told.json"
    site.report.mkdir()
    page = site.report / "index.html"
    page.write_text('<meta name="dripwatch-told" content="2">', encoding="utf-8")
    if harm == "lost":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(NotKnownError, match=r"told\.json is"):
        pack_of(site, 1, [])
    # Whoever accepts that old pages can be compared begins anew.
    path.unlink(missing_ok=True)
    page.unlink()
    assert load_told(site, []).number == 0
