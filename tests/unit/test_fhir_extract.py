"""From FHIR resources to events: examples written by hand after those of HL7."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pytest

from pipelines.base import duck
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts, DeliveryKind
from pipelines.sources.fhir.extract import extract
from pipelines.sources.fhir.mapping import load_mapping
from pipelines.sources.rows.stage import Everything, Scope
from studies.load import ConceptRow

KEY = SiteKey(bytes(range(32)))
AT = datetime(2030, 1, 1, tzinfo=UTC)
MAPPING = """
namespace = "mrn"
zone = "America/New_York"
[delivery]
kind = "snapshot"
exported_at = 2030-01-01T00:00:00Z
data_through = { default = 2030-01-01T00:00:00Z }
"""
Json = dict[str, Any]
Read = Callable[..., "Staged"]


class Staged:
    """A staging database, asked in the words of the contract."""

    def __init__(self, con: duckdb.DuckDBPyConnection) -> None:
        self.con = con

    def rows(self, event_type: str, *columns: str) -> list[tuple[Any, ...]]:
        told = ", ".join(columns)
        order = "source_file_sha, source_row, source_part NULLS FIRST"
        query = f'SELECT {told} FROM event."{event_type}" ORDER BY {order}'
        return self.con.execute(query).fetchall()

    def one(self, event_type: str, *columns: str) -> tuple[Any, ...]:
        (row,) = self.rows(event_type, *columns)
        return row

    def fates(self) -> list[tuple[Any, ...]]:
        query = "SELECT source_row, source_part, fate, reason FROM fate.row ORDER BY ALL"
        return self.con.execute(query).fetchall()


def utc(*parts: int) -> datetime:
    return datetime(*parts)  # type: ignore[arg-type] # noqa: DTZ001 - columns are naive UTC


def facts_of(paths: list[Path], types: tuple[str, ...], kind: DeliveryKind) -> DeliveryFacts:
    files = tuple(
        DeliveredFile(path, "any", hashlib.sha256(path.read_bytes()).hexdigest()) for path in paths
    )
    return DeliveryFacts(
        "0" * 64, "here", "ehr", kind, AT, dict.fromkeys(types, AT), "m", "s", "p", files
    )


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reading(
        *resources: Json,
        more: str = "",
        scope: Scope = "all",
        kind: DeliveryKind = "snapshot",
    ) -> Staged:
        path = tmp_path / "all.ndjson"
        path.write_text("".join(json.dumps(one) + "\n" for one in resources))
        toml = tmp_path / "fhir.toml"
        toml.write_text(MAPPING + more)
        mapping = load_mapping(toml)
        con = duck.connect()
        site = cast("Site", SimpleNamespace(site=SimpleNamespace(zone="America/New_York")))
        facts = facts_of([path], mapping.event_types, kind)
        extract(con, facts, mapping, site, scope, KEY)
        return Staged(con)

    return reading


def coded(system: str, code: str, display: str | None = None) -> Json:
    coding = {"system": system, "code": code}
    return {"coding": [coding | ({"display": display} if display else {})]}


LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def observation(**told: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": "o1",
        "status": "final",
        "category": [
            coded("http://terminology.hl7.org/CodeSystem/observation-category", "laboratory")
        ],
        "code": coded(LOINC, "17861-6", "Calcium"),
        "subject": {"reference": "Patient/p1"},
        "effectiveDateTime": "2024-03-01T08:30:00-05:00",
        "valueQuantity": {"value": 8.1, "unit": "milligram per deciliter", "code": "mg/dL"},
    } | told


def administration(**told: Any) -> Json:
    return {
        "resourceType": "MedicationAdministration",
        "id": "a1",
        "status": "completed",
        "medicationCodeableConcept": coded(RXNORM, "77655", "zoledronic acid"),
        "subject": {"reference": "Patient/p1"},
        "effectivePeriod": {
            "start": "2024-03-01T09:00:00-05:00",
            "end": "2024-03-01T09:30:00-05:00",
        },
        "dosage": {"route": coded(SNOMED, "47625008"), "dose": {"value": 2.5, "code": "mg"}},
    } | told


def test_a_result_is_told_with_value_unit_limits_and_draw(read: Read) -> None:
    ranges = [
        {"low": {"value": 8.5, "unit": "mg/dL"}, "high": {"value": 10.5, "code": "mg/dL"}},
        {"low": {"value": 1}, "type": coded("x", "therapeutic")},
        {"low": {"value": 2.1, "code": "mmol/L"}},
    ]
    specimen = {
        "resourceType": "Specimen",
        "id": "s1",
        "collection": {"collectedDateTime": "2024-03-01T08:00:00-05:00"},
        "condition": [coded("http://terminology.hl7.org/CodeSystem/v2-0493", "HEM")],
    }
    told = read(
        specimen,
        observation(
            referenceRange=ranges,
            specimen={"reference": "Specimen/s1"},
            issued="2024-03-01T10:00:00-05:00",
            encounter={"reference": "https://server.example/fhir/Encounter/e1/_history/2"},
        ),
    )
    columns = ("code", "code_system", "display", "value", "unit", "low_limit", "high_limit")
    assert told.one("LabResulted", *columns) == (
        *("17861-6", "loinc", "Calcium", 8.1),
        *("mg/dL", 8.5, 10.5),
    )
    times = told.one("LabResulted", "occurred_at", "resulted_at", "specimen_quality", "flags")
    assert times == (utc(2024, 3, 1, 13), utc(2024, 3, 1, 15), "haemolysed", [])
    keys = told.one("LabResulted", "patient_key", "encounter_key", "resource_key")
    assert keys == (
        KEY.patient("here", "mrn", "p1"),
        KEY.other("here", "ehr", "encounter", "e1"),
        KEY.other("here", "ehr", "resource", "Observation/o1"),
    )
    assert told.fates() == [(1, None, "reference", "specimen")]


#: What a result is told as, and the number, comparator and words that it is.
RESULTS: list[tuple[Json, float | None, str | None, str | None]] = [
    ({"valueString": "<5.0"}, 5.0, "<", None),
    ({"valueString": "1.9 (L)"}, 1.9, None, "1.9 (L)"),
    ({"valueString": "NEGATIVE"}, None, None, "NEGATIVE"),
    ({"valueString": "120/80"}, None, None, "120/80"),
    ({"valueInteger": 7}, 7.0, None, None),
    ({"valueQuantity": {"value": 0.3, "comparator": ">=", "code": "mg/dL"}}, 0.3, ">=", None),
    ({"valueCodeableConcept": coded(SNOMED, "260385009", "Negative")}, None, None, "Negative"),
    ({"dataAbsentReason": coded("x", "not-performed")}, None, None, "not-performed"),
    ({"interpretation": [coded("x", "POS")]}, None, None, "POS"),
]


def test_whatever_a_result_is_written_as_is_a_number_or_words(read: Read) -> None:
    bare = observation()
    del bare["valueQuantity"]
    told = read(*(bare | result | {"id": f"o{n}"} for n, (result, *_) in enumerate(RESULTS)))
    rows = told.rows("LabResulted", "value", "comparator", "value_text", "flags")
    assert rows == [(*expected, []) for _, *expected in RESULTS]


def test_a_number_that_is_none_is_flagged(read: Read) -> None:
    told = read(observation(valueQuantity={"value": "high", "code": "mg/dL"}))
    assert told.one("LabResulted", "value", "value_text", "flags") == (
        None,
        "high",
        ["bad_number"],
    )


def test_components_are_results_of_their_own_and_a_panel_is_none(read: Read) -> None:
    pressure = observation(
        category=[
            coded("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs")
        ],
        code=coded(LOINC, "85354-9"),
        component=[
            {"code": coded(LOINC, "8480-6"), "valueQuantity": {"value": 120, "code": "mm[Hg]"}},
            {"code": coded(LOINC, "8462-4"), "valueQuantity": {"value": 80, "code": "mm[Hg]"}},
        ],
    )
    del pressure["valueQuantity"]
    told = read(pressure)
    assert told.rows("VitalSignMeasured", "source_row", "source_part", "code", "value") == [
        (1, 1, "8480-6", 120.0),
        (1, 2, "8462-4", 80.0),
    ]
    keys = told.rows("VitalSignMeasured", "resource_key", "record_key")
    assert [len(set(found)) for found in zip(*keys, strict=True)] == [1, 2]


def test_a_result_without_another_time_is_dated_by_its_issue_and_flagged(read: Read) -> None:
    late = observation(issued="2024-03-01T10:00:00-05:00")
    del late["effectiveDateTime"]
    told = read(late)
    assert told.one("LabResulted", "occurred_at", "flags") == (
        utc(2024, 3, 1, 15),
        ["imprecise_time"],
    )


def test_a_bone_density_is_dated_by_its_report(read: Read) -> None:
    scan = observation(
        code=coded(LOINC, "85394-5"), valueQuantity={"value": -2.4, "unit": "{Zscore}"}
    )
    del scan["effectiveDateTime"]
    report = {
        "resourceType": "DiagnosticReport",
        "id": "d1",
        "status": "final",
        "result": [{"reference": "Observation/o1"}],
        "effectiveDateTime": "2024-02-02",
    }
    told = read(scan, report)
    columns = ("skeletal_site", "z_score", "bmd_g_cm2", "time_precision", "occurred_at")
    assert told.one("BoneDensityMeasured", *columns) == (
        *("lumbar spine", -2.4, None, "day"),
        utc(2024, 2, 2, 5),
    )


def test_an_infusion_is_told_with_dose_rate_order_and_end(read: Read) -> None:
    per = {"numerator": {"value": 1500, "code": "mg"}, "denominator": {"value": 30, "code": "min"}}
    infusion = administration(request={"reference": "MedicationRequest/r1"})
    infusion["dosage"]["rateRatio"] = per
    told = read(infusion)
    columns = ("evidence", "status", "code", "code_system", "route", "dose_value", "dose_unit")
    assert told.one("InfusionRecorded", *columns) == (
        *("administered", "completed", "77655", "rxnorm"),
        *("intravenous", 2.5, "mg"),
    )
    others = ("rate_value", "rate_unit", "order_key", "ended_at", "flags")
    assert told.one("InfusionRecorded", *others) == (
        *(50.0, "mg/min", KEY.other("here", "ehr", "order", "r1")),
        *(utc(2024, 3, 1, 14, 30), []),
    )


def test_a_method_of_the_settings_says_that_nothing_was_given(read: Read) -> None:
    told = read(
        administration(
            dosage={"method": coded("x", "Not Given"), "route": coded(SNOMED, "47625008")}
        ),
        more='[settings]\nnot_given = ["not given"]\n',
    )
    assert told.one("InfusionRecorded", "status") == ("not-done",)


@pytest.mark.parametrize(("point_time", "flags"), [("start", ["end_missing"]), ("end", [])])
def test_the_site_says_which_end_a_single_time_means(
    read: Read, point_time: str, flags: list[str]
) -> None:
    point = administration(effectiveDateTime="2024-03-01T09:00:00-05:00")
    del point["effectivePeriod"]
    told = read(point, more=f'[settings]\npoint_time = "{point_time}"\n')
    ended = utc(2024, 3, 1, 14) if point_time == "end" else None
    row = told.one("InfusionRecorded", "occurred_at", "ended_at", "flags")
    assert row == (utc(2024, 3, 1, 14), ended, flags)


def test_what_studies_name_decides_where_the_route_does_not(read: Read) -> None:
    scope = [
        ConceptRow("InfusionRecorded", "rxnorm", "77655", "exact", "zoledronic_acid"),
        ConceptRow("MedicationGiven", "rxnorm", "161", "exact", "acetaminophen"),
    ]
    tablet = administration(id="a2", medicationCodeableConcept=coded(RXNORM, "161"), dosage={})
    by_mouth = administration(id="a3", dosage={"route": coded(SNOMED, "26643006")})
    told = read(administration(dosage={}), tablet, by_mouth, scope=scope)
    assert told.one("InfusionRecorded", "source_row", "route") == (1, None)
    assert told.one("MedicationGiven", "source_row", "route") == (2, None)
    assert told.fates() == [(3, None, "out_of_scope", "code")]


def test_of_several_codings_the_one_that_a_study_names_counts(read: Read) -> None:
    codings = [
        {"system": "urn:local", "code": "ZOL"},
        {"system": "http://www.whocc.no/atc", "code": "M05BA08"},
        {"system": RXNORM, "code": "77655"},
    ]
    drug = administration(medicationCodeableConcept={"coding": codings, "text": "Zoledronate"})
    atc = ConceptRow("InfusionRecorded", "atc", "M05BA", "prefix", "zoledronic_acid")
    rxnorm = ConceptRow("InfusionRecorded", "rxnorm", "77655", "exact", "zoledronic_acid")
    columns = ("code_system", "code", "display", "flags")
    one = read(drug, scope=[atc]).one("InfusionRecorded", *columns)
    assert one == ("atc", "M05BA08", "Zoledronate", [])
    several = read(drug, scope=[atc, rxnorm]).one("InfusionRecorded", *columns)
    assert several == ("rxnorm", "77655", "Zoledronate", ["several_codings"])


def test_a_drug_is_found_by_reference_inside_and_through_its_mixture(read: Read) -> None:
    vial: Json = {"resourceType": "Medication", "id": "m1", "code": coded(RXNORM, "77655")}
    salt: Json = {"resourceType": "Medication", "id": "m2", "code": coded(RXNORM, "9863")}
    mix = {
        "resourceType": "Medication",
        "id": "m3",
        "ingredient": [
            {"itemReference": {"reference": "Medication/m1"}},
            {"itemReference": {"reference": "Medication/m2"}},
        ],
    }

    def of(id_: str, reference: str, **told: Any) -> Json:
        one = administration(id=id_, medicationReference={"reference": reference}, **told)
        del one["medicationCodeableConcept"]
        return one

    told = read(
        *(vial, salt, mix),
        of("a1", "Medication/m1"),
        of("a2", "#inside", contained=[vial | {"id": "inside"}]),
        of("a3", "Medication/m3"),
        of("a4", "Medication/gone"),
        of("a5", "Medication/gone", status="entered-in-error"),
    )
    columns = ("source_row", "source_part", "code", "dose_value", "operation")
    assert told.rows("InfusionRecorded", *columns) == [
        (4, None, "77655", 2.5, "upsert"),
        (5, None, "77655", 2.5, "upsert"),
        (6, 1, "77655", None, "upsert"),
        (6, 2, "9863", None, "upsert"),
        (8, None, None, 2.5, "retract"),
    ]
    assert (7, None, "quarantined", "unresolved_reference") in told.fates()


def test_an_order_and_its_dispense_tell_one_order(read: Read) -> None:
    order = {
        "resourceType": "MedicationRequest",
        "id": "r1",
        "status": "active",
        "intent": "order",
        "medicationCodeableConcept": coded(RXNORM, "77655"),
        "subject": {"reference": "Patient/p1"},
        "authoredOn": "2024-03-01",
        "dispenseRequest": {"validityPeriod": {"start": "2024-03-02T08:00:00-05:00"}},
        "dosageInstruction": [{"route": {"text": "IV"}}],
    }
    dispense = {
        "resourceType": "MedicationDispense",
        "id": "r1",
        "status": "completed",
        "medicationCodeableConcept": coded(RXNORM, "77655"),
        "subject": {"reference": "Patient/p1"},
        "authorizingPrescription": [{"reference": "MedicationRequest/r1"}],
        "dosageInstruction": [{"route": {"text": "IV"}}],
    }
    told = read(order, dispense, order | {"id": "r2", "intent": "plan"})
    rows = told.rows("InfusionRecorded", "evidence", "occurred_at", "order_key", "record_key")
    assert [row[:2] for row in rows] == [
        ("ordered", utc(2024, 3, 2, 13)),
        ("dispensed", None),
    ]
    assert [len({row[place] for row in rows}) for place in (2, 3)] == [1, 2]
    assert told.fates() == [(3, None, "out_of_scope", "no_order")]


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


ZOLEDRONATE = ConceptRow("InfusionRecorded", "rxnorm", "77655", "exact", "zoledronic_acid")
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


MG = {"low": {"value": 8.5, "unit": "mg/dL"}}


@pytest.mark.parametrize(
    ("ranges", "low"),
    [
        ([MG], 8.5),
        ([MG | {"age": {"high": {"value": 18, "unit": "a"}}}], None),
        ([MG, MG | {"age": {"low": {"value": 18, "unit": "a"}}}], 8.5),
        ([MG | {"text": "Panic"}], None),
        ([MG | {"age": {"low": {"value": 18, "unit": "a"}}}], None),
        ([MG | {"appliesTo": [{"text": "male"}]}], None),
        ([MG | {"text": "Critical low"}], None),
        ([MG, MG | {"text": "critical low"}], 8.5),
        ([{"low": {"value": 0, "unit": "mg/dL"}, "high": {"value": 10.8, "unit": "mg/dL"}}], None),
    ],
)
def test_only_a_range_for_anybody_is_the_childs_own_limit(
    read: Read, ranges: list[Json], low: float | None
) -> None:
    assert read(observation(referenceRange=ranges)).one("LabResulted", "low_limit") == (low,)


@pytest.mark.parametrize(
    "told",
    [
        {"status": "unsatisfactory"},
        {"status": "entered-in-error"},
        {"condition": [{"text": "Haemolysed"}]},
        {"condition": [coded(SNOMED, "118128002", "Specimen hemolyzed")]},
        {"condition": [coded(SNOMED, "281279002")]},
        {"condition": [{"text": "Hämolytisch"}]},
        {"condition": [coded("x", "7", "Insufficient sample")]},
    ],
)
def test_a_spoilt_specimen_is_told_in_any_of_its_ways(read: Read, told: Json) -> None:
    specimen = {"resourceType": "Specimen", "id": "s1"} | told
    found = read(specimen, observation(specimen={"reference": "Specimen/s1"}))
    assert found.one("LabResulted", "specimen_quality IS NOT NULL") == (True,)


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


def test_a_measurement_of_somebody_else_is_left_out(read: Read) -> None:
    told = read(observation(focus=[{"reference": "Patient/mother"}]))
    assert told.fates() == [(1, None, "out_of_scope", "about_another")]


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


AFFECTING = (
    "https://www.medizininformatik-initiative.de/fhir/core/modul-labor/StructureDefinition/"
    "InterpretationsbeeinflussendeEigenschaft"
)


def test_a_german_result_says_itself_that_its_specimen_was_spoilt(read: Read) -> None:
    def affected(code: str) -> Json:
        return {"url": AFFECTING, "valueCoding": {"system": SNOMED, "code": code}}

    spoilt = observation(modifierExtension=[affected("118128002")])
    # the words of a lipemic specimen are not taken for a spoilt one
    told = read(spoilt, observation(id="o2", modifierExtension=[affected("118127007")]))
    assert told.rows("LabResulted", "specimen_quality") == [("haemolysed",), (None,)]


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


def test_a_vital_sign_counts_by_its_status_as_a_result_does(read: Read) -> None:
    category = coded("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs")
    gone, stays = ("registered", "unknown", "cancelled"), ("preliminary", "final", "amended")
    told = read(
        *(observation(id=status, category=[category], status=status) for status in (*gone, *stays))
    )
    assert told.fates() == [(row, None, "out_of_scope", "mapping") for row in (1, 2, 3)]


def test_a_vital_sign_without_a_value_stays_an_event(read: Read) -> None:
    category = coded("http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs")
    bare = observation(category=[category])
    del bare["valueQuantity"]
    told = read(bare, bare | {"id": "o2", "dataAbsentReason": coded("x", "not-performed")})
    rows = told.rows("VitalSignMeasured", "value", "value_text")
    assert rows == [(None, None), (None, "not-performed")]


def test_a_result_is_dated_by_the_first_of_several_times(read: Read) -> None:
    timed = observation(effectiveTiming={"event": ["2024-03-01T08:30:00-05:00"]})
    del timed["effectiveDateTime"]
    assert read(timed).one("LabResulted", "occurred_at", "flags") == (utc(2024, 3, 1, 13, 30), [])


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


def test_an_infusion_in_words_goes_into_a_vein(read: Read) -> None:
    words = ("IV infusion", "Intravenous Infusion", "infusion")
    told = read(*(administration(id=w, dosage={"route": {"text": w}}) for w in words))
    assert told.rows("InfusionRecorded", "route") == [("intravenous",)] * 3


ALENDRONATE = ConceptRow("MedicationGiven", "rxnorm", "46041", "exact", "bisphosphonate_oral")


def of_drug(kind: str, code: str, **told: Any) -> Json:
    return {
        "resourceType": kind,
        "status": "completed",
        "medicationCodeableConcept": coded(RXNORM, code),
        "subject": {"reference": "Patient/p1"},
    } | told


def test_what_is_stated_of_a_drug_is_a_sign_and_no_dose(read: Read) -> None:
    def stated(id_: str, code: str, **told: Any) -> Json:
        return of_drug("MedicationStatement", code, id=id_, **told)

    told = read(
        stated("s1", "77655", effectiveDateTime="2023-06-01"),
        stated("s2", "46041", effectiveDateTime="2023-06-01"),
        stated("s3", "46041", status="active", dateAsserted="2023-06-02"),
        stated("s4", "77655", dateAsserted="2023-06-02"),
        stated("s5", "46041"),
        stated("s6", "77655", status="not-taken", dateAsserted="2023-06-02"),
        stated("s7", "46041", effectivePeriod={"end": "2023-06-01"}, dateAsserted="2023-06-02"),
        scope=[ZOLEDRONATE, ALENDRONATE],
    )
    day = utc(2023, 6, 1, 4), utc(2023, 6, 2, 4)
    columns = ("source_row", "evidence", "status", "occurred_at")
    assert told.rows("InfusionRecorded", *columns) == [
        (1, "stated", "completed", day[0]),
        (4, "stated", "unknown", day[1]),
    ]
    assert told.rows("MedicationGiven", "source_row", "status", "occurred_at") == [
        (2, "completed", day[0]),
        (3, "unknown", day[1]),
        (7, "unknown", day[0]),
    ]
    assert told.fates() == [
        (5, None, "out_of_scope", "undated_statement"),
        (6, None, "out_of_scope", "not_taken"),
    ]


def test_a_dispense_of_tablets_is_a_sign_and_an_order_is_none(read: Read) -> None:
    def dispensed(id_: str, code: str, **told: Any) -> Json:
        when = {"whenHandedOver": "2023-06-01T10:00:00Z"}
        return of_drug("MedicationDispense", code, id=id_, **(when | told))

    by_mouth = {"dosageInstruction": [{"route": coded(SNOMED, "26643006")}]}
    in_vein = {"dosageInstruction": [{"route": coded(SNOMED, "47625008")}]}
    order = {"intent": "order", "authoredOn": "2023-06-01"}
    told = read(
        dispensed("d1", "46041", **by_mouth),
        dispensed("d2", "46041"),
        dispensed("d3", "46041", **in_vein),
        dispensed("d4", "46041", status="declined"),
        dispensed("d5", "77655", **in_vein),
        of_drug("MedicationRequest", "46041", id="r1", **order, **by_mouth),
        of_drug("MedicationRequest", "46041", id="r2", **order),
        scope=[ZOLEDRONATE, ALENDRONATE],
    )
    assert told.rows("MedicationGiven", "source_row", "status") == [(1, "unknown"), (2, "unknown")]
    assert told.rows("InfusionRecorded", "source_row", "evidence") == [(5, "dispensed")]
    assert [(row, fate) for row, _, fate, _ in told.fates()] == [
        (row, "out_of_scope") for row in (3, 4, 6, 7)
    ]


#: A result in words, the ranges beside it, and the number, unit and lower limit that it tells.
IN_WORDS: list[tuple[str, list[Json], float | None, str | None, float | None]] = [
    ("6.9 mg/dL", [], 6.9, "mg/dL", None),
    ("6.9mg/dL (L)", [MG], 6.9, "mg/dL", 8.5),
    ("<5.0 mg/dL", [MG], 5.0, "mg/dL", 8.5),
    ("6.9", [MG], 6.9, "mg/dL", 8.5),
    ("6.9 (L)", [MG], 6.9, "mg/dL", 8.5),
    ("1.7 mmol/L", [MG], 1.7, "mmol/L", None),
    ("6.9", [MG, {"low": {"value": 2.1, "code": "mmol/L"}}], 6.9, None, None),
    ("6.9", [{"low": {"value": 8.5, "unit": "glasses"}}], 6.9, None, None),
    ("6.9 glasses", [MG], None, None, 8.5),
    ("1.9 L", [], 1.9, None, None),
    ("120/80", [], None, None, None),
]


def test_a_number_in_words_is_in_the_unit_behind_it_or_of_its_range(read: Read) -> None:
    bare = observation()
    del bare["valueQuantity"]
    told = read(
        *(
            bare | {"id": f"o{n}", "valueString": text, "referenceRange": ranges}
            for n, (text, ranges, *_) in enumerate(IN_WORDS)
        )
    )
    rows = told.rows("LabResulted", "value", "unit", "low_limit")
    assert rows == [tuple(expected) for _, _, *expected in IN_WORDS]
