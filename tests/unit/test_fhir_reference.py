"""Real exports read twice: by the rules, and resource by resource with the standard library."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import duckdb
import pytest

from pipelines.base import duck
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.base.site_privacy import PrivacyTable
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.sources.fhir.extract import extract
from pipelines.sources.fhir.mapping import load_mapping
from pipelines.sources.rows.stage import Scope
from tests.functional.mimic_truth import utc

KEY = SiteKey(bytes(range(32)))
AT = datetime(2300, 1, 1, tzinfo=UTC)
#: Of each MIMIC file so many resources are enough to meet every shape in it.
SOME = 300
Json = dict[str, Any]


def staged(
    folder: Path, resources: list[Json], toml: Path, scope: Scope
) -> duckdb.DuckDBPyConnection:
    path = folder / "all.ndjson"
    path.write_text("".join(json.dumps(one) + "\n" for one in resources))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    mapping = load_mapping(toml)
    types = dict.fromkeys(mapping.event_types, AT)
    files = (DeliveredFile(path, "any", sha256),)
    facts = DeliveryFacts("0" * 64, "s", "e", "snapshot", AT, types, "m", "s", "p", files)
    site = cast(
        "Site",
        SimpleNamespace(
            site=SimpleNamespace(zone="Europe/Berlin"),
            privacy=PrivacyTable(),
            log_root=Path("no-log"),
        ),
    )
    con = duck.connect()
    extract(con, facts, mapping, site, scope, KEY)
    return con


@pytest.fixture(scope="module")
def mimic(shared_dir: Path) -> dict[str, list[Json]]:
    found = {}
    for path in sorted((shared_dir / "data" / "mimic-iv-demo" / "fhir").glob("*.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            found[path.name.split(".")[0]] = [json.loads(line) for line in lines]
    return found


@pytest.fixture(scope="module")
def sample(mimic: dict[str, list[Json]]) -> list[Json]:
    """Some of each file, with all that they refer to."""
    whole = {"MimicPatient", "MimicEncounter", "MimicEncounterED", "MimicEncounterICU"}
    whole |= {"MimicMedication", "MimicMedicationMix"}
    return [
        one
        for name, resources in mimic.items()
        for one in (resources if name in whole else resources[:: max(1, len(resources) // SOME)])
    ]


@pytest.fixture(scope="module")
def events(
    sample: list[Json], tmp_path_factory: pytest.TempPathFactory
) -> duckdb.DuckDBPyConnection:
    toml = Path(__file__).parents[1] / "fixtures" / "icu_fhir" / "fhir.toml"
    return staged(tmp_path_factory.mktemp("mimic"), sample, toml, "all")


@pytest.fixture(scope="module")
def german(shared_dir: Path) -> list[Json]:
    found: list[Json] = []
    for path in sorted((shared_dir / "data" / "mii-testdata").glob("*.json")):
        one = json.loads(path.read_text(encoding="utf-8"))
        bundled = one["resourceType"] == "Bundle"
        found += [entry["resource"] for entry in one["entry"]] if bundled else [one]
    return found


@pytest.fixture(scope="module")
def german_events(
    german: list[Json], tmp_path_factory: pytest.TempPathFactory
) -> duckdb.DuckDBPyConnection:
    toml = Path(__file__).parents[1] / "fixtures" / "mii" / "fhir.toml"
    return staged(tmp_path_factory.mktemp("mii"), german, toml, "all")


def instant(text: str | None) -> datetime | None:
    """Return the naive UTC instant of a time with an offset."""
    if text is None or "T" not in text:
        return None
    return datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None)


def concept(told: Json | None) -> tuple[str | None, str | None]:
    coding = (told or {}).get("coding", [{}])[0]
    return coding.get("code"), coding.get("display")


def rows(con: duckdb.DuckDBPyConnection, query: str) -> list[tuple[Any, ...]]:
    return con.execute(query).fetchall()


def of_type(resources: list[Json], name: str) -> list[tuple[int, Json]]:
    return [(n, one) for n, one in enumerate(resources, 1) if one["resourceType"] == name]


def vitals(number: int, one: Json) -> list[tuple[Any, ...]]:
    """Return the readings of a MIMIC vital sign: its components, else itself."""
    parts = one.get("component")
    found = []
    for part, told in [(n, p) for n, p in enumerate(parts, 1)] if parts else [(None, one)]:
        quantity = told.get("valueQuantity", {})
        code = told["code"]["coding"][0]["code"]
        value = quantity.get("value")
        absent = (told.get("dataAbsentReason") or {}).get("coding", [{}])[0].get("code")
        words = None if value is not None else absent
        found.append((number, part, code, value, words, instant(one["effectiveDateTime"])))
    return found


def test_every_vital_sign_is_told_as_a_plain_reading_tells_it(
    sample: list[Json], events: duckdb.DuckDBPyConnection
) -> None:
    expected = [
        row
        for number, one in of_type(sample, "Observation")
        if one["category"][0]["coding"][0]["code"] == "vital-signs"
        for row in vitals(number, one)
    ]
    told = rows(
        events,
        "SELECT source_row, source_part, code, value, CASE WHEN value IS NULL THEN value_text END, "
        'occurred_at FROM event."VitalSignMeasured" ORDER BY source_row, source_part',
    )
    assert len(told) > SOME
    assert told == expected


def test_every_dose_of_the_icu_is_told_as_a_plain_reading_tells_it(
    sample: list[Json], events: duckdb.DuckDBPyConnection
) -> None:
    names = {
        one["id"]: one["name"][0]["family"].removeprefix("Patient_")
        for _, one in of_type(sample, "Patient")
    }
    not_given = ("Not Given", "Not Flushed", "Not Given per Sliding Scale")
    expected = []
    for number, one in of_type(sample, "MedicationAdministration"):
        if "medicationCodeableConcept" not in one:
            continue
        dosage, period = one.get("dosage", {}), one.get("effectivePeriod", {})
        method = concept(dosage.get("method"))[0]
        code = one["medicationCodeableConcept"]["coding"][0]["code"]
        expected.append(
            (
                *(number, KEY.patient("s", "mimic-subject", names[ref(one["subject"])])),
                *(code, "not-done" if method in not_given else one["status"]),
                instant(one.get("effectiveDateTime") or period.get("start")),
                *(instant(period.get("end")), dosage.get("dose", {}).get("value")),
            )
        )
    columns = "source_row, patient_key, code, status, occurred_at, ended_at, dose_value"
    told = rows(
        events,
        f"SELECT {columns} FROM event.\"InfusionRecorded\" WHERE evidence = 'administered' "
        f'UNION ALL SELECT {columns} FROM event."MedicationGiven" ORDER BY source_row',
    )
    doses = {number for number, _ in of_type(sample, "MedicationAdministration")}
    coded = {row[0] for row in expected}
    assert [row for row in told if row[0] in coded] == expected
    assert {row[0] for row in told if row[0] in doses} | parts_of(events) >= doses


def parts_of(con: duckdb.DuckDBPyConnection) -> set[int]:
    found = rows(con, "SELECT source_row FROM fate.row WHERE fate <> 'reference'")
    return {row[0] for row in found}


def ref(told: Json) -> str:
    return str(told["reference"]).rsplit("/", maxsplit=1)[-1]


def test_every_diagnosis_is_dated_by_the_day_of_its_encounter(
    sample: list[Json], events: duckdb.DuckDBPyConnection
) -> None:
    began = {one["id"]: one["period"]["start"][:10] for _, one in of_type(sample, "Encounter")}
    expected = [
        (number, one["code"]["coding"][0]["code"], utc(began[ref(one["encounter"])]))
        for number, one in of_type(sample, "Condition")
    ]
    told = rows(
        events,
        'SELECT source_row, code, occurred_at FROM event."DiagnosisRecorded" '
        "WHERE flags = ['dated_by_encounter'] ORDER BY source_row",
    )
    assert told == expected


@pytest.mark.parametrize("which", ["mimic", pytest.param("german", marks=pytest.mark.slow)])
def test_every_resource_ends_somewhere_and_no_part_twice(
    which: str, request: pytest.FixtureRequest
) -> None:
    resources, con = (
        request.getfixturevalue(name)
        for name in (("sample", "events") if which == "mimic" else ("german", "german_events"))
    )
    tables = rows(con, "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'event'")
    union = " UNION ALL ".join(
        f'SELECT source_row, source_part, event_type FROM event."{name}"' for (name,) in tables
    )
    ended = rows(con, f"{union} UNION ALL SELECT source_row, source_part, event_type FROM fate.row")
    assert {row[0] for row in ended} == set(range(1, len(resources) + 1))
    assert max(Counter(ended).values()) == 1


def test_german_results_keep_number_unit_and_comparator(
    german: list[Json], german_events: duckdb.DuckDBPyConnection
) -> None:
    told = {
        (row[0], row[1] or 0): row[2:]
        for row in rows(
            german_events,
            "SELECT source_row, source_part, code, value, comparator, unit, occurred_at "
            'FROM event."LabResulted"',
        )
    }
    seen = 0
    for number, one in of_type(german, "Observation"):
        quantity = one.get("valueQuantity")
        if quantity is None or (number, 0) not in told:
            continue
        code, value, comparator, unit, occurred_at = told[number, 0]
        assert code in {coding.get("code") for coding in one["code"]["coding"]}
        assert value == quantity.get("value")
        assert comparator == quantity.get("comparator")
        assert unit in (quantity.get("unit"), quantity.get("code"))
        if "specimen" not in one and "T" in one.get("effectiveDateTime", ""):
            assert occurred_at == instant(one["effectiveDateTime"])
        seen += 1
    assert seen > 40


def test_german_infusions_keep_route_dose_and_end(
    german: list[Json], german_events: duckdb.DuckDBPyConnection
) -> None:
    drugs = {one["id"]: one for _, one in of_type(german, "Medication")}
    told = rows(
        german_events,
        "SELECT source_row, source_part, code, dose_value, dose_unit, ended_at, operation "
        "FROM event.\"InfusionRecorded\" WHERE evidence = 'administered' AND source_part IS NULL",
    )
    assert len(told) >= 9
    for number, _, code, dose, unit, ended_at, operation in told:
        one = german[number - 1]
        drug = drugs[ref(one["medicationReference"])]
        assert code in {coding.get("code") for coding in drug["code"]["coding"]}
        assert dose == one["dosage"].get("dose", {}).get("value")
        assert unit == one["dosage"].get("dose", {}).get("code")
        assert ended_at == instant(one.get("effectivePeriod", {}).get("end"))
        assert (operation == "retract") == (one["status"] == "entered-in-error")
