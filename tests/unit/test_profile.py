"""A profile tells nothing that fewer patients than the threshold share, whatever the extract."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.base.errors import DeliveryError, ExitCode
from pipelines.sources import flat
from pipelines.sources.fhir.mapping import load_mapping as load_fhir_mapping
from pipelines.sources.profile.disclosure import Tally, disclose, share
from pipelines.sources.profile.extract import profile
from pipelines.sources.profile.names import file_pattern, is_header, is_private, role_of
from pipelines.sources.profile.report import Profile
from studies.load import load_study
from tests.unit.test_cli import run

K = 3
STUDY = load_study("iv_bisphosphonate")
Row = tuple[int, int, int, int]

#: Patient, code, unit and status of each row, as numbers of made-up words.
ROWS = st.lists(
    st.tuples(st.integers(0, 7), st.integers(0, 4), st.integers(0, 2), st.integers(0, 3)),
    min_size=1,
    max_size=60,
)


def profiled(path: Path, min_cell: int = K) -> Profile:
    return profile(path, [STUDY], min_cell=min_cell, memory_limit="500MB")


def written(tmp_path: Path, name: str, data: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def as_csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["patient_id", "charttime", "code", "unit", "status", "surname"])
    for n, (patient, code, unit, status) in enumerate(rows):
        words = [f"codeword{code}", f"unitword{unit}" if unit else "", f"stateword{status}"]
        day = f"2025-01-{1 + n % 28:02d}"
        writer.writerow([f"patientword{patient}", day, *words, f"nameword{patient}"])
    return out.getvalue()


def as_ndjson(rows: Sequence[Row]) -> str:
    lines = []
    for n, (patient, code, unit, status) in enumerate(rows):
        quantity = {"value": 1000.5 + n} | ({"unit": f"unitword{unit}"} if unit else {})
        resource = {
            "resourceType": "Observation",
            "id": f"idword{n}",
            "status": f"stateword{status}",
            "code": {"coding": [{"system": "urn:x", "code": f"codeword{code}"}]},
            "subject": {"reference": f"Patient/patientword{patient}"},
            "effectiveDateTime": f"2025-01-{1 + n % 28:02d}",
            "valueQuantity": quantity,
        }
        lines.append(json.dumps(resource))
    return "\n".join(lines) + "\n"


def small_words(rows: Sequence[Row]) -> set[str]:
    """Words that fewer patients than the threshold share."""
    seen: dict[str, set[int]] = defaultdict(set)
    for patient, code, unit, status in rows:
        for word in (f"codeword{code}", f"unitword{unit}", f"stateword{status}"):
            seen[word].add(patient)
    return {word for word, patients in seen.items() if len(patients) < K}


def assert_nothing_small_is_told(found: Profile, rows: Sequence[Row]) -> None:
    told = json.dumps(found.to_json())
    assert not [word for word in small_words(rows) if f'"{word}"' in told]
    assert "patientword" not in told
    assert "nameword" not in told
    assert "idword" not in told
    assert "2025-01-" not in told
    (table,) = found.tables
    if table.n_rows is None:
        assert not table.codes
        return
    for codes in table.codes:
        counted = Counter({one.value: one.n_rows for one in codes.values})
        assert_left_over_is_safe(table.n_rows - sum(counted.values()))
        for one in codes.values:
            if one.units:
                assert_left_over_is_safe(one.n_rows - sum(n for _, n in one.units))


def assert_left_over_is_safe(n_rows: int) -> None:
    """What subtraction gives is nothing, or no small count."""
    assert n_rows == 0 or n_rows >= K


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS)
def test_no_small_count_of_a_csv_is_told_or_can_be_reckoned(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = profiled(written(Path(folder), "labs.csv", as_csv(rows)))
    assert_nothing_small_is_told(found, rows)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=ROWS)
def test_no_small_count_of_resources_is_told_or_can_be_reckoned(rows: list[Row]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = profiled(written(Path(folder), "a.ndjson", as_ndjson(rows)))
    assert_nothing_small_is_told(found, rows)


@given(
    cells=st.dictionaries(
        st.sampled_from("abcdefgh"), st.sets(st.integers(0, 20), min_size=1), min_size=1
    ),
    limit=st.none() | st.integers(1, 4),
)
def test_what_is_left_out_of_a_table_is_never_one_value_nor_few_patients(
    cells: dict[str, set[int]], limit: int | None
) -> None:
    tallies = [Tally((name,), len(who), len(who)) for name, who in cells.items()]
    shown = disclose(
        tallies, 5, lambda some: len(set().union(*(cells[str(v[0])] for v in some))), limit=limit
    )
    names = {str(one.value[0]) for one in shown.values}
    left = set(cells) - names
    assert all(len(cells[name]) >= 5 for name in names)
    assert shown.has_more == bool(left)
    if names and left:
        assert len(left) > 1
        assert len(set().union(*(cells[name] for name in left))) >= 5


def test_a_share_of_a_known_total_leaves_as_many_possibilities_as_the_threshold() -> None:
    for total in (30, 100, 1000):
        by_text = defaultdict(set)
        for n in range(total + 1):
            by_text[share(n, n, total, total - n, 11)].add(n)
        assert by_text.pop("none") == {0}
        assert by_text.pop("all") == {total}
        assert all(len(some) >= min(10, total - 21) for some in by_text.values())


def test_counts_are_those_of_a_plain_count(tmp_path: Path) -> None:
    rows = [(n % 8, n % 5, 1, 0) for n in range(400)]
    (table,) = profiled(written(tmp_path, "labs.csv", as_csv(rows))).tables
    told = {one.value: (one.n_rows, one.n_patients) for one in table.codes[0].values}
    assert told == {f"codeword{n}": (80, 8) for n in range(5)}
    assert (table.n_rows, table.n_patients) == (400, 8)
    assert {one.units for one in table.codes[0].values} == {(("unitword1", 80),)}


def test_codes_that_studies_name_are_told_apart_from_unmapped_ones(tmp_path: Path) -> None:
    lines = [f"{n},2025-01-01,17861-6,2.2,mmol/L\n{n},2025-01-01,1-8,2,g/L\n" for n in range(12)]
    text = "patient_id,taken_date,loinc,value,unit\n" + "".join(lines)
    (table,) = profiled(written(tmp_path, "labs.csv", text), 11).tables
    codes = next(one for one in table.codes if one.name == "loinc")
    assert {one.value: one.concepts for one in codes.values} == {
        "17861-6": ("calcium_total",),
        "1-8": (),
    }
    assert codes.known == "45 %"  # 12 of 24, rounded down to a multiple of 11


def test_a_file_without_a_header_is_told_by_number_and_without_values(tmp_path: Path) -> None:
    text = "".join(f"Smith,John{n},M,final,yes\n" for n in range(60))
    (table,) = profiled(written(tmp_path, "export.csv", text)).tables
    assert [one.name for one in table.columns] == [f"column {n}" for n in range(1, 6)]
    assert "no header?" in table.notes[0]
    assert not table.codes
    assert table.n_rows == 60


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["patient_id", "taken", "loinc", "value", "unit"], True),
        (["PatNr", "Datum", "Bezeichnung", "Wert", "Einheit"], True),
        (["Smith", "John", "M", "final"], False),
        (["10000032", "2180-03-23 11:51:00", "51087", "Urine"], False),
        (["id", "id", "code"], False),
        (["", "code", "unit"], False),
    ],
)
def test_a_header_is_believed_only_where_it_cannot_be_a_row(
    cells: list[str], expected: bool
) -> None:
    assert is_header(cells) is expected


def test_names_of_files_keep_known_words_alone() -> None:
    assert file_pattern("labs_2026-01-06_Smith.csv.gz") == "labs*.csv.gz"
    assert file_pattern("JohnSmith.csv") == "*.csv"
    assert file_pattern("icu_administrations.csv.gz") == "icu_administrations.csv.gz"


def test_columns_of_names_births_and_texts_are_private() -> None:
    assert all(map(is_private, ["last_name", "Vorname", "birthDate", "zip_code", "comments"]))
    assert not any(map(is_private, ["drug_name", "unit", "status", "test_name"]))
    assert role_of("doseUnit") == "dose_unit"


GZIPPED = gzip.compress(as_csv([(n % 8, 1, 1, 1) for n in range(5000)]).encode())


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("a.csv.gz", GZIPPED[: len(GZIPPED) // 2], "damaged"),
        ("a.ndjson.gz", gzip.compress(as_ndjson([(1, 1, 1, 1)]).encode())[:-30], "damaged"),
        ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "LFS"),
        ("a.zip", b"PK\x03\x04" + bytes(60), "archive"),
        ("a.csv", b"", "empty"),
        ("a.csv", b" \n\n", "empty"),
        ("a.csv", b"\x89\x00\x01\x02" * 100, "binary"),
        ("a.csv", b"<!DOCTYPE html><p>Sign in</p>", "HTML"),
        ("a.parquet", b"PAR1" + bytes(100), "damaged"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, data: bytes, told: str
) -> None:
    with pytest.raises(DeliveryError) as error:
        profiled(written(tmp_path, name, data))
    assert told.lower() in error.value.what.lower()
    assert error.value.exit_code == ExitCode.DELIVERY
    assert name not in str(error.value)


def test_one_bad_file_does_not_hide_the_others_and_its_name_is_not_told(tmp_path: Path) -> None:
    written(tmp_path, "labs.csv", as_csv([(n % 8, 1, 1, 1) for n in range(200)]))
    written(tmp_path, "Erika Mustermann.csv.gz", GZIPPED[:100])
    done = run("profile", str(tmp_path), "--json", "--min-cell", "3")
    answer = json.loads(done.stdout)
    assert done.returncode == ExitCode.DELIVERY
    assert answer["result"]["tables"][0]["n_rows"] == 200
    assert answer["result"]["problems"][0]["where"] == "file 1 of 2 by name"
    assert "Mustermann" not in done.stdout + done.stderr


def test_a_long_line_and_broken_bytes_cost_their_record_alone(tmp_path: Path) -> None:
    good = as_csv([(n % 8, 1, 1, 1) for n in range(200)]).encode()
    bad = b"patientword1,2025-01-01," + b"x" * (5 << 20) + b",u,s,n\np,2025-01-01,\xff,u,s,n\n1,2\n"
    (table,) = profiled(written(tmp_path, "labs.csv", good + bad)).tables
    assert table.n_rows == 201
    assert "records that cannot be read: fewer than 3." in table.notes


def test_keys_that_no_element_can_have_are_not_told(tmp_path: Path) -> None:
    odd = {"resourceType": "Observation", "Erika Mustermann": 1, "subject": {"reference": "P/1"}}
    lines = [json.dumps(odd | {"subject": {"reference": f"P/{n}"}}) for n in range(20)]
    found = profiled(written(tmp_path, "a.ndjson", "\n".join(lines) + "\n"))
    assert "Mustermann" not in json.dumps(found.to_json())
    assert [one.name for one in found.tables[0].columns] == ["subject"]


def test_the_profile_fits_80_columns_and_writes_a_mapping_once(tmp_path: Path) -> None:
    source = written(tmp_path, "labs.csv", as_csv([(n % 8, n % 5, 1, 1) for n in range(400)]))
    target = tmp_path / "mapping.toml"
    arguments = ("profile", str(source), "--min-cell", "3", "--mapping-out", str(target))
    done = run(*arguments)
    assert done.returncode == ExitCode.OK, done.stderr
    assert max(map(len, done.stdout.replace(str(target), "").splitlines())) <= 80
    assert "unmapped" in done.stdout
    assert flat.load_mapping(target).table.file[0].name == "labs"
    assert run(*arguments).returncode == ExitCode.USAGE


def test_units_in_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    lines = "".join(f"{n},2025-01-01,8310-5,98,[degF]\n" for n in range(20))
    source = written(tmp_path, "vitals.csv", "patient_id,date,loinc,value,unit\n" + lines)
    assert "[degF] 20" in run("profile", str(source)).stdout


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    header=st.lists(
        st.sampled_from(
            ["patient_id", "date", "code", "unit", "value", "dose", "sex", "birth_date", "status",
             "start", "end", "visit_id", "id", "icd_code", "Grund 2", 'odd "name"', "label"]
        ),
        min_size=2, unique=True,
    ),
    delimiter=st.sampled_from(",;\t"),
)  # fmt: skip
def test_every_suggested_mapping_of_a_table_loads(header: list[str], delimiter: str) -> None:
    row = {"date": "01.02.2025", "start": "2025-01-01", "value": "1,5", "code": "A", "sex": "w"}
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    for n in range(12):
        writer.writerow([row.get(name, str(n)) for name in header])
    with tempfile.TemporaryDirectory() as folder:
        found = profiled(written(Path(folder), "export.csv", out.getvalue()))
        target = written(Path(folder), "mapping.toml", found.mappings["flat"])
        flat.load_mapping(target)


def test_the_suggested_mapping_of_resources_loads_and_names_local_systems(tmp_path: Path) -> None:
    rows = [(n % 8, n % 5, 1, 0) for n in range(100)]
    found = profiled(written(tmp_path, "a.ndjson", as_ndjson(rows)))
    mapping = load_fhir_mapping(written(tmp_path, "fhir.toml", found.mappings["fhir"]))
    assert mapping.table.systems["urn:x"] == "x"
