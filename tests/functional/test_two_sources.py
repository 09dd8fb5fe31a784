"""One site, two sources: infusions from a FHIR export, the laboratory from CSV, one patient."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest

from flows.doctor_sources import deliveries, feeds
from flows.init import site_toml, write_new
from pipelines.base.files import make_private
from pipelines.base.site import Site, load_site
from tests.functional.refresh_site import KEY, run

FHIR = """\
namespace = "mrn"
[delivery]
kind = "manifest"
exported_at = "manifest"
data_through = { default = "manifest" }
[patient]
identifier = "identifier[0].value"
strip_prefix = "MRN-"
"""

LABS = """\
namespace = "mrn"
[delivery]
kind = "delta"
exported_at = { sidecar = "delivery.toml" }
data_through = { default = { sidecar = "delivery.toml" } }
[[file]]
name = "labs"
pattern = "labs*.csv"
event = "LabResulted"
key = ["id"]
patient = { column = "patient" }
[file.fields]
occurred_at = { column = "taken" }
code = { column = "loinc" }
code_system = { constant = "loinc" }
value = { column = "value" }
unit = { constant = "mg/dL" }
status = { constant = "final" }
"""

EXPORTED = "2026-03-10T02:00:00Z"


def coding(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}


SUBJECT = {"subject": {"reference": "Patient/a1"}}
RESOURCES: dict[str, list[dict[str, Any]]] = {
    "Patient": [
        {"id": "a1", "identifier": [{"value": "MRN-7"}], "birthDate": "2016-05-01"},
        {"id": "a2", "identifier": [{"value": "MRN-8"}], "birthDate": "2015-05-01"},
    ],
    "Condition": [
        {
            "id": "c1",
            **SUBJECT,
            "code": coding("http://hl7.org/fhir/sid/icd-10-cm", "Q78.0"),
            "onsetDateTime": "2020-01-01T00:00:00Z",
        }
    ],
    "MedicationAdministration": [
        {
            "id": "m1",
            **SUBJECT,
            "status": "completed",
            "medicationCodeableConcept": coding(
                "http://www.nlm.nih.gov/research/umls/rxnorm", "77655"
            ),
            "effectivePeriod": {"start": "2026-03-02T10:00:00Z", "end": "2026-03-02T10:30:00Z"},
            "dosage": {
                "route": coding("http://snomed.info/sct", "47625008"),
                "dose": {"value": 1.0, "unit": "mg"},
            },
        },
        {
            "id": "m2",
            "subject": {"reference": "Patient/gone"},
            "status": "completed",
            "medicationCodeableConcept": coding("https://north.example/drugs", "Z1"),
            "effectiveDateTime": "2026-03-02T10:00:00Z",
        },
    ],
    "Observation": [],
}


def export(folder: Path) -> None:
    """Write the export: it was asked for Observations too, and there are none."""
    folder.mkdir(parents=True)
    output = []
    for name, resources in RESOURCES.items():
        told = [json.dumps({"resourceType": name, **one}) + "\n" for one in resources]
        (folder / f"{name}.ndjson").write_text("".join(told))
        url = f"https://north.example/out/{name}.ndjson"
        output.append({"type": name, "url": url, "count": len(told)})
    request = "https://north.example/$export?_type=" + ",".join(RESOURCES)
    manifest = {"transactionTime": EXPORTED, "request": request, "output": output, "error": []}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def laboratory(folder: Path, through: str, rows: str) -> None:
    folder.mkdir(parents=True)
    (folder / "labs.csv").write_text("id,patient,taken,loinc,value\n" + rows)
    (folder / "delivery.toml").write_text(
        f"exported_at = {EXPORTED}\n[data_through]\ndefault = {through}\n"
    )


def utc(day: int, hour: int) -> datetime:
    """An instant of March 2026 as columns hold it."""
    return datetime(2026, 3, day, hour, tzinfo=UTC).replace(tzinfo=None)


class Asked(NamedTuple):
    """The site after its laboratory lagged, and after that has caught up."""

    site: Site
    remarks: tuple[str, ...]
    lagging: dict[str, list[tuple[Any, ...]]]
    current: dict[str, list[tuple[Any, ...]]]


QUERIES = {
    "outcome": "SELECT is_closed, is_at_risk, is_tested, grade FROM linkage.unit_outcome "
    "WHERE outcome = 'hypocalcaemia' AND window_name = 'risk'",
    "completeness": "SELECT source, event_type, n_rows, data_through_at "
    "FROM quality.feed WHERE n_rows > 0 OR event_type = 'LabResulted' ORDER BY ALL",
    "patients": "SELECT count(DISTINCT patient_key) FROM linkage.course",
}


def ask(site: Site) -> dict[str, list[tuple[Any, ...]]]:
    con = duckdb.connect()
    con.execute(f"ATTACH '{site.warehouse}' AS w (READ_ONLY)")
    con.execute("USE w")
    try:
        return {name: con.execute(query).fetchall() for name, query in QUERIES.items()}
    finally:
        con.close()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Asked:
    root = tmp_path_factory.mktemp("two")
    make_private(root / "restricted")
    write_new(root / "restricted" / "site.key", KEY, 0o600)
    (root / "fhir.toml").write_text(FHIR)
    (root / "labs.toml").write_text(LABS)
    settings: dict[str, dict[str, object]] = {
        "site": {
            "id": "north",
            "zone": "UTC",
            "studies": ["iv_bisphosphonate"],
            "row_level": "internal",
        },
        "resources": {"buckets": 1, "memory_limit": "1GB"},
    }
    sources = [
        {"name": "ehr", "kind": "fhir", "mapping": "fhir.toml", "path": "inbox/ehr"},
        {"name": "lis", "mapping": "labs.toml", "path": "inbox/lis"},
    ]
    write_new(root / "site.toml", site_toml(settings, sources), 0o644)
    site = load_site(root / "site.toml")
    export(root / "inbox/ehr/one")
    early = "1,7,2026-03-01T08:00:00Z,17861-6,9.4\n"
    laboratory(root / "inbox/lis/one", "2026-03-02T18:00:00Z", early)
    first = run(site)
    lagging = ask(site)
    late = "2,7,2026-03-03T20:00:00Z,17861-6,7.2\n"
    laboratory(root / "inbox/lis/two", "2026-03-10T00:00:00Z", late)
    run(site)
    return Asked(site, first.remarks, lagging, ask(site))


def test_sources_that_share_a_namespace_share_their_patients(asked: Asked) -> None:
    """The infusion is of Patient/a1, the result of patient 7: the grade needs both."""
    assert asked.current["patients"] == [(1,)]
    assert asked.current["outcome"] == [(True, True, True, 2)]


def test_a_window_waits_for_the_slower_source_of_its_type(asked: Asked) -> None:
    """The export is complete for Observations to the 10th, and has none; the laboratory lags."""
    assert [row[0] for row in asked.lagging["outcome"]] == [False]
    assert [row[0] for row in asked.current["outcome"]] == [True]


def test_completeness_is_told_by_source_and_type(asked: Asked) -> None:
    exported = utc(10, 2)
    assert asked.lagging["completeness"] == [
        ("ehr", "DiagnosisRecorded", 1, exported),
        ("ehr", "InfusionRecorded", 1, exported),
        ("ehr", "LabResulted", 0, exported),
        ("ehr", "PatientRegistered", 2, exported),
        ("lis", "LabResulted", 1, utc(2, 18)),
    ]
    assert asked.current["completeness"][-1] == ("lis", "LabResulted", 2, utc(10, 0))


def test_the_run_says_which_references_and_systems_lead_nowhere(asked: Asked) -> None:
    told = " ".join(asked.remarks)
    assert "the Patient whom they name is not in the delivery: 1." in told
    assert "MRN" not in told
    assert "Patient/gone" not in told


def test_doctor_finds_deliveries_that_do_not_tell_what_their_mapping_asks(asked: Asked) -> None:
    assert {one.level for one in deliveries(asked.site)} == {"ok"}
    assert not [one for one in feeds(asked.site) if "PatientRegistered" in one.found]
    manifest = asked.site.root / "inbox/ehr/one/manifest.json"
    sidecar = asked.site.root / "inbox/lis/two/delivery.toml"
    manifest.rename(asked.site.root / "manifest.json")
    sidecar.rename(asked.site.root / "delivery.toml")
    failing = [one for one in deliveries(asked.site) if one.level == "fail"]
    assert [one.what for one in failing] == [
        "delivery 1 of 1 of source ehr",
        "delivery 2 of 2 of source lis",
    ]
    assert "manifest.json" in failing[0].found
    assert "sidecar" in failing[1].found
