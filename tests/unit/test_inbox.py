"""What deliveries said before is believed only where each file is as the system left it."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.base.site import SourceTable
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.sources import inbox
from pipelines.sources.inbox import InboxCache
from pipelines.sources.rows.folders import DeliveryFolder

NOW = datetime(2026, 1, 6, 2, tzinfo=UTC)


class Inbox:
    """One delivery, and how often it was read."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "night-001"
        self.folder.mkdir()
        (self.folder / "a.csv").write_text("one\n")
        (self.folder / "b.csv").write_text("two\n")
        self.cache = root / "cache" / "inbox.json"
        source = SourceTable(name="ehr", mapping=Path("m.toml"), path=Path("inbox"))
        self.delivery = DeliveryFolder(self.folder, source, "delivery 1 of 1")
        self.n_read = 0
        self.while_reading: Callable[[], object] = lambda: None

    def describe(self) -> DeliveryFacts:
        self.n_read += 1
        self.while_reading()
        paths = sorted(self.folder.iterdir())
        files = tuple(DeliveredFile(path, "rows", path.read_text(), 3) for path in paths)
        told = {"LabResulted": NOW, "PatientRegistered": NOW}
        facts = ("batch", "north", "ehr", "delta", NOW, told, "mapping", "scope", "flat-3")
        return DeliveryFacts(*facts, files, ("mrn",), ("A remark.",))  # type: ignore[arg-type]

    def night(self, code: str = "code", **how: str) -> DeliveryFacts:
        """Look into the inbox as a run does: a new process, that saves at the end."""
        cache = InboxCache(self.cache, code)
        facts = cache.facts(self.delivery, how, self.describe)
        cache.save()
        return facts


@pytest.fixture
def it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    monkeypatch.setattr(inbox, "RACY_SECONDS", 0.0)
    return Inbox(tmp_path)


def test_a_delivery_that_is_as_it_was_is_not_read_again(it: Inbox) -> None:
    facts = it.night()
    assert it.night() == facts == it.night()
    assert it.n_read == 1
    assert stat.S_IMODE(it.cache.stat().st_mode) == 0o600
    assert stat.S_IMODE(it.cache.parent.stat().st_mode) == 0o700


def rewrite_in_place(folder: Path) -> None:
    """The same size, inode and mtime: all that a program can set back."""
    path = folder / "a.csv"
    before = path.stat()
    with path.open("r+") as stream:
        stream.write("ONE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns, after.st_ino) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ino,
    )


def replace_by_rename(folder: Path) -> None:
    (folder / "new").write_text("ONE\n")
    (folder / "new").rename(folder / "a.csv")


CHANGES: dict[str, Callable[[Path], object]] = {
    "rewritten in place": rewrite_in_place,
    "replaced": replace_by_rename,
    "grown": lambda folder: (folder / "a.csv").write_text("one\nmore\n"),
    "another file": lambda folder: (folder / "c.csv").write_text("three\n"),
    "a hidden file": lambda folder: (folder / ".marker").write_text(""),
    "a file less": lambda folder: (folder / "b.csv").unlink(),
    "renamed": lambda folder: (folder / "b.csv").rename(folder / "z.csv"),
    "touched": lambda folder: os.utime(folder / "a.csv"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_whatever_changes_in_it_makes_it_read_again(
    it: Inbox, change: Callable[[Path], object]
) -> None:
    it.night()
    change(it.folder)
    assert it.night() == it.describe()
    assert it.n_read == 3


def test_another_mapping_or_version_reads_it_again(it: Inbox) -> None:
    it.night()
    it.night(mapping="another")
    assert it.n_read == 2
    it.night(code="another", mapping="another")
    assert it.n_read == 3


def test_a_young_file_may_change_within_its_clocks_tick_and_is_not_trusted(
    it: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "RACY_SECONDS", 2.0)
    it.night()
    it.night()
    assert it.n_read == 2
    later = time.time_ns() + 2_100_000_000
    monkeypatch.setattr(time, "time_ns", lambda: later)
    it.night()
    it.night()
    assert it.n_read == 3


def test_a_file_from_the_future_is_never_trusted(it: Inbox) -> None:
    os.utime(it.folder / "a.csv", (time.time() + 999, time.time() + 999))
    it.night()
    it.night()
    assert it.n_read == 2


def test_what_changes_while_it_is_read_is_not_remembered(it: Inbox) -> None:
    it.while_reading = lambda: os.utime(it.folder / "a.csv")
    it.night()
    it.night()
    assert it.n_read == 2


def test_a_delivery_with_anything_but_files_is_read_each_time(it: Inbox) -> None:
    (it.folder / "link").symlink_to(it.folder / "a.csv")
    it.night()
    it.night()
    assert it.n_read == 2


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"3", b'{"deliveries": 1}', b"\xff"])
def test_a_damaged_cache_is_an_empty_one(it: Inbox, damage: bytes) -> None:
    it.night()
    it.cache.write_bytes(damage)
    it.night()
    it.night()
    assert it.n_read == 2


def test_nothing_is_written_where_nothing_is_new_and_what_is_gone_is_forgotten(it: Inbox) -> None:
    it.night()
    before = it.cache.stat().st_mtime_ns
    it.night()
    assert it.cache.stat().st_mtime_ns == before
    InboxCache(it.cache, "code").save()
    it.night()
    assert it.n_read == 2
