"""Looks at a store: what they count, when they are taken, and that they are facts from then on."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import nbinom

from pipelines.base.errors import LogError
from pipelines.ingest.log import EventLog
from pipelines.ingest.past import PastLog
from pipelines.ingest.recorded import Recorded
from studies.load import Study, load_study
from studies.surveillance import PairTable, SurveillanceTable, pair_hash
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse.guard import transaction
from warehouse.look_records import load, record_of
from warehouse.looks import LOOK, Taken, take
from warehouse.models import model
from warehouse.results import ARROW_TYPES
from warehouse.store import Store

STARTS, BASELINE = date(2025, 6, 1), date(2025, 1, 1)
Unit = dict[str, Any]


def pair_of(**pair: Any) -> PairTable:
    told = {"outcome": "fever", "alpha": 0.05, "max_expected": 20.0, "first_look_expected": 0.0}
    return PairTable.model_validate(told | pair)


def study(**pair: Any) -> Study:
    table = {"starts_on": STARTS, "baseline_from": BASELINE, "pair": [pair_of(**pair)]}
    found = load_study("iv_bisphosphonate")
    surveillance = SurveillanceTable.model_validate(table)
    return replace(found, model=found.model.model_copy(update={"surveillance": surveillance}))


FIXED = {"rate_first": 0.2, "rate_later": 0.1}


class World:
    """A store whose linked units a test writes, and the facts of its log."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store(make_site(root))
        self.recorded = EventLog(root / "log").recorded
        self.n_nights = 0

    def night(self, units: list[Unit], one: Study) -> list[Taken]:
        """Link these units, and no others, after one more batch; take looks."""
        at = night(self.n_nights)
        self.n_nights += 1
        batch = make_batch(
            f"{self.n_nights:064x}", {"LabResulted": [event("LabResulted", "k")]}, exported_at=at
        )
        self.store.apply([batch])
        self.link(units)
        return self.look(one)

    def link(self, units: list[Unit]) -> None:
        files = {}
        for name in ("linkage.course", "linkage.unit_outcome"):
            columns = [
                (c.name, ARROW_TYPES[c.type]) for c in model(name).columns if c.name != "run_id"
            ]
            rows = [{column: unit.get(column) for column, _ in columns} for unit in units]
            path = self.root / f"{name}.parquet"
            pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(columns)), path)
            files[name] = [path]
        self.store.load_linkage(files, "r")

    def look(self, one: Study) -> list[Taken]:
        return take(self.store.con, self.recorded, "north", [one], {})

    def rows(self, recorded: Recorded | None = None) -> list[dict[str, Any]]:
        return (recorded or self.recorded).rows(LOOK)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    with made.store:
        yield made


def unit(number: int, **told: Any) -> Unit:
    day = told.get("index_date", date(2025, 7, 1))
    return {
        "study_id": "iv_bisphosphonate",
        "site_id": "north",
        "unit_id": f"u{number:04d}",
        "patient_key": f"p{number}",
        "outcome": "fever",
        "window_name": "risk",
        "is_published": True,
        "status": "no_event",
        "drug": "pamidronate",
        "index_date": day,
        "started_at": datetime.combine(day, datetime.min.time()),
        "ordinal_in_record": 1,
        **told,
    }


def some_units(seed: int) -> list[Unit]:
    """Children with up to six units each, in the baseline and after it, of every status."""
    draw = random.Random(seed)  # noqa: S311 - no secret
    statuses = ["event", "no_event", "no_event", "censored", "open", "open_event", "unobserved"]
    units: list[Unit] = []
    for child in range(60):
        day = date(2024, 11, 1) + timedelta(days=draw.randrange(200))
        for ordinal in range(1, draw.randrange(2, 7)):
            told = {"drug": draw.choice(["pamidronate", "zoledronic acid"]), "index_date": day}
            told |= {"patient_key": f"p{child}", "ordinal_in_record": ordinal}
            units.append(unit(len(units), status=draw.choice(statuses), **told))
            day += timedelta(days=draw.randrange(1, 60))
    draw.shuffle(units)
    return units


def by_hand(units: list[Unit], since: date, drug: str | None) -> dict[str, int]:
    """The same counts by walking through each child's units in their order."""
    counts = dict.fromkeys(("first", "later", "events", "old_first", "old_later", "old_events"), 0)
    had: set[str] = set()
    for one in sorted(units, key=lambda u: (u["started_at"], u["unit_id"])):
        if one["status"] in ("censored", "open", "open_event") or one["index_date"] < since:
            continue
        if one["patient_key"] in had or drug not in (None, one["drug"]):
            continue
        old = "" if one["index_date"] >= STARTS else "old_"
        counts[f"{old}{'first' if one['ordinal_in_record'] == 1 else 'later'}"] += 1
        if one["status"] == "event":
            had.add(one["patient_key"])
            counts[f"{old}events"] += 1
    return counts


@pytest.mark.parametrize("drug", [None, "zoledronic acid"])
def test_a_look_counts_first_events_and_units_up_to_them_baseline_alike(
    world: World, drug: str | None
) -> None:
    units = some_units(3)
    concept = drug and drug.replace(" ", "_")
    world.night(units, study(drug=concept))
    [row] = world.rows()
    expected = by_hand(units, BASELINE, drug)
    assert (row["n_units_first"], row["n_units_later"]) == (expected["first"], expected["later"])
    assert row["n_events"] == expected["events"] > 3
    old = (row["baseline_units_first"], row["baseline_units_later"])
    assert old == (expected["old_first"], expected["old_later"])
    n_old = row["baseline_events_first"] + row["baseline_events_later"]
    assert n_old == expected["old_events"] > 3
    assert row["watched"] == (concept or "all")


def test_with_known_rates_a_child_counts_anew_from_the_start_on(world: World) -> None:
    units = some_units(4)
    world.night(units, study(**FIXED))
    [row] = world.rows()
    expected = by_hand(units, STARTS, None)
    assert (row["n_units_first"], row["n_units_later"]) == (expected["first"], expected["later"])
    assert row["n_events"] == expected["events"]
    assert row["expected"] == pytest.approx(0.2 * expected["first"] + 0.1 * expected["later"])
    assert row["reference"] == "fixed"
    assert row["baseline_units_first"] is None


def test_published_counts_are_a_reference_as_uncertain_as_they_are(world: World) -> None:
    """Without a baseline of the site's own: a child counts from the start on, as for known rates.

    With 9 events expected of each ordinal from 90 counted ones, one look is a test of two counts:
    the smallest n of which 1 - pnbinom(n - 1, 91, 10 / 11) is at most what may be spent.
    """
    children = [unit(number, patient_key=f"p{number}") for number in range(90)]
    one = study(reference_first=[90, 900], reference_later=[90, 900], max_expected=9.0)
    world.night(children, one)
    [row] = world.rows()
    assert (row["reference"], row["expected"]) == ("published", pytest.approx(9))
    counted = [row[f"baseline_{what}_first"] for what in ("events", "units")]
    assert counted == [90, 900]
    tail, more = (float(nbinom.sf(row["threshold"] - n, 91, 10 / 11)) for n in (1, 2))
    assert tail <= 0.05 < more
    assert row["alpha_spent"] == pytest.approx(tail, abs=1e-6)


def test_a_commit_is_looked_at_once_whatever_the_store_says_later(world: World) -> None:
    one = study(**FIXED)
    assert world.night([unit(1), unit(2)], one)[0].look is not None
    before = world.rows()
    world.link([unit(1), unit(2, status="event")])
    assert world.look(one) == []
    assert world.rows() == before
    # The next batch brings another look, with what has changed meanwhile.
    [taken] = world.night([unit(1), unit(2, status="event")], one)
    assert taken.look is not None
    assert (taken.look.number, taken.look.events) == (2, 1)


def test_where_nothing_closed_no_look_is_taken(world: World) -> None:
    one = study(**FIXED)
    world.night([unit(1), unit(2)], one)
    [taken] = world.night([unit(1), unit(2), unit(3, status="open")], one)
    assert taken.look is None
    assert len(world.rows()) == 1


def test_corrections_are_increments_of_the_next_look(world: World) -> None:
    one = study(**FIXED)
    world.night([unit(1, status="event"), unit(2), unit(3)], one)
    world.night([unit(1), unit(2)], one)
    last = world.rows()[-1]
    assert (last["n_events_added"], last["expected_added"]) == (-1, pytest.approx(-0.2))
    assert last["alpha_spent"] == world.rows()[0]["alpha_spent"]


def test_a_revised_study_starts_anew_and_says_so(world: World) -> None:
    world.night([unit(1), unit(2)], study(**FIXED))
    [taken] = world.look(study(**FIXED, min_events=4))
    assert taken.look is not None
    assert (taken.look.number, taken.is_anew) == (1, True)
    assert {row["look_number"] for row in world.rows()} == {1}


def test_what_looks_do_not_depend_on_changes_nothing_of_them(world: World) -> None:
    """Another published number, another pair: the surveillance goes on where it was."""
    one = study(**FIXED)
    world.night([unit(1), unit(2)], one)
    table = one.model.surveillance.model_copy(
        update={"pair": [*one.model.surveillance.pair, pair_of(outcome="hypocalcaemia")]}
    )
    revised = replace(one, published=(), model=one.model.model_copy(update={"surveillance": table}))
    assert revised.study_hash != one.study_hash
    assert [taken.look for taken in world.look(revised)] == [None, None]
    taken, _ = world.night([unit(1), unit(2, status="event")], revised)
    assert taken.look is not None
    assert (taken.look.number, taken.is_anew) == (2, False)
    assert [row["study_hash"] for row in world.rows()] == [one.study_hash, revised.study_hash]
    assert len({row["pair_hash"] for row in world.rows()}) == 1


def test_looks_from_before_pairs_had_hashes_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = study(**FIXED)
    with monkeypatch.context() as patch:
        patch.setattr(
            "warehouse.looks.record_of", lambda *told: record_of(*told) | {"pair_hash": None}
        )
        world.night([unit(1), unit(2)], one)
    [taken] = world.night([unit(1), unit(2, status="event")], one)
    assert taken.look is not None
    assert taken.look.number == 2
    revised = replace(one, published=())
    [taken] = world.night([unit(1), unit(2, status="event"), unit(3)], revised)
    assert taken.look is not None
    assert (taken.look.number, taken.is_anew) == (3, False)
    assert [row["pair_hash"] is None for row in world.rows()] == [True, False, False]


def test_the_hash_of_a_pair_holds_all_that_decides_its_counts() -> None:
    one = study(**FIXED)
    [pair] = one.model.surveillance.pair
    code, limit = one.codelist[0], next(name for name, _ in one.limits_in_use)
    same = [
        replace(one, published=()),
        replace(one, codelist=(code | {"label": "other", "source": "other"}, *one.codelist[1:])),
        replace(one, codelist=one.codelist[::-1]),
    ]
    windows = one.model.outcome[0].model_copy(update={"window": []})
    naive = one.model.naive.model_copy(update={"lookback_days": 1.0})
    other = [
        replace(one, codelist=one.codelist[1:]),
        replace(one, limits=one.limits | {limit: one.limits[limit][1:]}),
        replace(one, model=one.model.model_copy(update={"outcome": [windows]})),
        replace(one, model=one.model.model_copy(update={"naive": naive})),
    ]
    own = pair_hash(one, pair)
    assert {pair_hash(each, pair) for each in same} == {own}
    assert own not in {pair_hash(each, pair) for each in other}
    for change in ({"alpha": 0.01}, {"max_expected": 9.0}, {"rate_later": 0.2}, {"window": "peak"}):
        assert pair_hash(one, pair.model_copy(update=change)) != own


def test_a_baseline_without_events_or_without_an_ordinal_gives_no_look_and_says_why(
    world: World,
) -> None:
    old = {"index_date": date(2025, 2, 1)}
    [none] = world.night([unit(1, **old), unit(2)], study())
    assert (none.look, none.why_not) == (None, "the baseline has no event")
    units = [unit(1, status="event", **old), unit(2), unit(3, ordinal_in_record=2)]
    [lacking] = world.night(units, study())
    assert lacking.why_not == "the baseline has no unit of an ordinal that is watched"
    assert world.rows() == []


def test_the_log_as_of_a_night_has_the_looks_of_that_night_and_takes_none(world: World) -> None:
    one = study(**FIXED)
    world.night([unit(1)], one)
    world.night([unit(1), unit(2)], one)
    assert [row["recorded_at"] for row in world.rows()] == [
        night(number).replace(tzinfo=None) for number in range(2)
    ]
    past = PastLog(EventLog(world.root / "log"), night(1)).recorded
    assert [row["look_number"] for row in world.rows(past)] == [1]
    assert take(world.store.con, past, "north", [study(**FIXED, min_events=5)], {}) == []
    with pytest.raises(RuntimeError):
        past.add(LOOK, "0" * 64, "north", datetime.now(UTC), [])


def test_the_tables_are_made_of_the_records(world: World) -> None:
    one = study(**FIXED)
    world.night([unit(1), unit(2, status="event")], one)
    for _ in range(2):
        with transaction(world.store.con):
            load(world.store.con, world.rows(), "r")
    con = world.store.con
    [row] = world.rows()
    found = con.execute(
        "SELECT n_events, expected, rate_ratio, is_signal, run_id FROM signals.sequential"
    ).fetchall()
    assert found == [(1, row["expected"], 1 / row["expected"], False, "r")]
    assert con.execute("SELECT look_key, n_units FROM ops.look").fetchall() == [
        (row["record_key"], 2)
    ]


def test_a_record_that_was_changed_is_not_believed(world: World) -> None:
    one = study(**FIXED)
    world.night([unit(1)], one)
    world.night([unit(1), unit(2)], one)
    first, second = sorted((world.recorded.root / LOOK).iterdir())
    second.write_bytes(first.read_bytes())
    with pytest.raises(LogError):
        world.rows()
