"""Faults of feeds that the simulator plants, found by a site that knows the hospital's history."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows.console import SilentConsole
from flows.context import RunContext
from flows.refresh import new_run_id
from pipelines.base.site import Site
from pipelines.simulate import feeds, simulate
from tests.functional import refresh_site
from tests.functional.nights_kit import read, stages
from warehouse.feeds import silences
from warehouse.store import Store

pytestmark = pytest.mark.slow  # a hospital of 600 children: fewer have no habits
NIGHTS = 8
EVENT_TYPES = {"labs": "LabResulted", "vitals": "VitalSignMeasured"}
Found = set[tuple[str, str, str]]


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, list[Path]]:
    """A site that has read the history, and the folders of the seven nights after it."""
    root = tmp_path_factory.mktemp("feeds")
    simulate(600, "feeds", NIGHTS, 0, root / "hospital")
    (root / "site").mkdir()
    site = refresh_site.make_site(root / "site", root / "hospital")
    refresh_site.deliver(site, root / "hospital", 1)
    read(site)
    nights = root / "hospital" / "deliveries"
    return site, [nights / f"night-{number:03d}" for number in range(2, NIGHTS + 1)]


def drifts(week: tuple[Site, list[Path]], drift: str | None) -> Found:
    """Judge the week as one delivery, with a drift planted or none, and commit nothing."""
    site, nights = week
    delivery = site.root / "inbox" / "week"
    feeds.merge(nights, delivery)
    if drift:
        feeds.plant(delivery, drift)
    context = RunContext(site, new_run_id(), SilentConsole(), datetime.now(UTC))
    stages(context, ("discover", "extract", "validate"))
    shutil.rmtree(delivery)
    [one] = context.incoming
    assert one.validation is not None
    return {(found.event_type, found.check_id, found.what) for found in one.validation.drift}


@pytest.fixture(scope="module")
def unplanted(week: tuple[Site, list[Path]]) -> Found:
    """What the invented hospital's own last week is unlike: it rests before its last nights."""
    return drifts(week, None)


@pytest.mark.parametrize("drift", feeds.DRIFTS)
def test_a_drift_that_is_planted_is_what_is_found(
    week: tuple[Site, list[Path]], unplanted: Found, drift: str
) -> None:
    file, check_id = feeds.DRIFTS[drift]
    [(event_type, found, _)] = drifts(week, drift) ^ unplanted
    assert (event_type, found) == (EVENT_TYPES[file], check_id)


def test_the_feed_that_is_silenced_is_the_one_that_is_quiet(
    week: tuple[Site, list[Path]],
) -> None:
    site, nights = week
    before = _quiet(site)
    for night in nights:
        target = site.root / "inbox" / night.name
        shutil.copytree(night, target)
        feeds.silence(target, "labs")
    read(site)
    assert _quiet(site) - before == {"LabResulted"}


def _quiet(site: Site) -> set[str]:
    with Store(site) as store:
        store.keep_feeds()
        return {one.event_type for one in silences(store.con) if one.holds_windows}
