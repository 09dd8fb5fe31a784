"""A laboratory that falls silent, night by night: docs/windows.md, sections 6 and 12."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from flows.console import SilentConsole
from flows.context import RunContext
from flows.feeds import remark_on_silences
from pipelines.base.site import Site
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
    root.mkdir()
    site = make_site(root, "delta")
    for number, night in nights.items():
        deliver(site, number, night)
    return site


def calcium(site: Site) -> tuple[str, str]:
    told = outcomes(site)
    early, late = (told[key_of(site, who) or ""].calcium for who in ("early", "late"))
    return early[0], late[0]


def test_a_silent_laboratory_holds_windows_open_until_it_tells_what_it_owes(
    tmp_path: Path,
) -> None:
    site = site_of(tmp_path / "nights", {4: HISTORY})
    link(site)
    assert calcium(site) == ("event", "open")
    deliver(site, 9, SILENT)
    silent = link(site)
    # By its own word the laboratory is complete past the late child's window and its lag.
    assert calcium(site) == ("event", "open")
    with Store(site) as store:
        assert store.data_through()["LabResulted"] < store.declared_through()["LabResulted"]
        context = RunContext(site, "r", SilentConsole(), datetime.now(UTC))
        remark_on_silences(context, store)
    [remark] = context.remarks
    assert remark.startswith("Quiet: ehr has told of no LabResulted for 5 days")
    assert "2025" not in remark

    at_once = site_of(tmp_path / "once", {9: both(HISTORY, SILENT)})
    assert link(at_once) == silent

    deliver(site, 10, BACKFILL)
    link(site)
    assert calcium(site) == ("event", "event")
