"""The words that a case may use, and the codes that stand for them in its events."""

from __future__ import annotations

#: Infusion, RxNorm code of the drug.
DRUGS = {
    "infusion": "77655",  # zoledronic acid
    "pamidronate": "11473",
    "ibandronate": "115264",
    "denosumab": "993449",  # another class of drug
}
MEDICATIONS = {
    "paracetamol": "161",
    "alendronate": "46041",
    "prednisolone": "8638",
    "calcium gluconate": "1908",
}
#: What is reported or diagnosed, ICD-10-CM code.
SYMPTOMS = {
    "fever": "R50.9",
    "headache": "R51.9",
    "chills": "R68.83",
    "fast heart": "R00.0",
    "fast breathing": "R06.82",
    "muscle pain": "M79.10",
    "bone pain": "M89.8X9",
    "vomiting": "R11.10",
    "anaphylaxis": "T88.6",
    "influenza": "J11.1",
    "seizure": "R56.9",
    "paraplegia": "G82.20",
}
DIAGNOSES = {
    "osteogenesis imperfecta": "Q78.0",
    "osteoporosis": "M8008XA",  # as US systems send M80.08XA
    "duchenne": "G71.01",
    "steroid use": "Z79.52",
    "hypercalcaemia": "E83.52",
    "bisphosphonate use": "Z79.83",
}
#: LOINC codes.
ANALYTES = {
    "calcium": "17861-6",
    "ionised calcium": "1995-0",
    "albumin": "1751-7",
    "phosphate": "2777-1",
    "creatinine": "2160-0",
    "magnesium": "19123-9",
    "potassium": "2823-3",
}
VITALS = {"temperature": "8310-5", "heart rate": "8867-4", "breathing": "9279-1"}
VITAL_UNITS = {"temperature": "Cel", "heart rate": "/min", "breathing": "/min"}
FEEDS = {
    "infusion": "InfusionRecorded",
    "laboratory": "LabResulted",
    "vital sign": "VitalSignMeasured",
    "report": "AdverseEventReported",
    "diagnosis": "DiagnosisRecorded",
    "encounter": "EncounterOccurred",
    "medication": "MedicationGiven",
}


def one_of(words: dict[str, str]) -> str:
    """Return a pattern for any of the words, the longest first."""
    return "|".join(sorted(words, key=len, reverse=True))
