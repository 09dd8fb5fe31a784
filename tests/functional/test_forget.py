"""A patient who is forgotten: the site is then one to which the patient was never delivered."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipelines.base import duck
from pipelines.base.keys import load_key
from pipelines.base.search import search
from pipelines.base.site import Site
from pipelines.ingest.log import EventLog
from tests.functional.refresh_site import deliver, hospital, run, state
from tests.functional.small_kit import small_site

__all__ = ["hospital"]

PATIENT = "1000006"


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Path:
    """The same deliveries, but for the lines of one patient."""
    folder = tmp_path_factory.mktemp("without") / "made"
    shutil.copytree(hospital, folder)
    for path in folder.glob("deliveries/*/*.csv"):
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(one for one in lines if PATIENT not in one), encoding="utf-8")
    return folder


def forget(site: Site, patient: str = PATIENT) -> dict[str, Any]:
    """What the command answers to an identifier on standard input."""
    arguments = ["forget", "-c", str(site.config_path), "--json"]
    done = CliRunner().invoke(app, arguments, input=f"{patient}\n")
    assert patient not in done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
def test_a_forgotten_patient_leaves_no_trace_and_does_not_come_back(
    hospital: Path, without: Path, tmp_path: Path
) -> None:
    site = small_site(tmp_path / "site", hospital)
    deliver(site, hospital, 1)
    run(site)
    key = str(load_key(site).patient("north", "mrn", PATIENT))
    places = [site.restricted, site.warehouse, site.report]
    assert search(places, lambda data: key.encode() in data).found
    told = forget(site)
    assert (told["exit_code"], told["result"]["n_patients"]) == (0, 1), told["error"]
    assert told["result"]["n_events"] > 10
    # What has changed by it would be the patient.
    with duck.connect(site.warehouse, read_only=True) as con:
        newest = "SELECT max(run_id) FROM ops.run"
        assert con.execute(f"SELECT 1 FROM ops.change WHERE run_id = ({newest})").fetchall() == []
    deliver(site, hospital, 2)
    run(site)
    assert not search(places, lambda data: key.encode() in data).found
    never = small_site(tmp_path / "never", hospital)
    deliver(never, without, 1, 2)
    run(never)
    assert state(site) == state(never)
    n_rows = [sum(one.n_rows for one in EventLog(s.log_root).committed()) for s in (site, never)]
    # Those that come later are counted as out of scope, and so stay in the sum.
    assert n_rows[0] - n_rows[1] >= _lines(hospital / "deliveries" / "night-002") > 10
    planted = site.root / "notes.txt.gz"
    planted.write_bytes(gzip.compress(b"see " + key.encode()))
    again = forget(site)
    assert (again["exit_name"], again["error"]["where"]) == ("PROBLEMS", str(planted))


def _lines(night: Path) -> int:
    texts = (path.read_text(encoding="utf-8") for path in night.glob("*.csv"))
    return sum(PATIENT in line for text in texts for line in text.splitlines())


def test_somebody_who_was_never_delivered_cannot_be_forgotten(
    hospital: Path, tmp_path: Path
) -> None:
    site = small_site(tmp_path, hospital)
    assert forget(site)["exit_name"] == "USAGE"
    assert not site.store_path.exists()
