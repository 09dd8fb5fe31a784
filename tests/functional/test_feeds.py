"""A laboratory that falls silent, night by night: docs/windows.md, sections 6 and 12."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from flows.console import SilentConsole
from flows.context import RunContext
from flows.feeds import remark_on_silences, tell_quiet
from pipelines.base.site import Site
from pipelines.base.site_nights import AnnounceTable
from tests.functional.nights_kit import Row, deliver, key_of, link, make_site, outcomes, row
from warehouse.store import Store

CALCIUM, ZOLEDRONIC_ACID, PARACETAMOL = "17861-6", "77655", "161"
LAST_RESULT = date(2025, 9, 4)
Night = dict[str, list[Row]]


def days(first: date, last: date) -> Iterator[date]:
    for number in range((last - first).days + 1):
        yield first + timedelta(days=number)


def child(who: str, infused: date) -> Night:
    return {
        "patients": [row(f"p-{who}", who, born="2016-05-01", sex="female")],
        "diagnoses": [row(f"d-{who}", who, at="2020-01-01", code="Q78.0")],
        "drugs": [
            row(
                f"i-{who}",
                who,
                at=f"{infused} 09:00",
                end=f"{infused} 09:30",
                code=ZOLEDRONIC_ACID,
                route="intravenous",
            )
        ],
    }


def doses(first: date, last: date) -> list[Row]:
    """The ward, which gives a dose of something every day."""
    return [
        row(f"w-{day}", "ward", at=f"{day} 08:00", code=PARACETAMOL, route="oral")
        for day in days(first, last)
    ]


def results(first: date, last: date, who: str = "ward", value: float = 9.4) -> list[Row]:
    return [
        row(f"l-{who}-{day}", who, at=f"{day} 08:00", code=CALCIUM, value=value)
        for day in days(first, last)
    ]


def both(*nights: Night) -> Night:
    names = dict.fromkeys(name for night in nights for name in night)
    return {name: [one for night in nights for one in night.get(name, [])] for name in names}


#: An early child, whose window closes before the silence, and a late one, infused just before it.
HISTORY = both(
    child("early", date(2025, 8, 20)),
    child("late", date(2025, 9, 3)),
    {"patients": [row("p-ward", "ward", born="2010-01-01", sex="male")]},
    {"labs": results(date(2025, 8, 1), LAST_RESULT)},
    {"labs": results(date(2025, 8, 22), date(2025, 8, 22), "early", 7.2)},
    {"drugs": doses(date(2025, 8, 1), date(2025, 9, 4))},
)
#: The laboratory is silent for five days, which the sidecar says are complete.
SILENT: Night = {"drugs": doses(date(2025, 9, 5), date(2025, 9, 9))}
BACKFILL = both(
    {"drugs": doses(date(2025, 9, 10), date(2025, 9, 10))},
    {"labs": results(date(2025, 9, 5), date(2025, 9, 10))},
    {"labs": results(date(2025, 9, 5), date(2025, 9, 5), "late", 7.2)},
)


def site_of(root: Path, nights: dict[int, Night]) -> Site:
    """A site to which nights have been delivered, and that nobody else hears of."""
    root.mkdir()
    site = make_site(root, "delta")
    for number, night in nights.items():
        deliver(site, number, night)
    return site.model_copy(update={"announce": AnnounceTable(webhook="http://127.0.0.1:9/")})


def calcium(site: Site, *who: str) -> tuple[str, ...]:
    """What became of calcium after the infusion of each child."""
    told = outcomes(site)
    return tuple(told[key_of(site, one) or ""].calcium[0] for one in who)


@pytest.mark.slow
def test_a_silent_laboratory_holds_windows_open_until_it_tells_what_it_owes(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path / "nights", {4: HISTORY, 9: SILENT})
    link(site)
    # By its own word the laboratory is complete past the late child's window and its lag.
    assert calcium(site, "early", "late") == ("event", "open")
    with Store(site) as store:
        assert store.data_through()["LabResulted"] < store.declared_through()["LabResulted"]
        context = RunContext(site, "r", SilentConsole(), datetime.now(UTC))
        remark_on_silences(context, store)
        told = store.con.execute("SELECT channel, subject, body FROM ops.outbox").fetchall()
        tell_quiet(context, store)  # a second time, as after a crash: nothing is told twice
        assert store.con.execute("SELECT count(*) FROM ops.outbox").fetchall() == [(1,)]
    [(channel, subject, body)] = told
    assert (channel, subject) == ("webhook", "SYNTHETIC: north: ehr/LabResulted is quiet")
    [remark] = context.remarks
    assert remark.startswith("Quiet: ehr has told of no LabResulted for 5 days")
    # A date of a record may be a patient's.
    assert "2025" not in remark + json.loads(body)["text"]
    deliver(site, 10, BACKFILL)
    link(site)
    assert calcium(site, "early", "late") == ("event", "event")


@pytest.mark.slow
def test_what_closed_in_the_silence_opens_again_and_what_closed_before_stays(
    tmp_path: Path,
) -> None:
    """The child of 2 September: its window closes while the silence may still be a long weekend."""
    who = ("early", "middle", "late")
    history = both(HISTORY, child("middle", date(2025, 9, 2)))
    weekend = {"drugs": doses(date(2025, 9, 5), date(2025, 9, 7))}
    later = {"drugs": doses(date(2025, 9, 8), date(2025, 9, 9))}
    site = site_of(tmp_path / "nights", {4: history, 7: weekend})
    link(site)
    assert calcium(site, *who) == ("event", "untested", "open")
    deliver(site, 9, later)
    silent = link(site)
    assert calcium(site, *who) == ("event", "open", "open")
    once = site_of(tmp_path / "once", {9: both(history, weekend, later)})
    assert link(once) == silent
