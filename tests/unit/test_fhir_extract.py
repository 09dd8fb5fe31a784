"""From FHIR resources to patients, diagnoses and fates: examples after those of HL7."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pipelines.sources.rows.stage import Everything
from studies.load import ConceptRow
from tests.fhir_kit import (
    KEY,
    LOINC,
    RXNORM,
    SNOMED,
    ZOLEDRONATE,
    Json,
    Read,
    administration,
    coded,
    observation,
    read,
    utc,
)

__all__ = ["read"]


def test_a_condition_without_a_date_is_dated_by_its_encounter(read: Read) -> None:
    stay = {
        "resourceType": "Encounter",
        "id": "e1",
        "status": "finished",
        "class": {"code": "IMP"},
        "subject": {"reference": "Patient/p1"},
        # in UTC it is the next day already
        "period": {"start": "2024-03-02T03:00:00Z", "end": "2024-03-05T12:00:00Z"},
    }
    condition: Json = {
        "resourceType": "Condition",
        "id": "c1",
        "code": coded("http://hl7.org/fhir/sid/icd-10-cm", "R50.9"),
        "subject": {"reference": "Patient/p1"},
        "encounter": {"reference": "Encounter/e1"},
    }
    dated = condition | {"id": "c2", "onsetDateTime": "2023-07"}
    wrong = condition | {"id": "c3", "verificationStatus": coded("x", "refuted")}
    told = read(stay, condition, dated, wrong)
    columns = ("occurred_at", "time_precision", "flags", "operation")
    assert told.rows("DiagnosisRecorded", *columns) == [
        (utc(2024, 3, 1, 5), "day", ["dated_by_encounter"], "upsert"),
        (utc(2023, 7, 1, 4), "month", [], "upsert"),
        (utc(2024, 3, 1, 5), "day", ["dated_by_encounter"], "retract"),
    ]
    left = read(stay, condition, more='[settings]\nundated_conditions = "undated"\n')
    assert left.one("DiagnosisRecorded", "occurred_at", "flags") == (None, [])
    setting = told.one("EncounterOccurred", "setting", "admission_type")
    assert setting == ("inpatient", "unknown")


def test_a_patient_is_known_by_the_identifier_that_the_site_names(read: Read) -> None:
    more = '[patient]\nidentifier = "identifier[system=urn:mrn].value"\nstrip_prefix = "MRN-"\n'
    patient = {
        "resourceType": "Patient",
        "id": "p1",
        "identifier": [
            {"system": "urn:ssn", "value": "1"},
            {"system": "urn:mrn", "value": "MRN-7"},
        ],
        "gender": "female",
        "birthDate": "2012-04-05",
    }
    stranger = observation(id="o2", subject={"reference": "Patient/p2"})
    gone = stranger | {"id": "o3", "status": "entered-in-error"}
    told = read(patient, observation(), stranger, gone, more=more)
    key = KEY.patient("here", "mrn", "7")
    assert told.one("PatientRegistered", "patient_key", "sex")[:2] == (key, "female")
    rows = told.rows("LabResulted", "patient_key", "operation")
    assert rows == [(key, "upsert"), (None, "retract")]
    assert told.fates() == [(3, None, "quarantined", "unresolved_patient")]


BROKEN_PART: Json = {"component": [{"code": {"coding": "1"}}]}
#: Elements in another shape than FHIR gives them.
BROKEN: list[Json] = [
    {"code": {"coding": {"system": LOINC, "code": "17861-6"}}},
    {"code": {"coding": ["17861-6"]}},
    {"code": "17861-6"},
    {"category": {"coding": []}},
    {"category": [{"coding": "laboratory"}]},
    {"category": [{"coding": []}, {"coding": [{"code": "a"}, {"code": {}}]}]},
    {"category": [{"coding": [{"code": "a"}, {"code": {}}]}]},
    {"category": ["laboratory"]},
    {"subject": "Patient/p1"},
    {"valueQuantity": [{"value": 1}]},
    {"component": {"code": {}}},
    {"component": [{"code": coded(LOINC, "1")}, {"valueQuantity": "5"}]},
    BROKEN_PART,
    {"referenceRange": [{"low": {"value": 1}}, {"low": 5}]},
    {"meta": []},
    {"id": {"value": "o1"}},
]


def test_an_element_of_another_shape_is_quarantined_and_not_lost(read: Read) -> None:
    told = read(*({**observation(id=f"o{n}"), **broken} for n, broken in enumerate(BROKEN)))
    expected: list[tuple[Any, ...]]
    expected = [(n, None, "quarantined", "malformed_element") for n in range(1, len(BROKEN) + 1)]
    # the code of one component is wrong: that part goes, the result itself stays
    (part,) = (n for n, broken in enumerate(BROKEN, 1) if broken == BROKEN_PART)
    expected[part - 1] = (part, 1, "quarantined", "malformed_element")
    assert told.fates() == expected
    assert told.one("LabResulted", "source_row", "source_part") == (part, None)


def test_resources_without_id_or_rule_are_accounted_for(read: Read) -> None:
    nameless = observation()
    del nameless["id"]
    told = read(nameless, {"resourceType": "Immunization", "id": "i"}, {"resourceType": "Mine"})
    assert told.fates() == [
        (1, None, "quarantined", "missing_id"),
        (2, None, "out_of_scope", "resource_type"),
        (3, None, "quarantined", "no_resource_type"),
    ]
    codes = told.con.execute("SELECT code FROM fate.row ORDER BY source_row").fetchall()
    assert codes == [(None,), ("Immunization",), (None,)]


def test_in_a_delta_what_left_the_scope_is_withdrawn(read: Read) -> None:
    scope = [ConceptRow("LabResulted", "loinc", "17861-6", "exact", "calcium_total")]
    other = observation(
        id="o2",
        code=coded(LOINC, "2777-1"),
        meta={"lastUpdated": "2024-05-01T00:00:00Z"},
    )
    told = read(observation(), other, scope=scope, kind="delta")
    query = "SELECT resource_key, version, source_row, reason FROM fate.withdrawn"
    version = int(datetime(2024, 5, 1, tzinfo=UTC).timestamp()) * 1_000_000
    assert told.con.execute(query).fetchall() == [
        (KEY.other("here", "ehr", "resource", "Observation/o2"), version, 2, "out_of_scope")
    ]


def test_the_newest_version_of_a_resource_stays(read: Read) -> None:
    old = observation(meta={"lastUpdated": "2024-03-01T10:00:00-05:00", "versionId": "2"})
    new = observation(
        meta={"lastUpdated": "2024-03-02T10:00:00-05:00", "versionId": "1"},
        valueQuantity={"value": 9.9, "code": "mg/dL"},
    )
    assert read(old, new).one("LabResulted", "value") == (9.9,)
    by_number = read(old, new, more='[settings]\nversion = "versionId"\n')
    assert by_number.one("LabResulted", "value", "version") == (8.1, 2)


def test_a_refused_resource_stands_under_the_key_that_its_events_carried(read: Read) -> None:
    before = read(observation()).one("LabResulted", "resource_key")
    refused = read(observation(code={"coding": "17861-6"}))
    [(reason, key)] = refused.con.execute("SELECT reason, record_key FROM fate.row").fetchall()
    assert (reason, key) == ("malformed_element", *before)


CALCIUM = ConceptRow("LabResulted", "loinc", "17861-6", "exact", "calcium_total")


def test_what_studies_name_is_found_also_where_every_code_is_ingested(read: Read) -> None:
    studied = (ZOLEDRONATE, CALCIUM)
    mixture = {
        "resourceType": "Medication",
        "id": "m1",
        "code": coded("http://local", "MIX1"),
        "ingredient": [{"itemCodeableConcept": coded(RXNORM, "77655")}],
    }
    given = administration(medicationReference={"reference": "Medication/m1"})
    del given["medicationCodeableConcept"]
    plain = observation()
    del plain["category"]
    for scope in (studied, Everything(studied)):
        told = read(mixture, given, plain, scope=scope)
        assert told.one("InfusionRecorded", "code") == ("77655",)
        assert told.one("LabResulted", "code") == ("17861-6",)


def test_a_type_that_fhir_lacks_is_quarantined(read: Read) -> None:
    told = read(observation(resourceType="observation"), {"resourceType": "Slot", "id": "s"})
    assert told.fates() == [
        (1, None, "quarantined", "no_resource_type"),
        (2, None, "out_of_scope", "resource_type"),
    ]


def test_a_version_from_after_the_export_is_none(read: Read) -> None:
    told = read(observation(meta={"lastUpdated": "2099-01-01T00:00:00Z"}))
    assert told.one("LabResulted", "version") == (None,)
    told = read(observation(meta={"lastUpdated": "2030-01-01T12:00:00Z"}))
    assert told.one("LabResulted", "epoch_us(recorded_at) = version") == (True,)


def test_what_is_taken_back_may_be_malformed(read: Read) -> None:
    told = read(administration(status="entered-in-error", dosage=[]))
    assert told.one("InfusionRecorded", "operation") == ("retract",)


def test_the_newest_of_what_is_looked_up_is_newest_by_the_clock(read: Read) -> None:
    def medication(code: str, changed: str) -> Json:
        told = {"resourceType": "Medication", "id": "m1", "code": coded(RXNORM, code)}
        return told | {"meta": {"lastUpdated": changed}}

    given = administration(medicationReference={"reference": "Medication/m1"})
    del given["medicationCodeableConcept"]
    older = medication("5492", "2026-01-02T01:00:00+05:00")
    newer = medication("77655", "2026-01-01T23:00:00Z")
    assert read(older, newer, given).one("InfusionRecorded", "code") == ("77655",)


def test_a_patient_inside_a_record_is_nobody_elsewhere(read: Read) -> None:
    told = read(observation(subject={"reference": "#p"}, contained=[]))
    assert told.fates() == [(1, None, "quarantined", "unresolved_patient")]


def test_a_delta_without_the_specimen_or_encounter_it_refers_to_replaces_nothing(
    read: Read,
) -> None:
    drawn = observation(specimen={"reference": "Specimen/s1"})
    undated = {
        "resourceType": "Condition",
        "id": "c1",
        "code": coded(SNOMED, "386661006"),
        "subject": {"reference": "Patient/p1"},
        "encounter": {"reference": "Encounter/e1"},
    }
    dated = undated | {"id": "c2", "onsetDateTime": "2024-03-01"}
    told = read(drawn, undated, dated, kind="delta")
    lost = [(row, part, reason) for row, part, _, reason in told.fates()]
    assert lost == [(1, None, "unresolved_reference"), (2, None, "unresolved_reference")]
    ignored = '[settings]\nlookups = "if_delivered"\n'
    assert read(drawn, undated, dated, kind="delta", more=ignored).fates() == []
    assert read(drawn, undated, dated, kind="snapshot").fates() == []


def test_a_diagnosis_that_ended_before_it_was_recorded_keeps_its_order(read: Read) -> None:
    told = {
        "resourceType": "Condition",
        "id": "c1",
        "code": coded(SNOMED, "66931009"),
        "subject": {"reference": "Patient/p1"},
        "abatementDateTime": "2023-06-01",
        "recordedDate": "2024-01-15",
    }
    assert read(told).one("DiagnosisRecorded", "ended_at") == (None,)
    begun = told | {"onsetDateTime": "2023-05-01"}
    assert read(begun).one("DiagnosisRecorded", "ended_at > occurred_at") == (True,)


def test_an_undated_diagnosis_that_nothing_would_date_needs_no_encounter(read: Read) -> None:
    undated = {
        "resourceType": "Condition",
        "id": "c1",
        "code": coded(SNOMED, "386661006"),
        "subject": {"reference": "Patient/p1"},
        "encounter": {"reference": "Encounter/e1"},
    }
    more = '[settings]\nundated_conditions = "undated"\n'
    assert read(undated, kind="delta", more=more).fates() == []


def test_what_is_about_another_is_known_by_any_name(read: Read) -> None:
    told = read(observation(focus=[{"display": "the mother"}]))
    assert told.fates() == [(1, None, "out_of_scope", "about_another")]


def test_a_reason_to_call_an_event_serious_says_that_it_is(read: Read) -> None:
    event = {
        "resourceType": "AdverseEvent",
        "actuality": "actual",
        "subject": {"reference": "Patient/p1"},
        "event": coded(SNOMED, "386661006"),
        "date": "2024-03-01",
    }
    codes = ("SeriousResultsInDeath", "SeriousIsLifeThreatening", "serious", "Non-serious")
    told = read(*(event | {"id": code, "seriousness": coded("x", code)} for code in codes))
    assert told.rows("AdverseEventReported", "is_serious") == [(True,), (True,), (True,), (False,)]
