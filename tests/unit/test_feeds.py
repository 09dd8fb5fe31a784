"""Which feeds have fallen silent: the rule of docs/windows.md, section 6."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.console import SilentConsole
from flows.context import RunContext
from flows.feeds import remark_on_silences
from pipelines.base import duck, zones
from pipelines.base.site import Site
from pipelines.base.site_nights import FeedsTable
from pipelines.base.zones import to_utc
from studies.load import load_study
from tests.unit.store_batches import event, make_batch, make_site
from warehouse.batch import Batch
from warehouse.feeds import keep_silences, silences
from warehouse.models import model
from warehouse.store import Store

FRIDAY = date(2024, 5, 3)
ZONE = "Asia/Kolkata"
Feeds = Mapping[str, Iterable[date]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("feeds"))


@pytest.fixture(scope="module")
def opened(site: Site) -> Iterator[Store]:
    with Store(site) as store:
        yield store


@pytest.fixture
def store(opened: Store, site: Site) -> Store:
    """An empty store; one file serves all tests."""
    opened.rebuild()
    opened.site = site
    return opened


def midnight(day: date) -> datetime:
    return to_utc(datetime.combine(day, time()), ZONE)


def days(last: date, *before: int) -> list[date]:
    return [last, *(last - timedelta(days=n) for n in before)]


def batch(name: str, feeds: Feeds, through: date, source: str = "ehr") -> Batch:
    """One record at 23:30 of each day: in UTC it is the same day, at home nearly the next."""
    events = {
        event_type: [
            event(
                event_type,
                f"{source}-{event_type}-{day}",
                occurred_at=(midnight(day) + timedelta(hours=23.5)).replace(tzinfo=None),
                time_precision="instant",
            )
            for day in told
        ]
        for event_type, told in feeds.items()
    }
    at = midnight(through)
    return make_batch(name, events, source=source, exported_at=at, data_through=at)


def naive(day: date) -> datetime:
    return midnight(day).astimezone(UTC).replace(tzinfo=None)


#: The laboratory delivered on 24 of the 28 days before Friday, the wards on all and ever since.
LABORATORY = days(FRIDAY, *(n for n in range(1, 29) if n % 7 != 5))
WARDS = days(FRIDAY + timedelta(days=12), *range(1, 12 + 29))


def laboratory(store: Store, through: date) -> datetime:
    wards = [day for day in WARDS if day < through]
    known = store.batch_ids()
    name = f"{len(known)}-{through}"
    store.apply([batch(name, {"LabResulted": LABORATORY, "VitalSignMeasured": wards}, through)])
    return store.data_through()["LabResulted"]


def test_a_long_weekend_is_no_silence_and_five_days_are(store: Store) -> None:
    tuesday, thursday = FRIDAY + timedelta(days=4), FRIDAY + timedelta(days=6)
    assert laboratory(store, tuesday) == naive(tuesday)
    assert laboratory(store, thursday) == naive(FRIDAY + timedelta(days=1))
    assert store.declared_through()["LabResulted"] == naive(thursday)
    assert store.data_through()["VitalSignMeasured"] == naive(thursday)
    [silence] = silences(store.con)
    assert (silence.event_type, silence.last_date, silence.next_date) == (
        "LabResulted",
        FRIDAY,
        None,
    )
    assert silence.n_days == 5
    assert silence.n_expected == pytest.approx(5 * 24 / 28)


def test_what_closed_before_the_silence_stays_closed_in_every_night_of_it(store: Store) -> None:
    before = laboratory(store, FRIDAY + timedelta(days=1))
    later = [laboratory(store, FRIDAY + timedelta(days=n)) for n in (2, 5, 11)]
    assert all(at >= before for at in later)
    assert later[-1] == before


def test_a_record_ends_the_silence_and_the_gap_is_told(store: Store) -> None:
    thursday = FRIDAY + timedelta(days=6)
    laboratory(store, thursday)
    told = {"LabResulted": [thursday], "VitalSignMeasured": []}
    store.apply([batch("back", told, thursday + timedelta(days=1))])
    assert store.data_through()["LabResulted"] == naive(thursday + timedelta(days=1))
    [gap] = silences(store.con)
    assert (gap.last_date, gap.next_date, gap.holds_windows) == (FRIDAY, thursday, False)
    filled = days(thursday, *range(1, 6))
    store.apply([batch("filled", {"LabResulted": filled}, thursday)])
    store.keep_feeds()
    assert silences(store.con) == []


def test_no_feed_is_quiet_where_nobody_delivers(store: Store) -> None:
    end = FRIDAY + timedelta(days=30)
    told = {"LabResulted": LABORATORY, "VitalSignMeasured": days(FRIDAY, *range(1, 29))}
    store.apply([batch("all", told, end)])
    assert set(store.data_through().values()) == {naive(end)}
    assert silences(store.con) == []


def test_another_source_of_the_type_does_not_hide_a_quiet_one(store: Store) -> None:
    thursday = FRIDAY + timedelta(days=6)
    store.apply([batch("own", {"LabResulted": LABORATORY}, thursday)])
    others = [day for day in WARDS if day < thursday]
    store.apply([batch("other", {"LabResulted": others}, thursday, source="pdms")])
    assert store.data_through()["LabResulted"] == naive(FRIDAY + timedelta(days=1))


@pytest.mark.parametrize("name", ["ehr", "ehr/LabResulted"])
def test_a_silence_that_is_believed_is_told_and_holds_nothing(store: Store, name: str) -> None:
    thursday = FRIDAY + timedelta(days=6)
    assert laboratory(store, thursday) < naive(thursday)
    believing = store.site.model_copy(update={"feeds": FeedsTable(believed=(name,))})
    store.site = believing
    assert store.data_through()["LabResulted"] == naive(thursday)
    assert [one.holds_windows for one in silences(store.con)] == [False]


def test_records_beyond_the_declared_end_or_known_by_their_year_break_no_silence(
    store: Store,
) -> None:
    thursday = FRIDAY + timedelta(days=6)
    laboratory(store, thursday)
    stray = [
        event("LabResulted", "late", occurred_at=naive(thursday + timedelta(days=1))),
        event("LabResulted", "year", occurred_at=naive(thursday), time_precision="year"),
    ]
    store.apply([make_batch("stray", {"LabResulted": stray}, data_through=midnight(thursday))])
    assert store.data_through()["LabResulted"] == naive(FRIDAY + timedelta(days=1))


def remarks(store: Store) -> list[str]:
    context = RunContext(store.site, "r", SilentConsole(), datetime.now(UTC))
    context.__dict__["studies"] = [load_study("iv_bisphosphonate", store.site.root)]
    remark_on_silences(context, store)
    return context.remarks


def test_a_gap_that_nobody_filled_is_said_for_a_while(store: Store) -> None:
    laboratory(store, FRIDAY + timedelta(days=13))
    soon, late = FRIDAY + timedelta(days=20), FRIDAY + timedelta(days=120)
    wards = [FRIDAY + timedelta(days=n) for n in range(13, 20)]
    told = {"LabResulted": wards, "VitalSignMeasured": wards}
    store.apply([batch("back", told, soon)])
    [gap] = remarks(store)
    assert gap.startswith("Gap: ehr told of no LabResulted for 12 days while others delivered,")
    assert "2024" not in gap
    store.apply([batch("late", {"LabResulted": [], "VitalSignMeasured": []}, late)])
    [silent] = remarks(store)
    assert silent.startswith("Silent: no source has told of anything in the last 100 days")


def test_a_feed_that_no_outcome_reads_is_left_to_its_table(store: Store) -> None:
    told = {"BoneDensityMeasured": LABORATORY, "VitalSignMeasured": WARDS}
    store.apply([batch("dxa", told, FRIDAY + timedelta(days=13))])
    store.keep_feeds()
    assert [one.event_type for one in silences(store.con)] == ["BoneDensityMeasured"]
    assert remarks(store) == []


def by_hand(feeds: Mapping[str, set[date]], through: date) -> dict[str, date]:
    """The rule, word for word: the day of the last record of each feed that is quiet."""
    quiet: dict[str, date] = {}
    for name, own in feeds.items():
        told = {day for day in own if day <= through}
        if not told:
            continue
        last = max(told)
        month = {last - timedelta(days=n) for n in range(1, 29)}
        site = set().union(*feeds.values())
        since = {day for day in site if last < day < through}
        expected = len(since) * len(month & own) / max(len(month & site), 7)
        if expected >= 4 and len(month & own) >= 3:
            quiet[name] = last
    return quiet


TYPES = ("LabResulted", "VitalSignMeasured", "AdverseEventReported")


@pytest.fixture(scope="module")
def judging() -> Iterator[duckdb.DuckDBPyConnection]:
    """The tables that the rule reads, and the one that it fills, without a store around them."""
    with duck.connect() as con:
        zones.install(con)
        con.execute("CREATE SCHEMA quality; CREATE SCHEMA ledger")
        con.execute(
            "CREATE TABLE quality.completeness (source VARCHAR, event_type VARCHAR, "
            "occurred_date DATE, n_rows BIGINT)"
        )
        con.execute(
            "CREATE TABLE ledger.data_through (site_id VARCHAR, source VARCHAR, "
            "event_type VARCHAR, data_through_at TIMESTAMP)"
        )
        con.execute(model("quality.silence").create_sql("memory"))
        yield con


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    feeds=st.fixed_dictionaries(
        {
            name: st.builds(
                lambda step, start, stop, extra: {*range(start, stop, step), *extra},
                st.integers(1, 6),
                st.integers(0, 20),
                st.integers(5, 60),
                st.sets(st.integers(0, 62), max_size=4),
            )
            for name in TYPES
        }
    ),
    through=st.integers(40, 60),
)
def test_quiet_is_what_the_rule_says(
    judging: duckdb.DuckDBPyConnection, feeds: dict[str, set[int]], through: int
) -> None:
    start = date(2024, 4, 1)
    dated = {name: {start + timedelta(days=n) for n in own} for name, own in feeds.items()}
    end = start + timedelta(days=through)
    for table in ("quality.completeness", "ledger.data_through", "quality.silence"):
        judging.execute(f"DELETE FROM {table}")
    told = [("ehr", name, day, 1) for name, own in dated.items() for day in own]
    duck.insert(judging, "quality.completeness", told)
    duck.insert(
        judging, "ledger.data_through", (("north", "ehr", name, naive(end)) for name in TYPES)
    )
    keep_silences(judging, ZONE, FeedsTable())
    found = {one.event_type: one.last_date for one in silences(judging) if one.next_date is None}
    assert found == by_hand(dated, end)
