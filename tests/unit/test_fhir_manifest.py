"""A bulk export's manifest: read as the standard writes it, and never trusted with a path."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir.manifest import Manifest, find_files, read_manifest

#: The example of a complete status response in HL7 FHIR Bulk Data Access 2.0.
PUBLISHED = {
    "transactionTime": "2021-01-01T00:00:00Z",
    "request": "https://example.com/fhir/Patient/$export?_type=Patient,Observation",
    "requiresAccessToken": True,
    "output": [
        {"type": "Patient", "url": "https://example.com/output/patient_file_1.ndjson"},
        {"type": "Patient", "url": "https://example.com/output/patient_file_2.ndjson"},
        {"type": "Observation", "url": "https://example.com/output/observation_file_1.ndjson"},
    ],
    "deleted": [{"type": "Bundle", "url": "https://example.com/output/del_file_1.ndjson"}],
    "error": [{"type": "OperationOutcome", "url": "https://example.com/output/err_file_1.ndjson"}],
    "extension": {"https://example.com/extra-property": True},
}


def read(folder: Path, told: object) -> Manifest:
    text = told if isinstance(told, str) else json.dumps(told)
    (folder / "manifest.json").write_text(text)
    found = read_manifest(folder, "here")
    assert found is not None
    return found


def one(url: str, **more: Any) -> dict[str, Any]:
    output = [{"type": "Patient", "url": url, **more}]
    return {"transactionTime": "2021-01-01T00:00:00Z", "request": "/$export", "output": output}


def test_the_published_example_is_read_as_the_standard_explains_it(tmp_path: Path) -> None:
    manifest = read(tmp_path, PUBLISHED)
    assert manifest.transaction_time == datetime(2021, 1, 1, tzinfo=UTC)
    assert manifest.types == ("Patient", "Observation")
    assert manifest.is_since is False
    assert [(file.place, file.name, file.type, file.count) for file in manifest.files] == [
        ("output[0]", "patient_file_1.ndjson", "Patient", None),
        ("output[1]", "patient_file_2.ndjson", "Patient", None),
        ("output[2]", "observation_file_1.ndjson", "Observation", None),
        ("deleted[0]", "del_file_1.ndjson", "Bundle", None),
        ("error[0]", "err_file_1.ndjson", "OperationOutcome", None),
    ]


@pytest.mark.parametrize(
    ("request_", "types", "is_since"),
    [
        # asked for by POST: what was asked for stands in no address
        ("https://h/fhir/$export", None, None),
        ("https://h/fhir/$export?_since=2021-01-01T00:00:00Z", None, True),
        ("https://h/$export?_type=Patient%2CCondition&_type=Encounter", 3, False),
        (None, None, None),
    ],
)
def test_the_request_tells_types_and_whether_only_changes_were_asked_for(
    tmp_path: Path, request_: str | None, types: int | None, is_since: bool | None
) -> None:
    manifest = read(tmp_path, PUBLISHED | {"request": request_})
    assert (len(manifest.types) if manifest.types else None) == types
    assert manifest.is_since is is_since


@pytest.mark.parametrize(
    "url",
    [
        "../site.key",
        "https://h/export/../../site.key",
        "https://h/export/%2e%2e/site.key",
        "https://h/export/%2E%2E%2Fsite.key",
        "https://h/export/..%5Csite.key",
        "https://h/export/%252e%252e%252fsite.key",
        "..\\site.key",
        "/etc/passwd",
        "//host/share/site.key",
        "file:///etc/passwd",
        "ftp://h/patient.ndjson",
        "C:\\export\\patient.ndjson",
        "https://h/export/",
        "https://h/export/..",
        "https://h/.hidden",
        "https://h/a\u0000b.ndjson",
        "https://[h/a.ndjson",
        "",
    ],
)
def test_no_url_leads_out_of_the_folder_or_is_told(tmp_path: Path, url: str) -> None:
    (tmp_path / "site.key").touch()
    with pytest.raises(DeliveryError, match=r"output\[0\]") as caught:
        read(tmp_path, one(url))
    assert "site.key" not in str(caught.value)
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://h/export/patient.ndjson?token=secret",
        "https://h:8443/a/b/patient.ndjson#x",
        "patient.ndjson",
        "files/patient.ndjson",
        "https://h/export/%70atient.ndjson",
    ],
)
def test_only_the_last_part_of_a_url_names_the_file(tmp_path: Path, url: str) -> None:
    (tmp_path / "patient.ndjson").touch()
    manifest = read(tmp_path, one(url))
    ((_, path),) = find_files(manifest, [tmp_path / "patient.ndjson"], "here")
    assert path == tmp_path / "patient.ndjson"


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("patient.ndjson", "patient.ndjson.gz"),
        ("patient.ndjson.gz", "patient.ndjson"),
        ("https://h/bulk/8f3a", "8f3a.ndjson"),
        ("https://h/bulk/8f3a", "8f3a.ndjson.gz"),
    ],
)
def test_a_file_may_have_been_packed_or_given_its_ending(
    tmp_path: Path, url: str, there: str
) -> None:
    ((_, path),) = find_files(read(tmp_path, one(url)), [tmp_path / there], "here")
    assert path.name == there


def test_a_named_file_that_is_missing_or_there_twice_is_an_error(tmp_path: Path) -> None:
    manifest = read(tmp_path, one("https://h/miller.ndjson"))
    with pytest.raises(DeliveryError, match=r"output\[0\] is not in the delivery") as caught:
        find_files(manifest, [tmp_path / "other.ndjson"], "here")
    assert "miller" not in str(caught.value)
    both = [tmp_path / "miller.ndjson", tmp_path / "miller.ndjson.gz"]
    with pytest.raises(DeliveryError, match=r"output\[0\] is there twice"):
        find_files(manifest, both, "here")


def test_two_urls_that_end_alike_are_an_error(tmp_path: Path) -> None:
    told = one("https://h/1/file")
    told["output"].append({"type": "Observation", "url": "https://h/2/file"})
    with pytest.raises(DeliveryError, match=r"output\[0\] and output\[1\] end in one file name"):
        read(tmp_path, told)
    told["output"][1]["url"] = "https://h/2/file.gz"
    with pytest.raises(DeliveryError, match=r"output\[0\] and output\[1\] would be one file"):
        find_files(read(tmp_path, told), [tmp_path / "file.gz"], "here")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"transactionTime": "2021-01-01"}, "transactionTime"),
        ({"transactionTime": "2021-01-01T00:00:00"}, "transactionTime"),
        ({"transactionTime": None}, "transactionTime"),
        ({"output": None}, "output"),
        ({"output": {}}, "output"),
        ({"output": ["x"]}, r"output\[0\] tells no url"),
        ({"output": [{"type": "patient", "url": "x"}]}, r"output\[0\] tells no resource type"),
        ({"output": [{"type": "Patient", "url": "x", "count": "3"}]}, "count"),
        ({"output": [{"type": "Patient", "url": "x", "count": -3}]}, "count"),
        ({"output": [{"type": "Patient", "url": "x", "count": True}]}, "count"),
        ({"request": 7}, "request"),
        ({"request": "https://h?_type=../x"}, "_type"),
        ({"link": [{"relation": "next", "url": "https://h/2"}]}, "one page of several"),
        ({"link": 3}, "link"),
        ({"deleted": {}}, "deleted"),
    ],
)
def test_what_is_no_manifest_of_a_whole_export_is_refused(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(DeliveryError, match=said):
        read(tmp_path, PUBLISHED | change)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"output": [], "output": []}', "\xff", "[" * 100_000, "<html>"],
    ids=["empty", "cut off", "list", "twice", "latin", "deep", "page"],
)
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DeliveryError, match="cannot be used") as caught:
        read_manifest(tmp_path, "here")
    assert caught.value.__cause__ is None


def test_a_link_in_place_of_the_manifest_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text(json.dumps(PUBLISHED))
    (tmp_path / "manifest.json").symlink_to(tmp_path / "real.json")
    with pytest.raises(DeliveryError, match="plain file"):
        read_manifest(tmp_path, "here")


def test_no_manifest_is_no_mistake(tmp_path: Path) -> None:
    assert read_manifest(tmp_path, "here") is None
