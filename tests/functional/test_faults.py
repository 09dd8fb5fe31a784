"""One night in which every class of fault happens: each is told apart, and nothing is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from flows.lock import site_lock
from pipelines.base import duck
from pipelines.base.errors import ExitCode
from pipelines.base.site import Site
from tests.functional.fault_kit import (
    FOR_GOOD,
    Outcome,
    Runner,
    left_behind,
    make_stream,
    needs_layer,
    runner,
    sent_twice,
    told_by,
)

__all__ = ["runner"]


def with_fault(
    runner: Runner,
    site: Site,
    call: str,
    place: str,
    number: int,
    times: int = FOR_GOOD,
    clock: str = "",
) -> Outcome:
    """Run a refresh while calls of a kind fail in a place."""
    arm = {"fail": [str(site.root / place), call, 1, times, number]}
    return runner.run(site, arm=arm, clock=clock)


def test_a_night_in_which_everything_goes_wrong_ends_as_an_undisturbed_one(
    tmp_path: Path, runner: Runner
) -> None:
    needs_layer(runner)
    stream = make_stream(tmp_path / "undisturbed", runner, 1)
    site = stream.before(1, tmp_path / "site")

    with site_lock(site, "the-other-run"):
        refused = runner.run(site)
    assert refused.code == ExitCode.LOCKED
    assert f"process {os.getpid()} on " in refused.what
    assert "(run the-other-run)" in refused.what

    full = with_fault(runner, site, "write", "restricted/log/tmp", errno.ENOSPC)
    assert full.code == ExitCode.STORAGE
    assert full.what.startswith("The disk is full")

    killed = runner.run(site, boundary=["pipelines.ingest.log.EventLog._move", "after", 1])
    assert killed.code == -9

    private = with_fault(runner, site, "open", ".dripwatch-publish-", errno.EACCES)
    assert private.code == ExitCode.STORAGE
    assert private.what.startswith("The system refused access")

    read_only = with_fault(runner, site, "mkdir", ".dripwatch-publish-", errno.EROFS)
    assert read_only.code == ExitCode.STORAGE
    assert read_only.what.startswith("The disk is read-only")
    assert not site.warehouse.exists()

    # An error that passes, and a clock that is set back a decade, and then once more by a day.
    clock = "2016-01-02T03:04:05Z"
    last = with_fault(runner, site, "sync", "restricted/store", errno.EIO, 1, clock=clock)
    assert last.code == ExitCode.OK, last.what
    assert told_by(site) == stream.told[0]
    assert left_behind(site) == []
    assert sent_twice(site) == {}
    with duck.connect(site.store_path, read_only=True) as con:
        rows = con.execute("SELECT status FROM ops.run ORDER BY started_at").fetchall()
    assert [status for (status,) in rows][-4:] == ["failed", "killed", "failed", "failed"]
    assert rows[0] == ("done",)  # by its clock the last run came first
