"""The FHIR names that the synthetic hospital's server writes: systems, codes, extensions."""

from __future__ import annotations

HOSPITAL = "https://ehr.example.org/fhir"
PATIENT_PREFIX, STOCK_PREFIX = "MRN-", "RX-"
#: A resource type that R4 does not have.
NO_TYPE = "ContrastAdministration"
OBSERVATION_END = f"{HOSPITAL}/StructureDefinition/observation-end"
RESOLVED = f"{HOSPITAL}/StructureDefinition/resolved"
CTCAE_GRADE = f"{HOSPITAL}/StructureDefinition/ctcae-grade"
MEDICATION_CATEGORY = f"{HOSPITAL}/CodeSystem/administration-kind"

RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"
LOINC = "http://loinc.org"
ICD10CM = "http://hl7.org/fhir/sid/icd-10-cm"
SNOMED = "http://snomed.info/sct"
UCUM = "http://unitsofmeasure.org"
HL7 = "http://terminology.hl7.org/CodeSystem"

GENDERS = {"F": "female", "M": "male"}
ROUTES = {"IV": "47625008", "PO": "26643006"}
CLASSES = {
    "inpatient": "IMP",
    "outpatient": "AMB",
    "home": "HH",
    "emergency": "EMER",
    "phone": "VR",
}
PRIORITIES = {"elective": "EL", "unplanned": "EM"}
CONDITION_CATEGORIES = {
    "problem-list": "problem-list-item",
    "encounter": "encounter-diagnosis",
}
OUTCOMES = {"recovered": "resolved"}
SPECIMENS = {"haemolysed": "HEM"}
SERIOUSNESS = {"true": "serious", "false": "non-serious"}
SEVERITIES = {"1": "mild", "2": "moderate", "3": "severe"}
#: What a scan tells beside its z-score, as components with local codes.
DXA_SYSTEM = f"{HOSPITAL}/CodeSystem/dxa"
DXA_COMPONENTS = {
    "ha_z_score": ("height-adjusted-z-score", "{Zscore}"),
    "bmd": ("bone-mineral-density", "g/cm2"),
}
