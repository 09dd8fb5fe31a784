"""Patients of a FHIR server that were merged: who they are told to be."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fhir_kit import KEY, Read, read

__all__ = ["read"]
BY_NUMBER = """
[patient]
identifier = "identifier[system=http://h].value"
strip_prefix = "P-"
"""


def patient(name: str, *links: tuple[str, str], **told: Any) -> dict[str, Any]:
    number = {"identifier": [{"system": "http://h", "value": f"P-{name}"}]}
    listed = [{"type": kind, "other": {"reference": other}} for kind, other in links]
    return {"resourceType": "Patient", "id": name, "link": listed} | number | told


def key(number: str) -> str | None:
    return KEY.patient("here", "mrn", number)


@pytest.mark.parametrize("more", ["", BY_NUMBER])
def test_links_that_merge_name_patients_as_records_name_theirs(read: Read, more: str) -> None:
    found = read(
        patient("a", ("replaced-by", "Patient/b")),
        patient("b", ("replaces", "http://h/fhir/Patient/a"), ("replaces", "Patient/c")),
        patient("c", ("seealso", "Patient/a"), ("refer", "Patient/b")),
        more=more,
    ).rows("PatientRegistered", "patient_key", "replaced_by_key", "replaces_keys", "flags")
    both = sorted([key("a") or "", key("c") or ""])
    assert found == [
        (key("a"), key("b"), None, []),
        (key("b"), None, both, []),
        (key("c"), None, None, []),
    ]


def test_a_link_that_nobody_can_resolve_is_flagged_and_merges_nobody(read: Read) -> None:
    nameless = {"link": [{"type": "replaced-by", "other": {"display": "the other one"}}]}
    columns = ("replaced_by_key", "replaces_keys", "flags")
    assert read(patient("a", **nameless)).rows("PatientRegistered", *columns) == [
        (None, None, ["unresolved_link"])
    ]
    far = patient("b", ("replaces", "Patient/far"), ("replaces", "Patient/b"))
    assert read(far, more=BY_NUMBER).rows("PatientRegistered", *columns) == [
        (None, [key("b")], ["unresolved_link"])
    ]
    # by id, whoever it is needs not be delivered
    assert read(far).rows("PatientRegistered", *columns) == [
        (None, sorted([key("far") or "", key("b") or ""]), [])
    ]


def test_a_delta_waits_for_the_number_of_the_survivor_and_a_snapshot_does_not(read: Read) -> None:
    merged = patient("a", ("replaced-by", "Patient/far"))
    delta = read(merged, more=BY_NUMBER, kind="delta")
    assert delta.rows("PatientRegistered", "record_key") == []
    assert delta.fates() == [(1, None, "quarantined", "unresolved_reference")]
    whole = read(merged, more=BY_NUMBER)
    assert whole.rows("PatientRegistered", "replaced_by_key", "flags") == [
        (None, ["unresolved_link"])
    ]
