"""Forgetting a patient, cut off at any call that changes a file: the log is the old or the new."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from flows.console import SilentConsole
from flows.context import RunContext
from flows.forget import _take_out
from flows.stages import _give_up_older
from pipelines.base import duck, sealed
from pipelines.base.errors import LogError
from pipelines.base.keys import load_key
from pipelines.base.search import search
from pipelines.base.site import Site, load_site
from pipelines.ingest.forgotten import Forgotten
from pipelines.ingest.idmap import IdMap
from pipelines.ingest.log import EventLog
from tests.at_rest_kit import nobody_else, site_that_encrypts
from tests.log_kit import VERDICT, delivery, stage

__all__ = ["nobody_else"]

CHILD, OTHER = ("mrn", "1000001"), ("mrn", "1000002")
_CALLS = ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir")


class Killed(BaseException):
    """Nothing of the process runs after this: each later call ends with it again."""


@contextmanager
def dying(n_calls: int) -> Iterator[list[str]]:
    """Let so many calls that change files through, and none after them; lend their names."""
    done: list[str] = []

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **options: Any) -> Any:
            if len(done) >= n_calls:
                raise Killed
            done.append(name)
            return call(*arguments, **options)

        return made

    with ExitStack() as patches:
        for name in _CALLS:
            patches.enter_context(patch.object(os, name, counted(name, getattr(os, name))))
        yield done


def forget(site: Site) -> frozenset[str]:
    keys, _ = _take_out(site, CHILD[1], CHILD[0])
    next_run(site)
    return keys


def next_run(site: Site) -> None:
    """What a run does of it, but for the store."""
    _give_up_older(RunContext(site, "a run", SilentConsole(), datetime.now(UTC)))


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encrypted site with a map of identifiers and a batch of two patients' rows."""
    site = site_that_encrypts(tmp_path_factory.mktemp("original") / "north")
    path = site.config_path
    path.write_text(path.read_text().replace("encrypt = true", "encrypt = true\nidmap = true"))
    key, facts = load_key(site), delivery(site_id="north")
    with closing(duck.connect(threads=1)) as con:
        stage(con, facts)
        for table, child in (("LabResulted", CHILD), ("InfusionRecorded", OTHER)):
            con.execute(
                f"UPDATE event.{table} SET patient_key = $1, record_key = sha256($1 || source_row)",
                [key.patient("north", *child)],
            )
        log = EventLog(site.log_root)
        log.write(con, facts, VERDICT, key_check=key.check_value("north"))
        log.commit(facts.batch_id)
    IdMap(site).add([CHILD, OTHER])
    cache = site.restricted / "cache" / "inbox.json"
    cache.parent.mkdir()
    sealed.write_bytes(cache, b"names of files")
    return site.root


def whole(site: Site, keys: frozenset[str]) -> None:
    """The patient is nowhere, and everybody else is there."""
    found = search([site.root], lambda data: any(key.encode() in data for key in keys)).found
    assert found == ()
    assert IdMap(site).named() == {OTHER}
    assert not (site.restricted / "cache").exists()
    assert [path.name for path in site.restricted.glob("log*")] == ["log-2"]
    [batch] = EventLog(site.log_root).verify()
    assert (batch.types["LabResulted"].rows, batch.types["InfusionRecorded"].rows) == (0, 1)
    assert len(Forgotten(site.log_root).marks()) == 1


def test_cut_off_at_any_call_forgetting_has_not_begun_or_is_finished_by_the_next_run(
    original: Path, tmp_path: Path
) -> None:
    shutil.copytree(original, tmp_path / "undisturbed")
    site = load_site(tmp_path / "undisturbed")
    with dying(10**6) as done:
        keys = forget(site)
    assert len(keys) == 5  # of the patient and of four records, one of them rejected
    whole(site, keys)
    adopted = done.index("rename", done.index("mkdir"))
    before = after = 0
    for number in (0, *range(7, len(done), 9), adopted, adopted + 1, len(done) - 1):
        folder = tmp_path / str(number)
        shutil.copytree(original, folder)
        site = load_site(folder)
        with dying(number), suppress(Killed):
            forget(site)
        is_new = site.log_root.name == "log-2"
        next_run(site)
        assert not list(site.restricted.glob("*.building"))
        if is_new:
            after += 1
            whole(site, keys)
        else:
            before += 1
            assert IdMap(site).named() == {CHILD, OTHER}
            [batch] = EventLog(site.log_root).verify()
            assert batch.types["LabResulted"].rows == 3
        forget(site)
        whole(site, keys)
    assert before > 3
    assert after > 3


def test_a_second_try_still_knows_all_keys_while_the_older_log_is_there(
    original: Path, tmp_path: Path
) -> None:
    shutil.copytree(original, tmp_path / "north")
    site = load_site(tmp_path / "north")
    keys, _ = _take_out(site, CHILD[1], CHILD[0])
    again, told = _take_out(site, CHILD[1], CHILD[0])
    assert (again, told["n_events"]) == (keys, 0)
    next_run(site)
    last, _ = _take_out(site, CHILD[1], CHILD[0])
    assert last == {str(load_key(site).patient("north", *CHILD))}


def test_nobody_is_said_to_be_absent_of_a_folder_that_was_not_made_from_the_log(
    original: Path, tmp_path: Path
) -> None:
    shutil.copytree(original, tmp_path / "north")
    site = load_site(tmp_path / "north")
    (site.restricted / "log-9").mkdir()
    with pytest.raises(LogError, match="log-9 counts, by its number, and lacks 1 "):
        _take_out(site, CHILD[1], CHILD[0])
    (site.restricted / "log-9").rename(tmp_path / "log-9")  # as the remedy says
    forget(site)


def test_a_second_try_takes_a_patient_out_of_an_older_map_that_was_restored(
    original: Path, tmp_path: Path
) -> None:
    shutil.copytree(original, tmp_path / "north")
    site = load_site(tmp_path / "north")
    older = IdMap(site).path.read_bytes()
    forget(site)
    IdMap(site).path.write_bytes(older)
    next_run(site)
    assert IdMap(site).named() == {CHILD, OTHER}
    forget(site)
    assert IdMap(site).named() == {OTHER}
