"""Which records of a FHIR file are resources, against the standard library's strict parser."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.base import duck
from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir import blocks, document
from pipelines.sources.fhir.lines import FhirFile, Reading, load, open_fhir

GOOD = '{"resourceType":"Patient","id":"a"}'


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duck.connect(threads=1)
    yield connection
    connection.close()


def read(
    con: duckdb.DuckDBPyConnection, path: Path, content: bytes
) -> tuple[dict[int, tuple[str, str]], dict[int, str], Reading]:
    """Return type and text of each resource, reason of each other record, and the account."""
    path.write_bytes(content)
    found = load(con, open_fhir(path, "here"), "resources")
    good = {n: (kind, text) for n, kind, text in con.execute("FROM resources").fetchall()}
    bad = {n: reason for n, reason, _ in found.unreadable}
    assert sorted([*good, *bad]) == list(range(1, found.n_rows + 1)), "a record is lost or twice"
    return good, bad, found


class StrictError(ValueError):
    """The reference found a record that is none."""


def refuse(_: str) -> Any:
    raise StrictError("unreadable_record")


def reference(line: bytes) -> str | None:
    """Why a line is no resource; None where it is one. Slow, plain, by the standard library."""
    twice = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) < len(items):
            twice.append(1)
        return dict(items)

    try:
        record = json.loads(line.decode(), object_pairs_hook=pairs, parse_constant=refuse)
        said = "".join(strings(record))
        said.encode()
    except ValueError:
        return "unreadable_record"
    if not isinstance(record, dict) or "\0" in said:
        return "unreadable_record"
    if depth(record) > 64:
        return "too_deep"
    if twice:
        return "duplicate_keys"
    kind = record.get("resourceType")
    return None if isinstance(kind, str) and kind else "no_resource_type"


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def depth(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


KEYS = st.sampled_from(["a", "b", "", "code", "effectiveDateTime", "effectiveDxteTime", "\\u0061"])
TEXTS = st.sampled_from(
    ["", "x", "},", "{", '\\"', "\\\\", '\\",\\"a\\":', ",}", "nan", "[[[", "ä", "\\ud800", ":"]
)
SCALARS = st.one_of(
    st.sampled_from(
        ["1", "-0.5e3", "1e400", "true", "null", "NaN", "-Infinity", "nan", "01", "9" * 50]
    ),
    TEXTS.map(lambda text: f'"{text}"'),
)
GAPS = st.sampled_from(["", "", "", " ", "\t "])


def objects(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    member = st.tuples(KEYS, GAPS, inner).map(lambda m: f'"{m[0]}"{m[1]}:{m[2]}')
    comma = st.sampled_from(["", "", "", "", ",", " ,"])
    return st.tuples(st.lists(member, max_size=4), comma, GAPS).map(
        lambda told: "{" + ",".join(told[0]) + told[1] + told[2] + "}"
    )


def arrays(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]")


VALUES = st.recursive(SCALARS, lambda inner: st.one_of(objects(inner), arrays(inner)), max_leaves=8)
RESOURCES = st.one_of(objects(VALUES), VALUES).map(
    lambda text: text.replace("{", '{"resourceType":"Patient",', 1).replace(",}", "}", 1)
)
BYTES = st.binary(max_size=12).map(lambda raw: re.sub(rb"[\r\n]", b"", raw))
LINES = st.lists(
    st.one_of(
        st.just(GOOD.encode()),
        RESOURCES.map(str.encode),
        RESOURCES.map(lambda text: text.encode()[:-1]),
        VALUES.map(str.encode),
        st.integers(60, 68).map(
            lambda n: ('{"resourceType":"A","a":' + "[" * n + "]" * n + "}").encode()
        ),
        BYTES,
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=100, deadline=None)
@given(LINES, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.sampled_from([1 << 22, 7, 64]))
def test_each_line_is_a_resource_exactly_where_a_strict_parser_takes_it(
    lines: list[bytes], end: bytes, size: int
) -> None:
    content = GOOD.encode() + end + end.join(lines)
    told = [line for line in re.split(rb"[\r\n]", content) if line.strip(b" \t")]
    expected = {n: reference(line) for n, line in enumerate(told, start=1)}
    with (
        pytest.MonkeyPatch.context() as patch,
        duck.connect(threads=1) as con,
        TemporaryDirectory() as folder,
    ):
        patch.setattr(blocks, "CHUNK", size)
        path = Path(folder) / "f"
        path.write_bytes(content)
        found = load(con, FhirFile(path, "here", "ndjson"), "resources")
        good = dict(con.execute("SELECT source_row, resource FROM resources").fetchall())
    assert found.n_rows == len(told)
    assert {n: reason for n, reason, _ in found.unreadable} == {
        n: r for n, r in expected.items() if r
    }
    assert good == {n: told[n - 1].decode() for n, reason in expected.items() if not reason}


def can_be_taken_apart(content: str) -> bool:
    """Whether a document is JSON and text; a `NaN` costs its entry alone."""
    try:
        # pairs as lists: of a key that comes twice, both values are looked at
        pairs = json.loads(content, object_pairs_hook=lambda pairs: [x for p in pairs for x in p])
        "".join(strings(pairs)).encode()
    except ValueError:
        return False
    return True


ENTRIES = st.lists(
    st.one_of(st.just(GOOD), RESOURCES).map(lambda text: text.replace("nan", "NaN")),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(ENTRIES, st.booleans())
def test_entries_of_a_bundle_meet_what_lines_meet(texts: list[str], printed: bool) -> None:
    gap = "\n  " if printed else ""
    entries = ",".join(f'{{"resource":{gap}{text}}}' for text in texts)
    content = f'{{{gap}"resourceType":"Bundle","type":"collection","entry":[{entries}]}}'
    with duck.connect(threads=1) as con, TemporaryDirectory() as folder:
        path = Path(folder) / "f"
        if not can_be_taken_apart(content):
            with pytest.raises(DeliveryError, match="Bundle"):
                read(con, path, content.encode())
            return
        _, bad, found = read(con, path, content.encode())
    expected = {n: reference(text.encode()) for n, text in enumerate(texts, start=1)}
    assert found.n_rows == len(texts)
    assert bad == {n: reason for n, reason in expected.items() if reason}


def test_every_real_file_has_the_records_that_plain_counting_gives(
    con: duckdb.DuckDBPyConnection, shared_dir: Path
) -> None:
    for path in sorted((shared_dir / "data" / "mii-testdata").glob("*.json")):
        record = json.loads(path.read_bytes())
        n = len(record["entry"]) if record["resourceType"] == "Bundle" else 1
        found = load(con, open_fhir(path, "here"), "resources")
        assert (found.n_rows, found.unreadable) == (n, [])
    small = [
        path
        for path in (shared_dir / "data" / "mimic-iv-demo" / "fhir").glob("*.gz")
        if path.stat().st_size < 100_000
    ]
    for path in small:
        with gzip.open(path, "rt") as stream:
            types = [json.loads(line)["resourceType"] for line in stream if line.strip()]
        found = load(con, open_fhir(path, "here"), "resources")
        assert (found.n_rows, found.unreadable) == (len(types), [])
        told = con.execute("SELECT resource_type FROM resources ORDER BY source_row").fetchall()
        assert [kind for (kind,) in told] == types


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([{"resource": {"resourceType": "A"}}, {"resource": {"resourceType": "B"}}], ["A", "B"]),
        ([], []),
        ([{"fullUrl": "urn:x"}], ["no_resource"]),
        ([1, None, "x"], ["unreadable_record"] * 3),
        ([{"resource": {"resourceType": "Bundle", "entry": []}}], ["too_deep"]),
        ([{"resource": {"id": "1"}}], ["no_resource_type"]),
        ([{"resource": [1]}], ["unreadable_record"]),
        ([{"request": {"method": "DELETE", "url": "Patient/1"}}], ["Bundle"]),
        ([{"resource": {"resourceType": "A"}, "search": {"mode": "match"}}], ["A"]),
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_each_entry_of_a_bundle_has_its_fate(
    con: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    content: list[object],
    expected: list[str],
    indent: int | None,
) -> None:
    bundle = {"resourceType": "Bundle", "type": "searchset", "entry": content}
    good, bad, _ = read(con, tmp_path / "f", json.dumps(bundle, indent=indent).encode())
    fates = bad | {n: kind for n, (kind, _) in good.items()}
    assert [fates[n] for n in sorted(fates)] == expected


def test_an_array_of_resources_is_taken_item_by_item(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for indent in (None, 1):
        content = json.dumps([{"resourceType": "A"}, 7, {"resourceType": "B"}], indent=indent)
        good, bad, _ = read(con, tmp_path / "f", content.encode())
        assert {n: kind for n, (kind, _) in good.items()} == {1: "A", 3: "B"}
        assert bad == {2: "unreadable_record"}


def test_a_printed_resource_is_one_record(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    record = {"resourceType": "Patient", "name": [{"given": ["x"]}]}
    for end in ("\n", "\r\n"):
        text = json.dumps(record, indent=2).replace("\n", end)
        good, _, found = read(con, tmp_path / "f", text.encode("utf-8-sig"))
        assert found.n_rows == 1
        assert good[1][0] == "Patient"
        assert json.loads(good[1][1]) == record
    _, bad, _ = read(con, tmp_path / "f", text[:-3].encode())
    assert bad == {1: "unreadable_record"}


def test_lines_are_lines_although_the_first_is_cut(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    for cut in range(1, len(GOOD)):
        content = f"{GOOD[:cut]}\n{GOOD}\n{GOOD}\n"
        _, bad, found = read(con, tmp_path / "f", content.encode())
        assert (found.n_rows, bad) == (3, {1: "unreadable_record"})


def test_a_key_is_seen_twice_although_lines_before_are_cut_in_strings_and_in_brackets(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    # Of the first the quotes do not match, which hides that of the second the brackets do not.
    twice = '{"resourceType":"Patient","a":{"b":[{"c":1}],"d":{"e":{}}},"a":2}'
    content = f'{GOOD[:20]}\n"a":[1]}}]}}]}}]}}\n{twice}\n{GOOD}\n'
    _, bad, _ = read(con, tmp_path / "f", content.encode())
    assert bad == {1: "unreadable_record", 2: "unreadable_record", 3: "duplicate_keys"}


def test_a_long_line_is_passed_over_and_costs_no_other(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "LONGEST", 1000)
    for chunk in (100, 999, 1000, 5000):
        monkeypatch.setattr(blocks, "CHUNK", chunk)
        for size, kept in ((1000, True), (1001, False), (4000, False)):
            line = GOOD.replace("a", "x" * (size - len(GOOD) + 1), 1).encode()
            line = GOOD.encode().replace(b'"a"', b'"' + b"x" * (size - len(GOOD) + 1) + b'"')
            assert len(line) == size
            blank = b" " * 3000 + b"\n"
            content = GOOD.encode() + b"\n" + blank + line + b"\n" + GOOD.encode() + b"\n" + blank
            _, bad, found = read(con, tmp_path / "f", content)
            assert found.n_rows == 3
            assert bad == ({} if kept else {2: "too_long"})


def test_a_document_that_is_too_large_asks_for_lines(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "LARGEST", 100)
    content = json.dumps({"resourceType": "Bundle", "entry": [{}] * 50}, indent=1).encode()
    with pytest.raises(DeliveryError, match="one JSON document") as caught:
        read(con, tmp_path / "f", content)
    assert "NDJSON" in str(caught.value.remedy)


def test_a_file_that_grows_is_noticed(con: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    path = tmp_path / "f"
    _, _, found = read(con, path, f"{GOOD}\n".encode())
    with path.open("ab") as stream:
        stream.write(GOOD.encode())
    with pytest.raises(DeliveryError, match="changed"):
        load(con, open_fhir(path, "here"), "resources", found.sha256)


@pytest.mark.parametrize(
    "told",
    [
        {"link": [{"relation": "next", "url": "http://x"}]},
        {"total": 6},
        {"total": 2, "entry": [{"resource": {}}, {"resource": {}, "search": {"mode": "include"}}]},
    ],
)
def test_one_page_of_a_search_is_no_delivery(
    con: duckdb.DuckDBPyConnection, tmp_path: Path, told: dict[str, object]
) -> None:
    bundle = {"resourceType": "Bundle", "type": "searchset", "total": 1, "entry": []}
    entry = {"resource": json.loads(GOOD)}
    with pytest.raises(DeliveryError, match="one page of several"):
        read(con, tmp_path / "f", json.dumps(bundle | {"entry": [entry]} | told).encode())
    _, bad, found = read(con, tmp_path / "f", json.dumps(bundle | {"entry": [entry]}).encode())
    assert (found.n_rows, bad) == (1, {})


def test_a_deletion_that_carries_its_resource_is_a_deletion(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    request = {"method": "DELETE", "url": "Patient/p"}
    for resource in ({"resource": json.loads(GOOD)}, {"resource": None}):
        bundle = {"resourceType": "Bundle", "type": "transaction"}
        content = json.dumps(bundle | {"entry": [resource | {"request": request}]}, indent=1)
        read(con, tmp_path / "f", content.encode())
        assert con.execute("SELECT resource_type FROM resources").fetchall() == [("Bundle",)]


def test_printed_resources_one_behind_the_other_stop_the_delivery(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    printed = json.dumps(json.loads(GOOD), indent=2)
    with pytest.raises(DeliveryError, match="several records"):
        read(con, tmp_path / "f", f"{printed}\n{printed}\n".encode())


def test_a_printed_resource_that_holds_others_is_one_record_whatever_is_wrong_with_it(
    con: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    contained = '"contained": [\n{"resourceType": "Medication"}]'
    for wrong, reason in (('"a": 1, "a": 2', "duplicate_keys"), ('"a": NaN', "unreadable_record")):
        text = f'{{\n"resourceType": "Patient",\n{contained},\n{wrong}\n}}'
        _, bad, _ = read(con, tmp_path / "f", text.encode())
        assert bad == {1: reason}
