"""The codes, drugs and limits that the synthetic hospital writes into its records.

They are codes only: nothing here decides anything. RxNorm, LOINC and ICD-10-CM as hospitals send
them; limits of normal are the round figures of an invented laboratory.
"""

from __future__ import annotations

from typing import NamedTuple

ZONE = "America/New_York"

ZOLEDRONIC, PAMIDRONATE = 0, 1
DRUG_NAMES = ("zoledronic acid", "pamidronate")
DRUG_CODES = ("77655", "11473")
DRUG_DISPLAYS = ("Zoledronic acid", "Pamidronate disodium")
DOSE_MG_PER_KG = (0.05, 1.0)
DOSE_MG_MOST = (4.0, 60.0)

PRIMARY, NEUROMUSCULAR, GLUCOCORTICOID = 0, 1, 2
GROUP_NAMES = ("primary", "neuromuscular", "glucocorticoid")
#: Per group the underlying diagnoses that a patient of it may have; one is drawn.
GROUP_CODES: tuple[tuple[str, ...], ...] = (
    ("Q78.0",),
    ("G71.01", "G12.1", "G12.0", "G80.0", "G80.3"),
    ("T38.0X5A",),
)
LONG_TERM_STEROIDS = "Z79.52"
PRIOR_BISPHOSPHONATE = "Z79.83"
ALENDRONATE = "46041"

INPATIENT, OUTPATIENT, HOME = 0, 1, 2
SETTING_NAMES = ("inpatient", "outpatient", "home")

TEMPERATURE, HEART_RATE, RESPIRATORY_RATE = "8310-5", "8867-4", "9279-1"
VITAL_DISPLAYS = {
    TEMPERATURE: "Body temperature",
    HEART_RATE: "Heart rate",
    RESPIRATORY_RATE: "Respiratory rate",
}


class Analyte(NamedTuple):
    """One analyte in one unit system, with the laboratory's own limits."""

    code: str
    display: str
    unit: str
    low: float
    high: float


CALCIUM = (
    Analyte("17861-6", "Calcium", "mg/dL", 8.5, 10.8),
    Analyte("2000-8", "Calcium", "mmol/L", 2.12, 2.70),
)
PHOSPHATE = (
    Analyte("2777-1", "Phosphate", "mg/dL", 3.7, 5.8),
    Analyte("14879-1", "Phosphate", "mmol/L", 1.19, 1.87),
)
IONISED = Analyte("1995-0", "Calcium ionised", "mmol/L", 1.15, 1.35)
ALBUMIN = Analyte("1751-7", "Albumin", "g/dL", 3.5, 5.2)
CREATININE = Analyte("2160-0", "Creatinine", "mg/dL", 0.2, 0.9)

ACETAMINOPHEN, IBUPROFEN, CALCIUM_GIVEN = "161", "5640", "1895"
MEDICATION_DISPLAYS = {
    ACETAMINOPHEN: "Acetaminophen",
    IBUPROFEN: "Ibuprofen",
    CALCIUM_GIVEN: "Calcium",
    ALENDRONATE: "Alendronate",
}

DXA_SPINE = "85394-5"

#: Components of the composites, in the order of the columns of `Plan.has`.
FEVER, TACHYCARDIA, TACHYPNOEA, MYALGIA, CHILLS, HEADACHE, NAUSEA, LOW_CA, LOW_PO4 = range(9)
N_COMPONENTS = 9
SYMPTOM_CODES: dict[int, tuple[tuple[str, str], ...]] = {
    MYALGIA: (
        ("M79.10", "Myalgia, unspecified site"),
        ("M79.18", "Myalgia, other site"),
        ("M89.8X9", "Bone pain"),
        ("R52", "Pain, unspecified"),
    ),
    CHILLS: (("R68.83", "Chills without fever"),),
    HEADACHE: (("R51.9", "Headache, unspecified"),),
    NAUSEA: (
        ("R11.0", "Nausea"),
        ("R11.10", "Vomiting, unspecified"),
        ("R11.2", "Nausea with vomiting"),
    ),
}

#: PALS 2006 awake upper limits as (first age in months, limit); ours, for planting far from them.
HEART_RATE_LIMITS = ((0, 205), (3, 190), (24, 140), (120, 100))
RESPIRATORY_RATE_LIMITS = ((0, 60), (12, 40), (48, 34), (72, 30), (156, 16))
