"""From FHIR observations to results and vital signs: examples after those of HL7."""

from __future__ import annotations

import pytest

from tests.fhir_kit import KEY, LOINC, SNOMED, Json, Read, coded, observation, read, utc

__all__ = ["read"]


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


def test_a_measurement_of_somebody_else_is_left_out(read: Read) -> None:
    told = read(observation(focus=[{"reference": "Patient/mother"}]))
    assert told.fates() == [(1, None, "out_of_scope", "about_another")]


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
