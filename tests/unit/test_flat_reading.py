"""Files as hospitals send them: encodings, delimiters, broken records; rows keep their number."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.base.errors import DeliveryError
from pipelines.sources.flat import MappingError, reader
from tests.flat_kit import HEADER, MAPPING, ROW, FlatSite, make_site, rows

LABS = 'SELECT source_row, code, value, unit FROM event."LabResulted" ORDER BY source_row'


@pytest.fixture
def flat_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlatSite:
    return make_site(tmp_path, monkeypatch)


def options(*lines: str) -> str:
    return MAPPING.replace('pattern = "labs*"', "\n".join(['pattern = "labs*"', *lines]))


def test_a_plain_file_becomes_events(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=f"{HEADER}\n{ROW}\n")
    with flat_site.extracted() as con:
        assert rows(con, LABS) == [(1, "17861-6", 2.21, "mmol/L")]
        assert rows(con, "SELECT name, n_rows FROM fate.file") == [("labs.csv", 1)]


@pytest.mark.parametrize(
    ("encoding", "lines"),
    [
        ("latin-1", ['encoding = "latin-1"']),
        ("cp1252", ['encoding = "cp1252"']),
        ("utf-8-sig", []),
        ("utf-8-sig", ['encoding = "utf-8-sig"']),
        ("utf-16", ['encoding = "utf-16"']),
        ("utf-16-le", ['encoding = "utf-16-le"']),
    ],
)
def test_encodings_give_the_same_text(flat_site: FlatSite, encoding: str, lines: list[str]) -> None:
    text = f"{HEADER}\n" + ROW.replace("mmol/L", "µmol/l ä") + "\n"
    flat_site.deliver(labs_csv=text.encode(encoding))
    with flat_site.extracted(options(*lines)) as con:
        assert rows(con, LABS) == [(1, "17861-6", 2.21, "µmol/l ä")]


@pytest.mark.parametrize("delimiter", [";", "|", "\t", "^"])
def test_delimiters_and_quotes(flat_site: FlatSite, delimiter: str) -> None:
    cells = ["1", "P-7", "2025-03-01 08:30", "17861-6", "2.21", f"a{delimiter}b", "F"]
    quoted = [f'"{cell}"' for cell in cells]
    content = delimiter.join(HEADER.split(",")) + "\n" + delimiter.join(quoted) + "\n"
    flat_site.deliver(labs_csv=content)
    with flat_site.extracted(options(f'delimiter = "{delimiter}"')) as con:
        assert rows(con, LABS) == [(1, "17861-6", 2.21, f"a{delimiter}b")]


def test_other_quotes_escapes_and_no_quotes_at_all(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=f"{HEADER}\n" + ROW.replace("mmol/L", "'a,b'") + "\n")
    with flat_site.extracted(options('quote = "\'"')) as con:
        assert rows(con, LABS)[0][3] == "a,b"
    flat_site.deliver(labs_csv=f"{HEADER}\n" + ROW.replace("mmol/L", '"a\\"b"') + "\n")
    with flat_site.extracted(options('escape = "\\\\"')) as con:
        assert rows(con, LABS)[0][3] == 'a"b'
    flat_site.deliver(labs_csv=f"{HEADER}\n" + ROW.replace("mmol/L", '"a') + "\n")
    with flat_site.extracted(options('quote = ""')) as con:
        assert rows(con, LABS)[0][3] == '"a'


def test_a_pair_of_quotes_inside_a_cell_is_text(flat_site: FlatSite) -> None:
    flat_site.deliver(
        labs_csv=f"{HEADER}\n" + ROW.replace("mmol/L", '5" by 6"') + f"\n2{ROW[1:]}\n"
    )
    with flat_site.extracted() as con:
        assert [unit for *_, unit in rows(con, LABS)] == ['5" by 6"', "mmol/L"]


def test_a_file_without_header_takes_its_names_from_the_mapping(flat_site: FlatSite) -> None:
    names = ", ".join(f'"{name}"' for name in HEADER.split(","))
    flat_site.deliver(labs_csv=f"{ROW}\n2{ROW[1:]}\n")
    with flat_site.extracted(options("header = false", f"columns = [{names}]")) as con:
        assert [row for row, *_ in rows(con, LABS)] == [1, 2]


def test_gzip_is_seen_by_content_and_changes_neither_hash_nor_batch(flat_site: FlatSite) -> None:
    content = f"{HEADER}\n{ROW}\n".encode()
    flat_site.deliver(labs_csv=content)
    plain = flat_site.describe()
    flat_site.deliver(labs_csv=gzip.compress(content))
    packed = flat_site.describe()
    assert plain.batch_id == packed.batch_id
    with flat_site.extracted() as con:
        assert len(rows(con, LABS)) == 1


def test_unreadable_records_keep_their_number_and_cost_no_other(
    flat_site: FlatSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over many small blocks, with blank lines, line ends in quotes and bad rows everywhere."""
    monkeypatch.setattr(reader, "BLOCK", 2048)
    records, good, bad = [], [], []
    number = 0
    for i in range(1, 3000):
        if i % 101 == 0:
            records.append("")  # no record at all
            continue
        number += 1
        if i % 97 == 0:
            records.append(f"{i},too few")
            bad.append(number)
        elif i % 89 == 0:
            records.append(f"{i}{ROW[1:]},too,many")
            bad.append(number)
        elif i % 83 == 0:
            records.append(f"{i}{ROW[1:]}".replace("mmol/L", "m\udcffl"))
            bad.append(number)
        elif i % 79 == 0:
            records.append(f"{i}{ROW[1:]}".replace("mmol/L", '"two\n\nlines"'))
            good.append((number, str(i)))
        else:
            records.append(f"{i}{ROW[1:]}")
            good.append((number, str(i)))
    text = "\n\n" + HEADER + "\n" + "\n".join(records) + "\n"
    flat_site.deliver(labs_csv=text.encode("utf-8", "surrogateescape"))
    told = MAPPING.replace('{ column = "test" }', '{ column = "id" }')
    told = told.replace('pattern = "labs*"', 'pattern = "labs*"\nnewlines_in_cells = true')
    with flat_site.extracted(told) as con:
        codes = rows(con, 'SELECT source_row, code FROM event."LabResulted" ORDER BY 1')
        assert codes == good
        fates = rows(con, "SELECT source_row, fate, reason FROM fate.row ORDER BY 1")
        assert fates == [(row, "quarantined", "unreadable_record") for row in bad]
        raw = dict(rows(con, "SELECT source_row, raw FROM fate.unreadable"))
        assert sorted(raw) == bad
        assert raw[bad[0]].endswith(("too few", "too,many", "F"))
        assert rows(con, "SELECT n_rows FROM fate.file") == [(number,)]


def test_bytes_that_the_encoding_does_not_know_cost_their_record_alone(
    flat_site: FlatSite,
) -> None:
    second = f"2{ROW[1:]}".replace("mmol/L", "mmol\x81").encode("latin-1")
    content = f"{HEADER}\n{ROW}\n".encode() + second + f"\n3{ROW[1:]}\n".encode()
    flat_site.deliver(labs_csv=content)
    with flat_site.extracted(options('encoding = "cp1252"')) as con:
        assert [row for row, *_ in rows(con, LABS)] == [1, 3]
        assert rows(con, "SELECT source_row FROM fate.unreadable") == [(2,)]


@pytest.mark.parametrize(
    "content",
    [b"", b"\n\n", gzip.compress(f"{HEADER}\n{ROW}\n".encode() * 50)[:-20], b"PAR1 but not really"],
)
def test_a_damaged_file_is_a_delivery_error_without_its_name(
    flat_site: FlatSite, content: bytes
) -> None:
    flat_site.deliver(labs_MRN4711=content)
    with pytest.raises(DeliveryError) as caught, flat_site.extracted():
        pass
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_quote_that_never_closes_is_named_not_quoted(
    flat_site: FlatSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "BLOCK", 2048)
    body = "\n".join(f'{i},"Secret{ROW[1:]}' if i == 5 else f"{i}{ROW[1:]}" for i in range(500))
    flat_site.deliver(labs_csv=f"{HEADER}\n{body}\n")
    spanning = options("newlines_in_cells = true")
    with (
        pytest.raises(DeliveryError, match="never closed") as caught,
        flat_site.extracted(spanning),
    ):
        pass
    assert "Secret" not in str(caught.value)


def test_a_file_that_changes_between_describing_and_reading_is_refused(
    flat_site: FlatSite,
) -> None:
    from pipelines.base import duck
    from pipelines.sources import flat

    flat_site.deliver(labs_csv=f"{HEADER}\n{ROW}\n")
    facts = flat_site.describe()
    flat_site.deliver(labs_csv=f"{HEADER}\n{ROW}\n2{ROW[1:]}\n")
    con = duck.connect()
    try:
        with pytest.raises(DeliveryError, match="changed"):
            flat.extract(con, facts, flat_site.map(), flat_site.site, "all", flat_site.key)
    finally:
        con.close()


def test_a_missing_column_names_role_and_line(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=HEADER.replace("result", "Results") + f"\n{ROW}\n")
    line = MAPPING.splitlines().index('value = { column = "result" }') + 1
    with pytest.raises(MappingError) as caught, flat_site.extracted():
        pass
    told = str(caught.value)
    assert f"mapping.toml:{line}:" in told
    assert "none of the 7 columns of the delivered file 'labs' is 'result'" in told


def test_a_file_that_lost_its_header_tells_nothing_of_its_first_patient(
    flat_site: FlatSite,
) -> None:
    """Its values are close to the mapped names and would be offered as what was meant."""
    secrets = ["4711", "patients", "1934-05-06", "testis", "7.77", "units", "Miller"]
    flat_site.deliver(labs_csv=",".join(secrets) + f"\n{ROW}\n")
    timed = MAPPING.replace('default = "2026-01-06T00:00:00Z"', 'default = { column = "taken" }')
    for mapping in (MAPPING, timed):
        with pytest.raises(MappingError) as caught, flat_site.extracted(mapping):
            pass
        assert not [secret for secret in secrets if secret in str(caught.value)]


def test_a_mapped_column_that_is_there_twice_is_refused(flat_site: FlatSite) -> None:
    flat_site.deliver(labs_csv=HEADER.replace("state", "unit") + f"\n{ROW}\n")
    with pytest.raises(MappingError, match=r"2 of the 7 columns .* are 'unit'"):  # noqa: SIM117
        with flat_site.extracted():
            pass


def test_parquet_with_typed_columns_reads_as_its_text_does(flat_site: FlatSite) -> None:
    from datetime import datetime

    table = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "patient": pa.array(["P-7", " P-7 "]).dictionary_encode(),
            "taken": pa.array([datetime(2025, 3, 1, 8, 30)] * 2, pa.timestamp("ns")),  # noqa: DTZ001
            "test": pa.array(["17861-6", "17861-6"], pa.large_string()),
            "result": pa.array([2.21, None]),
            "unit": ["mmol/L", "mmol/L"],
            "state": ["F", "F"],
        }
    )
    folder = flat_site.root / "inbox" / "night1"
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "labs.parquet")
    columns = "source_row, record_key, patient_key, occurred_at, time_precision, value, status"
    query = f'SELECT {columns}, content_hash FROM event."LabResulted" ORDER BY 1'
    with flat_site.extracted() as con:
        from_parquet = rows(con, query)
    (folder / "labs.parquet").unlink()
    second = f"2{ROW[1:]}".replace("2.21", "")
    flat_site.deliver(labs_csv=f"{HEADER}\n{ROW}\n{second}\n")
    with flat_site.extracted() as con:
        assert rows(con, query) == from_parquet
