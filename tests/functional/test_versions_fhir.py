"""What changes from export to export of a FHIR server, against one export of all that is left."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.base.site import Site
from tests.functional.nights_kit import FIRST_NIGHT, key_of, link, outcomes, read, site_of

MAPPING = """\
namespace = "mrn"
zone = "Asia/Kolkata"

[delivery]
kind = "manifest"
exported_at = "manifest"
data_through = { default = "manifest" }
"""
TYPES = ("Patient", "Condition", "MedicationAdministration", "Observation")
RXNORM, LOINC = "http://www.nlm.nih.gov/research/umls/rxnorm", "http://loinc.org"
ICD, SNOMED = "http://hl7.org/fhir/sid/icd-10-cm", "http://snomed.info/sct"
INTRAVENOUS, ORAL = "47625008", "26643006"
LOW, OK = 7.2, 9.4
N_NIGHTS = 3
Json = dict[str, Any]


def coded(system: str, code: str) -> Json:
    return {"coding": [{"system": system, "code": code}]}


def patient(who: str, into: str | None = None, **told: Any) -> Json:
    link = [{"type": "replaced-by", "other": {"reference": f"Patient/{into}"}}] if into else []
    names = {"resourceType": "Patient", "id": who, "gender": "female", "birthDate": "2015-06-01"}
    return names | ({"link": link} if link else {}) | told


def ill(who: str) -> Json:
    return {
        "resourceType": "Condition",
        "id": f"c-{who}",
        "subject": {"reference": f"Patient/{who}"},
        "code": coded(ICD, "Q78.0"),
        "onsetDateTime": "2020-01-01T00:00:00Z",
    }


def infused(who: str, route: str = INTRAVENOUS) -> Json:
    return {
        "resourceType": "MedicationAdministration",
        "id": f"m-{who}",
        "status": "completed",
        "subject": {"reference": f"Patient/{who}"},
        "medicationCodeableConcept": coded(RXNORM, "77655"),
        "effectivePeriod": {"start": "2025-03-03T04:00:00Z", "end": "2025-03-03T04:30:00Z"},
        "dosage": {"route": coded(SNOMED, route), "dose": {"value": 1.0, "unit": "mg"}},
    }


def drawn(who: str, value: float, code: str = "17861-6", number: int = 1, **told: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"o-{who}-{number}",
        "status": "final",
        "category": [
            coded("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")
        ],
        "subject": {"reference": f"Patient/{who}"},
        "code": coded(LOINC, code),
        "effectiveDateTime": "2025-03-05T03:00:00Z",
        "valueQuantity": {"value": value, "unit": "mg/dL", "code": "mg/dL"},
    } | told


def whole(who: str, value: float) -> list[Json]:
    return [patient(who), ill(who), infused(who), drawn(who, value)]


#: Per patient the resources of each night; a text is the address of one that is deleted.
STORIES: dict[str, Sequence[Sequence[Json | str]]] = {
    "deleted": [whole("deleted", LOW), ["Observation/o-deleted-1"]],
    "back": [whole("back", OK), ["Observation/o-back-1"], [drawn("back", LOW)]],
    "error": [whole("error", LOW), [], [drawn("error", LOW, status="entered-in-error")]],
    "tablet": [whole("tablet", LOW), [infused("tablet", ORAL)]],
    "analyte": [whole("analyte", LOW), [drawn("analyte", LOW, code="99999-9")]],
    "late": [[drawn("late", LOW)], [infused("late")], [patient("late"), ill("late")]],
    "old": [
        [*whole("old", OK), patient("new")],
        [patient("old", into="new", gender="male")],
        [drawn("old", LOW, number=2)],
    ],
    "parted": [
        [*whole("parted", LOW), patient("other")],
        [patient("parted", into="other")],
        [patient("parted")],
    ],
}
EXPECTED = {
    "deleted": ("untested",),
    "back": ("event",),
    "error": ("untested",),
    "analyte": ("untested",),
    "late": ("event",),
    "new": ("event",),
    "parted": ("event",),
}


def export(site: Site, number: int, told: Iterable[Json | str], since: bool) -> None:
    """Write an export: resources as last changed an hour before, and a Bundle of deletions."""
    folder = site.root / "inbox" / f"night-{number}"
    folder.mkdir()
    at = FIRST_NIGHT + timedelta(days=number)
    output, deleted = [], []
    for name in TYPES:
        lines = [
            json.dumps(one) + "\n"
            for one in told
            if not isinstance(one, str) and one["resourceType"] == name
        ]
        (folder / f"{name}.ndjson").write_text("".join(lines))
        url = f"https://north.example/{name}.ndjson"
        output.append({"type": name, "url": url, "count": len(lines)})
    if gone := [one for one in told if isinstance(one, str)]:
        entries = [{"request": {"method": "DELETE", "url": one}} for one in gone]
        bundle = {"resourceType": "Bundle", "type": "transaction", "entry": entries}
        (folder / "deleted.ndjson").write_text(json.dumps(bundle) + "\n")
        url = "https://north.example/deleted.ndjson"
        deleted.append({"type": "Bundle", "url": url, "count": 1})
    request = "https://north.example/$export?_type=" + ",".join(TYPES)
    manifest = {
        "transactionTime": at.isoformat(),
        "request": request + ("&_since=2025-01-01T00:00:00Z" if since else ""),
        "output": output,
        "deleted": deleted,
        "error": [],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))


def changed(number: int, told: Json) -> Json:
    at = FIRST_NIGHT + timedelta(days=number, hours=-1)
    return told | {"meta": {"lastUpdated": at.isoformat()}}


def nights() -> list[list[Json | str]]:
    return [
        [
            one if isinstance(one, str) else changed(number, one)
            for story in STORIES.values()
            if number < len(story)
            for one in story[number]
        ]
        for number in range(N_NIGHTS)
    ]


def left() -> list[Json]:
    """What a server would still tell after the last night."""
    found: dict[str, Json] = {}
    for night in nights():
        for one in night:
            if isinstance(one, str):
                del found[one]
            else:
                found[f"{one['resourceType']}/{one['id']}"] = one
    return list(found.values())


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_exports_of_what_changed_end_as_one_export_of_all_that_is_left(tmp_path: Path) -> None:
    found = []
    for name, exports, since in (
        ("nights", list(enumerate(nights())), True),
        ("backwards", list(enumerate(nights()))[::-1], True),
        ("once", [(N_NIGHTS - 1, left())], False),
    ):
        (tmp_path / name).mkdir()
        site = site_of(tmp_path / name, "fhir", MAPPING)
        for number, told in exports:
            export(site, number, told, since)
            read(site)
        found.append(link(site))
        told_of = {who: outcomes(site).get(key_of(site, who) or "") for who in EXPECTED}
        assert {who: one.calcium for who, one in told_of.items() if one} == EXPECTED
        assert len(outcomes(site)) == len(EXPECTED)
        assert {one.sex for one in told_of.values() if one} == {("female",)}
    assert found[0] == found[1] == found[2]
