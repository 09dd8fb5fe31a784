"""The check table and the vocabulary of measured concepts."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from importlib import resources
from typing import Any

import pytest
from pydantic import ValidationError

from expectations.columns import columns_of
from expectations.judged import DRIFT, RECORDS
from expectations.table import checks, checks_hash, checks_of, dose_ranges, parse
from schemas import CLINICAL_TYPES, fields
from studies.analytes import analytes, known_units, vocabulary_hash

ANALYTES = {(row.concept, row.unit): row for row in analytes()}


def raw() -> dict[str, Any]:
    return tomllib.loads(resources.files("expectations").joinpath("checks.toml").read_text("utf-8"))


def test_every_check_reads_columns_that_its_judged_tables_have() -> None:
    for check in checks():
        for event_type in check.types:
            if event_type not in (RECORDS, DRIFT):
                assert set(check.on) <= set(columns_of(event_type)), (check.id, event_type)


def test_every_check_tells_people_about_a_column_of_its_events() -> None:
    for check in checks():
        for event_type in check.types:
            if event_type not in (RECORDS, DRIFT) and (check.id, event_type) != (
                "no_number",
                "BoneDensityMeasured",
            ):
                assert check.column in {field.name for field in fields(event_type)}


def test_the_checks_that_must_reject_reject_and_the_doubtful_only_warn() -> None:
    severity = {one.id: one.severity for one in checks() if DRIFT not in one.types}
    assert {name for name, level in severity.items() if level == "warn"} == {
        "unknown_unit",
        "dose_not_judged",
        "no_number",
        "value_readable",
    }
    for name in (
        "key_present",
        "code_present",
        "value_possible",
        "times_in_order",
        "dose_possible",
        "time_in_extract",
        "time_present",
        "precision_known",
        "event_type_known",
    ):
        assert severity[name] == "reject"


def test_every_event_type_has_its_identity_checked() -> None:
    for event_type in CLINICAL_TYPES:
        ids = {check.id for check in checks_of(event_type)}
        assert {"key_present", "version_present", "operation_known", "patient_present"} <= ids


@pytest.mark.parametrize(
    ("check_id", "change"),
    [
        ("operation_known", {"values": []}),
        ("z_score_possible", {"high": None}),
        ("code_system_shaped", {"pattern": "[a-z]+"}),
        ("times_in_order", {"on": ["ended_at"]}),
        ("key_present", {"threshold": 0.1}),
        ("no_number", {"threshold": None}),
        ("no_number", {"severity": "fatal"}),
        ("no_number", {"tresholt": 0.1}),
        ("no_number", {"bad": {}}),
        ("no_number", {"note": ""}),
    ],
)
def test_an_incomplete_check_is_refused(check_id: str, change: dict[str, Any]) -> None:
    data = raw()
    parse(data)
    entry = next(one for one in data["check"] if one["id"] == check_id)
    entry.update(change)
    with pytest.raises(ValidationError):
        parse({**data, "check": [{k: v for k, v in entry.items() if v is not None}]})


def test_one_id_cannot_judge_one_event_type_twice() -> None:
    data = raw()
    data["check"].append(data["check"][0])
    with pytest.raises(ValueError, match="twice"):
        parse(data)


def test_hashes_are_sha256_in_hex() -> None:
    assert len(checks_hash()) == len(vocabulary_hash()) == 64
    assert checks_hash() != vocabulary_hash()


def test_a_concept_and_unit_are_listed_once_and_are_known_units() -> None:
    assert len(ANALYTES) == len(analytes())
    assert {unit for _, unit in ANALYTES} <= known_units()
    assert not {"UNK", "N/A", "", " ", "units"} & known_units()


# Pairs of equal quantities from the sources that the vocabulary's factors were taken from.
@pytest.mark.parametrize(
    ("concept", "unit", "value", "canonical"),
    [
        ("calcium_total", "mmol/L", 2.495, 10.0),
        ("calcium_total", "mEq/L", 5.0, 10.02),
        ("phosphate", "mmol/L", 3.229, 10.0),
        ("magnesium", "mmol/L", 0.8228, 2.0),
        ("magnesium", "mEq/L", 1.6456, 2.0),
        ("creatinine", "umol/L", 88.4, 1.0),
        ("creatinine", "mmol/L", 0.0884, 1.0),
        ("albumin", "g/L", 40.0, 4.0),
        ("vitamin_d_25oh", "nmol/L", 49.92, 20.0),
        ("potassium", "mEq/L", 3.5, 3.5),
        ("body_temperature", "[degF]", 212.0, 100.0),
        ("body_temperature", "[degF]", 32.0, 0.0),
        ("body_temperature", "[degF]", 98.6, 37.0),
        ("alkaline_phosphatase", "ukat/L", 5.0, 300.0),
    ],
)
def test_units_convert_to_the_canonical_unit(
    concept: str, unit: str, value: float, canonical: float
) -> None:
    row = ANALYTES[concept, unit]
    found = value * row.to_canonical_factor + row.to_canonical_offset
    assert found == pytest.approx(canonical, rel=1e-3, abs=1e-9)


def test_bounds_of_one_concept_are_the_same_quantity_in_every_unit() -> None:
    bounds = defaultdict(set)
    for row in analytes():
        low = row.possible_low * row.to_canonical_factor + row.to_canonical_offset
        high = row.possible_high * row.to_canonical_factor + row.to_canonical_offset
        assert low < high
        bounds[row.concept].add((low, high))
    for concept, pairs in bounds.items():
        lows, highs = zip(*pairs, strict=True)
        assert max(highs) <= min(highs) * 1.05, concept
        assert max(lows) <= min(lows) * 1.35 + 1e-6, concept


def test_the_canonical_and_the_system_unit_convert_to_themselves() -> None:
    for row in analytes():
        if row.unit == row.canonical_unit:
            assert (row.to_canonical_factor, row.to_canonical_offset) == (1, 0)
        if row.unit == row.system_unit:
            assert row.to_system_factor == 1
        system = ANALYTES[row.concept, row.system_unit]
        assert system.unit_system == row.unit_system
        assert row.to_system_factor * system.to_canonical_factor == pytest.approx(
            row.to_canonical_factor, rel=1e-12
        )


def test_extremes_that_were_measured_in_patients_are_possible() -> None:
    # Schaller et al., JAMA 1990;264:1842: avalanche victims, all of them measured.
    measured = [("potassium", "mmol/L", 24.5), ("body_temperature", "Cel", 12.0)]
    for concept, unit, value in measured:
        row = ANALYTES[concept, unit]
        assert row.possible_low <= value <= row.possible_high


def test_doses_are_judged_for_drugs_that_the_shipped_study_infuses() -> None:
    assert {row.concept for row in dose_ranges()} == {
        "zoledronic_acid",
        "pamidronate",
        "ibandronate",
    }
