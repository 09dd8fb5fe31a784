"""Deliveries of FHIR exports: nothing unread in silence, nothing believed that isn't told."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import duck
from pipelines.base.errors import DeliveryError
from pipelines.base.keys import SiteKey, load_key
from pipelines.base.site import Site, load_site
from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources import SourceMapping, source_kind
from pipelines.sources.fhir import content
from pipelines.sources.rows.errors import MappingError
from pipelines.sources.rows.folders import discover

KEY = bytes(range(1, 33)).hex()

SITE = """
[site]
id = "north"
zone = "Europe/Berlin"
studies = ["iv_bisphosphonate"]
scope = "all"
[key]
file = "site.key"
[[source]]
name = "ehr"
kind = "fhir"
mapping = "fhir.toml"
path = "inbox"
"""

MAPPING = """\
namespace = "mrn"

[delivery]
kind = "delta"
exported_at = "manifest"
data_through = { default = "manifest" }
"""

LOADED: dict[str, SourceMapping] = {}

LITERAL = MAPPING.replace('"manifest"', '"2026-01-06T02:00:00Z"')
AT = datetime(2026, 1, 6, 2, tzinfo=UTC)

PATIENT = {"resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "2015-02-03"}
LAB = {
    "resourceType": "Observation",
    "id": "o1",
    "status": "final",
    "category": [{"coding": [{"code": "laboratory"}]}],
    "code": {"coding": [{"system": "http://loinc.org", "code": "17861-6"}]},
    "subject": {"reference": "Patient/p1"},
    "effectiveDateTime": "2025-03-01T08:30:00+01:00",
    "valueQuantity": {"value": 2.21, "unit": "mmol/L"},
}


def lines(*resources: object) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in resources)


def manifest(**more: Any) -> dict[str, Any]:
    """The manifest of an export with a patient and a laboratory result."""
    told = {
        "transactionTime": "2026-01-06T02:00:00Z",
        "request": "https://h/fhir/$export?_since=2026-01-05T02:00:00Z",
        "requiresAccessToken": False,
        "output": [
            {"type": "Patient", "url": "https://h/1/patient.ndjson", "count": 1},
            {"type": "Observation", "url": "https://h/1/lab.ndjson", "count": 1},
        ],
        "error": [],
    }
    return told | more


@dataclass
class FhirSite:
    """A site with one FHIR source and one delivery."""

    root: Path
    site: Site
    key: SiteKey

    def deliver(self, told: dict[str, Any] | None = None, /, **files: bytes) -> None:
        """Write the files; the last underscore of a name stands for its dot."""
        folder = self.root / "inbox" / "night1"
        folder.mkdir(parents=True, exist_ok=True)
        if told is not None:
            (folder / "manifest.json").write_text(json.dumps(told))
        for name, data in files.items():
            stem, _, ending = name.rpartition("_")
            (folder / f"{stem}.{ending}").write_bytes(data)

    def map(self, text: str) -> SourceMapping:
        """Load a mapping; each text is checked once, whatever the site."""
        if text not in LOADED:
            (self.root / "fhir.toml").write_text(text)
            LOADED[text] = source_kind("fhir").load_mapping(self.root / "fhir.toml")
        return LOADED[text]

    def describe(self, mapping: str = MAPPING) -> DeliveryFacts:
        (delivery,) = discover(self.site, self.site.source[0])
        return source_kind("fhir").describe(delivery, self.map(mapping), self.site, "all")

    def fates(self, mapping: str = MAPPING) -> tuple[list[Any], list[Any], list[str]]:
        """Extract; return fates of rows, withdrawals and remarks."""
        facts, kind = self.describe(mapping), source_kind("fhir")
        con = duck.connect(threads=1)
        try:
            kind.extract(con, facts, self.map(mapping), self.site, "all", self.key)
            fates = con.execute(
                "SELECT source_row, fate, reason FROM fate.row ORDER BY ALL"
            ).fetchall()
            gone = con.execute("SELECT reason, version FROM fate.withdrawn").fetchall()
            return fates, gone, kind.remarks(con, self.map(mapping), "ehr")
        finally:
            con.close()


@pytest.fixture
def fhir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FhirSite:
    monkeypatch.delenv("DRIPWATCH_KEY", raising=False)
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "site.key").write_text(KEY)
    (tmp_path / "site.key").chmod(0o600)
    site = load_site(tmp_path / "site.toml")
    return FhirSite(tmp_path, site, load_key(site))


DATA = {"patient_ndjson": lines(PATIENT), "lab_ndjson": lines(LAB)}


def test_a_manifest_tells_files_times_and_what_the_export_is_complete_for(fhir: FhirSite) -> None:
    fhir.deliver(manifest(), **DATA)
    facts = fhir.describe()
    assert facts.exported_at == AT
    assert facts.data_through["LabResulted"] == facts.data_through["PatientRegistered"] == AT
    assert "EncounterOccurred" not in facts.data_through
    assert [(file.role, file.n_told) for file in facts.files] == [
        ("Patient", 1),
        ("Observation", 1),
    ]
    assert facts.parser_version == "fhir-2"
    assert facts.namespaces == ("mrn",)
    assert fhir.describe() == facts


def test_packing_and_names_do_not_make_another_batch(fhir: FhirSite) -> None:
    fhir.deliver(manifest(), **DATA)
    first = fhir.describe().batch_id
    folder = fhir.root / "inbox" / "night1"
    packed = gzip.compress((folder / "lab.ndjson").read_bytes())
    (folder / "lab.ndjson").unlink()
    (folder / "lab.ndjson.gz").write_bytes(packed)
    assert fhir.describe().batch_id == first


@pytest.mark.parametrize(
    ("request_", "output", "delivers", "types"),
    [
        ("?_type=Patient,Encounter", True, "", {"PatientRegistered", "EncounterOccurred"}),
        ("", True, "", None),
        ("?_type=Patient,Encounter", True, '"Condition"', {"DiagnosisRecorded"}),
        ("", True, '"Patient", "LabResulted"', {"PatientRegistered", "LabResulted"}),
        ("?_type=Location", False, "", set()),
    ],
    ids=["request", "output", "mapping", "event types", "nothing that makes events"],
)
def test_completeness_is_told_by_mapping_then_request_then_output(
    fhir: FhirSite, request_: str, output: bool, delivers: str, types: set[str] | None
) -> None:
    told = manifest(request=f"https://h/$export{request_}")
    fhir.deliver(told if output else told | {"output": []}, **(DATA if output else {}))
    facts = fhir.describe(MAPPING.replace("kind =", f"delivers = [{delivers}]\nkind ="))
    if types is None:
        assert {"PatientRegistered", "LabResulted"} < set(facts.data_through)
        assert "DiagnosisRecorded" not in facts.data_through
    else:
        assert set(facts.data_through) == types


def test_records_of_a_type_that_the_export_is_not_complete_for_stop_the_run(
    fhir: FhirSite,
) -> None:
    fhir.deliver(manifest(), **DATA)
    mapping = MAPPING.replace("kind =", 'delivers = ["Patient"]\nkind =')
    with pytest.raises(DeliveryError, match="become LabResulted"):
        fhir.fates(mapping)


def test_without_a_manifest_the_files_tell_their_types(fhir: FhirSite) -> None:
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": PATIENT}]}
    contained = PATIENT | {"contained": [{"resourceType": "Condition"}]}
    text = {"div": '"resourceType": "Encounter"'}
    fhir.deliver(
        a_json=json.dumps(bundle, indent=1).encode(),
        b_ndjson=lines(contained | {"text": text}, PATIENT),
        c_json=json.dumps(LAB).encode(),
    )
    facts = fhir.describe(LITERAL)
    assert [file.role for file in facts.files] == ["any", "any", "any"]
    assert {"PatientRegistered", "LabResulted"} < set(facts.data_through)
    assert not {"DiagnosisRecorded", "EncounterOccurred"} & set(facts.data_through)


@pytest.mark.parametrize("shift", range(-30, 5, 5))
def test_a_type_that_the_end_of_a_block_cuts_is_found_without_reading_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shift: int
) -> None:
    monkeypatch.setattr(content, "load", None)
    padding = "x" * ((1 << 20) - len('{"p":"') + shift)
    path = tmp_path / "a.ndjson"
    path.write_text(f'{{"p":"{padding}","resourceType" : "Patient"}}\n')
    assert content.resource_types(path, "here") == {"Patient"}


def test_without_a_manifest_its_time_cannot_be_asked_for(fhir: FhirSite) -> None:
    fhir.deliver(**DATA)
    with pytest.raises(DeliveryError, match=r"there is no manifest.json"):
        fhir.describe()


def test_the_latest_time_of_an_element_can_date_a_delivery(fhir: FhirSite) -> None:
    later = LAB | {"id": "o2", "effectiveDateTime": "2025-03-02T00:30:00+01:00"}
    vague = LAB | {"id": "o3", "effectiveDateTime": "2025"}
    fhir.deliver(patient_ndjson=lines(PATIENT), lab_ndjson=lines(LAB, later, vague))
    source = '{ resource = "Observation", element = "effectiveDateTime" }'
    mapping = LITERAL.replace('default = "2026-01-06T02:00:00Z"', f"default = {source}")
    through = fhir.describe(mapping).data_through
    assert set(through.values()) == {datetime(2025, 3, 1, 23, 30, tzinfo=UTC)}
    with pytest.raises(DeliveryError, match="No Observation of the delivery tells issued"):
        fhir.describe(mapping.replace("effectiveDateTime", "issued"))


def test_a_missing_sidecar_is_told(fhir: FhirSite) -> None:
    fhir.deliver(**DATA)
    sidecar = '{ sidecar = "delivery.toml" }'
    mapping = LITERAL.replace('exported_at = "2026-01-06T02:00:00Z"', f"exported_at = {sidecar}")
    with pytest.raises(DeliveryError, match=r"sidecar delivery.toml is not there"):
        fhir.describe(mapping)
    fhir.deliver(delivery_toml=b"exported_at = 2026-01-06T02:00:00Z\n")
    assert fhir.describe(mapping).exported_at == AT


def test_a_file_that_the_manifest_does_not_name_stops_the_run_unless_it_is_ignored(
    fhir: FhirSite,
) -> None:
    fhir.deliver(manifest(), **DATA, miller_ndjson=lines(PATIENT), README_md=b"x")
    with pytest.raises(DeliveryError, match=r"2 of 4 files beside a manifest") as caught:
        fhir.describe()
    assert "miller" not in str(caught.value)
    facts = fhir.describe(MAPPING + '[files]\nignore = ["miller*", "*.md"]\n')
    assert len(facts.files) == 2
    (remark,) = facts.remarks
    assert "2 of 5 files" in remark


def test_without_a_manifest_a_file_of_no_known_kind_stops_the_run(fhir: FhirSite) -> None:
    fhir.deliver(**DATA, miller_csv=b"x\n")
    with pytest.raises(DeliveryError, match="neither NDJSON nor JSON") as caught:
        fhir.describe(LITERAL)
    assert "miller" not in str(caught.value)
    assert len(fhir.describe(LITERAL + '[files]\nignore = ["*.csv"]\n').files) == 2


def test_an_empty_delivery_is_an_error_and_an_empty_export_is_none(fhir: FhirSite) -> None:
    fhir.deliver()
    with pytest.raises(DeliveryError, match="no data file"):
        fhir.describe(LITERAL)
    fhir.deliver(manifest(output=[], request="https://h/$export?_since=x&_type=Observation"))
    facts = fhir.describe()
    assert facts.files == ()
    assert facts.data_through["LabResulted"] == AT
    assert fhir.fates() == ([], [], [])


def test_an_empty_file_is_legal_only_where_the_manifest_counts_none(fhir: FhirSite) -> None:
    told = manifest()
    told["output"][1]["count"] = 0
    fhir.deliver(told, patient_ndjson=lines(PATIENT), lab_ndjson=b"")
    facts = fhir.describe()
    assert [file.role for file in facts.files] == ["Patient"]
    assert facts.data_through["LabResulted"] == AT
    del told["output"][1]["count"]
    fhir.deliver(told)
    with pytest.raises(DeliveryError, match="empty"):
        fhir.fates()


@pytest.mark.parametrize("count", [0, 10**30])
def test_another_count_than_the_manifests_stops_the_run(fhir: FhirSite, count: int) -> None:
    told = manifest()
    told["output"][1]["count"] = count
    fhir.deliver(told, **DATA)
    with pytest.raises(DeliveryError, match="does not hold as many records"):
        fhir.fates()


def test_a_file_delivered_twice_counts_once(fhir: FhirSite) -> None:
    told = manifest()
    told["output"].append({"type": "Observation", "url": "https://h/2/again.ndjson", "count": 1})
    fhir.deliver(told, **DATA, again_ndjson=lines(LAB))
    assert len(fhir.describe().files) == 2
    told["output"][2]["count"] = 3
    fhir.deliver(told)
    with pytest.raises(DeliveryError, match="does not hold as many records"):
        fhir.describe()
    told["output"][2] = {"type": "Condition", "url": "https://h/2/again.ndjson", "count": 1}
    fhir.deliver(told)
    with pytest.raises(DeliveryError, match="delivered as Observation and as Condition"):
        fhir.describe()


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_what_is_no_plain_file_is_refused(fhir: FhirSite, kind: str) -> None:
    fhir.deliver(manifest(), patient_ndjson=lines(PATIENT))
    odd = fhir.root / "inbox" / "night1" / "lab.ndjson"
    if kind == "link":
        odd.symlink_to(fhir.root / "site.key")
    else:
        odd.mkdir()
    with pytest.raises(DeliveryError, match="no plain file"):
        fhir.describe()


def outcome(*severities: str) -> dict[str, Any]:
    issues = [{"severity": one, "code": "x", "diagnostics": "Anna Miller"} for one in severities]
    return {"resourceType": "OperationOutcome", "issue": issues}


@pytest.mark.parametrize(
    ("reported", "n_errors"),
    [
        (lines(outcome("error")), 1),
        (lines(outcome("warning", "fatal"), outcome("information")), 1),
        (lines(outcome(), {"resourceType": "Patient"}) + b"{half\n", 3),
        (lines(outcome("information")) * 2, 0),
        (b"", 0),
    ],
    ids=["error", "fatal", "unclear", "notes", "empty"],
)
def test_an_export_that_reports_errors_stops_the_run_unless_they_are_accepted(
    fhir: FhirSite, reported: bytes, n_errors: int
) -> None:
    error = [{"type": "OperationOutcome", "url": "https://h/1/err.ndjson"}]
    fhir.deliver(manifest(error=error), **DATA, err_ndjson=reported)
    if n_errors:
        with pytest.raises(DeliveryError, match=f"reports {n_errors} error") as caught:
            fhir.describe()
        assert "Miller" not in str(caught.value)
    facts = fhir.describe(MAPPING.replace("kind =", "accept_errors = true\nkind ="))
    assert len(facts.files) == 2
    told = " ".join(facts.remarks)
    assert ("though its server reports" in told) == bool(n_errors)
    assert "Miller" not in told


def test_kind_follows_the_request_where_the_mapping_says_so(fhir: FhirSite) -> None:
    by_manifest = MAPPING.replace('"delta"', '"manifest"')
    fhir.deliver(manifest(), **DATA)
    assert fhir.describe(by_manifest).kind == "delta"
    with pytest.raises(DeliveryError, match="asked for changes only"):
        fhir.describe(MAPPING.replace('"delta"', '"snapshot"'))
    fhir.deliver(manifest(request="https://h/$export?_outputFormat=ndjson"))
    assert fhir.describe(by_manifest).kind == "snapshot"
    assert fhir.describe().kind == "delta"
    for untold in (None, "https://h/$export"):
        fhir.deliver(manifest(request=untold))
        with pytest.raises(DeliveryError, match="tells the request"):
            fhir.describe(by_manifest)


def deletion(*urls: str, method: str = "DELETE") -> dict[str, Any]:
    entries = [{"request": {"method": method, "url": url}} for url in urls]
    return {"resourceType": "Bundle", "type": "transaction", "entry": entries}


@pytest.mark.parametrize("form", ["one line", "lines", "printed"])
def test_deletions_withdraw_the_named_resources_alone(fhir: FhirSite, form: str) -> None:
    bundles = [deletion("Patient/p7", "https://h/fhir/Observation/o7"), deletion("Patient/p7")]
    content = {
        "one line": lines(bundles[0]),
        "lines": lines(*bundles),
        "printed": json.dumps(bundles[0], indent=1).encode(),
    }[form]
    n_bundles = {"one line": 1, "lines": 2, "printed": 2}[form]
    deleted = [{"type": "Bundle", "url": "https://h/1/del.ndjson", "count": n_bundles}]
    fhir.deliver(manifest(deleted=deleted), **DATA, del_ndjson=content)
    fates, gone, _ = fhir.fates()
    assert [row[1:] for row in fates] == [("reference", "deletions")] * n_bundles
    at = int(AT.timestamp()) * 1_000_000
    assert gone == [("deleted", at)] * 2


BAD: list[dict[str, Any]] = [
    deletion("Patient?identifier=7"),
    deletion("Patient/p8", method="PUT"),
    deletion("Patient/../x"),
    {"resourceType": "Bundle", "entry": "x"},
    {"resourceType": "Bundle", "entry": [7]},
    {"resourceType": "Bundle", "entry": [{"resource": None}]},
]


@pytest.mark.parametrize("entry", [{}, {"request": {"method": "PUT", "url": "Patient/p1"}}])
def test_bundles_of_resources_line_by_line_stop_the_delivery(
    fhir: FhirSite, entry: dict[str, Any]
) -> None:
    bundle = {"resourceType": "Bundle", "entry": [entry | {"resource": PATIENT}]}
    fhir.deliver(a_ndjson=lines(bundle, bundle | {"id": "2"}))
    with pytest.raises(DeliveryError, match="Bundle that holds resources"):
        fhir.fates(LITERAL)


def test_a_bundle_of_resources_among_records_is_quarantined_and_costs_no_other(
    fhir: FhirSite,
) -> None:
    bundle = {"resourceType": "Bundle", "entry": [{"resource": PATIENT}]}
    fhir.deliver(a_ndjson=lines(bundle, deletion("Observation/o7")))
    fates, gone, _ = fhir.fates(LITERAL)
    assert fates == [(1, "quarantined", "bundle_of_resources"), (2, "reference", "deletions")]
    assert [reason for reason, _ in gone] == ["deleted"]


def test_a_deletion_in_a_line_may_carry_what_was_deleted(fhir: FhirSite) -> None:
    bundle = deletion("Patient/p1")
    bundle["entry"][0]["resource"] = PATIENT
    fhir.deliver(a_ndjson=lines(bundle, bundle))
    fates, gone, _ = fhir.fates(LITERAL)
    assert fates == [(1, "reference", "deletions"), (2, "reference", "deletions")]
    assert [reason for reason, _ in gone] == ["deleted"]


@pytest.mark.parametrize(
    "filtered",
    ["Observation%3Fcategory%3Dlaboratory", "Patient%3Factive%3Dtrue,Observation%3Fa%3Db"],
)
def test_what_a_filtered_export_is_complete_for_has_to_be_told(
    fhir: FhirSite, filtered: str
) -> None:
    request = f"https://h/$export?_since=x&_type=Patient,Observation&_typeFilter={filtered}"
    fhir.deliver(manifest(request=request), **DATA)
    with pytest.raises(DeliveryError, match="only some of its Observation") as caught:
        fhir.describe()
    assert "delivers" in str(caught.value.remedy)
    assert "LabResulted" in str(caught.value.remedy)
    told = MAPPING.replace("kind =", 'delivers = ["Patient", "LabResulted"]\nkind =')
    assert set(fhir.describe(told).data_through) == {"PatientRegistered", "LabResulted"}


def test_a_filter_of_what_makes_no_events_needs_no_word(fhir: FhirSite) -> None:
    request = "https://h/$export?_since=x&_typeFilter=Practitioner%3Factive%3Dtrue"
    fhir.deliver(manifest(request=request), **DATA)
    assert "LabResulted" in fhir.describe().data_through


def test_a_deletion_that_cannot_be_read_is_quarantined_and_costs_no_other(fhir: FhirSite) -> None:
    deleted = [{"type": "Bundle", "url": "https://h/1/del.ndjson", "count": len(BAD) + 1}]
    content = lines(deletion("Observation/o7"), *BAD)
    fhir.deliver(manifest(deleted=deleted), **DATA, del_ndjson=content)
    fates, gone, _ = fhir.fates()
    assert fates == [
        (1, "reference", "deletions"),
        *((number, "quarantined", "unreadable_deletion") for number in range(2, len(BAD) + 2)),
    ]
    assert [reason for reason, _ in gone] == ["deleted"]


def test_a_deletion_among_the_entries_of_a_bundle_counts_too(fhir: FhirSite) -> None:
    entry = [{"resource": PATIENT}, *deletion("Observation/o7")["entry"]]
    bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entry}
    fhir.deliver(a_json=json.dumps(bundle).encode())
    fates, gone, _ = fhir.fates(LITERAL)
    assert fates == [(2, "reference", "deletions")]
    assert [reason for reason, _ in gone] == ["deleted"]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (('exported_at = "manifest"', "exported_at = {}"), "exactly one way"),
        (('exported_at = "manifest"', 'exported_at = "soon"'), "not a time"),
        (
            ('exported_at = "manifest"', 'exported_at = { resource = "Observation" }'),
            "no path of an element",
        ),
        (
            (
                'exported_at = "manifest"',
                'exported_at = { resource = "Observations", element = "issued" }',
            ),
            "Did you mean Observation",
        ),
        (('kind = "delta"', 'kind = "delta"\ndelivers = ["Pattient"]'), "Did you mean Patient"),
        (('{ default = "manifest" }', '{ LabResulted = "manifest" }'), "nothing for"),
        (("[delivery]", '[files]\nignore = ["a/b"]\n[delivery]'), "no pattern of a file name"),
    ],
)
def test_mistakes_of_the_delivery_table_are_told_before_anything_is_read(
    fhir: FhirSite, change: tuple[str, str], line: str
) -> None:
    (fhir.root / "inbox" / "night1").mkdir(parents=True)
    with pytest.raises(MappingError, match=line):
        fhir.describe(MAPPING.replace(*change))
