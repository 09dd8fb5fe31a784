"""Killed at any instant, a night is finished by the next run: nothing lost, nothing doubled."""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.base.site import load_site
from tests.functional.fault_kit import (
    NIGHTS,
    ROOT,
    Runner,
    Stream,
    left_behind,
    make_stream,
    runner,
    sent_twice,
    short_stream,
    told_by,
    trial,
)
from tests.functional.fault_zygote import found
from tests.functional.refresh_site import deliver

__all__ = ["runner", "short_stream"]

_ROW = re.compile(
    r"\| (?P<name>[^|]+) \| (?P<when>before|after) `(?P<at>[\w.]+)` \| (?P<call>\d) \|"
)
#: Every place where a run can be cut in two, as the page for people names it.
BOUNDARIES = [
    (row["name"].strip("* "), row["when"], row["at"], int(row["call"]))
    for row in _ROW.finditer((ROOT / "docs" / "recovery.md").read_text(encoding="utf-8"))
]
#: Killed here, a run has not yet noted that it began, or has noted that it ended.
UNNOTED = ("the lock is taken", "scratch is thrown away", "the end is recorded")
KILLS = int(os.environ.get("DRIPWATCH_KILLS", "60"))


def test_the_page_lists_boundaries_that_are_there() -> None:
    assert len({name for name, *_ in BOUNDARIES}) == len(BOUNDARIES) >= 19
    assert set(UNNOTED) < {name for name, *_ in BOUNDARIES}
    for _, _, at, _ in BOUNDARIES:
        owner, attribute = found(at)
        assert callable(getattr(owner, attribute))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "when", "at", "call"), [pytest.param(*row, id=row[0]) for row in BOUNDARIES]
)
def test_a_run_that_is_killed_at_a_boundary_is_finished_by_the_next(
    short_stream: Stream, tmp_path: Path, name: str, when: str, at: str, call: int
) -> None:
    with trial(short_stream, 2, tmp_path / "site") as site:
        killed = short_stream.runner.run(site, boundary=[at, when, call])
        assert killed.code == -9, f"it was not reached: {killed}"
        again = short_stream.runner.run(site)
        assert any("cut short" in text for text in again.remarks)
        with duck.connect(site.store_path, read_only=True) as con:
            rows = con.execute("SELECT status FROM ops.run ORDER BY run_id").fetchall()
        noted = ["done", "done"] if name == "the end is recorded" else ["done", "killed"]
        noted = noted[:1] if name in UNNOTED[:2] else noted
        assert [status for (status,) in rows] == [*noted, "done"]
        assert len(sent_twice(site)) == (name == "a message has arrived")


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_nights_that_are_killed_at_random_instants_end_as_undisturbed_ones(
    tmp_path: Path, runner: Runner
) -> None:
    stream = make_stream(tmp_path / "undisturbed", runner, NIGHTS)
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown where the test fails
    random_instant = random.Random(seed)  # noqa: S311 - not a secret
    n_killed, folder = 0, tmp_path / "killed"
    while n_killed < KILLS:
        shutil.copytree(stream.root / "after-0", folder)
        site = load_site(folder)
        n_doubled_at_most = 0
        for night in range(1, NIGHTS + 1):
            deliver(site, stream.hospital, night)
            instant = random_instant.random() * stream.seconds[night - 1]
            killed = runner.run(site, kill_after=instant)
            n_killed += killed.code == -9
            n_doubled_at_most += killed.code == -9
            again = runner.run(site)
            assert again.code == 0, again.what
            assert told_by(site) == stream.told[night - 1], f"killed after {instant} s of {night}"
            assert left_behind(site) == []
        assert sum(sent_twice(site).values()) <= 2 * n_doubled_at_most
        shutil.rmtree(folder)
    print(f"{n_killed} runs were killed")  # noqa: T201
