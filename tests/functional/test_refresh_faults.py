"""What would make numbers wrong without a word: split patients, lost records, renamed sources."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from flows.reply import as_ours, may_name
from pipelines.base import duck
from pipelines.base.errors import ConfigError, ExitCode, LogError
from pipelines.base.site import Site, load_site
from tests.functional.refresh_site import deliver, dripwatch, hospital, make_site, run

__all__ = ["hospital"]


@pytest.fixture(scope="module")
def first_night(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Site:
    """A site after its first night; read only."""
    site = make_site(tmp_path_factory.mktemp("first"), hospital)
    deliver(site, hospital, 1)
    users = os.umask(0o022)
    try:
        run(site)
    finally:
        os.umask(users)
    return site


@pytest.fixture
def site(first_night: Site, tmp_path: Path) -> Site:
    shutil.copytree(first_night.root, tmp_path / "site")
    return load_site(tmp_path / "site")


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def empty_inbox(site: Site) -> None:
    shutil.rmtree(site.root / "inbox")
    (site.root / "inbox").mkdir()


@pytest.mark.slow
def test_another_namespace_is_refused_while_older_batches_use_the_one_before(
    site: Site, hospital: Path
) -> None:
    empty_inbox(site)
    deliver(site, hospital, 2)
    rewrite(site.root / "mapping.toml", 'namespace = "mrn"', 'namespace = "ehr-number"')
    with pytest.raises(ConfigError, match="namespace"):
        run(site)
    deliver(site, hospital, 1)  # now it can be read again as well
    assert run(site).n_new_batches == 2


def test_a_changed_mapping_whose_old_deliveries_are_gone_is_remarked_on(site: Site) -> None:
    empty_inbox(site)
    rewrite(site.root / "mapping.toml", 'namespace = "mrn"', 'namespace = "mrn"\nrevision = 7')
    assert any("PATIENTS ARE SPLIT" in remark for remark in run(site).remarks)


def test_a_renamed_source_is_refused_where_its_files_are_read_again(site: Site) -> None:
    rewrite(site.config_path, 'name = "ehr"', 'name = "records"')
    with pytest.raises(ConfigError, match="no longer in site"):
        run(load_site(site.config_path))
    empty_inbox(site)
    remarks = run(load_site(site.config_path)).remarks
    assert any("Source ehr is no longer in site.toml" in remark for remark in remarks)


def test_a_committed_batch_that_was_deleted_stops_the_run(site: Site) -> None:
    [batch] = (site.log_root / "committed").iterdir()
    shutil.rmtree(batch)
    before = site.warehouse.read_bytes()
    with pytest.raises(LogError, match="gone from the event log"):
        run(site)
    assert site.warehouse.read_bytes() == before


def test_another_id_of_the_site_is_refused_by_its_name(site: Site) -> None:
    rewrite(site.config_path, 'id = "north"', 'id = "south"')
    with pytest.raises(ConfigError, match="written for `north`"):
        run(load_site(site.config_path))


def test_an_empty_snapshot_is_held_and_withdraws_nothing(tmp_path: Path, hospital: Path) -> None:
    site = make_site(tmp_path, hospital, thresholds={"min_rows": 1})
    rewrite(site.root / "mapping.toml", 'kind = "delta"', 'kind = "snapshot"')
    deliver(site, hospital, 1, 2)
    labs = site.root / "inbox" / "night-002" / "labs.csv"
    labs.write_text(labs.read_text(encoding="utf-8").splitlines(keepends=True)[0], encoding="utf-8")
    result = run(site)
    assert result.exit_code == ExitCode.HELD
    assert any("snapshot_shrunk: LabResulted has 0" in remark for remark in result.remarks)
    with duck.connect(site.store_path, read_only=True) as con:
        row = con.execute('SELECT count(*) FROM current."LabResulted"').fetchone()
    assert row is not None
    assert row[0] > 0


def test_the_published_file_tells_how_its_own_run_ended(first_night: Site) -> None:
    with duck.connect(first_night.warehouse, read_only=True) as con:
        rows = con.execute(
            "SELECT status, exit_code, n_batches_applied, finished_at >= started_at, state_hash = "
            "(SELECT value FROM ops.state WHERE name = 'state_hash') FROM ops.run"
        ).fetchall()
    assert rows == [("done", 0, 1, True, True)]


def test_only_the_warehouse_and_the_report_are_readable_by_others(first_night: Site) -> None:
    loose = [
        path.relative_to(first_night.restricted)
        for path in first_night.restricted.rglob("*")
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    assert loose == []
    assert stat.S_IMODE(first_night.warehouse.stat().st_mode) == 0o640
    for path in first_night.report.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o755 if path.is_dir() else 0o644)


def test_an_error_names_no_file_that_others_have_named(first_night: Site) -> None:
    may_name(first_night)
    theirs = first_night.root / "inbox" / "Jane Doe" / "labs.csv"
    assert "Jane" not in str(as_ours(OSError(13, "denied", str(theirs))).where)
    assert "Jane" not in str(as_ours(OSError(13, "denied", "/mnt/Jane Doe")).where)
    ours = first_night.store_path
    assert str(ours) in str(as_ours(OSError(13, "denied", str(ours))).where)


def test_quarantined_rows_are_listed_on_request_and_published_only_at_row_level(
    tmp_path: Path, hospital: Path
) -> None:
    site = make_site(tmp_path, hospital, site={"row_level": "none"})
    deliver(site, hospital, 1)
    result = run(site)
    assert any("quarantine list --rows" in remark for remark in result.remarks)
    with duck.connect(site.warehouse, read_only=True) as con:
        assert con.execute("SELECT count(*) FROM quality.quarantine").fetchone() == (0,)
    listed = dripwatch("quarantine", "list", "--rows", "--config", site.config_path)
    assert listed.returncode == ExitCode.OK, listed.stderr
    with duck.connect(site.store_path, read_only=True) as con:
        rows = con.execute(
            "SELECT left(source_file_sha, 12), source_row FROM quality.quarantine"
        ).fetchall()
    assert rows
    told = [line.split() for line in listed.stdout.splitlines()]
    for sha, row in rows:
        assert any(sha in words and str(row) in words for words in told)
