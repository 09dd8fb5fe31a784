"""What changes from night to night, through linkage, against everything delivered at once.

Each patient is a story of how records arrive. In the end only their newest versions count, so the
same records in one delivery must give the same linkage, counts and risks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pytest

from pipelines.base.duck import quote
from pipelines.base.site import Site
from pipelines.ingest.log import EventLog
from schemas import CLINICAL_TYPES
from tests.functional.nights_kit import (
    FILES,
    Outcome,
    Row,
    deliver,
    key_of,
    link,
    make_site,
    newest,
    outcomes,
    read,
    row,
)
from tests.store_kit import store_of
from warehouse.batch import committed_batch

INFUSED, DRAWN, LOW, OK = "2025-03-03 09:00", "2025-03-05 08:00", 7.2, 9.4
CALCIUM, OTHER = "17861-6", "99999-9"
Night = dict[str, list[Row]]


def born(who: str, n: int = 1, **cells: str) -> Night:
    told = {"born": "2015-06-01", "sex": "female"} | cells
    return {"patients": [row(f"p-{who}", who, n, **told)]}


def ill(who: str) -> Night:
    return {"diagnoses": [row(f"d-{who}", who, at="2020-01-01", code="Q78.0")]}


def infused(who: str, n: int = 1, number: int = 1, **cells: str) -> Night:
    told = {"at": INFUSED, "end": "2025-03-03 09:30", "code": "77655", "route": "intravenous"}
    return {"drugs": [row(f"i-{who}-{number}", who, n, **(told | cells))]}


def drawn(who: str, value: float, n: int = 1, number: int = 1, **cells: str) -> Night:
    told = {"at": DRAWN, "code": CALCIUM, "value": str(value)} | cells
    return {"labs": [row(f"l-{who}-{number}", who, n, **told)]}


def both(*nights: Night) -> Night:
    """What several deliveries hold, in one."""
    return {name: [r for one in nights for r in one.get(name, ())] for name in FILES}


def known(who: str) -> Night:
    return both(born(who), ill(who))


def whole(who: str, value: float) -> Night:
    return both(known(who), infused(who), drawn(who, value))


#: Per story its nights, and what is true of its patient in the end.
STORIES: Mapping[str, tuple[Sequence[Night], Outcome | None]] = {
    "infusion after its events": (
        [known("a"), drawn("a", LOW), infused("a")],
        Outcome(("event",)),
    ),
    "patient after everything": (
        [both(infused("b"), drawn("b", LOW)), ill("b"), born("b")],
        Outcome(("event",)),
    ),
    "value corrected": ([whole("c", LOW), drawn("c", OK, n=2)], Outcome(("no_event",))),
    "draw moved before the infusion": (
        [whole("d", LOW), {}, drawn("d", LOW, n=2, at="2025-03-02 08:00")],
        Outcome(("untested",)),
    ),
    "infusion retracted and given back": (
        [whole("e", LOW), infused("e", n=2, state="deleted"), infused("e", n=3)],
        Outcome(("event",)),
    ),
    "infusion retracted": ([whole("f", LOW), {}, infused("f", n=2, state="deleted")], None),
    "infusion that was a tablet": ([whole("g", LOW), infused("g", n=2, route="oral")], None),
    "result of another analyte": (
        [whole("h", LOW), drawn("h", LOW, n=2, code=OTHER)],
        Outcome(("untested",)),
    ),
    "result out of scope and back": (
        [whole("i", OK), drawn("i", LOW, n=2, code=OTHER), drawn("i", LOW, n=3)],
        Outcome(("event",)),
    ),
    "birth and sex changed": (
        [whole("j", LOW), {}, born("j", n=2, born="2012-06-01", sex="male")],
        Outcome(("event",), (12,), ("male",)),
    ),
    "an older version comes last": (
        [whole("k", LOW), drawn("k", OK, n=3), drawn("k", LOW, n=2)],
        Outcome(("no_event",)),
    ),
    "never mentioned again": ([whole("l", LOW)], Outcome(("event",))),
    "result of somebody else": (
        [both(whole("m", LOW), known("n")), drawn("m", LOW, n=2, patient="n")],
        Outcome(("untested",)),
    ),
    "merged, and the old number goes on": (
        [
            both(whole("o", OK), born("p")),
            born("o", n=2, into="p", born="2001-01-01", sex="male"),
            drawn("o", LOW, number=2),
        ],
        None,
    ),
    "merged and parted again": (
        [both(whole("q", OK), born("r")), born("q", n=2, into="r"), born("q", n=3)],
        Outcome(("no_event",)),
    ),
    "merged into somebody who is not known": ([whole("s", LOW), born("s", n=2, into="t")], None),
}
OWN = dict(zip(STORIES, "abcdefghijklmoqs", strict=True))
#: Survivors: their units are those of the patients who were merged into them.
SURVIVORS = {"p": Outcome(("event",)), "r": None, "t": Outcome(("event",))}
N_NIGHTS = 3


def nights() -> list[Night]:
    told = [list(nights) for nights, _ in STORIES.values()]
    return [both(*(one[n] for one in told if n < len(one))) for n in range(N_NIGHTS)]


def check(site: Site) -> None:
    """Compare what linkage says of each patient with what the story says."""
    found = outcomes(site)
    told = {name: found.get(key_of(site, OWN[name]) or "") for name in STORIES}
    assert told == {name: outcome for name, (_, outcome) in STORIES.items()}
    assert {who: found.get(key_of(site, who) or "") for who in SURVIVORS} == SURVIVORS


@pytest.fixture(scope="module")
def by_nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, dict[str, str]]:
    """A site that got the stories night by night, linked in the end; with the digests."""
    site = make_site(tmp_path_factory.mktemp("nights"), "delta")
    for number, night in enumerate(nights()):
        deliver(site, number, night)
        read(site)
    return site, link(site)


def test_each_patient_of_three_nights_is_what_the_newest_records_say(
    by_nights: tuple[Site, dict[str, str]],
) -> None:
    check(by_nights[0])


def test_the_same_batches_in_any_order_and_twice_leave_the_same_records(
    by_nights: tuple[Site, dict[str, str]],
) -> None:
    log = EventLog(by_nights[0].log_root)
    batches = [committed_batch(log, manifest) for manifest in log.in_force()]
    with store_of(batches) as con:
        expected = standing(con)
    with store_of([batches[n] for n in (2, 0, 1, 2)]) as con:
        assert standing(con) == expected


def standing(con: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[object, ...]]]:
    """Everything that linkage reads, provenance included."""
    return {
        name: con.execute(f"FROM current.{quote(name)} ORDER BY record_key").fetchall()
        for name in CLINICAL_TYPES
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_nights_end_as_all_records_at_once_however_often_they_are_linked(
    tmp_path: Path, by_nights: tuple[Site, dict[str, str]]
) -> None:
    once, nightly = (make_site(made(tmp_path / name), "delta") for name in ("once", "nightly"))
    deliver(once, N_NIGHTS - 1, newest(nights()))
    assert link(once) == by_nights[1]
    for number, night in enumerate(nights()):
        deliver(nightly, number, night)
        found = link(nightly)
    assert found == by_nights[1]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_what_a_snapshot_leaves_out_is_gone_and_what_a_delta_leaves_out_is_not(
    tmp_path: Path,
) -> None:
    site, once = (make_site(made(tmp_path / name), "snapshot") for name in ("nights", "once"))
    for number in range(N_NIGHTS):
        whole_night = newest(nights()[: number + 1])
        if number == N_NIGHTS - 1:
            whole_night["labs"] = [r for r in whole_night["labs"] if r["id"] != "l-l-1"]
            whole_night["patients"] = [r for r in whole_night["patients"] if r["patient"] != "o"]
        deliver(site, number, whole_night)
        by_night = link(site)
    deliver(once, N_NIGHTS - 1, whole_night)
    assert link(once) == by_night
    found = outcomes(site)
    assert found[key_of(site, "l") or ""].calcium == ("untested",)
    # nobody says any more that the two were merged, or when the one was born
    assert key_of(site, "p") not in found
    assert found[key_of(site, "o") or ""].calcium == ("unplaceable",)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
