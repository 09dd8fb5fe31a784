"""Whole runs over a synthetic hospital: order, repetition, crashes, held batches, and what is said.

The hospital's own truth is compared elsewhere; here runs are compared with runs.
"""

from __future__ import annotations

import csv
import json
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.base.errors import ConfigError, DeliveryError, ExitCode, KeyFileError
from pipelines.base.site import Site, load_site
from tests.functional.refresh_site import (
    NIGHTS,
    deliver,
    dripwatch,
    hospital,
    make_site,
    run,
    state,
)

__all__ = ["hospital"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Site:
    """A site that got all nights at once, in one run; read only."""
    root = tmp_path_factory.mktemp("whole")
    site = make_site(root, hospital)
    deliver(site, hospital, *range(1, NIGHTS + 1))
    result = run(site, with_gx=True)
    assert result.exit_code == ExitCode.OK
    assert result.n_new_batches == NIGHTS
    return site


def files_of(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file but those that note each run, and the cache, with its time and content."""
    notes = {"store", "runs", "journal", "cache"}
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in root.rglob("*")
        if path.is_file() and path.parent.name not in notes and path.name != "summary.md"
    }


@pytest.mark.slow
def test_nights_in_any_order_and_with_all_threads_end_in_the_state_of_all_at_once(
    tmp_path: Path, hospital: Path, whole: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duck, "ROW_GROUP", -1)  # a small site works with one thread
    site = make_site(tmp_path, hospital)
    for night in (2, 1):
        deliver(site, hospital, night)
        assert run(site).n_new_batches == 1
    assert state(site) == state(whole)


def test_the_same_night_twice_changes_nothing_and_says_so(whole: Site) -> None:
    before = files_of(whole.root)
    result = run(whole)
    assert "Nothing new" in result.sentence
    assert not result.is_changed
    assert {stage.note for stage in result.stages if stage.stage in ("link", "publish")} == {
        "nothing new: not run"
    }
    after = files_of(whole.root)
    assert {name for name in after if after[name] != before.get(name)} <= {
        "restricted/refresh.lock"
    }
    assert set(before) == set(after)


def test_every_row_of_every_file_is_accounted_for(whole: Site, hospital: Path) -> None:
    n_rows = 0
    for path in (hospital / "deliveries").glob("*/*.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            n_rows += sum(1 for _ in csv.reader(stream)) - 1
    with duck.connect(whole.warehouse, read_only=True) as con:
        told = con.execute(
            "select sum(n_read), sum(n_accepted + n_duplicate + n_superseded + n_quarantined "
            "+ n_out_of_scope) from quality.reconciliation"
        ).fetchone()
    assert told == (n_rows, n_rows)


def test_restricted_files_are_for_their_owner_alone(whole: Site) -> None:
    open_to_others = [
        path
        for path in whole.restricted.rglob("*")
        if path.is_dir()
        and path.parent == whole.restricted
        and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert open_to_others == []
    assert stat.S_IMODE(whole.restricted.stat().st_mode) == 0o700
    assert stat.S_IMODE(whole.store_path.stat().st_mode) == 0o600


def test_a_run_leaves_no_staging_and_no_shards(whole: Site) -> None:
    left = [
        path
        for folder in (whole.staging, whole.shards, whole.spill, whole.log_root / "tmp")
        if folder.exists()
        for path in folder.rglob("*")
    ]
    assert left == []


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path: Path, hospital: Path) -> None:
    site = make_site(tmp_path, hospital)
    deliver(site, hospital, 1, 2)
    before = {path: path.stat().st_mtime_ns for path in site.root.rglob("*")}
    done = dripwatch("refresh", "--config", site.config_path, "--dry-run", "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    answer = json.loads(done.stdout)["result"]
    assert [one["source"] for one in answer["new"]] == ["ehr", "ehr"]
    assert len({one["batch_id"] for one in answer["new"]}) == 2
    assert "Everything would be linked" in answer["would_link"]
    assert {path: path.stat().st_mtime_ns for path in site.root.rglob("*")} == before


def test_a_batch_with_too_many_bad_rows_is_held_and_the_rest_goes_on(
    tmp_path: Path, hospital: Path
) -> None:
    site = make_site(tmp_path, hospital, thresholds={"min_rows": 0, "reject_share": 0.3})
    deliver(site, hospital, *range(1, NIGHTS + 1))
    spoilt = site.root / "inbox" / "night-002" / "vitals.csv"
    spoilt.write_text(spoil(spoilt.read_text(encoding="utf-8")), encoding="utf-8")
    result = run(site)
    assert result.exit_code == ExitCode.HELD
    assert len(result.held) == 1
    assert result.n_new_batches == NIGHTS - 1
    assert any("VitalSignMeasured" in remark for remark in result.remarks)
    again = run(site)
    assert again.exit_code == ExitCode.HELD
    assert again.n_new_batches == 0
    _release(site, result.held[0])
    released = run(site)
    assert released.exit_code == ExitCode.OK
    assert released.is_changed


def _release(site: Site, batch_id: str) -> None:
    listed = dripwatch("quarantine", "list", "--config", site.config_path, "--json")
    held = json.loads(listed.stdout)["result"]["held"]
    assert [one["batch_id"] for one in held] == [batch_id]
    assert held[0]["reasons"]
    done = dripwatch("quarantine", "release", batch_id[:10], "--config", site.config_path)
    assert done.returncode == ExitCode.OK, done.stderr


def spoil(text: str) -> str:
    """Return the CSV with a value that no body can have in every second row."""
    header, *rows = text.splitlines()
    place = header.split(",").index("value")
    spoilt = []
    for number, row in enumerate(rows):
        cells = row.split(",")
        if number % 2 and len(cells) > place:
            cells[place] = "99999"
        spoilt.append(",".join(cells))
    return "\n".join([header, *spoilt]) + "\n"


@pytest.mark.slow
def test_a_held_batch_waits_until_its_own_files_are_read_or_somebody_drops_it(
    tmp_path: Path, hospital: Path
) -> None:
    """Other files of the same export may be the same delivery, mended, or another one."""
    site = make_site(tmp_path, hospital, thresholds={"min_rows": 0, "reject_share": 0.3})
    deliver(site, hospital, 1)
    file = site.root / "inbox" / "night-001" / "vitals.csv"
    good = file.read_text(encoding="utf-8")
    file.write_text(spoil(good), encoding="utf-8")
    assert run(site).exit_code == ExitCode.HELD
    file.write_text(good, encoding="utf-8")
    result = run(site)
    assert result.n_new_batches == 1
    assert result.exit_code == ExitCode.HELD
    assert any("other files of the same export" in remark for remark in result.remarks)
    shutil.rmtree(site.log_root / "held" / result.held[0])
    assert run(site).exit_code == ExitCode.OK


@pytest.mark.slow
def test_a_mended_mapping_settles_the_batch_that_was_held(tmp_path: Path, hospital: Path) -> None:
    site = make_site(tmp_path, hospital, thresholds={"min_rows": 0, "reject_share": 0.3})
    deliver(site, hospital, 1)
    mapping = site.root / "mapping.toml"
    good = mapping.read_text(encoding="utf-8")
    bad = good.replace('namespace = "mrn"', 'namespace = "mrn"\nrevision = 2')
    file = site.root / "inbox" / "night-001" / "vitals.csv"
    file.write_text(spoil(file.read_text(encoding="utf-8")), encoding="utf-8")
    mapping.write_text(bad, encoding="utf-8")
    assert run(site).exit_code == ExitCode.HELD
    mapping.write_text(good, encoding="utf-8")
    settings = site.config_path.read_text(encoding="utf-8")
    site.config_path.write_text(settings.replace("reject_share = 0.3", "reject_share = 1.0"))
    result = run(load_site(site.config_path))
    assert result.exit_code == ExitCode.OK
    assert any("no longer waited for" in remark for remark in result.remarks)


def test_wrong_settings_are_found_before_anything_is_written(
    tmp_path: Path, hospital: Path
) -> None:
    site = make_site(tmp_path, hospital)
    deliver(site, hospital, 1)
    mapping = site.root / "mapping.toml"
    mapping.write_text(mapping.read_text().replace('column = "sex"', 'colunm = "sex"'))
    with pytest.raises(ConfigError):
        run(site)
    site.at(site.key.file).chmod(0o640)
    with pytest.raises((KeyFileError, ConfigError)):
        run(site)
    assert sorted(path.name for path in site.restricted.iterdir()) == ["site.key"]


def test_another_key_is_refused(tmp_path: Path, whole: Site) -> None:
    shutil.copytree(whole.root, tmp_path, dirs_exist_ok=True)
    site = load_site(tmp_path / "site.toml")
    site.at(site.key.file).write_text("a1b2c3d4e5f60718" * 4)
    with pytest.raises(KeyFileError, match="not the one"):
        run(site)


def test_a_delivery_that_cannot_be_read_stops_the_night_before_any_commit(
    tmp_path: Path, hospital: Path
) -> None:
    site = make_site(tmp_path, hospital)
    deliver(site, hospital, 1, 2)
    (site.root / "inbox" / "night-002" / "labs.csv").write_bytes(b"\x1f\x8b\x08not gzip at all")
    with pytest.raises(DeliveryError):
        run(site)
    assert not list((site.log_root / "committed").glob("*"))
    with duck.connect(site.store_path, read_only=True) as con:
        runs = con.execute("select status, exit_code from ops.run").fetchall()
    assert runs == [("failed", int(ExitCode.DELIVERY))]


@pytest.fixture(scope="module")
def alone(
    tmp_path_factory: pytest.TempPathFactory, hospital: Path
) -> tuple[Site, subprocess.CompletedProcess[str], bool]:
    """A site that a command refreshed, its answer, and whether there was no network at all."""
    site = make_site(tmp_path_factory.mktemp("alone"), hospital)
    deliver(site, hospital, 1)
    probe = subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False)
    is_alone = probe.returncode == 0
    code = "from flows.cli import main; main()\n"
    if is_alone:
        code = (
            "import socket\n"
            "try:\n    socket.create_connection(('192.0.2.1', 80), 1)\n"
            "except OSError as error:\n    assert error.errno == 101, error\n"
        ) + code
    command = [*(["unshare", "-rn"] if is_alone else []), sys.executable, "-P", "-c", code]
    done = subprocess.run(
        [*command, "refresh", "--config", str(site.config_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.OK, done.stderr
    return site, done, is_alone


def test_what_a_run_says_holds_no_identifier_and_no_time_of_a_patient(
    alone: tuple[Site, subprocess.CompletedProcess[str], bool], hospital: Path
) -> None:
    site, done, _ = alone
    said = done.stdout + done.stderr
    said += "".join(
        path.read_text(encoding="utf-8", errors="replace")
        for path in site.report.rglob("*")
        if path.is_file()
    )
    with (hospital / "deliveries" / "night-001" / "patients.csv").open(encoding="utf-8") as stream:
        patients = list(csv.DictReader(stream))
    assert patients
    for row in patients:
        assert row["patient_id"] not in said
        assert row["birth_date"] not in said
    names = [path.name for path in site.root.rglob("*")]
    assert not [name for name in names for row in patients if row["patient_id"] in name]


def test_a_refresh_needs_no_network(
    alone: tuple[Site, subprocess.CompletedProcess[str], bool],
) -> None:
    _, done, is_alone = alone
    if not is_alone:
        pytest.skip("THE PROOF OF NO NETWORK DID NOT RUN: this machine refuses `unshare -rn`")
    assert "1 new batch committed" in done.stdout
