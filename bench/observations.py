"""Synthetic FHIR R4 Observations: the same lines for the same numbers, on every machine.

Shaped like what a hospital's bulk export gives: two codings a code, offsets of two seasons, both
names of a unit, reference range and interpretation; every twentieth a blood pressure with two
components, some with their number in `valueString`, as MIMIC-IV writes laboratory results.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: LOINC code, display, local code, unit, lowest value, highest value, digits, category.
MEASURED = (
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "CA", "mg/dL", 6.0, 11.5, 1),
    ("2777-1", "Phosphate [Mass/volume] in Serum or Plasma", "PHOS", "mg/dL", 1.2, 7.0, 1),
    ("1751-7", "Albumin [Mass/volume] in Serum or Plasma", "ALB", "g/dL", 2.0, 5.0, 1),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "CREA", "mg/dL", 0.2, 2.9, 2),
    ("6298-4", "Potassium [Moles/volume] in Blood", "K", "mmol/L", 2.5, 6.5, 1),
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "HGB", "g/dL", 6.0, 17.0, 1),
)
#: Share of components and of numbers told as text, as "every n-th".
EVERY_PANEL, EVERY_TEXT = 20, 33
N_PATIENTS = 5_000
_STEP = 2_654_435_761  # Knuth's multiplier: spreads consecutive numbers over 32 bits


def write_observations(path: Path, n: int) -> None:
    """Write `n` Observations, one a line."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        out.writelines(observations(n))


def write_patients(path: Path) -> None:
    """Write the Patients whom the Observations are about, one a line."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for one in range(N_PATIENTS):
            out.write(
                f'{{"resourceType":"Patient","id":"p{one}","meta":{{"versionId":"1",'
                '"lastUpdated":"2025-06-01T00:00:00.000Z"},"gender":'
                f'"{"female" if one % 2 else "male"}","birthDate":"{2008 + one % 12}-03-14"}}\n'
            )


def observations(n: int) -> Iterator[str]:
    """Yield `n` lines of JSON, line ends included."""
    for one in range(n):
        spread = one * _STEP % 2**32
        yield _line(one, spread)


def _line(one: int, spread: int) -> str:
    month, day, hour = 1 + spread % 12, 1 + spread // 12 % 28, spread // 336 % 24
    offset = "-04:00" if 3 < month < 11 else "-05:00"
    at = f"2024-{month:02}-{day:02}T{hour:02}:{spread // 8064 % 60:02}"
    is_panel = one % EVERY_PANEL == 0
    category = "vital-signs" if is_panel else "laboratory"
    head = (
        f'{{"resourceType":"Observation","id":"{spread:08x}-4b1d-5c3e-9a7f-{one:012x}","meta":'
        f'{{"versionId":"{1 + one % 3}","lastUpdated":"{at}:41.250{offset}","profile":'
        '["http://hl7.org/fhir/us/core/StructureDefinition/us-core-observation-lab"]},'
        '"status":"final","category":[{"coding":[{"system":'
        '"http://terminology.hl7.org/CodeSystem/observation-category",'
        f'"code":"{category}"}}]}}],"subject":{{"reference":"Patient/p{spread % N_PATIENTS}"}},'
        f'"encounter":{{"reference":"Encounter/e{spread % 60_000}"}},'
        f'"effectiveDateTime":"{at}:00{offset}","issued":"{at}:40.000{offset}",'
    )
    return head + (_panel(spread) if is_panel else _result(one, spread)) + "}\n"


def _result(one: int, spread: int) -> str:
    code, display, local, unit, low, high, digits = MEASURED[spread // 7 % len(MEASURED)]
    value = low + (high - low) * (spread % 1000) / 1000
    side = "L" if value < low + (high - low) / 4 else "N"
    told = (
        f'"valueString":"{value:.{digits}f} ({side})"'
        if one % EVERY_TEXT == 0
        else f'"valueQuantity":{_quantity(f"{value:.{digits}f}", unit)}'
    )
    return (
        f'"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}","display":"{display}"}},'
        f'{{"system":"urn:oid:1.2.840.114350.1.13.0.1.7.5.737384","code":"{local}",'
        f'"display":"{local}"}}],"text":"{display}"}},{told},"interpretation":[{{"coding":[{{'
        '"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation",'
        f'"code":"{side}"}}]}}],"referenceRange":[{{"low":'
        f'{_quantity(f"{low + (high - low) / 4:.{digits}f}", unit)},"high":'
        f"{_quantity(f'{high:.{digits}f}', unit)}}}],"
        f'"specimen":{{"reference":"Specimen/s{one}"}}'
    )


def _panel(spread: int) -> str:
    pressures = (("8480-6", "Systolic", 90 + spread % 60), ("8462-4", "Diastolic", spread % 50))
    parts = ",".join(
        f'{{"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}",'
        f'"display":"{side} blood pressure"}}]}},'
        f'"valueQuantity":{_quantity(str(pressure), "mm[Hg]")}}}'
        for code, side, pressure in pressures
    )
    return (
        '"code":{"coding":[{"system":"http://loinc.org","code":"85354-9",'
        f'"display":"Blood pressure panel"}}],"text":"Blood pressure"}},"component":[{parts}]'
    )


def _quantity(value: str, unit: str) -> str:
    return (
        f'{{"value":{value},"unit":"{unit}","system":"http://unitsofmeasure.org","code":"{unit}"}}'
    )
