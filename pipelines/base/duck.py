"""The one way to open DuckDB: UTC, no network, bounded memory, spill files in a named folder."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import duckdb

from pipelines.base import vault
from pipelines.base.errors import ConfigError

#: Rows of one INSERT; its text and parameters stay small.
_ROWS_AT_ONCE = 250

_SCRATCH = "dripwatch_scratch"
_DEFAULT_SPILL = ".tmp"  # of a database in memory
_FLAGS = 20  # of a database file: after checksum (8), "DUCK" (4) and version (8)

#: DuckDB deals a table out to its threads in groups of this many rows.
ROW_GROUP = 122_880
_BYTES_PER_ROW = 10


def connect(
    path: str | Path = ":memory:",
    *,
    read_only: bool = False,
    memory_limit: str | None = None,
    temp_dir: Path | None = None,
    threads: int | None = None,
) -> duckdb.DuckDBPyConnection:
    """Open a database with the settings that every result depends on.

    Args:
        path: database file, or `:memory:`.
        read_only: open for reading; fails where a writer holds the file.
        memory_limit: DuckDB size such as `2GB`; None keeps DuckDB's default.
        temp_dir: folder for spill files, which can hold rows of patients: make it 0700. Each
            connection has a folder of its own in it, made when it spills. They are
            encrypted where the folder's site says so; Parquet can then be, too.
        threads: worker threads; None keeps DuckDB's default.

    Errors:
        duckdb.IOException: the file cannot be opened or another process writes to it.
        ConfigError: encryption is asked for and cannot be had here.
        KeyFileError: the file is encrypted, and the key of its site is absent or another one.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "autoinstall_known_extensions": "false",
        "allow_community_extensions": "false",
    }
    if memory_limit:
        config["memory_limit"] = memory_limit
    if temp_dir:
        config["temp_directory"] = str(_own_folder(temp_dir))
    elif vault.encrypts_any():
        # It would spill beside the file, or into the folder that the process was started in.
        config["temp_directory"] = ""
    elif folder := vault.spill_folder():
        config["temp_directory"] = str(_own_folder(folder))
    if threads:
        config["threads"] = str(threads)
    # Only an attached file takes its key as a parameter, which no statement's text shows.
    is_attached = path != ":memory:" and (vault.encrypts(Path(path)) or is_encrypted(Path(path)))
    opened = ":memory:" if is_attached else str(path)
    con = duckdb.connect(opened, read_only=read_only and not is_attached, config=config)
    # CAST(timestamptz AS DATE) and strftime follow the session zone: one zone, everywhere.
    con.execute("SET TimeZone = 'UTC'")
    con.execute("SET enable_progress_bar = false")
    if temp_dir and vault.encrypts(temp_dir):
        load_crypto(con)
        con.execute("SET temp_file_encryption = true")
        key = base64.b64encode(vault.SCRATCH_KEY).decode()
        con.execute(f"PRAGMA add_parquet_key('{_SCRATCH}', '{key}')")
    if is_attached:
        attach(con, Path(path), "opened", read_only=read_only)
        con.execute("USE opened")
    return con


def attach(
    con: duckdb.DuckDBPyConnection,
    path: Path,
    name: str,
    *,
    read_only: bool = False,
    options: str = "",
    key: str | None = None,
) -> None:
    """Attach a database file; a new one is encrypted where its folder's site says so.

    Args:
        con: connection.
        path: the file.
        name: what it is called in SQL.
        read_only: open for reading.
        options: more of what ATTACH takes, as SQL.
        key: of a new file for readers: its key (`database_key`), none where it shall be plain.

    Errors:
        duckdb.Error: the file cannot be opened; as `connect`.
        KeyFileError: it is encrypted, and no secret of its site's key opens it.
    """
    told = [*(["READ_ONLY"] if read_only else []), *([options] if options else [])]
    is_new = not path.exists() or not path.stat().st_size
    is_secret = vault.encrypts(path) if key is None else bool(key)
    if not (is_secret if is_new else is_encrypted(path)):
        con.execute(f"ATTACH {literal(str(path))} AS {name} {_options(told)}")
        return
    if not read_only:
        load_crypto(con)
    _spill_nowhere_else(con)
    sql = f"ATTACH {literal(str(path))} AS {name} {_options([*told, 'ENCRYPTION_KEY $1'])}"
    for one in [key or database_key(path, "database")] if is_new else _keys(path):
        try:
            con.execute(sql, [one])
        except duckdb.InvalidInputException as error:
            if "Wrong encryption key" not in str(error):
                raise
        else:
            return
    raise vault.wrong_key(path)


def _own_folder(temp_dir: Path) -> Path:
    """Return a folder for the spill files of one connection.

    DuckDB numbers them from 0: two databases of one folder write over each other's rows, and end
    in a crash or in wrong numbers.
    """
    with suppress(OSError):  # it matters only where something is spilled
        temp_dir.mkdir(mode=0o700, exist_ok=True)
    return temp_dir / f"spill-{secrets.token_hex(8)}"


def _spill_nowhere_else(con: duckdb.DuckDBPyConnection) -> None:
    """Keep rows of an encrypted file out of the folder that a process was started in.

    A connection without a spill folder of its own would write them there, plain.
    """
    told = con.execute("SELECT current_setting('temp_directory')").fetchone()
    if told and told[0] == _DEFAULT_SPILL:
        con.execute("SET temp_directory = ''")


def database_key(path: Path, purpose: Literal["database", "published"]) -> str:
    """Return the newest key of a site's databases, as DuckDB takes it: base64 of 32 bytes.

    Errors:
        KeyFileError: the site's key cannot be read, or no site is known that has the file.
    """
    return base64.b64encode(vault.masters(path)[0].derive(purpose)).decode()


def _keys(path: Path) -> Iterator[str]:
    """Yield every key that a file can have."""
    if told := os.environ.get(vault.WAREHOUSE_KEY):
        yield told
    for master in vault.masters(path):
        for purpose in ("database", "published"):
            yield base64.b64encode(master.derive(purpose)).decode()


def _options(told: Sequence[str]) -> str:
    return f"({', '.join(told)})" if told else ""


def is_encrypted(path: Path) -> bool:
    """Return whether a file is a DuckDB database that needs a key."""
    try:
        with path.open("rb") as stream:
            head = stream.read(_FLAGS + 1)
    except OSError:
        return False
    return len(head) > _FLAGS and head[8:12] == b"DUCK" and bool(head[_FLAGS] & 1)


def crypto_file() -> Path | None:
    """Return the extension with which this DuckDB writes encrypted files; None without one."""
    try:
        import duckdb_extension_httpfs  # type: ignore[import-untyped] # a folder with a file
    except ImportError:
        return None
    root = Path(str(duckdb_extension_httpfs.__path__[0])) / "extensions"
    file = root / f"v{duckdb.__version__}" / "httpfs.duckdb_extension"
    return file if file.is_file() else None


def load_crypto(con: duckdb.DuckDBPyConnection) -> None:
    """Let a connection write encrypted files; DuckDB checks the signature of what is loaded.

    Errors:
        ConfigError: it is not installed.
    """
    con.execute(f"LOAD {literal(str(check_crypto()))}")


def check_crypto() -> Path:
    """Return the extension with which this DuckDB writes encrypted files.

    Errors:
        ConfigError: it is not installed.
    """
    file = crypto_file()
    if file is None:
        raise ConfigError(
            f"DuckDB {duckdb.__version__} has nothing here to write encrypted files with.",
            where="[privacy] encrypt in site.toml",
            remedy="Install the extra: pip install 'dripwatch[encryption]' (DuckDB 1.5.5), or "
            "remove the setting and encrypt the disk.",
        )
    return file


def parquet(*paths: Path) -> str:
    """Return the SQL that reads scratch files of one kind, written by `parquet_options`."""
    files = ", ".join(literal(str(path)) for path in paths)
    key = f", encryption_config = {{footer_key: '{_SCRATCH}'}}" if _is_secret(paths) else ""
    # The folders' names are no columns of what lies in them.
    return f"read_parquet([{files}], hive_partitioning = false{key})"


def parquet_options(path: Path) -> str:
    """Return what COPY is told to write a scratch file, for a connection with a spill folder."""
    key = f", ENCRYPTION_CONFIG {{footer_key: '{_SCRATCH}'}}" if _is_secret([path]) else ""
    return f"FORMAT parquet{key}"


def _is_secret(paths: Sequence[Path]) -> bool:
    return bool(paths) and vault.encrypts(paths[0])


def threads_for(n_rows: int) -> int | None:
    """Return how many threads work on so many rows: one on few, None (all there are) on more.

    A night of a small hospital is thousands of statements over a few thousand rows. To wake a
    second thread for each costs more than a third of what one thread needs for all of them.
    """
    return 1 if n_rows <= ROW_GROUP else None


def rows_at_most(files: Iterable[Path]) -> int:
    """Return how many rows files can hold at most, packed or not, by their size; 0 if gone."""
    return sum(file.stat().st_size for file in files if file.is_file()) // _BYTES_PER_ROW


def quote(identifier: str) -> str:
    """Return an SQL identifier in double quotes."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return an SQL string literal (for statements that take no parameters, such as COPY)."""
    return "'" + text.replace("'", "''") + "'"


def insert(con: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Sequence[Any]]) -> None:
    """Insert some hundred rows, many in a statement: `executemany` commits and plans each alone.

    Args:
        con: connection.
        table: name of the table as SQL, with a list of columns where only some are told.
        rows: cells, in the order of the columns.
    """
    told = list(rows)
    for start in range(0, len(told), _ROWS_AT_ONCE):
        some = told[start : start + _ROWS_AT_ONCE]
        marks = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
        con.execute(f"INSERT INTO {table} VALUES {marks}", [*chain(*some)])
