"""What an export takes back: bundles of deletions, and what cannot be one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.base.errors import DeliveryError
from tests.fhir_site import AT, DATA, LITERAL, PATIENT, FhirSite, fhir, lines, manifest

__all__ = ["fhir"]


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
