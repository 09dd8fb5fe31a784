"""Since when feeds are stale, and why: people are told no date of a record."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.console import SilentConsole
from flows.context import RunContext
from flows.news import keep_fresh, remark_on_stale
from pipelines.base.site import Site
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse.freshness import Feed, feeds
from warehouse.store import Store

SILENT_SINCE = datetime(2026, 1, 2, 18, 30)  # noqa: DTZ001 - as columns hold it


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@pytest.fixture
def store(site: Site) -> Iterator[Store]:
    """Two sources: `ehr` is complete up to the tenth night, `lab` up to the seventh."""
    at = night(-1).replace(tzinfo=None)
    with Store(site) as opened:
        infusion = {"InfusionRecorded": [event("InfusionRecorded", "i", occurred_at=at)]}
        labs = {"LabResulted": [event("LabResulted", "l", occurred_at=at)]}
        opened.apply(
            [
                make_batch("b1", infusion, data_through=night(10)),
                make_batch("b2", labs, source="lab", data_through=night(7)),
            ]
        )
        yield opened


def told(found: list[Feed]) -> dict[str, tuple[datetime | None, tuple[str, ...]]]:
    return {f"{one.source}/{one.event_type}": (one.stale_since_at, one.reasons) for one in found}


def test_a_feed_more_than_two_days_behind_the_newest_is_stale(store: Store) -> None:
    seventh = night(7).replace(tzinfo=None)
    assert told(feeds(store, [])) == {
        "ehr/InfusionRecorded": (None, ()),
        "lab/LabResulted": (seventh, ("behind",)),
    }
    later = make_batch("b3", {"LabResulted": []}, source="lab", data_through=night(8))
    store.apply([later])
    assert told(feeds(store, []))["lab/LabResulted"] == (None, ())


def test_a_held_delivery_makes_stale_what_it_would_have_brought(store: Store) -> None:
    held = [
        ("ehr", "InfusionRecorded", night(11)),
        ("ehr", "InfusionRecorded", night(9)),
        ("lab", "LabResulted", night(7)),  # nothing newer than what is there
        ("clinic", "VitalSignMeasured", night(0)),
    ]
    found = told(feeds(store, held))
    assert found["ehr/InfusionRecorded"] == (night(10).replace(tzinfo=None), ("held",))
    assert found["lab/LabResulted"][1] == ("behind",)
    assert found["clinic/VitalSignMeasured"] == (None, ("held",))


def test_people_are_told_no_date_of_a_record(site: Site, store: Store) -> None:
    """A quiet feed is complete up to its last record's day, which in a small hospital is one's."""
    store.keep_feeds()
    store.con.execute("UPDATE quality.feed SET complete_through_at = ?", [SILENT_SINCE])
    context = RunContext(site, "r1", SilentConsole(), datetime.now(UTC))
    keep_fresh(context, store)
    remark_on_stale(context)
    rows = store.con.execute(
        "SELECT stale_since_at, reasons FROM reference.freshness ORDER BY source"
    ).fetchall()
    assert rows == [(SILENT_SINCE, ["quiet"]), (SILENT_SINCE, ["quiet", "behind"])]
    assert [one["reasons"] for one in context.feeds] == [["quiet"], ["quiet", "behind"]]
    [remark] = context.remarks
    assert remark == (
        f"Stale since {night(7):%Y-%m-%d}: LabResulted of lab: it is behind the newest feed."
    )
    days = [f"{SILENT_SINCE + timedelta(days=day):%Y-%m-%d}" for day in (-1, 0, 1)]
    assert not [day for day in days if day in json.dumps(context.feeds)]
