"""From FHIR administrations, orders and dispenses to doses: examples after those of HL7."""

from __future__ import annotations

from typing import Any

import pytest

from studies.load import ConceptRow
from tests.fhir_kit import (
    KEY,
    RXNORM,
    SNOMED,
    ZOLEDRONATE,
    Json,
    Read,
    administration,
    coded,
    of_drug,
    read,
    utc,
)

__all__ = ["read"]


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


def test_an_infusion_in_words_goes_into_a_vein(read: Read) -> None:
    words = ("IV infusion", "Intravenous Infusion", "infusion")
    told = read(*(administration(id=w, dosage={"route": {"text": w}}) for w in words))
    assert told.rows("InfusionRecorded", "route") == [("intravenous",)] * 3


ALENDRONATE = ConceptRow("MedicationGiven", "rxnorm", "46041", "exact", "bisphosphonate_oral")


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
