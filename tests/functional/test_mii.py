"""German test data through the whole road: one JSON a file, Bundles, ATC, MedDRA, ICD-10-GM."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.base.keys import new_key
from pipelines.base.site import load_site
from tests.functional.refresh_site import run

pytestmark = pytest.mark.slow  # flat files of the same road are read in `make test`
FIXTURES = Path(__file__).parents[1] / "fixtures" / "mii"

SITE = f"""
[site]
id = "charite"
zone = "Europe/Berlin"
studies = ["{FIXTURES}/study"]
row_level = "internal"

[[source]]
name = "fhir"
kind = "fhir"
mapping = "{FIXTURES}/fhir.toml"
path = "inbox"
"""
IV = "20045000"


@pytest.fixture(scope="module")
def told(shared_dir: Path) -> list[dict[str, Any]]:
    """Every resource of every file, those of Bundles included, as often as it is told."""
    files = sorted((shared_dir / "data" / "mii-testdata").glob("*.json"))
    found = []
    for one in (json.loads(path.read_text()) for path in files):
        entries = one["entry"] if one["resourceType"] == "Bundle" else [{"resource": one}]
        found += [entry["resource"] for entry in entries]
    return found


@pytest.fixture(scope="module")
def site(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mii")
    delivery = folder / "inbox" / "2025-01-01"
    shutil.copytree(shared_dir / "data" / "mii-testdata", delivery)
    (folder / "site.toml").write_text(SITE)
    (folder / "restricted").mkdir(mode=0o700)
    key = folder / "restricted" / "site.key"
    key.touch(mode=0o600)
    key.write_text(new_key())
    run(load_site(folder))
    return folder


@pytest.fixture(scope="module")
def manifest(site: Path) -> dict[str, Any]:
    [path] = (site / "restricted" / "log" / "committed").glob("*/manifest.json")
    found: dict[str, Any] = json.loads(path.read_text())["manifest"]
    return found


def is_a(resource: dict[str, Any], kind: str) -> bool:
    return bool(resource["resourceType"] == kind)


def drugs_of_the_study(told: list[dict[str, Any]]) -> dict[str, str]:
    """Return the code of each Medication that the study names, by reference."""
    lines = (FIXTURES / "study/codelists/codes.csv").read_text().splitlines()
    studied = {line.split(",")[3] for line in lines if ",InfusionRecorded," in line}
    return {
        "Medication/" + one["id"]: coding["code"]
        for one in told
        if is_a(one, "Medication")
        for coding in one["code"].get("coding", [])
        if coding["code"] in studied
    }


def test_every_resource_is_accounted_for(
    told: list[dict[str, Any]], manifest: dict[str, Any], site: Path
) -> None:
    assert sum(file["n_rows"] for file in manifest["files"]) == len(told)
    assert sum(manifest["fates"].values()) == len(told)
    con = duckdb.connect(str(site / "warehouse.duckdb"), read_only=True)
    quarantined = con.execute(
        "SELECT event_type, check_ids, count(*) FROM quality.quarantine GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    uncoded = {one["id"] for one in told if is_a(one, "Condition") and "coding" not in one["code"]}
    studied = drugs_of_the_study(told)
    undated = {
        one["id"]
        for one in told
        if is_a(one, "MedicationRequest")
        and one.get("medicationReference", {}).get("reference") in studied
        and "authoredOn" not in one
    }
    assert quarantined == [
        ("DiagnosisRecorded", ["code_present"], len(uncoded)),
        ("InfusionRecorded", ["time_present"], len(undated)),
    ]


def test_infusions_are_the_completed_intravenous_ones_of_the_study(
    told: list[dict[str, Any]], site: Path
) -> None:
    studied = drugs_of_the_study(told)

    def utc(text: str | None) -> datetime | None:
        return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None) if text else None

    expected = set()
    for one in told:
        if not is_a(one, "MedicationAdministration") or one["status"] != "completed":
            continue
        code = studied.get(one["medicationReference"]["reference"])
        routes = {c["code"] for c in one["dosage"].get("route", {}).get("coding", [])}
        if code and IV in routes:
            period = one.get("effectivePeriod", {})
            start = utc(one.get("effectiveDateTime") or period["start"])
            expected.add((code, start, utc(period.get("end")) or start))
    con = duckdb.connect(str(site / "warehouse.duckdb"), read_only=True)
    concepts = {
        line.split(",")[0].replace("_", " "): line.split(",")[3]
        for line in (FIXTURES / "study/codelists/codes.csv").read_text().splitlines()
    }
    concepts["amoxicillin and clavulanic acid"] = concepts["amoxicillin clavulanic acid"]
    found = Counter(
        (concepts[drug], start, end)
        for drug, start, end in con.execute(
            "SELECT drug, started_at, ended_at FROM linkage.infusion"
        ).fetchall()
    )
    assert found == Counter(expected)
    assert len(expected) == 7
    [(n_units, n_events)] = con.execute(
        """SELECT n_units, n_events FROM signals.risk
           WHERE outcome = 'fatigue' AND stratum = 'all' AND denominator = 'all'"""
    ).fetchall()
    assert (n_units, n_events) == (len(expected), 0)


def test_meddra_icd_and_spelled_out_units_arrive_as_they_are_understood(site: Path) -> None:
    store = site / "restricted" / "store" / "site.duckdb"
    con = duckdb.connect(str(store), read_only=True)
    events = con.execute(
        """SELECT code_system, code, time_precision, count(*)
           FROM event."AdverseEventReported" GROUP BY ALL"""
    ).fetchall()
    assert events == [("meddra", "10016256", "day", 1)]
    diagnoses = con.execute('SELECT code_system, code FROM event."DiagnosisRecorded"').fetchall()
    assert diagnoses == [("icd10gm", "H67.1")]
    creatinine = con.execute(
        """SELECT value, unit FROM event."LabResulted" WHERE code = '2160-0' ORDER BY value"""
    ).fetchall()
    assert creatinine == [(0.9, "mg/dL"), (1.1, "mg/dL")]
