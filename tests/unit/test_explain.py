"""`dripwatch explain` keeps out of a run's way, and prints no character that could act."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.console import printable
from flows.explain import edited_studies
from flows.explain_lines import signal_lines
from flows.init import make_site as init_site
from flows.lock import holder, lock_path, site_lock
from pipelines.base.errors import StorageError
from pipelines.base.site import load_site
from studies.load import load_study
from tests.linkage_cases import with_settings
from tests.unit.store_batches import make_batch, make_site, night
from warehouse.store import Store
from warehouse.trace import UnknownKeyError, reading, trace_signal
from warehouse.trace_unit import trace_unit


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", "--config", str(folder / "site.toml"), *arguments])


def test_beside_a_refresh_it_says_so_and_leaves_the_store_alone(tmp_path: Path) -> None:
    init_site(tmp_path, "flat")
    site = load_site(tmp_path / "site.toml")
    with site_lock(site):
        told = run(tmp_path, "--unit", "0123456789", "--json")
    answer = json.loads(told.stdout)
    assert (answer["exit_name"], answer["error"]["type"]) == ("LOCKED", "LockedError")
    assert "A refresh of this site is under way: process" in answer["message"]
    assert "no site store yet" in run(tmp_path, "--unit", "0123456789").stderr


def test_looking_who_holds_the_lock_keeps_no_run_from_starting(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with site_lock(site):
        pass
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            holder(lock_path(site))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for _ in range(300):
            with site_lock(site):
                pass
    finally:
        ended.set()
        looking.join()


def test_too_short_a_key_is_called_that(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with Store(site) as store:
        store.apply([make_batch("b1", {})])
        store.load_linkage({}, "r1")
    with reading(site) as con:
        with pytest.raises(UnknownKeyError, match="8 characters or more") as short:
            trace_unit(con, "0b17b88")
        with pytest.raises(UnknownKeyError, match="No unit of this site begins"):
            trace_unit(con, "0b17b881")
    assert "--signal KEY" in short.value.remedy


def test_a_store_that_is_linked_from_other_records_explains_nothing(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with Store(site) as store:
        store.apply([make_batch("b1", {})])
    with reading(site) as con, pytest.raises(StorageError, match="Nothing is linked yet"):
        trace_unit(con, "0b17b881")
    with Store(site) as store:
        store.load_linkage({}, "r1")
        store.apply([make_batch("b2", {}, exported_at=night(1))])
    with reading(site) as con:
        for trace in (trace_unit, partial(trace_signal, limit=1)):
            with pytest.raises(StorageError, match="linked from 1 of 2 batches") as caught:
                trace(con, "0b17b881")
    assert "dripwatch refresh" in caught.value.remedy
    with Store(site) as store:
        store.load_linkage({}, "r2")
    with reading(site) as con, pytest.raises(UnknownKeyError):
        trace_unit(con, "0b17b881")


def test_a_study_that_was_edited_since_is_named(tmp_path: Path) -> None:
    init_site(tmp_path, "flat")
    site = load_site(tmp_path / "site.toml")
    study = load_study("iv_bisphosphonate")
    other = with_settings(study, naive={"lookback_days": 30})
    for linked, edited in ((study, []), (other, [study.id])):
        with Store(site) as store:
            store.load_reference(linked.reference_tables())
        with reading(site) as con:
            assert edited_studies(site, con) == edited


def test_a_mistyped_number_is_a_mistake_of_the_command_line(tmp_path: Path) -> None:
    for option in ("--limit", "--offset"):
        assert run(tmp_path, "--signal", "x", option, "9" * 20).exit_code == 2


def test_an_offset_past_the_end_lists_no_unit() -> None:
    about = ("signal_key", "study_id", "outcome", "window_name", "stratum", "stratum_value")
    words = ("version", "title", "study_hash", "label", "kind", "overlap", "resolution")
    anchors = {"start_anchor": "start", "end_anchor": "end"}
    offsets = {"start_offset_hours": 0, "end_offset_hours": 72}
    numbers = {"n_events": 1, "n_units": 40, "n_patients": 9, "risk": None}
    found: dict[str, object] = {
        **dict.fromkeys(about, "x"),
        "denominator": "all",
        "definition": {**dict.fromkeys(words, "x"), **anchors, **offsets},
        "numbers": numbers,
        "is_recounted": True,
        "published": None,
        "statuses": [],
        "units": [],
        "n_units": 40,
    }
    told = "\n".join(signal_lines(found, 20, 1000))
    assert "No unit after the first 1,000: there are 40." in told
    assert "--offset" not in told


def test_names_of_files_cannot_colour_or_forge_lines() -> None:
    assert printable("labs_\x1b[31mX\nY\u202e.csv") == r"labs_\x1b[31mX\nY\u202e.csv"
    assert printable("Übersicht\N{NO-BREAK SPACE}1 µg") == "Übersicht\N{NO-BREAK SPACE}1 µg"
