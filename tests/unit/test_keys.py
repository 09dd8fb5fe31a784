"""Keyed hashes: equal to the standard library's HMAC, never ambiguous, and never on disk."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.base import duck
from pipelines.base.errors import ExitCode, KeyFileError
from pipelines.base.keys import SiteKey, encode_parts, load_key, new_key
from pipelines.base.site import Site

SECRET = bytes(range(100, 132))
KEY = SiteKey(SECRET)

# Ids as hospitals have them, and as they have them when something went wrong.
IDS = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(":,|/\x00 0123")))


@pytest.fixture(scope="module")
def con() -> Iterator[duckdb.DuckDBPyConnection]:
    connection = duck.connect()
    KEY.install(connection)
    yield connection
    connection.close()


def in_sql(con: duckdb.DuckDBPyConnection, call: str, *values: object) -> object:
    row = con.execute(f"SELECT {call}", list(values)).fetchone()
    assert row is not None
    return row[0]


def by_hand(*parts: str) -> str:
    """HMAC over netstrings, written as their definition says."""
    message = b""
    for part in parts:
        data = part.encode()
        message += str(len(data)).encode() + b":" + data + b","
    return hmac.digest(SECRET, message, "sha256").hex()


@pytest.mark.parametrize(
    ("secret", "message", "expected"),
    [  # RFC 4231, test cases 1, 2 and 6 (whose key is longer than a block)
        (
            b"\x0b" * 20,
            "Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
        ),
        (
            b"Jefe",
            "what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            b"\xaa" * 131,
            "Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
    ],
)
def test_sql_computes_the_published_hmac_values(secret: bytes, message: str, expected: str) -> None:
    connection = duck.connect()
    SiteKey(secret).install(connection)
    assert in_sql(connection, "hmac_key(?)", message) == expected


@given(site=IDS, other=IDS, kind=IDS, id_=IDS)
@settings(deadline=None)
def test_sql_and_python_agree_with_the_standard_library_on_any_text(
    con: duckdb.DuckDBPyConnection, site: str, other: str, kind: str, id_: str
) -> None:
    parts = (site, other, kind, id_)
    expected = by_hand("record", *parts)
    assert KEY.record(*parts) == expected
    assert in_sql(con, "record_key(?, ?, ?, ?)", *parts) == expected
    assert in_sql(con, "record_key_of_parts(?, ?, ?, [?])", *parts) == expected
    expected = by_hand("patient", site, other, id_)
    assert KEY.patient(site, other, id_) == expected
    assert in_sql(con, "patient_key(?, ?, ?)", site, other, id_) == expected
    expected = by_hand("other", *parts)
    assert KEY.other(*parts) == expected
    assert in_sql(con, "other_key(?, ?, ?, ?)", *parts) == expected


@given(ids=st.lists(IDS, min_size=1, max_size=5))
@settings(deadline=None)
def test_ids_of_several_parts_agree_too(con: duckdb.DuckDBPyConnection, ids: list[str]) -> None:
    found = in_sql(con, "record_key_of_parts('s', 'e', 'T', ?::VARCHAR[])", ids)
    assert found == KEY.record("s", "e", "T", *ids) == by_hand("record", "s", "e", "T", *ids)


@given(one=st.lists(IDS, max_size=4), other=st.lists(IDS, max_size=4))
def test_two_lists_of_parts_never_make_one_message(one: list[str], other: list[str]) -> None:
    assert (encode_parts(tuple(one)) == encode_parts(tuple(other))) == (one == other)


@given(parts=st.lists(IDS, max_size=4))
def test_the_parts_can_be_read_back_out_of_the_message(parts: list[str]) -> None:
    message, found = encode_parts(tuple(parts)), []
    assert message is not None
    while message:
        size, _, rest = message.partition(b":")
        found.append(rest[: int(size)].decode())
        assert rest[int(size) : int(size) + 1] == b","
        message = rest[int(size) + 1 :]
    assert found == parts


@pytest.mark.parametrize("call", ["record_key('s', 'e', 'T', NULL)", "patient_key('s', 'n', NULL)"])
def test_no_id_gives_no_key_but_an_empty_one_does(
    con: duckdb.DuckDBPyConnection, call: str
) -> None:
    assert in_sql(con, call) is None
    assert in_sql(con, call.replace("NULL", "''")) is not None
    assert KEY.record("s", "e", "T", None) is None
    assert KEY.record("s", "e", "T", "") is not None


def test_an_id_that_lacks_a_part_gives_no_key(con: duckdb.DuckDBPyConnection) -> None:
    for ids in ("['a', NULL]", "[NULL]::VARCHAR[]", "[]::VARCHAR[]", "NULL::VARCHAR[]"):
        assert in_sql(con, f"record_key_of_parts('s', 'e', 'T', {ids})") is None
    assert KEY.record("s", "e", "T", "a", None) is None
    assert KEY.record("s", "e", "T") is None


def test_patients_records_and_others_of_one_id_have_different_keys() -> None:
    keys = {KEY.record("s", "n", "x"), KEY.patient("s", "n", "x"), KEY.other("s", "n", "k", "x")}
    assert len(keys | {KEY.check_value("s")}) == 4


def test_another_site_or_another_key_gives_other_keys() -> None:
    assert KEY.patient("one", "mrn", "1") != KEY.patient("two", "mrn", "1")
    assert KEY.patient("one", "mrn", "1") != SiteKey(SECRET[::-1]).patient("one", "mrn", "1")
    assert KEY.check_value("one") != SiteKey(SECRET[::-1]).check_value("one")


def test_the_secret_is_neither_shown_nor_written_to_the_database_file(tmp_path: Path) -> None:
    assert repr(KEY) == str(KEY) == "SiteKey()"
    connection = duck.connect(tmp_path / "staging.duckdb", memory_limit="200MB", temp_dir=tmp_path)
    KEY.install(connection)
    connection.execute(
        "CREATE TABLE t AS SELECT record_key('s', 'e', 'T', i::VARCHAR) AS k "
        "FROM range(50_000) r(i)"
    )
    during = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    connection.execute("CHECKPOINT")
    connection.close()
    after = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    pads = [bytes(byte ^ pad for byte in SECRET) for pad in (0x36, 0x5C)]
    hidden = [form for one in (SECRET, *pads) for form in (one, one.hex().encode())]
    hidden += [b"dripwatch_inner", b"hmac_key"]
    assert max(len(data) for data in after) > 1_000_000  # the table is there
    assert not [form for form in hidden for data in (*during, *after) if form in data]
    again = duck.connect(tmp_path / "staging.duckdb")
    with pytest.raises(duckdb.Error):
        again.execute("SELECT hmac_key('x')").fetchall()
    again.close()


# --- where the key comes from -------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("DRIPWATCH_KEY", raising=False)
    (tmp_path / "restricted").mkdir()
    return Site.model_validate(
        {
            "site": {"id": "demo", "zone": "UTC", "studies": ["x"]},
            "source": [{"name": "ehr", "mapping": "m.toml", "path": "inbox"}],
            "config_path": tmp_path / "site.toml",
        }
    )


def key_file(site: Site, text: str, mode: int = 0o600) -> Path:
    path = site.at(site.key.file)
    path.write_text(text)
    path.chmod(mode)
    return path


def refusal(site: Site) -> str:
    with pytest.raises(KeyFileError) as caught:
        load_key(site)
    assert caught.value.exit_code == ExitCode.KEY
    assert caught.value.remedy
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


def test_a_new_key_can_be_loaded_from_its_file(site: Site) -> None:
    text = new_key()
    key_file(site, text + "\n")
    assert load_key(site) == SiteKey(bytes.fromhex(text))
    assert new_key() != text


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_file_of_its_owner_alone_is_accepted(site: Site, mode: int) -> None:
    key_file(site, SECRET.hex(), mode)
    assert load_key(site) == KEY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o660, 0o666, 0o700, 0o610, 0o4600])
def test_a_file_that_others_may_touch_is_refused(site: Site, mode: int) -> None:
    path = key_file(site, SECRET.hex(), mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert f"chmod 600 {path}" in refusal(site)


def test_the_environment_wins_over_the_file(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    key_file(site, new_key())
    monkeypatch.setenv("DRIPWATCH_KEY", SECRET.hex().upper())
    assert load_key(site) == KEY


def test_an_empty_variable_is_refused_rather_than_taking_another_key(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_file(site, SECRET.hex())
    monkeypatch.setenv("DRIPWATCH_KEY", "")
    assert "The key is empty" in refusal(site)


def test_a_missing_file_is_named_and_no_new_key_is_advised(site: Site) -> None:
    text = refusal(site)
    assert str(site.at(site.key.file)) in text
    assert "Never make a new key" in text


def test_a_link_a_folder_and_a_pipe_are_refused(site: Site) -> None:
    path = site.at(site.key.file)
    real = key_file(site, SECRET.hex()).rename(path.with_name("real.key"))
    path.symlink_to(real)
    assert "cannot be opened" in refusal(site)
    path.unlink()
    path.mkdir(mode=0o700)
    assert "not a regular file" in refusal(site)
    path.rmdir()
    os.mkfifo(path, 0o600)
    assert "not a regular file" in refusal(site)


def test_a_file_of_another_account_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    key_file(site, SECRET.hex())
    stranger = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    assert "belongs to another account" in refusal(site)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        (SECRET.hex()[:-2], "31 bytes"),
        (SECRET.hex()[:-1], "not written in hex"),
        (SECRET.hex()[:-2] + "zz", "not written in hex"),
        (SECRET.hex()[:32] + " " + SECRET.hex()[32:], "not written in hex"),
        ("0" * 64, "no random number"),
        ("Ä" * 64, "not written in hex"),
    ],
)
def test_a_key_that_is_none_is_refused_without_being_shown(
    site: Site, text: str, cause: str
) -> None:
    key_file(site, text)
    message = refusal(site)
    assert cause in message
    assert SECRET.hex()[:16] not in message
    assert not text.strip() or text.strip() not in message


def test_the_reference_is_the_standard_librarys_hmac() -> None:
    assert by_hand("record", "a") == hmac.new(SECRET, b"6:record,1:a,", hashlib.sha256).hexdigest()
