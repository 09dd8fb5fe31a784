"""The log of runs: only added to, readable after any crash, and what fills a new store."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.base.site import Site
from tests.unit.store_batches import make_site
from warehouse.run import RunRecord
from warehouse.runlog import LoggedRun, RunLog
from warehouse.store import Store

STARTED = datetime(2026, 1, 31, 23, 59, tzinfo=UTC)


def begun(run_id: str, days: int = 0) -> RunRecord:
    return RunRecord(run_id, "north", STARTED + timedelta(days=days), "0.1.0", "in_process")


def done(run_id: str, days: int = 0) -> RunRecord:
    ended = STARTED + timedelta(days=days, seconds=9)
    return replace(begun(run_id, days), status="done", finished_at=ended, exit_code=0)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def test_the_last_line_of_each_run_counts_over_all_months(site: Site) -> None:
    log = RunLog(site)
    for run in (begun("r1"), done("r1"), begun("r2", 1)):
        log.append(LoggedRun(run))
    log.append(LoggedRun(done("r3", 40), "hash", {"remarks": ["Größe"]}))
    assert [path.name for path in sorted(log.root.iterdir())] == [
        "2026-01.jsonl",
        "2026-02.jsonl",
        "2026-03.jsonl",
    ]
    found = log.read()
    assert [run.record for run in found] == [done("r1"), begun("r2", 1), done("r3", 40)]
    assert (found[2].state_hash, found[2].result) == ("hash", {"remarks": ["Größe"]})
    assert [run.record.run_id for run in log.read(months=2)] == ["r2", "r3"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in log.root.iterdir()}
    assert (stat.S_IMODE(log.root.stat().st_mode), modes) == (0o700, {0o600})


def test_what_a_crash_cut_off_is_left_out_and_the_next_line_begins_anew(site: Site) -> None:
    log = RunLog(site)
    log.append(LoggedRun(done("r1")))
    [path] = log.root.iterdir()
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole + whole[:length])
        log.append(LoggedRun(done("r2")))
        assert [run.record.run_id for run in log.read()] == ["r1", "r2"]


@pytest.mark.parametrize("line", ["[]", "3", '"x"', "{}", '{"format": 2}', '{"format": 1}'])
def test_a_line_of_another_form_is_left_alone(site: Site, line: str) -> None:
    log = RunLog(site)
    log.append(LoggedRun(done("r1")))
    [path] = log.root.iterdir()
    path.write_text(line + "\n" + path.read_text())
    assert [run.record.run_id for run in log.read()] == ["r1"]


def test_a_site_without_runs_has_none(site: Site) -> None:
    assert RunLog(site).read() == []
    assert not RunLog(site).root.exists()


def rows(store: Store) -> list[tuple[str, str, int | None]]:
    return store.con.execute("SELECT run_id, status, exit_code FROM ops.run ORDER BY 1").fetchall()


def test_a_store_that_is_made_anew_knows_the_runs_and_who_was_killed(site: Site) -> None:
    with Store(site) as store:
        store.record_run(begun("r1"))
        store.record_run(done("r1"), {"n_new_batches": 1})
        store.record_run(begun("r2"))
        assert rows(store) == [("r1", "done", 0), ("r2", "running", None)]
    site.store_path.unlink()
    RunLog(site).append(LoggedRun(replace(begun("r3"), status="failed", exit_code=3)))
    with Store(site) as store:
        expected = [("r1", "done", 0), ("r2", "killed", None), ("r3", "failed", 3)]
        assert rows(store) == expected
        store.con.execute("DELETE FROM ops.run WHERE run_id = 'r3'")
        store.con.execute("UPDATE ops.run SET status = 'running' WHERE run_id = 'r2'")
        store.con.execute("UPDATE ops.run SET run_id = 'r0' WHERE run_id = 'r1'")
        store.catch_up_runs()
        assert rows(store) == [("r0", "done", 0), *expected]  # what the log lacks stays
    [path] = RunLog(site).root.iterdir()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["result"] for line in lines] == [None, {"n_new_batches": 1}, None, None]
