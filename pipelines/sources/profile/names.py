"""What names of columns and files say, and which of them may be told."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Words that names of columns are made of, in the languages that extracts come in. A first record
#: without any of them is not believed to be a header: it may be a patient's.
_HEADER_WORDS = frozenset(
    """id key code codes date datum datetime time zeit uhrzeit timestamp charttime start end begin
    stop von bis unit units einheit einh value wert result ergebnis label name description text
    concept status state category kategorie type typ class klasse patient subject person encounter
    fall visit stay item itemid loinc atc icd rxnorm ndc snomed drug medication dose dosis rate
    route weg sex gender geschlecht birth geburtsdatum born dob died death source number num nr
    flag method specimen fluid material lab test analyte parameter low high range comment note
    diagnosis diagnose procedure provider ward station care site zip version updated seq""".split()
)
#: Words of file names that tell what a file holds and nobody's name.
_FILE_WORDS = frozenset(
    """patient patients person persons demographics lab labs laboratory labor observation
    observations measurement measurements vital vitals infusion infusions medication medications
    administration administrations mar emar icu drug drugs exposure prescription prescriptions
    order orders dispense dispenses diagnosis diagnoses condition conditions occurrence encounter
    encounters visit visits admission admissions stay stays procedure procedures event events
    adverse allergies death specimen specimens concept location care site provider observation
    period device export extract snapshot delta csv parquet gz txt tsv json ndjson""".split()
)
#: Columns whose values are never told, whatever they look like.
_PRIVATE = re.compile(
    r"(^|_)(name|first|last|given|family|surname|vorname|nachname|nom|prenom|initials|address|addr"
    r"|adresse|street|strasse|city|ort|zip|zipcode|plz|postal|county|phone|telefon|fax|email|mail"
    r"|ssn|mrn|insurance|versich|comment|comments|note|notes|text|narrative|remark|bemerkung"
    r"|freetext|user|staff|nurse|doctor|arzt|physician|provider|caregiver|prescriber|author"
    r"|birth|geburt|dob|born|password|contact|guardian|mother|father|employer)(_|$)"
)
#: Names that are of things, not of people.
_THINGS = re.compile(r"(test|drug|item|unit|analyte|medication|concept|code|generic|brand)_?name")
_PATIENT = (
    "subject_id patient_id patientid patid pat_id person_id personid patient_mrn mrn patient_key "
    "patient_no patient_num patient_nr patnr patientennummer patienten_id patienten_nr "
    "pseudonym usubjid patient subject person pid pat"
).split()
#: Role of a column by its name; the first that fits.
_ROLES: tuple[tuple[str, str], ...] = (
    ("system", r"(^|_)(code_?system|coding_?system|vocabulary|vocabulary_id)$"),
    ("dose_unit", r"(dose|amount)_?(unit|uom)$"),
    ("rate_unit", r"rate_?(unit|uom)$"),
    ("unit", r"(^|_)(units?|uom|einheit|einh|valueuom)$|(^|_)unit_(source_value|name|code)$"),
    ("low", r"(ref|range|normal|limit).*(low|min|lower)|(low|lower)_?limit|^range_low$"),
    ("high", r"(ref|range|normal|limit).*(high|max|upper)|(high|upper)_?limit|^range_high$"),
    ("end", r"(^|_)(end|stop|ended|stopped|ende|bis|endtime|stoptime|end_(date|time|datetime|iso|local|at)|dischtime)$|_end_(date|datetime)$"),
    ("birth", r"birth|geburt|(^|_)(dob|born)$"),
    ("died", r"death|died|deceased|gestorben|(^|_)dod$"),
    ("sex", r"(^|_)(sex|gender|geschlecht)$"),
    ("dose", r"(^|_)(dose|dosis|amount|quantity|menge|dose_value|dose_val_rx)$"),
    ("rate", r"(^|_)rate$"),
    ("route", r"(^|_)(route|applikationsweg)(_|$)"),
    ("status", r"(^|_)(status|state|method|priority)$"),
    ("category", r"(^|_)(category|kategorie|class|fluid|specimen|type|typ|setting|ward|flag)$"),
    ("code", r"(^|_)(loinc|itemid|item_id|icd_?(9|10)?(cm|gm)?(_code)?|icd_code|atc|rxnorm|rxcui|ndc|snomed|ops|pzn|gsn|hcpcs|cpt|meddra|code|test_code|analyte_code|drug_code)$"),
    ("concept", r"(^|_)concept_id$|(^|_)source_value$"),
    ("label", r"(^|_)(label|display|drug|medication|analyte|test|test_name|item|description|parameter|bezeichnung)$"),
    ("value", r"(^|_)(value|valuenum|wert|result|ergebnis|value_as_number)$"),
    ("encounter", r"(^|_)(encounter|hadm|visit|stay|admission|fall|case|visit_occurrence)_?(id|nr|number|no)?$"),
    ("id", r"(^|_)(id|key|guid|uuid|nr|number|no|seq)$"),
)  # fmt: skip
_COMPILED = tuple((role, re.compile(pattern)) for role, pattern in _ROLES)
_TELLABLE = re.compile(r"[^\W\d_][\w .()/%#-]{0,39}")


def folded(name: str) -> str:
    """Return a name in lower case with `_` between its words."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    return re.sub(r"[^0-9a-zäöüß]+", "_", split.lower()).strip("_")


def role_of(name: str) -> str:
    """Return what a column seems to be for, by its name alone; empty if unclear."""
    text = folded(name)
    if text in _PATIENT:
        return "patient"
    return next((role for role, pattern in _COMPILED if pattern.search(text)), "")


def patient_rank(name: str) -> int:
    """Return how well a name fits a patient's identifier; 0 is best."""
    text = folded(name)
    return _PATIENT.index(text) if text in _PATIENT else len(_PATIENT)


def is_private(name: str) -> bool:
    """Whether a column of that name may hold names, addresses or free text."""
    text = _THINGS.sub("", folded(name))
    return bool(_PRIVATE.search(text))


def is_header(cells: Sequence[str]) -> bool:
    """Whether a first record looks like names of columns and not like a patient's row."""
    if any(not _looks_like_name(cell) for cell in cells) or len(set(cells)) < len(cells):
        return False
    words = {word for cell in cells for word in folded(cell).split("_")}
    known = words & _HEADER_WORDS
    return len(known) >= (2 if len(cells) > 2 else 1)


def _looks_like_name(cell: str) -> bool:
    return bool(cell) and not re.search(r"\d{4,}|\d[-./:]\d", cell) and bool(re.search(r"[^\W\d]", cell)) and len(cell) <= 80


def shown_names(header: Sequence[str], *, is_believed: bool) -> list[str]:
    """Return how each column is called: by its name, or by its number where that may be data."""
    return [
        name if is_believed and _TELLABLE.fullmatch(name) and not re.search(r"\d{4,}", name)
        else f"column {n}"
        for n, name in enumerate(header, start=1)
    ]


def file_pattern(name: str) -> str:
    """Return a glob for a file name that keeps its known words alone.

    `labs_2026-01-06_Smith.csv.gz` gives `labs*.csv.gz`.
    """
    parts = re.findall(r"[A-Za-z]+|[^A-Za-z]+", name)
    kept = []
    for part in parts:
        if part.lower() in _FILE_WORDS or re.fullmatch(r"[._-]", part):
            kept.append(part)
        else:
            kept.append("*")
    text = re.sub(r"[_-]*\*[*_-]*", "*", "".join(kept))
    return re.sub(r"\*(\.\*)*(?=\.)", "*", text)
