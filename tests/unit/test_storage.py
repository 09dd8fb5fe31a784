"""What the operating system refuses is told in words that say what to do, and whose file it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn
from unittest.mock import Mock

import duckdb
import pytest

from expectations import validate
from flows.reply import as_ours
from pipelines.base.errors import PassingStorageError, StorageError
from pipelines.base.files import append_line, write_durably
from pipelines.base.site import ThresholdTable
from pipelines.base.storage import errno_in, storage_error, storing
from pipelines.linkage.transform import LinkageError, _raise_failed, _write_failed
from pipelines.sources.rows.stage import failed
from warehouse.guard import guarded, is_damage


@pytest.mark.parametrize(
    ("number", "what", "passes"),
    [
        (errno.ENOSPC, "The disk is full", False),
        (errno.EDQUOT, "The disk is full", False),
        (errno.EROFS, "The disk is read-only", False),
        (errno.EACCES, "refused access", False),
        (errno.EMFILE, "Too many files", False),
        (errno.EIO, "Input/output error", True),
        (errno.ESTALE, "cannot be read or written", True),
    ],
)
def test_what_is_refused_says_what_to_do_and_whether_to_try_again(
    number: int, what: str, *, passes: bool
) -> None:
    error = storage_error(number, "writing", "here")
    assert what in error.what
    assert isinstance(error, PassingStorageError) is passes
    assert "last committed batch" in str(error.next_run)


@pytest.mark.parametrize(
    "text",
    [
        'IO Error: Could not write file "x": No space left on device',
        'TransactionContext Error: Failed to commit: Could not fsync file "x": Input/output error',
        "FATAL Error: fsync failed!",
        'IO Error: Cannot open file "x": Read-only file system',
    ],
)
def test_what_duckdb_quotes_of_the_system_is_no_damage_of_a_file(text: str) -> None:
    """Such a store must stay: made again, it would meet the same disk."""
    assert errno_in(text) is not None
    assert not is_damage(duckdb.IOException(text))
    with pytest.raises(StorageError) as caught, guarded("working", Path("store")):
        raise duckdb.TransactionException(text)
    assert "DuckDB refused" not in caught.value.what


def test_a_file_that_makes_no_sense_is_damage() -> None:
    assert is_damage(duckdb.IOException('The file "x" exists, but it is not a valid DuckDB file'))


def test_files_of_another_account_name_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    with pytest.raises(StorageError) as caught, storing("opening", tmp_path / "gone" / "file"):
        raise PermissionError(errno.EACCES, "no")
    assert "sudo -u" in caught.value.remedy


def test_what_a_library_wraps_is_told_as_what_the_system_refused() -> None:
    """Beam turns an error in a bundle into another one that quotes it."""

    def wrapped() -> None:
        try:
            raise duckdb.IOException("Could not write: No space left on device of Jane Doe")
        except duckdb.Error as error:
            msg = f"IOException: {error} [while running 'Link']"
            raise RuntimeError(msg) from error

    with pytest.raises(RuntimeError) as caught:
        wrapped()
    ours = as_ours(caught.value)
    assert isinstance(ours, StorageError)
    assert ours.what.startswith("The disk is full")
    assert "Jane" not in str(ours)


def test_a_line_is_added_after_one_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "one")
    with path.open("a") as stream:
        stream.write("tw")
    append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page"
    write_durably(path, b"old")
    (tmp_path / ".page.tmp").write_text("of a run that was killed")

    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_durably(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            duckdb.TransactionException,
            'Failed to commit: Could not write file "x.wal": No space left on device',
        ),
        (duckdb.FatalException, "fsync failed!"),
        (duckdb.OutOfMemoryException, "could not allocate block"),
    ],
)
def test_a_disk_that_fails_under_staging_or_checks_is_not_called_a_fault_of_ours(
    kind: type[duckdb.Error], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> NoReturn:
        raise kind(text)

    monkeypatch.setattr(validate, "_validate", fail)
    with duckdb.connect() as con, pytest.raises(StorageError):
        validate.validate(
            con, event_types=(), data_through={}, concepts=(), thresholds=ThresholdTable()
        )
    assert isinstance(failed(kind(text), Mock(batch_id="b", source="ehr")), StorageError)


def test_a_bucket_whose_disk_is_full_is_told_as_that_and_another_fault_as_ours(
    tmp_path: Path,
) -> None:
    for refused, kind in ((errno.ENOSPC, StorageError), (None, LinkageError)):
        _raise_failed(tmp_path)  # nothing has failed
        told = _write_failed(("IOException", "study", "in/bucket-01", refused), str(tmp_path))
        with pytest.raises(kind, match=r"full|Linking 1 buckets"):
            _raise_failed(tmp_path)
        Path(told).unlink()
