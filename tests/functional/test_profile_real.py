"""Profiles of extracts that nobody here made: counts equal plain ones, no patient is told."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.sources.profile.extract import profile
from pipelines.sources.profile.report import Profile, Table
from studies.load import load_study
from tests.flat_kit import make_site, rows

STUDY = load_study("iv_bisphosphonate")
MIN_CELL = 11
SIDECAR = "exported_at = 2203-01-01T00:00:00Z\n[data_through]\ndefault = 2203-01-01T00:00:00Z\n"


def profiled(path: Path) -> Profile:
    return profile(path, [STUDY], min_cell=MIN_CELL, top=30)


def table_of(found: Profile, name: str) -> Table:
    return next(one for one in found.tables if one.name == name)


@pytest.fixture(scope="module")
def data(shared_dir: Path) -> Path:
    return shared_dir / "data"


@pytest.fixture(scope="module")
def labs(data: Path) -> Profile:
    return profiled(data / "mimic-iv-demo" / "labs.csv.gz")


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def test_codes_and_units_of_laboratory_results_are_those_of_a_plain_count(
    data: Path, labs: Profile
) -> None:
    n_rows: Counter[str] = Counter()
    patients = defaultdict(set)
    units: Counter[tuple[str, str]] = Counter()
    for row in read_rows(data / "mimic-iv-demo" / "labs.csv.gz"):
        n_rows[row["itemid"]] += 1
        patients[row["itemid"]].add(row["subject_id"])
        units[row["itemid"], row["unit"]] += 1
    (table,) = labs.tables
    assert (table.n_rows, table.n_patients) == (n_rows.total(), 100)
    codes = next(one for one in table.codes if one.name == "itemid")
    assert len(codes.values) == 30
    for one in codes.values:
        assert (one.n_rows, one.n_patients) == (n_rows[one.value], len(patients[one.value]))
        assert one.n_patients is not None
        assert one.n_patients >= MIN_CELL
        assert {u: units[one.value, u] for u, _ in one.units or ()} == dict(one.units or ())
    repeated = next(one for one in table.keys if len(one.columns) == 3)
    assert repeated.repeats == 292  # rows beyond the first of the 582 that repeat a key


def test_the_suggested_mapping_of_laboratory_results_makes_events_of_them(
    data: Path, labs: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = make_site(tmp_path, monkeypatch)
    night = tmp_path / "inbox" / "night1"
    night.mkdir(parents=True)
    shutil.copy(data / "mimic-iv-demo" / "labs.csv.gz", night)
    (night / "delivery.toml").write_text(SIDECAR)
    with site.extracted(labs.mappings["flat"]) as con:
        [(n_events, n_numbers)] = rows(
            con, 'SELECT count(*), count(value) FROM event."LabResulted"'
        )
        duplicates = rows(con, "SELECT DISTINCT fate FROM fate.row")
    assert n_events > 107_000
    assert n_numbers > 94_000
    assert all(fate != "quarantined" for (fate,) in duplicates)


def test_infusions_are_seen_as_infusions_with_their_units(data: Path) -> None:
    found = profiled(data / "mimic-iv-demo" / "icu_administrations.csv.gz")
    (table,) = found.tables
    roles = {one.name: one.role for one in table.columns}
    assert roles["subject_id"] == "patient"
    assert roles["dose_unit"] == "dose_unit"
    assert 'event = "InfusionRecorded"' in found.mappings["flat"]
    forms = {one.name: one.forms for one in table.times}
    assert forms["effective_iso"] == {"instant with offset": "all"}
    assert forms["effective_local"] == {"instant": "all"}
    words = {one.name: {v.value: v.n_rows for v in one.values} for one in table.codes}
    plain = Counter(
        r["method"] for r in read_rows(data / "mimic-iv-demo" / "icu_administrations.csv.gz")
    )
    assert words["method"] == {name: plain[name] for name in words["method"]}
    assert "Drug Push" in words["method"]


@pytest.fixture(scope="module")
def some_resources(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A part of the FHIR export: small files of six kinds."""
    folder = tmp_path_factory.mktemp("fhir")
    for name in ("Patient", "EncounterED", "ObservationVitalSignsED", "Condition", "Organization"):
        shutil.copy(data / "mimic-iv-demo" / "fhir" / f"Mimic{name}.ndjson.gz", folder)
    return folder


@pytest.fixture(scope="module")
def told_of(some_resources: Path) -> Profile:
    return profiled(some_resources)


def resources(folder: Path) -> list[dict[str, Any]]:
    found = []
    for path in folder.iterdir():
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            found += [json.loads(line) for line in stream]
    return found


def test_codes_of_resources_are_those_of_a_plain_count(
    some_resources: Path, told_of: Profile
) -> None:
    found = told_of
    plain = resources(some_resources)
    sizes = Counter(one["resourceType"] for one in plain)
    assert {t.name: t.n_rows for t in found.tables if t.columns} == {
        name: n for name, n in sizes.items() if n >= MIN_CELL
    }
    n_rows: Counter[tuple[str, str]] = Counter()
    patients = defaultdict(set)
    for one in plain:
        if one["resourceType"] == "Condition":
            for coding in one["code"]["coding"]:
                n_rows[coding["system"], coding["code"]] += 1
                patients[coding["system"], coding["code"]].add(one["subject"]["reference"])
    codes = next(c for c in table_of(found, "Condition").codes if c.name == "code")
    assert codes.values
    for value in codes.values:
        assert value.system is not None
        key = (value.system, value.value)
        assert (value.n_rows, value.n_patients) == (n_rows[key], len(patients[key]))


def test_components_are_told_with_their_units(some_resources: Path, told_of: Profile) -> None:
    table = table_of(told_of, "Observation")
    parts = next(c for c in table.codes if c.name == "component[*].code")
    plain: Counter[tuple[str, str]] = Counter()
    for one in resources(some_resources):
        for part in one.get("component", ()):
            unit = part.get("valueQuantity", {}).get("unit")
            plain[part["code"]["coding"][0]["code"], unit] += 1
    assert {v.value: v.units for v in parts.values} == {
        code: ((unit, n),) for (code, unit), n in plain.items() if unit
    }


def test_nothing_of_thirty_one_patients_is_told_but_what_eleven_share(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path
    for kind in ("Patient", "Condition", "Encounter", "MedicationStatement", "Bundle"):
        for path in (data / "mii-testdata").glob(f"{kind}-*.json"):
            shutil.copy(path, folder)
    found = profiled(folder)
    told = json.dumps(found.to_json(), ensure_ascii=False)
    secrets = set()
    for path in folder.glob("Patient-*.json"):
        patient = json.loads(path.read_text(encoding="utf-8"))
        secrets |= {patient["id"], patient.get("birthDate", "----")}
        secrets |= {one["family"] for one in patient.get("name", ()) if "family" in one}
        secrets |= {one["value"] for one in patient.get("identifier", ()) if "value" in one}
    assert len(secrets) > 40
    assert not [one for one in secrets if f'"{one}"' in told]
    shown = [v for t in found.tables if t.counts == "patients" for c in t.codes for v in c.values]
    assert all((v.n_patients or 0) >= MIN_CELL for v in shown)
    systems = {v.system for v in shown}
    assert "http://fhir.de/CodeSystem/bfarm/icd-10-gm" not in systems


def test_one_cohort_in_two_formats_has_one_profile(data: Path, tmp_path: Path) -> None:
    tables = []
    for archive in sorted((data / "synthea27nj").glob("*.zip")):
        folder = tmp_path / archive.stem
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                stem = Path(name).stem.lower()
                if stem in ("person", "drug_exposure", "condition_occurrence"):
                    packed.extract(name, folder)
        found = profiled(folder)
        tables.append({t.columns[0].name.lower(): t for t in found.tables})
    one, other = tables
    assert set(one) == set(other)
    # In the Parquet these codes are floating-point numbers: 73595000.0
    odd = "condition_source_value is of codes, but written as decimals; they are not told."
    assert odd in [note for table in one.values() for note in table.notes]
    for name, table in one.items():
        assert (table.n_rows, table.n_patients) == (other[name].n_rows, other[name].n_patients)
        assert _values(table) == _values(other[name])


def _values(table: Table) -> set[tuple[str, str, int]]:
    return {
        (c.name, v.value, v.n_rows)
        for c in table.codes
        for v in c.values
        if not c.name.endswith("_source_value")
    }


def test_nothing_is_left_behind(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    profiled(data / "mii-testdata" / "Patient-mii-exa-test-data-patient-1.json")
    assert not list(tmp_path.iterdir())
