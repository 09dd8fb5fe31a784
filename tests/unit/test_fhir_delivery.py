"""Deliveries of FHIR exports: nothing unread in silence, nothing believed that isn't told."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir import content
from pipelines.sources.rows.errors import MappingError
from tests.fhir_site import (
    AT,
    DATA,
    LAB,
    LITERAL,
    MAPPING,
    PATIENT,
    FhirSite,
    fhir,
    lines,
    manifest,
)

__all__ = ["fhir"]


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
