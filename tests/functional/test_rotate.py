"""A renewed key: the log, what comes later, and what a kill leaves."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from flows import rotate
from flows.cli import app
from pipelines.base import duck
from pipelines.base.keys import load_key
from pipelines.base.site import Site, load_site
from schemas import CLINICAL_TYPES
from tests.functional.refresh_site import deliver, hospital, run, state
from tests.functional.small_kit import one_night, small_site
from warehouse.digest import LEVELS, digest

__all__ = ["hospital", "one_night"]


@pytest.fixture
def site(one_night: Site, tmp_path: Path) -> Site:
    shutil.copytree(one_night.root, tmp_path / "site")
    return load_site(tmp_path / "site" / "site.toml")


def rotated(site: Site, *options: str) -> dict[str, object]:
    done = CliRunner().invoke(
        app, ["key", "rotate", "-c", str(site.config_path), "--json", *options]
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def patients(site: Site) -> set[str]:
    with duck.connect(site.store_path, read_only=True) as con:
        return {
            row[0]
            for row in con.execute('SELECT patient_key FROM event."PatientRegistered"').fetchall()
        }


def events(site: Site) -> dict[str, list[tuple[object, ...]]]:
    with duck.connect(site.store_path, read_only=True) as con:
        return {
            n: con.execute(f'FROM event."{n}" ORDER BY record_key').fetchall()
            for n in CLINICAL_TYPES
        }


@pytest.mark.slow
def test_a_rotated_site_is_one_that_had_the_whole_chain_from_the_first_night(
    site: Site, hospital: Path, tmp_path: Path
) -> None:
    old = patients(site)
    answer = rotated(site)
    assert answer["exit_code"] == 0, answer["error"]
    assert site.log_root.name == "log-2"
    assert not (site.restricted / "log").exists()
    key = load_key(site)
    assert patients(site) == {key.renew(one) for one in old} != old
    deliver(site, hospital, 2)
    run(site)
    fresh = small_site(tmp_path / "fresh", hospital)
    shutil.copy2(site.at(site.key.file), fresh.at(fresh.key.file))
    deliver(fresh, hospital, 1, 2)
    run(fresh)
    assert events(site) == events(fresh)
    assert state(site) == state(fresh)


@pytest.mark.slow
def test_log_key_and_settings_are_all_that_a_restored_site_needs(
    one_night: Site, tmp_path: Path
) -> None:
    kept = ("site.toml", "mapping.toml", "study", "restricted/site.key", "restricted/log")
    for name in kept:
        source, target = one_night.root / name, tmp_path / "restored" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    (tmp_path / "restored" / "inbox").mkdir()
    restored = load_site(tmp_path / "restored" / "site.toml")
    run(restored)
    for level in LEVELS:
        assert digest(restored.warehouse, level) == digest(one_night.warehouse, level)


@pytest.mark.slow
def test_killed_before_it_counts_a_renewal_leaves_the_log_and_is_taken_up_again(
    site: Site,
) -> None:
    before = patients(site)
    with patch.object(rotate, "adopt", side_effect=KeyboardInterrupt):
        rotated(site)
    assert load_key(site).n_renewals == 1
    assert site.log_root.name == "log"
    run(site)
    assert patients(site) == before
    assert not list(site.restricted.glob("*.building"))
    assert rotated(site)["exit_code"] == 0
    assert load_key(site).n_renewals == 1
    assert not patients(site) & before


@pytest.mark.slow
def test_killed_after_it_counts_a_renewal_is_finished_by_the_next_refresh(site: Site) -> None:
    before = patients(site)
    with patch.object(rotate, "refresh", side_effect=KeyboardInterrupt):
        rotated(site)
    assert {path.name for path in site.restricted.glob("log*")} == {"log", "log-2"}
    assert run(site).is_changed
    assert not patients(site) & before
    assert {path.name for path in site.restricted.glob("log*")} == {"log-2"}
    with duck.connect(site.warehouse, read_only=True) as con:
        found = {row[0] for row in con.execute("SELECT patient_key FROM linkage.course").fetchall()}
    assert found
    assert found <= patients(site)
