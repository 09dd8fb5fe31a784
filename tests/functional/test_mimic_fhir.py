"""A real bulk export through the whole road: the MIMIC-IV demo on FHIR, its laboratory as CSV.

The expected numbers come from the raw NDJSON, read by the standard library, and one SQL query.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.base.keys import new_key
from pipelines.base.site import load_site
from tests.functional.mimic_truth import (
    EXPECTED,
    FOUND,
    QUESTIONS,
    doses,
    resources_of,
    results,
    rows_of,
    utc,
)
from tests.functional.refresh_site import run

pytestmark = pytest.mark.slow  # test_mimic reads the same patients from flat files in `make test`
FIXTURES = Path(__file__).parents[1] / "fixtures"
NOT_GIVEN = ("Not Given", "Not Flushed", "Not Given per Sliding Scale")

SITE = f"""
[site]
id = "mimic"
zone = "America/New_York"
studies = [
    "{FIXTURES}/icu_adult/study", "{FIXTURES}/icu_fhir/ward", "{FIXTURES}/icu_fhir/pamidronate"
]
row_level = "internal"

[[source]]
name = "ehr"
kind = "fhir"
mapping = "{FIXTURES}/icu_fhir/fhir.toml"
path = "inbox/ehr"

[[source]]
name = "laboratory"
mapping = "{FIXTURES}/icu_adult/labs.toml"
path = "inbox/laboratory"
"""


@pytest.fixture(scope="module")
def raw(shared_dir: Path) -> Path:
    return shared_dir / "data" / "mimic-iv-demo"


@pytest.fixture(scope="module")
def site(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site with a FHIR source and a flat one, refreshed once."""
    folder = tmp_path_factory.mktemp("mimic-fhir")
    shutil.copytree(raw / "fhir", folder / "inbox" / "ehr" / "2026-01-01")
    inbox = folder / "inbox" / "laboratory" / "2026-01-01"
    inbox.mkdir(parents=True)
    shutil.copy(raw / "labs.csv.gz", inbox)
    (folder / "site.toml").write_text(SITE)
    (folder / "restricted").mkdir(mode=0o700)
    key = folder / "restricted" / "site.key"
    key.touch(mode=0o600)
    key.write_text(new_key())
    run(load_site(folder))
    return folder


@pytest.fixture(scope="module")
def warehouse(site: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(f"ATTACH '{site / 'warehouse.duckdb'}' AS w (READ_ONLY)")
    con.execute("USE w")
    return con


@pytest.fixture(scope="module")
def store(site: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(str(site / "restricted" / "store" / "site.duckdb"), read_only=True)


@pytest.fixture(scope="module")
def exported(raw: Path) -> dict[str, list[dict[str, Any]]]:
    """Every resource of every file, by the file's name."""
    return {path.name: resources_of(path) for path in sorted((raw / "fhir").glob("*.gz"))}


def coded(concept: dict[str, Any] | None) -> str | None:
    return concept["coding"][0]["code"] if concept else None


@pytest.fixture(scope="module")
def independent(raw: Path, exported: dict[str, list[dict[str, Any]]]) -> duckdb.DuckDBPyConnection:
    name_of = {
        "Patient/" + patient["id"]: patient["name"][0]["family"].removeprefix("Patient_")
        for patient in exported["MimicPatient.ndjson.gz"]
    }
    route_of = {
        "MedicationRequest/" + one["id"]: coded(one.get("dosageInstruction", [{}])[0].get("route"))
        for one in exported["MimicMedicationRequest.ndjson.gz"]
    }
    told = []
    for ward in ("MimicMedicationAdministration", "MimicMedicationAdministrationICU"):
        for one in exported[f"{ward}.ndjson.gz"]:
            period = one.get("effectivePeriod", {})
            request = one.get("request", {}).get("reference")
            method = coded(one.get("dosage", {}).get("method"))
            if ward == "MimicMedicationAdministration" and "IV" not in (
                route_of.get(request) or ""
            ):
                method = "Non Iv Meds"
            told.append(
                (
                    name_of[one["subject"]["reference"]],
                    coded(one["medicationCodeableConcept"]),
                    method,
                    one.get("effectiveDateTime") or period["start"],
                    period.get("end"),
                    request,
                )
            )
    con = duckdb.connect()
    con.register("given", doses(told))
    con.register("result", results(raw / "labs.csv.gz"))
    return con


WARD = {
    **QUESTIONS["low_potassium"],
    "items": "'FURO20I', 'FURO40I', 'FURO100I'",
    "not_infused": ", ".join(f"'{method}'" for method in (*NOT_GIVEN, "Non Iv Meds")),
}


@pytest.mark.parametrize(
    ("study", "outcome", "question"),
    [
        *(("icu_adult", outcome, question) for outcome, question in QUESTIONS.items()),
        ("ward_adult", "low_potassium", WARD),
    ],
)
def test_counts_equal_an_independent_query_over_the_raw_resources(
    study: str,
    outcome: str,
    question: dict[str, str],
    independent: duckdb.DuckDBPyConnection,
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    [expected] = independent.execute(EXPECTED.format(**question)).fetchall()
    [found] = warehouse.execute(FOUND, [study, outcome]).fetchall()
    assert found == expected
    assert expected[0] > 100
    assert expected[1] > 10
    assert expected[2] > 0


def test_doses_whose_method_says_not_given_are_none(
    exported: dict[str, list[dict[str, Any]]],
    store: duckdb.DuckDBPyConnection,
) -> None:
    injected = {"FURO20I", "FURO40I", "FURO100I"}
    methods = Counter(
        coded(one.get("dosage", {}).get("method")) in NOT_GIVEN
        for one in exported["MimicMedicationAdministration.ndjson.gz"]
        if coded(one["medicationCodeableConcept"]) in injected
    )
    told = store.execute(
        """SELECT status = 'not-done', count(*) FROM event."InfusionRecorded"
           WHERE code_system = 'mimic-formulary' AND evidence = 'administered' GROUP BY ALL"""
    ).fetchall()
    assert dict(told) == dict(methods)
    assert methods[True] > 0


def test_the_one_pamidronate_order_is_followed_by_low_phosphate_and_no_low_calcium(
    raw: Path,
    exported: dict[str, list[dict[str, Any]]],
    warehouse: duckdb.DuckDBPyConnection,
) -> None:
    mixtures = {
        "Medication/" + one["id"]
        for one in exported["MimicMedicationMix.ndjson.gz"]
        if one["identifier"][0]["value"].startswith("Pamidronate-")
    }
    [order] = [
        one
        for one in exported["MimicMedicationRequest.ndjson.gz"]
        if one.get("medicationReference", {}).get("reference") in mixtures
    ]
    start = utc(order["dispenseRequest"]["validityPeriod"]["start"])
    assert start is not None
    [patient] = [
        one["name"][0]["family"].removeprefix("Patient_")
        for one in exported["MimicPatient.ndjson.gz"]
        if "Patient/" + one["id"] == order["subject"]["reference"]
    ]

    def drawn(item: str, hours: float) -> list[tuple[datetime, float]]:
        grace, until = timedelta(minutes=30), timedelta(hours=hours)
        found = [
            (utc(row["charttime_local"]), float(row["value"]))
            for row in rows_of(raw / "labs.csv.gz")
            if (row["subject_id"], row["itemid"]) == (patient, item) and row["value"]
        ]
        return sorted(
            (at, value) for at, value in found if at and start + grace < at < start + until
        )

    phosphate, calcium = drawn("50970", 72), drawn("50893", 168)
    first_low = next(at for at, value in phosphate if value < 2.0)
    [unit] = warehouse.execute(
        """SELECT evidence, list_contains(flags, 'dispensed_undated'), started_at, ended_at
           FROM linkage.infusion WHERE study_id = 'icu_pamidronate'"""
    ).fetchall()
    assert unit == ("ordered", True, start, start)
    rows = warehouse.execute(
        """SELECT outcome, status, onset_at, worst_value FROM linkage.unit_outcome
           WHERE study_id = 'icu_pamidronate' ORDER BY outcome"""
    ).fetchall()
    assert rows == [
        ("low_calcium", "no_event", None, min(value for _, value in calcium)),
        ("low_phosphate", "event", first_low, min(value for _, value in phosphate)),
    ]
    assert warehouse.execute(FOUND, ["icu_pamidronate", "low_phosphate"]).fetchone() == (
        (1, 1, 0, 1, 1, 1, 0, 0)
    )


def test_every_resource_of_all_files_is_accounted_for(
    site: Path, exported: dict[str, list[dict[str, Any]]]
) -> None:
    manifests = [
        json.loads(path.read_text())["manifest"]
        for path in (site / "restricted" / "log" / "committed").glob("*/manifest.json")
    ]
    [told] = [one for one in manifests if one["source"] == "ehr"]
    assert {file["name"]: file["n_rows"] for file in told["files"]} == {
        name: len(resources) for name, resources in exported.items()
    }
    assert sum(told["fates"].values()) == sum(map(len, exported.values()))
    uncoded = sum(
        one["resourceType"] in {"MedicationDispense", "MedicationStatement"}
        and not one["medicationCodeableConcept"].get("coding")
        for resources in exported.values()
        for one in resources
    )
    assert told["fates"]["quarantined"] == uncoded > 0
    reference = sum(
        one["resourceType"] in {"Medication", "Specimen", "Location", "Organization"}
        for resources in exported.values()
        for one in resources
    )
    assert told["fates"]["reference"] == reference


def test_administrations_agree_with_the_flat_table_of_the_same_hospital(
    raw: Path, store: duckdb.DuckDBPyConnection
) -> None:
    items = {"221794", "228340", "225798", "221456", "227525"}
    told = Counter(
        (row["itemid"], utc(row["effective_iso"]), utc(row["end_iso"]), float(row["dose"]))
        for row in rows_of(raw / "icu_administrations.csv.gz")
        if row["itemid"] in items and row["method"] != "Non Iv Meds"
    )
    found = Counter(
        store.execute(
            """SELECT code, occurred_at, ended_at, dose_value FROM event."InfusionRecorded"
               WHERE code_system = 'mimic-d-items'"""
        ).fetchall()
    )
    assert found == told
    assert len(told) > 100


def test_undotted_diagnoses_are_dated_by_their_encounter(
    exported: dict[str, list[dict[str, Any]]], store: duckdb.DuckDBPyConnection
) -> None:
    period = {
        "Encounter/" + one["id"]: one["period"]["start"]
        for name in ("MimicEncounter", "MimicEncounterED")
        for one in exported[f"{name}.ndjson.gz"]
    }
    hypokalaemia = [
        one
        for name in ("MimicCondition", "MimicConditionED")
        for one in exported[f"{name}.ndjson.gz"]
        if coded(one["code"]) in {"E876", "2768"}
    ]
    days = [period[one["encounter"]["reference"]][:10] for one in hypokalaemia]
    found = store.execute(
        """SELECT occurred_at, time_precision, list_contains(flags, 'dated_by_encounter')
           FROM event."DiagnosisRecorded" """
    ).fetchall()
    assert Counter(found) == Counter((utc(day), "day", True) for day in days)
    assert days


def test_no_identifier_of_the_export_reaches_what_is_published(
    site: Path, exported: dict[str, list[dict[str, Any]]]
) -> None:
    identifiers = {
        text.encode()
        for patient in exported["MimicPatient.ndjson.gz"]
        for text in (patient["id"], patient["name"][0]["family"])
    }
    for path in [site / "warehouse.duckdb", *(site / "report").rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert not [1 for identifier in identifiers if identifier in content]
