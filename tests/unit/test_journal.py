"""The journal: a line for what is said and done, for its owner alone, and never worth a night."""

from __future__ import annotations

import json
import logging
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows import journal as journals
from flows.conduct import run_in_process
from flows.console import SilentConsole, Step
from flows.context import RunContext
from flows.journal import journal_of, journal_path, written_by
from flows.run import Stage, StageResult
from pipelines.base.errors import DeliveryError
from pipelines.base.site import Site
from tests.unit.store_batches import make_site


class Context:
    """What stages work on, as far as a conductor cares."""

    def __init__(self, journal: journals.Journal) -> None:
        self.console = journal.console


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def kinds(lines: list[dict[str, Any]]) -> list[tuple[str, str, str | None]]:
    return [(one["level"], one["kind"], one["stage"]) for one in lines]


def test_stages_and_what_is_said_in_them_are_written_with_one_run_id(site: Site) -> None:
    def link(context: Context, _step: Step) -> StageResult:
        context.console.say("something")
        return StageResult("link", rows_out=3, note="units linked")

    with journal_of(site, "r1", SilentConsole()) as journal:
        journal.console.say("before the lock")
        journal.open()
        run_in_process(journal.over([Stage("link", link)]), Context(journal))
    lines = written_by(site, "r1")
    assert kinds(lines) == [
        ("info", "said", None),
        ("info", "stage_started", "link"),
        ("info", "said", "link"),
        ("info", "stage_ended", "link"),
    ]
    assert (lines[3]["message"], lines[3]["rows_out"]) == ("units linked", 3)
    assert {one["run_id"] for one in lines} == {"r1"}
    path = journal_path(site)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_fault_is_written_by_its_kind_without_its_text(site: Site) -> None:
    def extract(_context: Context, _step: Step) -> StageResult:
        raise ValueError("MRN-4711 was born on 2019-02-03")

    def run() -> None:
        with journal_of(site, "r1", SilentConsole()) as journal:
            journal.open()
            run_in_process(journal.over([Stage("extract", extract)]), Context(journal))

    with pytest.raises(Exception, match="A fault in Dripwatch"):
        run()
    text = journal_path(site).read_text()
    assert "ValueError" in text
    assert "4711" not in text
    assert "2019" not in text
    assert kinds(written_by(site, "r1"))[1:] == [
        ("error", "stage_failed", "extract"),
        ("error", "run_failed", None),
    ]


def fail_before_the_lock(site: Site, run_id: str) -> None:
    with journal_of(site, run_id, SilentConsole()):
        raise DeliveryError("It is wrong.", remedy="Mend it.")


def test_a_run_that_came_to_no_lock_is_written_only_where_there_is_a_journal(site: Site) -> None:
    with pytest.raises(DeliveryError):
        fail_before_the_lock(site, "r1")
    assert not journal_path(site).parent.exists()
    with journal_of(site, "r2", SilentConsole()) as journal:
        journal.open()
    with pytest.raises(DeliveryError):
        fail_before_the_lock(site, "r3")
    [line] = written_by(site, "r3")
    assert (line["exit_code"], line["remedy"]) == (5, "Mend it.")


def test_a_long_journal_is_turned_over_when_a_run_begins(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MAX_BYTES", 10)
    monkeypatch.setattr(journals, "KEPT_FILES", 2)
    for number in range(5):
        with journal_of(site, f"r{number}", SilentConsole()) as journal:
            journal.open()
            journal.write("said", "one")
            journal.write("said", "two")
    found = {number: len(written_by(site, f"r{number}")) for number in range(5)}
    assert found == {0: 0, 1: 0, 2: 2, 3: 2, 4: 2}
    names = sorted(path.name for path in journal_path(site).parent.iterdir())
    assert names == ["dripwatch.jsonl", "dripwatch.jsonl.1", "dripwatch.jsonl.2"]


def test_a_journal_that_cannot_be_written_costs_nothing(
    site: Site, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "restricted").mkdir()
    (tmp_path / "restricted" / "journal").write_text("a file in its place")
    with journal_of(site, "r1", SilentConsole()) as journal:
        journal.open()
        journal.write("said", "nobody hears")
    (tmp_path / "restricted" / "journal").unlink()
    with journal_of(site, "r2", SilentConsole()) as journal:
        journal.open()
        journal.path.unlink()
        journal.path.symlink_to("/dev/full")
        journal.close()
        journal.open(make=False)
        journal.write("said", "the disk is full")
    assert capfd.readouterr().err == ""


def test_no_logger_of_the_process_hears_of_it(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), journal_of(site, "r1", SilentConsole()) as journal:
        journal.open()
        journal.write("said", "something")
    assert caplog.records == []
    assert json.loads(journal_path(site).read_text())["message"] == "something"


def test_the_context_of_a_run_speaks_to_people_and_to_the_journal(site: Site) -> None:
    class Heard(SilentConsole):
        said: list[str] = []  # noqa: RUF012 - one console in this test

        def say(self, text: str) -> None:
            self.said.append(text)

    with journal_of(site, "r1", console := Heard()) as journal:
        journal.open()
        context = RunContext(site, "r1", journal.console, datetime.now(UTC))
        context.console.say("both")
    assert console.said == ["both"]
    assert [one["message"] for one in written_by(site, "r1")] == ["both"]
