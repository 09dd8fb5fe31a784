"""The Prefect flow on a real server: same stages, safe failures, and nothing left running."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from flows.conduct import run_in_process
from flows.console import SilentConsole, Step
from flows.reply import InternalError
from flows.run import Conductor, Stage, StageResult
from flows.server import STORAGE, answers, own_server, quiet_settings
from pipelines.base.errors import ReconciliationError
from tests.functional.refresh_site import deliver, hospital, make_site, run
from warehouse.digest import digest

__all__ = ["hospital"]


@dataclass
class Night:
    failures: list[Exception] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    console: SilentConsole = field(default_factory=SilentConsole)


def first(night: Night, _step: Step) -> StageResult:
    night.calls.append("first")
    return StageResult("first", rows_in=2, rows_out=2)


def second(night: Night, _step: Step) -> StageResult:
    night.calls.append("second")
    if night.failures:
        raise night.failures.pop(0)
    return StageResult("second", rows_in=2, rows_out=1, quarantined=1)


STAGES: list[Stage[Night]] = [Stage("first", first), Stage("second", second, retries=1)]


def hang_up() -> None:
    """End what Prefect keeps open in this process: its pings draw random numbers, at any time.

    A property that is checked meanwhile would find that its own were drawn by somebody else.
    """
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=10)
    APILogWorker.drain_all(timeout=10)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("prefect")
    before = {name: text for name, text in os.environ.items() if name.startswith("PREFECT_")}
    with own_server(home) as own:
        url = own.wait()
        os.environ.update(quiet_settings(home))
        yield url
        hang_up()
    for name in [name for name in os.environ if name.startswith("PREFECT_")]:
        del os.environ[name]
    os.environ.update(before)
    assert not answers(url)


def page(results: list[StageResult], conductor: Conductor) -> tuple[str, str]:
    return "refresh-summary", f"{len(results)} stages by {conductor.kind}"


def ask(url: str, what: str) -> list[dict[str, Any]]:
    request = urllib.request.Request(  # noqa: S310 - the test's own server
        f"{url}/{what}/filter", data=b"{}", headers={"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - the test's own server
        found: list[dict[str, Any]] = json.load(answer)
    return found


def task_names(url: str, flow_run_id: str) -> set[str]:
    """Task runs reach the server as events, a moment after the flow has ended."""
    names: set[str] = set()
    ends_at = time.monotonic() + 30
    # The server knows a task run first by a name that it makes up, then by its own.
    while names != {stage.name for stage in STAGES} and time.monotonic() < ends_at:
        runs = ask(url, "task_runs")
        names = {run["name"] for run in runs if run["flow_run_id"] == flow_run_id}
        time.sleep(0.2)
    return names


def test_a_flow_run_does_what_a_run_without_a_server_does(server: str) -> None:
    from flows.nightly import conduct

    results, conductor = conduct(STAGES, Night(), server, page)
    without = run_in_process(STAGES, Night())
    assert [one.timed(0) for one in results] == [one.timed(0) for one in without]
    assert conductor.kind == "prefect_server"
    runs = {run["id"]: run for run in ask(server, "flow_runs")}
    assert runs[conductor.flow_run_id]["state_type"] == "COMPLETED"
    assert runs[conductor.flow_run_id]["parameters"] == {}
    assert task_names(server, conductor.flow_run_id) == {"first", "second"}
    artifacts = [one["data"] for one in ask(server, "artifacts")]
    assert "2 stages by prefect_server" in artifacts


@pytest.mark.slow
def test_a_server_and_no_server_end_in_equal_digests(
    server: str, tmp_path: Path, hospital: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_server = make_site(make(tmp_path / "with"), hospital)
    without = make_site(make(tmp_path / "without"), hospital)
    deliver(with_server, hospital, 1)
    deliver(without, hospital, 1)
    assert run(without).conductor == Conductor("in_process")
    monkeypatch.setenv("PREFECT_API_URL", server)
    result = run(with_server)
    assert result.conductor.kind == "prefect_server"
    assert result.conductor.flow_run_id in {one["id"] for one in ask(server, "flow_runs")}
    assert result.sentence.count(server) == 1
    assert digest(with_server.warehouse) == digest(without.warehouse)
    assert not (with_server.prefect_home / STORAGE).exists()
    pages = [one["data"] for one in ask(server, "artifacts") if one["key"] == "refresh-summary"]
    assert any(result.run_id in str(page) for page in pages)


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_task_is_tried_again_only_where_that_can_help(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import nightly

    monkeypatch.setattr(nightly, "DELAY_SECONDS", 0.01)
    passes = Night([OSError(16, "busy")])
    nightly.conduct(STAGES, passes, server, page)
    assert passes.calls == ["first", "second", "second"]
    stays = Night([ReconciliationError("sums differ", remedy="report")])
    with pytest.raises(ReconciliationError, match="sums differ"):
        nightly.conduct(STAGES, stays, server, page)
    assert stays.calls == ["first", "second"]


def test_the_server_learns_no_value_from_a_failure(server: str) -> None:
    from flows.nightly import conduct

    with pytest.raises(InternalError):
        conduct(STAGES, Night([ValueError("born 2011-02-03")]), server, page)
    time.sleep(2)  # events and logs reach the server a moment later
    told = json.dumps([ask(server, what) for what in ("flow_runs", "task_runs", "logs", "events")])
    assert "StageFailedError" in told
    assert "2011-02-03" not in told


def test_what_prefect_writes_to_disk_about_a_failure_holds_no_message(server: str) -> None:
    from prefect.settings import PREFECT_LOCAL_STORAGE_PATH

    from flows.nightly import conduct

    storage = Path(PREFECT_LOCAL_STORAGE_PATH.value())
    shutil.rmtree(storage, ignore_errors=True)
    with pytest.raises(ReconciliationError, match="Jane"):
        conduct(STAGES, Night([ReconciliationError("of Jane Doe", remedy="report")]), server, page)
    written = [path.read_bytes() for path in storage.rglob("*") if path.is_file()]
    assert written, "Prefect writes nothing any more: this test and the removal can go"
    for content in written:
        assert b"Jane" not in content
        pickled = json.loads(content)["result"] if content.startswith(b"{") else content
        assert b"Jane" not in base64.b64decode(pickled)


def test_a_server_ends_with_its_parent_even_if_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from flows.server import own_server\n"
        "with own_server(Path(sys.argv[1])) as server:\n"
        "    print(server.wait(), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == -9
    url = done.stdout.strip()
    ends_at = time.monotonic() + 20
    while answers(url, timeout=1) and time.monotonic() < ends_at:
        time.sleep(0.2)
    assert not answers(url)
