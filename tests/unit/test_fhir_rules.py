"""The shipped rules and a hospital's file over them: what is merged, and what is told as wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib import resources
from pathlib import Path

import pytest

from pipelines.base.duck import connect, literal
from pipelines.sources.fhir.columns import known_unit, pointed_at
from pipelines.sources.fhir.mapping import Mapping, load_mapping
from pipelines.sources.rows.errors import MappingError

MAPPING = """namespace = "mrn"
[delivery]
kind = "snapshot"
exported_at = 2030-01-01T00:00:00Z
data_through = { default = 2030-01-01T00:00:00Z }
"""
Load = Callable[[str], Mapping]


@pytest.fixture
def loaded(tmp_path: Path) -> Load:
    def load(more: str = "") -> Mapping:
        path = tmp_path / "fhir.toml"
        path.write_text(MAPPING + more)
        return load_mapping(path)

    return load


def shipped(name: str) -> str:
    file = resources.files("pipelines.sources.fhir").joinpath("r4", name)
    return file.read_text(encoding="utf-8")


def test_every_shipped_rule_is_sound_and_says_what_it_is_for(loaded: Load) -> None:
    mapping = loaded("")
    for name in mapping.resource_types:
        assert shipped(f"{name}.toml").startswith("# ")
    assert mapping.types_of("Observation") == (
        *("BoneDensityMeasured", "VitalSignMeasured", "LabResulted"),
    )
    assert mapping.types_of("Medication") == () == mapping.types_of("Nothing")
    assert set(mapping.event_types) == {
        t for n in mapping.resource_types for t in mapping.types_of(n)
    }


def test_one_named_thing_is_replaced_and_its_neighbours_stay(loaded: Load) -> None:
    plain = loaded("").table.resource["MedicationAdministration"]
    own = loaded(
        "[resource.MedicationAdministration.fields.route]\nconstant = 'intravenous'\n"
        "[resource.MedicationAdministration.elements]\nmethod = 'dosage.text'\n"
    ).table.resource["MedicationAdministration"]
    assert own.fields["route"].constant == "intravenous"
    assert own.fields["route"].column is None
    assert own.elements["method"].path == ["dosage.text"]
    assert {n for n in plain.fields if plain.fields[n] == own.fields[n]} == {*plain.fields} - {
        "route"
    }
    assert own.event == plain.event


def test_words_and_systems_of_the_hospital_come_first(loaded: Load) -> None:
    table = loaded(
        '[values.routes]\n"PO/NG" = "oral"\n"IV" = "other"\n'
        '[systems]\n"urn:our" = "ours"\n"http://snomed.info/sct" = "snomed-first"\n'
    ).table
    assert [table.values["routes"][word] for word in ("po/ng", "iv", "oral")] == [
        *("oral", "other", "oral")
    ]
    assert list(table.systems)[:2] == ["urn:our", "http://snomed.info/sct"]
    assert table.systems["http://snomed.info/sct"] == "snomed-first"
    assert table.systems["http://loinc.org"] == "loinc"


def test_the_hash_follows_what_is_decided_and_in_which_order(loaded: Load) -> None:
    one = '[systems]\n"urn:a" = "a"\n"urn:b" = "b"\n'
    other = '[systems]\n"urn:b" = "b"\n"urn:a" = "a"\n'
    hashes = [loaded(text).content_hash("UTC") for text in ("", "# why\n", one, other)]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 3
    assert loaded("").content_hash("Europe/Berlin") != hashes[0]


@pytest.mark.parametrize(
    ("more", "line", "told"),
    [
        ("[resource.Observasion]\nreference = 'x'", 6, "Did you mean Observation"),
        ("[resource.Observation.elements]\nstatus = 'a..b'", 7, "'a..b' is not a path"),
        ("[resource.Observation.elements]\nx = { path = 'x', values = 'rutes' }", 7, "routes"),
        ("[resource.Observation.elements]\nx = { reference = 'x' }", 7, "reference needs of"),
        (
            "[resource.Observation.elements]\nx = { path = 'x', ratio = 'y' }",
            7,
            "2 ways of reading",
        ),
        ("[resource.Observation.elements]\nx = 'code.text'", 6, "read in two shapes"),
        ("[resource.Observation.fields]\nvalue = { column = 'numbr' }", 7, "Did you mean number"),
        ("[resource.Observation.fields]\nvalew = { column = 'number' }", 7, "Did you mean value"),
        ("[resource.Observation.choose]\ntaken = [{ column = 'later' }]", 7, "'later' before it"),
        (
            "[resource.Observation.elements]\n"
            "x = { via = 'specimen', of = 'Specimen', column = 'collected', "
            "needed = [{ column = 'isued', is_null = true }] }",
            7,
            "'isued' before it",
        ),
        (
            "[resource.Observation.elements]\nx = { path = 'y', needed = [] }",
            7,
            "needed has no meaning",
        ),
        ("[resource.Condition.fields]\ncategory = { constant = 'x' }", 7, "'x' is not understood"),
        ("[patient]\nidentifier = 'name[.family'", 7, "not a path"),
        ("[settings]\nversion = 'newest'", 7, "lastUpdated"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_remedy(
    loaded: Load, more: str, line: int, told: str
) -> None:
    with pytest.raises(MappingError) as caught:
        loaded(more)
    assert f"fhir.toml:{line}: " in caught.value.what
    assert told in caught.value.what


@pytest.mark.parametrize(
    ("reference", "id_"),
    [
        ("Patient/p-1", "p-1"),
        ("https://a.example/fhir/Patient/p.1", "p.1"),
        ("Patient/7/_history/3", "7"),
        ("urn:uuid:0a1b", "0a1b"),
        ("#x", None),
        ("Group/7", None),
        ("OutPatient/7", None),
        ("Patient?identifier=7", None),
        ("Patient/", None),
    ],
)
def test_a_reference_tells_the_id_of_its_type_alone(reference: str, id_: str | None) -> None:
    query = f"SELECT {pointed_at('r', 'Patient')} FROM (SELECT {literal(reference)} AS r, "
    row = connect().execute(query + "'f' AS source_file_sha, 3 AS source_row)").fetchone()
    assert row == (id_,)


def test_what_stands_inside_a_record_is_named_by_it() -> None:
    query = f"SELECT {pointed_at('r', 'Medication')} FROM (SELECT '#x' AS r, "
    row = connect().execute(query + "'f' AS source_file_sha, 3 AS source_row)").fetchone()
    assert row == ("f/3#x",)


@pytest.mark.parametrize(
    ("code", "unit", "told"),
    [
        ("mg/dL", "Milligramm pro Deziliter", "mg/dL"),
        ("Milligramm", "mg/dL", "mg/dL"),
        ("x", "Stück", "Stück"),
        ("x", None, "x"),
        (None, None, None),
    ],
)
def test_of_code_and_words_of_a_unit_the_known_one_is_told(
    code: str | None, unit: str | None, told: str | None
) -> None:
    query = f"SELECT {known_unit(['c', 'u'])} FROM (SELECT $1::VARCHAR AS c, $2::VARCHAR AS u)"
    assert connect().execute(query, [code, unit]).fetchone() == (told,)


def test_every_shipped_file_is_toml_with_words_in_lower_case() -> None:
    values = tomllib.loads(shipped("values.toml"))
    words = [word for table in values.values() for word in table]
    assert words == [word.lower() for word in words]
