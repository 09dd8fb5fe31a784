"""Small sound resources of every FHIR type that has a rule, as fuzzing starts from them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

LOINC = "http://loinc.org"
SNOMED = "http://snomed.info/sct"
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_IV: Json = {"coding": [{"system": SNOMED, "code": "47625008"}], "text": "IV"}


def _coded(system: str, code: str, display: str = "") -> Json:
    return {"coding": [{"system": system, "code": code, "display": display}], "text": display}


def _observation(of: str, code: str, category: str, **told: Any) -> Json:
    return {
        "resourceType": "Observation",
        "id": f"{of}o{code}",
        "meta": {"versionId": "3", "lastUpdated": "2024-03-02T07:00:00.123-05:00"},
        "status": "final",
        "category": [_coded(_CATEGORY, category)],
        "code": _coded(LOINC, code, "name of it"),
        "subject": {"reference": f"Patient/{of}p"},
        "encounter": {"reference": f"Encounter/{of}e"},
        "effectiveDateTime": "2024-03-01T08:30:00-05:00",
    } | told


def _given(kind: str, of: str, who: str, **told: Any) -> Json:
    return {
        "resourceType": kind,
        "id": f"{of}{kind}",
        "meta": {"versionId": "1", "lastUpdated": "2024-03-02T07:00:00Z"},
        "status": "completed",
        "medicationCodeableConcept": _coded(RXNORM, "77655", "zoledronic acid"),
        "subject": {"reference": f"Patient/{of}p"},
        who: {"reference": f"Encounter/{of}e"},
    } | told


def seeds(of: str) -> list[Json]:
    """Return sound resources that refer to nothing but each other.

    Args:
        of: what their ids begin with; resources of two prefixes have nothing to do with each other.
    """
    return [*_about(of), *_measured(of), *_drugs(of), *_happened(of)]


def _about(of: str) -> list[Json]:
    return [
        {
            "resourceType": "Patient",
            "id": f"{of}p",
            "identifier": [{"system": "urn:mrn", "value": f"M-{of}7"}],
            "name": [{"family": f"Patient_{of}7", "given": ["A"]}],
            "gender": "female",
            "birthDate": "2012-05-06",
            "deceasedDateTime": "2024-06-01T10:00:00Z",
        },
        {
            "resourceType": "Encounter",
            "id": f"{of}e",
            "status": "finished",
            "class": {"code": "IMP"},
            "priority": _coded("urn:x", "EL"),
            "hospitalization": {
                "admitSource": _coded("urn:x", "emd"),
                "dischargeDisposition": _coded("urn:x", "home"),
            },
            "subject": {"reference": f"Patient/{of}p"},
            "period": {"start": "2024-03-01T07:00:00-05:00", "end": "2024-03-02"},
        },
        *(
            {"resourceType": kind, "id": f"{of}{kind}", "name": "somebody"}
            for kind in ("Location", "Organization", "Practitioner", "Substance", "Immunization")
        ),
    ]


def _measured(of: str) -> list[Json]:
    grams = {"value": 8.1, "unit": "milligram", "code": "mg/dL", "comparator": "<"}
    limits = [{"low": {"value": 8.5, "unit": "mg/dL"}, "high": {"value": 10.5, "code": "mg/dL"}}]
    pressures = [
        {"code": _coded(LOINC, "8480-6"), "valueQuantity": {"value": 120, "code": "mm[Hg]"}},
        {"code": _coded(LOINC, "8462-4"), "valueString": "80", "referenceRange": limits},
        {"code": _coded(LOINC, "8478-0"), "dataAbsentReason": _coded("urn:x", "unknown")},
    ]
    told = {"referenceRange": limits, "specimen": {"reference": f"Specimen/{of}s"}}
    scan = _observation(of, "85394-5", "imaging", valueQuantity={"value": -2.4, "unit": "{Z}"})
    del scan["effectiveDateTime"]
    return [
        _observation(of, "17861-6", "laboratory", valueQuantity=grams, **told),
        _observation(of, "2777-1", "laboratory", valueString="1.9 (L)", issued="2024-03-01"),
        _observation(of, "5778-6", "laboratory", valueCodeableConcept=_coded("urn:x", "y", "red")),
        _observation(of, "8310-5", "vital-signs", valueInteger=38, bodySite={"text": "ear"}),
        _observation(of, "85354-9", "vital-signs", component=pressures),
        scan,
        {
            "resourceType": "DiagnosticReport",
            "id": f"{of}r",
            "status": "final",
            "result": [{"reference": f"Observation/{of}o85394-5"}],
            "effectiveDateTime": "2024-02-02",
        },
        {
            "resourceType": "Specimen",
            "id": f"{of}s",
            "collection": {"collectedDateTime": "2024-03-01T08:00:00-05:00"},
            "condition": [_coded("urn:x", "HEM")],
        },
    ]


def _drugs(of: str) -> list[Json]:
    span = {"start": "2024-03-01T09:00:00-05:00", "end": "2024-03-01T09:30:00-05:00"}
    dose: Json = {"value": 2.5, "code": "mg", "unit": "mg"}
    per = {"numerator": dose, "denominator": {"value": 30, "code": "min"}}
    dosage = {"route": _IV, "dose": dose, "rateRatio": per, "method": {"text": "Continuous IV"}}
    order = [{"route": _IV, "doseAndRate": [{"doseQuantity": dose, "rateQuantity": dose}]}]
    pointed = _given("MedicationAdministration", of, "context", effectiveDateTime="2024-03-01")
    del pointed["medicationCodeableConcept"]
    vial: Json = {"resourceType": "Medication", "code": _coded(RXNORM, "77655")}
    mixed = [{"itemReference": {"reference": f"Medication/{of}m"}}]
    inside = {"id": "m", "ingredient": [{"itemCodeableConcept": _coded(RXNORM, "9863")}]}
    return [
        vial | {"id": f"{of}m"},
        {"resourceType": "Medication", "id": f"{of}mix", "ingredient": mixed},
        _given(
            "MedicationAdministration",
            of,
            "context",
            effectivePeriod=span,
            dosage=dosage,
            request={"reference": f"MedicationRequest/{of}MedicationRequest"},
            statusReason=[_coded("urn:x", "reason")],
        ),
        pointed | {"id": f"{of}mixed", "medicationReference": {"reference": f"Medication/{of}mix"}},
        pointed
        | {
            "id": f"{of}inside",
            "medicationReference": {"reference": "#m"},
            "contained": [{"resourceType": "Medication"} | inside],
        },
        _given(
            "MedicationRequest", of, "encounter", intent="order", authoredOn="2024-03-01",
            dosageInstruction=order, dispenseRequest={"validityPeriod": span}, doNotPerform=False,
        ),
        _given(
            "MedicationDispense", of, "context", whenHandedOver="2024-03-01T08:00:00Z",
            authorizingPrescription=[{"reference": f"MedicationRequest/{of}MedicationRequest"}],
            dosageInstruction=order,
        ),
        _given("MedicationStatement", of, "context", effectivePeriod=span, dosage=order),
    ]  # fmt: skip


def _happened(of: str) -> list[Json]:
    who = {
        "subject": {"reference": f"Patient/{of}p"},
        "encounter": {"reference": f"Encounter/{of}e"},
    }
    return [
        {
            "resourceType": "Condition",
            "id": f"{of}c",
            "code": _coded("http://hl7.org/fhir/sid/icd-10-cm", "R50.9"),
            "category": [_coded("urn:x", "encounter-diagnosis")],
            "verificationStatus": _coded("urn:x", "confirmed"),
            **who,
        },
        {
            "resourceType": "AdverseEvent",
            "id": f"{of}ae",
            "actuality": "actual",
            "event": _coded("http://hl7.org/fhir/sid/icd-10-cm", "T88.7"),
            "date": "2024-03-01T12:00:00-05:00",
            "seriousness": _coded("urn:x", "serious"),
            "severity": _coded("urn:x", "mild"),
            "outcome": _coded("urn:x", "resolved"),
            **who,
        },
        {
            "resourceType": "Procedure",
            "id": f"{of}pr",
            "status": "completed",
            "code": _coded("https://www.cms.gov/Medicare/Coding/HCPCSReleaseCodeSets", "J3489"),
            "performedPeriod": {"start": "2024-03-01T09:00:00Z", "end": "2024-03-01T09:30:00Z"},
            **who,
        },
    ]
