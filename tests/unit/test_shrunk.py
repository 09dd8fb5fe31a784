"""A snapshot that tells far less than the one before is held: it would withdraw the rest."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.ingest.log import EventLog
from pipelines.ingest.manifest import EventFile, Manifest
from pipelines.ingest.shrunk import shrunk
from tests.log_kit import NIGHT, VERDICT, delivery, stage


@pytest.fixture
def empty(tmp_path: Path) -> Manifest:
    facts = delivery(kind="snapshot")
    with duck.connect() as con:
        stage(con, facts)
        return EventLog(tmp_path / "log").write(con, facts, VERDICT)


def snapshot(empty: Manifest, day: int, labs: int | None) -> Manifest:
    """A snapshot of some night; None where it does not speak of laboratory results."""
    told = {} if labs is None else {"LabResulted": EventFile("x.avro", labs, "", "", 0)}
    return replace(
        empty,
        batch_id=f"{day:064x}",
        exported_at=NIGHT + dt.timedelta(days=day),
        types=told,
        data_through=dict.fromkeys(told, NIGHT),
    )


@pytest.mark.parametrize(
    ("before", "now", "is_held"),
    [
        (100, 100, False),
        (100, 50, False),
        (100, 49, True),
        (100, 0, True),
        (100, 500, False),
        (20, 0, True),
        (19, 0, False),
        (0, 0, False),
    ],
)
def test_what_fell_below_the_share_is_told(
    empty: Manifest, before: int, now: int, *, is_held: bool
) -> None:
    found = shrunk(snapshot(empty, 2, now), [snapshot(empty, 1, before)], drop=0.5, min_rows=20)
    assert bool(found) == is_held
    assert all(one.startswith("snapshot_shrunk: LabResulted") for one in found)


def test_an_empty_snapshot_is_held_whatever_share_may_go(empty: Manifest) -> None:
    earlier = [snapshot(empty, 1, 30)]
    assert shrunk(snapshot(empty, 2, 0), earlier, drop=1.0, min_rows=20)
    assert not shrunk(snapshot(empty, 2, 1), earlier, drop=1.0, min_rows=20)


def test_each_type_is_compared_with_the_last_snapshot_before_that_speaks_of_it(
    empty: Manifest,
) -> None:
    others = [snapshot(empty, 1, 100), snapshot(empty, 2, None), snapshot(empty, 9, 1000)]
    assert not shrunk(snapshot(empty, 3, 60), others, drop=0.5, min_rows=20)
    assert shrunk(snapshot(empty, 3, 40), others, drop=0.5, min_rows=20)
    assert not shrunk(snapshot(empty, 3, None), others, drop=0.5, min_rows=20)


def test_deltas_and_other_sources_are_no_measure(empty: Manifest) -> None:
    late = snapshot(empty, 3, 0)
    early = snapshot(empty, 1, 100)
    for other in (replace(early, kind="delta"), replace(early, source="lab system")):
        assert not shrunk(late, [other], drop=0.5, min_rows=20)
    assert not shrunk(replace(late, kind="delta"), [early], drop=0.5, min_rows=20)
