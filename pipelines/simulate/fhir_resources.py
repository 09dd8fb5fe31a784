"""One FHIR R4 resource per row of the synthetic hospital, as expressions over its columns.

Columns are those of the flat files, their times already with offsets. What R4 has no place for,
such as the end of an adverse event, stands in an extension of the hospital's own, as real servers
do it; `fhir.toml` says where.
"""

from __future__ import annotations

import polars as pl

from pipelines.simulate import codes
from pipelines.simulate.fhir_codes import (
    CLASSES,
    CONDITION_CATEGORIES,
    CTCAE_GRADE,
    DXA_COMPONENTS,
    DXA_SYSTEM,
    GENDERS,
    HL7,
    HOSPITAL,
    ICD10CM,
    LOINC,
    MEDICATION_CATEGORY,
    NO_TYPE,
    OBSERVATION_END,
    OUTCOMES,
    PATIENT_PREFIX,
    PRIORITIES,
    RESOLVED,
    ROUTES,
    RXNORM,
    SERIOUSNESS,
    SEVERITIES,
    SNOMED,
    SPECIMENS,
    STOCK_PREFIX,
    UCUM,
)
from pipelines.simulate.fhir_json import array, constant, given, looked_up, number, obj, text


def coded(system: str, code: pl.Expr) -> pl.Expr:
    """Return CodeableConcepts of one coding, null where there is no code."""
    coding = obj({"system": constant(system), "code": code})
    return given(code, obj({"coding": array(coding)}))


def named(system: str) -> pl.Expr:
    """Return CodeableConcepts of the columns `code` and `name`; text alone where no code is."""
    coding = {"system": constant(system), "code": text("code"), "display": text("name")}
    bare = given("name", obj({"text": text("name")}))
    whole = obj({"coding": array(obj(coding))})
    return pl.when(pl.col("code").is_not_null()).then(whole).otherwise(bare)


def quantity(value: str, unit: str | pl.Expr) -> pl.Expr:
    """Return Quantities, null where there is no number."""
    told = text(unit)
    members = {"value": number(value), "unit": told, "system": given(told, constant(UCUM))}
    return given(number(value), obj({**members, "code": told}))


def reference(kind: str, name: str | pl.Expr) -> pl.Expr:
    """Return literal references, null where nothing is named."""
    one = pl.col(name) if isinstance(name, str) else name
    whole = obj({"reference": text(pl.concat_str(pl.lit(f"{kind}/"), one))})
    return given(one, whole)


def _subject() -> pl.Expr:
    return reference("Patient", pl.lit(PATIENT_PREFIX) + pl.col("patient_id"))


def resource(
    kind: str | pl.Expr, members: dict[str, pl.Expr], name: pl.Expr | None = None
) -> pl.Expr:
    """Return resources of a kind: id, version, when it was stored, and the rest."""
    meta = obj({"versionId": text("version"), "lastUpdated": text("last_updated")})
    told = constant(kind) if isinstance(kind, str) else text(kind)
    header = {"resourceType": told, "id": text("id" if name is None else name), "meta": meta}
    return obj({**header, **members})


def patient() -> pl.Expr:
    """Return Patients; the id is the record number, so that every delta can name it."""
    end = obj({"url": constant(OBSERVATION_END), "valueDateTime": text("observation_end")})
    identifier = {
        "use": constant("usual"),
        "type": coded(f"{HL7}/v2-0203", constant("MR")),
        "system": constant(f"{HOSPITAL}/mrn"),
        "value": text("patient_id"),
    }
    members = {
        "extension": given("observation_end", array(end)),
        "identifier": array(obj(identifier)),
        "gender": looked_up("sex", GENDERS),
        "birthDate": text("birth_date"),
        "deceasedDateTime": text("died"),
    }
    name = given("id", pl.lit(PATIENT_PREFIX) + pl.col("patient_id"))
    return resource("Patient", members, name)


def encounter() -> pl.Expr:
    """Return Encounters: class for the setting, priority for how it was planned."""
    setting = {
        "system": constant(f"{HL7}/v3-ActCode"),
        "code": looked_up("setting", CLASSES),
    }
    priority = looked_up("admission_type", PRIORITIES)
    has_end = pl.col("end").is_not_null()
    members = {
        "status": pl.when(has_end).then(constant("finished")).otherwise(constant("in-progress")),
        "class": obj(setting),
        "priority": coded(f"{HL7}/v3-ActPriority", priority),
        "subject": _subject(),
        "period": obj({"start": text("start"), "end": text("end")}),
    }
    return resource("Encounter", members)


def administration() -> pl.Expr:
    """Return MedicationAdministrations of infusions, and of doses that were swallowed.

    Infused study drugs are named by the pharmacy's Medication, others by their code. A row of an
    unknown category becomes a resource of a type that R4 does not have.
    """
    is_stocked = (pl.col("category") == "infusion") & pl.col("code").is_in(codes.DRUG_CODES)
    is_stocked = is_stocked.fill_null(value=False)
    stock = reference("Medication", pl.lit(STOCK_PREFIX) + pl.col("code"))
    has_end = pl.col("end").is_not_null()
    dosage = {
        "route": coded(SNOMED, looked_up("route", ROUTES)),
        "dose": quantity("dose", "dose_unit"),
        "rateQuantity": quantity("rate", "rate_unit"),
    }
    members = {
        "status": text("status"),
        "category": coded(MEDICATION_CATEGORY, text("category")),
        "medicationReference": pl.when(is_stocked).then(stock),
        "medicationCodeableConcept": pl.when(~is_stocked).then(_drug()),
        "subject": _subject(),
        "context": reference("Encounter", "encounter_id"),
        "effectiveDateTime": pl.when(~has_end).then(text("start")),
        "effectivePeriod": pl.when(has_end).then(obj({"start": text("start"), "end": text("end")})),
        "request": reference("MedicationRequest", "order_id"),
        "dosage": obj(dosage),
    }
    is_known = pl.col("category") != "contrast"
    kind = pl.when(is_known).then(pl.lit("MedicationAdministration"))
    return resource(kind.otherwise(pl.lit(NO_TYPE)), members)


def _drug() -> pl.Expr:
    return named(RXNORM)


def stock() -> pl.Expr:
    """Return the pharmacy's Medications."""
    members = {"code": _drug(), "status": constant("active")}
    return resource("Medication", members, pl.lit(STOCK_PREFIX) + pl.col("code"))


def statement() -> pl.Expr:
    """Return MedicationStatements: what the patient takes at home."""
    dose = array(obj({"doseQuantity": quantity("dose", "dose_unit")}))
    dosage = {"route": coded(SNOMED, looked_up("route", ROUTES)), "doseAndRate": dose}
    members = {
        "status": text("status"),
        "medicationCodeableConcept": _drug(),
        "subject": _subject(),
        "context": reference("Encounter", "encounter_id"),
        "effectiveDateTime": text("start"),
        "dosage": array(obj(dosage)),
    }
    return resource("MedicationStatement", members)


def _observation(category: str, status: pl.Expr, code: pl.Expr, when: str) -> dict[str, pl.Expr]:
    kind = coded(f"{HL7}/observation-category", constant(category))
    return {
        "status": status,
        "category": array(kind),
        "code": code,
        "subject": _subject(),
        "effectiveDateTime": text(when),
    }


def _value() -> dict[str, pl.Expr]:
    """Tell a number as a Quantity; words, as laboratories send them, as a string."""
    return {
        "valueQuantity": quantity("value", "unit"),
        "valueString": pl.when(number("value").is_null()).then(text("value")),
    }


def laboratory() -> pl.Expr:
    """Return Observations of a laboratory: collection as effective time, result as issued."""
    code = named(LOINC)
    limits = obj({"low": quantity("low", "unit"), "high": quantity("high", "unit")})
    members = {
        **_observation("laboratory", text("status"), code, "collected"),
        "issued": text("resulted"),
        "encounter": reference("Encounter", "encounter_id"),
        **_value(),
        "specimen": reference("Specimen", given("specimen", _specimen_id())),
        "referenceRange": given(pl.coalesce("low", "high"), array(limits)),
    }
    return resource("Observation", members)


def _specimen_id() -> pl.Expr:
    return pl.lit("S-") + pl.col("id")


def specimen() -> pl.Expr:
    """Return the Specimens that something is to be told about."""
    members = {
        "subject": _subject(),
        "collection": obj({"collectedDateTime": text("collected")}),
        "condition": array(coded(f"{HL7}/v2-0493", looked_up("specimen", SPECIMENS))),
    }
    return resource("Specimen", members, _specimen_id())


def vital_sign() -> pl.Expr:
    """Return Observations of vital signs."""
    code = named(LOINC)
    members = {
        **_observation("vital-signs", constant("final"), code, "measured"),
        "encounter": reference("Encounter", "encounter_id"),
        **_value(),
        "bodySite": given("site", obj({"text": text("site")})),
    }
    return resource("Observation", members)


def bone_density() -> pl.Expr:
    """Return Observations of DXA scans: the z-score, with its companions as components."""
    parts = []
    for column, (code, unit) in DXA_COMPONENTS.items():
        value = quantity(column, pl.lit(unit))
        part = obj({"code": coded(DXA_SYSTEM, constant(code)), "valueQuantity": value})
        parts.append(given(column, part))
    members = {
        **_observation("imaging", constant("final"), coded(LOINC, text("code")), "scanned"),
        "valueQuantity": quantity("z_score", pl.lit("{Zscore}")),
        "bodySite": obj({"text": text("site")}),
        "component": array(*parts),
    }
    return resource("Observation", members)


def condition() -> pl.Expr:
    """Return Conditions, known by their day."""
    category = coded(f"{HL7}/condition-category", looked_up("category", CONDITION_CATEGORIES))
    members = {
        "clinicalStatus": coded(f"{HL7}/condition-clinical", constant("active")),
        "verificationStatus": coded(f"{HL7}/condition-ver-status", constant("confirmed")),
        "category": array(category),
        "code": named(ICD10CM),
        "subject": _subject(),
        "encounter": reference("Encounter", "encounter_id"),
        "onsetDateTime": text("diagnosed"),
    }
    return resource("Condition", members)


def adverse_event() -> pl.Expr:
    """Return AdverseEvents; R4 has neither their end nor a CTCAE grade."""
    end = obj({"url": constant(RESOLVED), "valueDateTime": text("resolved")})
    grade = obj({"url": constant(CTCAE_GRADE), "valueInteger": number("grade")})
    serious = looked_up("serious", SERIOUSNESS)
    members = {
        "extension": given(
            pl.coalesce("resolved", "grade"), array(given("resolved", end), given("grade", grade))
        ),
        "actuality": constant("actual"),
        "event": named(ICD10CM),
        "subject": _subject(),
        "encounter": reference("Encounter", "encounter_id"),
        "date": text("onset"),
        "seriousness": coded(f"{HL7}/adverse-event-seriousness", serious),
        "severity": coded(f"{HL7}/adverse-event-severity", looked_up("grade", SEVERITIES)),
        "outcome": coded(f"{HL7}/adverse-event-outcome", looked_up("outcome", OUTCOMES)),
    }
    return resource("AdverseEvent", members)
