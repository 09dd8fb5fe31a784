"""A killed run leaves no half batch in the log; damage of a file is seen."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from pipelines.base.errors import LogError
from pipelines.ingest.log import EventLog
from tests.log_kit import FACTS, VERDICT, con, entries, flip, log

__all__ = ["con", "log"]


_KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.base import duck
from pipelines.ingest import {module}
from tests.log_kit import FACTS, VERDICT, stage
from pipelines.ingest.log import EventLog

real = {target}
def killing(*arguments, **named):
    {after}
    os.kill(os.getpid(), signal.SIGKILL)
{target} = killing
con = duck.connect()
stage(con)
log = EventLog(Path(sys.argv[1]))
log.write(con, FACTS, VERDICT)
log.commit(FACTS.batch_id)
"""


def killed(root: Path, module: str, target: str, *, after: bool) -> None:
    """Run write and commit in a process that is killed at (or just after) a call."""
    code = _KILLED.format(
        module=module, target=target, after="real(*arguments, **named)" if after else "pass"
    )
    where = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(root)],
        cwd=where,
        env={**os.environ, "PYTHONPATH": str(where)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("module", "target", "after"),
    [
        ("pack", "pack._write_type", True),
        ("pack", "pack._write_quarantine", True),
        ("pack", "pack.write_manifest", False),
        ("pack", "pack.write_manifest", True),
        ("log", "Path.rename", False),
    ],
)
def test_killed_before_the_rename_nothing_is_committed_and_the_next_run_does_it(
    log: EventLog, con: duckdb.DuckDBPyConnection, module: str, target: str, after: bool
) -> None:
    killed(log.root, module, target, after=after)
    assert log.committed() == []
    assert entries(log, "tmp") == [FACTS.batch_id]
    assert log.clean_tmp() == 1
    assert entries(log, "tmp") == []
    log.write(con, FACTS, VERDICT)
    assert log.commit(FACTS.batch_id)
    assert len(log.verify()) == 1


def test_killed_after_the_rename_the_batch_is_committed_whole(log: EventLog) -> None:
    killed(log.root, "log", "Path.rename", after=True)
    (manifest,) = log.verify()
    assert manifest.batch_id == FACTS.batch_id
    assert log.read(manifest, "LabResulted").num_rows == 3


def test_killed_between_commit_and_dropping_the_held_copy_it_is_committed_alone(
    log: EventLog, con: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.write(con, FACTS, VERDICT)
    log.hold(FACTS.batch_id, ("too many",))
    log.write(con, FACTS, VERDICT)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda _: None)
        log.commit(FACTS.batch_id)
    assert log.held() == []
    assert not log.is_held(FACTS.batch_id)
    log.clean_tmp()
    assert entries(log, "held") == []
    assert len(log.committed()) == 1


@pytest.fixture
def folder(log: EventLog, con: duckdb.DuckDBPyConnection) -> Path:
    log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    return log.root / "committed" / FACTS.batch_id


def test_a_missing_or_shortened_file_is_seen_when_the_log_is_listed(
    log: EventLog, folder: Path
) -> None:
    path = folder / "LabResulted.avro"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(LogError, match="damaged"):
        log.committed()
    path.unlink()
    with pytest.raises(LogError, match=r"LabResulted\.avro"):
        log.committed()


@pytest.mark.parametrize("name", ["LabResulted.avro", "quarantine.avro"])
def test_a_changed_byte_is_seen_by_verify_and_on_reading(
    log: EventLog, folder: Path, name: str
) -> None:
    flip(folder / name)
    (manifest,) = log.committed()
    with pytest.raises(LogError):
        log.verify()
    with pytest.raises(LogError):
        _ = log.read(manifest, "LabResulted"), log.read_quarantine(manifest)


def test_a_manifest_that_is_missing_changed_or_of_another_batch_is_a_log_error(
    log: EventLog, folder: Path
) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    for wrong in (
        text.replace('"rows": 3', '"rows": 4'),
        text[:-30],
        "[]",
        "{}",
        "",
        text.replace('"format": 1', '"format": 2'),
    ):
        assert wrong != text
        path.write_text(wrong)
        with pytest.raises(LogError, match="damaged"):
            log.committed()
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(LogError):
        log.committed()
    path.unlink()
    with pytest.raises(LogError):
        log.committed()
    path.write_text(text)
    folder.rename(folder.with_name("f" * 64))
    with pytest.raises(LogError):
        log.committed()
