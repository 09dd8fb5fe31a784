"""Databases, spill files and Parquet of a site that encrypts: nothing of them can be read."""

from __future__ import annotations

import json
import threading
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from flows.beside import BESIDE, refuse_to_replace
from flows.cli import app
from flows.pool_logs import all_of, keeper_of
from flows.reply import UsageError
from pipelines.base import duck, parquet, vault
from pipelines.base.errors import ConfigError, ExitCode, KeyFileError
from pipelines.base.site import Site, load_site
from tests.at_rest_kit import (
    OTHER,
    SECRET,
    needs_crypto,
    nobody_else,
    set_key,
    site_that_encrypts,
)
from warehouse.guard import one_row
from warehouse.query import open_reader

__all__ = ["nobody_else"]

PLANTED = "Jane-38.123457"
ROWS = f"SELECT i, '{PLANTED}' || i AS told FROM range({{n}}) AS t(i)"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return site_that_encrypts(tmp_path / "north")


def make(path: Path) -> None:
    with duck.connect(path) as con:
        con.execute(f"CREATE TABLE t AS {ROWS.format(n=1000)}")


def n_rows(path: Path) -> int:
    with duck.connect(path, read_only=True) as con:
        return int(one_row(con.execute("SELECT count(DISTINCT told) FROM t"))[0])


@needs_crypto
class TestDatabase:
    def test_opens_with_the_key_alone(self, site: Site) -> None:
        path = site.restricted / "one.duckdb"
        make(path)
        assert duck.is_encrypted(path)
        assert PLANTED.encode() not in path.read_bytes()
        assert n_rows(path) == 1000
        with pytest.raises(duckdb.Error):
            duckdb.connect(str(path), read_only=True)

    def test_of_another_key_is_told_and_stays_as_it_was(self, site: Site) -> None:
        path = site.restricted / "one.duckdb"
        make(path)
        before = path.read_bytes()
        set_key(site.root, OTHER)
        load_site(site.root)
        with pytest.raises(KeyFileError, match="under another key") as told:
            n_rows(path)
        assert OTHER not in str(told.value)
        assert path.read_bytes() == before
        set_key(site.root, SECRET, OTHER)
        load_site(site.root)
        assert n_rows(path) == 1000

    def test_that_was_plain_is_read_as_it_is(self, site: Site) -> None:
        path = site.restricted / "one.duckdb"
        with duckdb.connect(str(path)) as con:
            con.execute(f"CREATE TABLE t AS {ROWS.format(n=10)}")
        assert n_rows(path) == 10

    @pytest.mark.parametrize("at", [3, 300, 5000, 9000, -5000])
    def test_with_a_flipped_bit_is_an_error(self, site: Site, at: int) -> None:
        path = site.restricted / "one.duckdb"
        make(path)
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
        with pytest.raises((duckdb.Error, KeyFileError)):
            n_rows(path)

    def test_shows_its_key_to_nobody_who_asks(self, site: Site) -> None:
        path = site.restricted / "one.duckdb"
        make(path)
        with duck.connect(path) as con:
            told = con.execute("FROM duckdb_databases()").fetchall()
            told += con.execute("FROM duckdb_settings()").fetchall()
        assert SECRET not in str(told)
        assert "ENCRYPTION_KEY" not in str(told).upper()


def spilled(folder: Path) -> tuple[int, int]:
    """Sort more than fits into memory; bytes seen in the folder, and files that show a value."""
    seen, shown, is_over = [0], [0], threading.Event()

    def look() -> None:
        while not is_over.is_set():
            with suppress(OSError):  # files come and go
                for path in folder.glob("*/*"):
                    data = path.read_bytes()
                    seen[0] = max(seen[0], len(data))
                    shown[0] += PLANTED.encode() in data

    watcher = threading.Thread(target=look)
    with duck.connect(temp_dir=folder, memory_limit="30MB", threads=1) as con:
        watcher.start()
        con.execute(f"CREATE TABLE t AS {ROWS.format(n=400_000)} ORDER BY hash(i)")
        con.execute("CREATE TABLE u AS FROM t ORDER BY told")
        is_over.set()
    watcher.join()
    return seen[0], shown[0]


@needs_crypto
def test_what_does_not_fit_into_memory_is_spilled_encrypted(tmp_path: Path) -> None:
    plain = site_that_encrypts(tmp_path / "south", encrypt=False)
    n_bytes, n_shown = spilled(plain.restricted / "tmp")
    assert n_bytes > 100_000
    assert n_shown > 0  # else the next lines would prove nothing
    site = site_that_encrypts(tmp_path / "north")
    n_bytes, n_shown = spilled(site.restricted / "tmp")
    assert n_bytes > 100_000
    assert n_shown == 0


def test_connections_of_one_folder_spill_apart(tmp_path: Path) -> None:
    """DuckDB's files have the same names in each: of one folder, both would crash or mix rows."""
    with duck.connect(temp_dir=tmp_path) as one, duck.connect(temp_dir=tmp_path) as other:
        asked = "SELECT current_setting('temp_directory')"
        folders = {Path(one_row(con.execute(asked))[0]) for con in (one, other)}
        assert len(folders) == 2
        assert {folder.parent for folder in folders} == {tmp_path}
        for con in (one, other):
            con.execute("SET memory_limit = '20MB'")
            con.execute(f"CREATE TABLE t AS {ROWS.format(n=200_000)} ORDER BY hash(i)")
        assert {*tmp_path.iterdir()} == folders
        sums = [one_row(con.execute("SELECT sum(hash(told)) FROM t")) for con in (one, other)]
        assert sums[0] == sums[1]
    assert [*tmp_path.iterdir()] == []


def test_without_a_folder_of_its_own_nothing_is_spilled_beside_an_encrypting_site(
    site: Site,
) -> None:
    with duck.connect(memory_limit="30MB") as con:
        assert one_row(con.execute("SELECT current_setting('temp_directory')")) == ("",)
    assert site.privacy.encrypt


def test_without_a_folder_of_its_own_a_connection_spills_into_the_restricted_one(
    tmp_path: Path,
) -> None:
    site = site_that_encrypts(tmp_path / "north", encrypt=False)
    site.spill.mkdir(mode=0o700, exist_ok=True)
    with duck.connect() as con:
        told = one_row(con.execute("SELECT current_setting('temp_directory')"))
    assert Path(told[0]).parent == site.spill


@needs_crypto
def test_parquet_is_read_by_the_process_that_wrote_it_alone(site: Site) -> None:
    table = pa.table({"i": [1, None], "told": [PLANTED, None], "share": [0.1, 1e-300]})
    path = site.restricted / "one.parquet"
    parquet.write(table, path)
    assert parquet.read(path) == table
    assert parquet.n_rows(path) == 2
    assert path.read_bytes().startswith(b"PARE")  # an encrypted footer (Parquet format, 2.4)
    assert PLANTED.encode() not in path.read_bytes()
    with duck.connect() as con, pytest.raises(duckdb.Error):
        con.execute(f"FROM read_parquet({duck.literal(str(path))})")


def test_where_nothing_can_encrypt_it_is_said_before_anything_is_written(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duck, "crypto_file", lambda: None)
    with pytest.raises(ConfigError, match="to write encrypted files with"):
        make(site.restricted / "one.duckdb")
    assert not (site.restricted / "one.duckdb").exists()


@needs_crypto
def test_readers_open_the_published_file_with_its_own_key_and_nothing_else_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = site_that_encrypts(tmp_path / "north")
    with duck.connect(temp_dir=site.restricted / "tmp") as con:
        key = duck.database_key(site.warehouse, "published")
        duck.attach(con, site.root / "built", "w", key=key)
        con.execute(f"CREATE TABLE w.t AS {ROWS.format(n=1000)}")
    (site.root / "built").replace(site.warehouse)
    make(site.restricted / "one.duckdb")
    assert PLANTED.encode() not in site.warehouse.read_bytes()
    assert n_rows(site.warehouse) == 1000  # the site itself needs no more than its settings
    told = CliRunner().invoke(app, ["key", "warehouse", "-c", str(site.config_path), "--json"])
    assert json.loads(told.stdout)["exit_code"] == ExitCode.USAGE
    path = site.config_path
    path.write_text(path.read_text().replace("encrypt = true", "encrypt_published = true"))
    told = CliRunner().invoke(app, ["key", "warehouse", "-c", str(site.config_path), "--json"])
    assert json.loads(told.stdout)["result"]["key"] == key
    with duckdb.connect() as con:  # a client that is not ours, without any extension
        con.execute(f"ATTACH '{site.warehouse}' AS w (READ_ONLY, ENCRYPTION_KEY '{key}')")
        assert one_row(con.execute("SELECT count(*) FROM w.t")) == (1000,)
        store = site.restricted / "one.duckdb"
        with pytest.raises(duckdb.Error):
            con.execute(f"ATTACH '{store}' AS s (READ_ONLY, ENCRYPTION_KEY '{key}')")
    monkeypatch.setattr(vault, "_SITES", {})
    monkeypatch.setattr(vault, "_PUBLISHED", {})
    with pytest.raises(KeyFileError, match="dripwatch key warehouse"):
        n_rows(site.warehouse)
    monkeypatch.setenv("DRIPWATCH_WAREHOUSE_KEY", key)
    assert n_rows(site.warehouse) == 1000
    with open_reader(site.warehouse) as con:  # rows would lie plain where the reader stands
        assert one_row(con.execute("SELECT current_setting('temp_directory')")) == ("",)


@needs_crypto
def test_a_file_that_was_made_beside_a_site_is_replaced_though_it_is_encrypted(
    site: Site, tmp_path: Path
) -> None:
    other = site_that_encrypts(tmp_path / "south", OTHER)
    path = tmp_path / "trust.duckdb"
    with duck.connect() as con:
        duck.attach(con, path, "w", key=duck.database_key(site.warehouse, "published"))
        con.execute("CREATE SCHEMA w.ops")
        con.execute(f"CREATE TABLE w.ops.state AS SELECT '{BESIDE}' AS name, 'pool_logs' AS value")
    inside = site.root / "as-of.duckdb"
    inside.write_bytes(path.read_bytes())
    with duck.connect(inside, read_only=True) as con:  # as the search after `forget` does
        assert con.execute("SELECT name FROM ops.state").fetchall() == [(BESIDE,)]
    refuse_to_replace(site, path)
    refuse_to_replace(other, path, under=site)
    with pytest.raises(UsageError, match="is there already"):
        refuse_to_replace(other, path)


def test_rows_of_several_hospitals_lie_as_the_most_careful_of_them_wants_it(tmp_path: Path) -> None:
    plain, sealed, published = (
        site_that_encrypts(tmp_path / name, encrypt=name == "sealed")
        for name in ("plain", "sealed", "published")
    )
    path = published.config_path
    path.write_text(path.read_text().replace("encrypt = false", "encrypt_published = true"))
    published = load_site(path)
    for some, keeper in (
        ((plain, sealed, published), published),
        ((published, sealed, plain), published),
        ((plain, sealed), sealed),
    ):
        whole = all_of(some)
        assert keeper_of(some) is keeper
        assert whole.at(whole.key.file) == keeper.at(keeper.key.file)
        assert whole.privacy.encrypt
        assert whole.privacy.encrypt_published == (published in some)
    assert not all_of((plain, plain)).privacy.encrypt
