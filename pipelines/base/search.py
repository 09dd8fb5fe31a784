"""What lies in files, decoded: the bytes themselves, archives unpacked, every cell of databases.

For proving that something is nowhere. A database compresses its texts, so that its file's bytes
alone would prove nothing.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import sqlite3
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import duckdb

from pipelines.base.duck import attach, connect, literal, quote
from pipelines.base.sealed import read_bytes, sealed_with

_ROWS = 10_000
_DEEPEST = 4
_SQLITE = b"SQLite format 3\x00"
_DUCKDB = (8, b"DUCK")
_PARQUET = b"PAR1"


@dataclass(frozen=True)
class Searched:
    """What a search went through.

    Attributes:
        n_files: files that were opened.
        n_bytes: bytes that were looked at, decoded ones among them.
        found: each place where something was found: a file, and what inside it.
    """

    n_files: int
    n_bytes: int
    found: tuple[tuple[Path, str], ...]


def search(folders: Iterable[Path], is_in: Callable[[bytes], bool]) -> Searched:
    """Look for something in everything under some folders.

    Args:
        folders: folders or files; links are not followed.
        is_in: whether a piece of content holds it. A piece is a file, a member of an archive, or
            some thousand rows of a table.

    Errors:
        OSError: a file cannot be read. What cannot be searched proves nothing.
        duckdb.Error: a database cannot be opened: another process is writing to it.
        KeyFileError, SealedError: a file is encrypted, and no key of a site that is known opens it.
    """
    n_files = n_bytes = 0
    found = []
    for path in sorted({one for folder in folders for one in _files(folder)}):
        n_files += 1
        for place, data in contents(path):
            n_bytes += len(data)
            if is_in(data):
                found.append((path, place))
    return Searched(n_files, n_bytes, tuple(found))


def _files(folder: Path) -> Iterator[Path]:
    inside = folder.rglob("*") if folder.is_dir() else [folder]
    return (path for path in inside if path.is_file() and not path.is_symlink())


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield what lies in a file: its bytes, then what they decode to, each with its place."""
    data = path.read_bytes()
    yield from _decoded(data, "bytes", 0)
    if sealed_with(path) is not None:
        yield from _decoded(read_bytes(path), "unsealed", 1)
    if data.startswith(_SQLITE):
        yield from _sqlite_cells(path)
    elif data[_DUCKDB[0] :].startswith(_DUCKDB[1]):
        yield from _duckdb_cells(path)
    elif data.startswith(_PARQUET):
        with closing(connect()) as con:
            yield from _rows(con, f"read_parquet({literal(str(path))})", "parquet")


def _decoded(data: bytes, place: str, depth: int) -> Iterator[tuple[str, bytes]]:
    yield place, data
    if depth == _DEEPEST:
        return
    for kind, members in _UNPACK.items():
        if data.startswith(kind):
            for name, inner in members(data):
                yield from _decoded(inner, f"{place} > {name}", depth + 1)


def _zip(data: bytes) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(BytesIO(data)) as archive:
        for name in archive.namelist():
            yield "zip", archive.read(name)


def _tar_or(data: bytes, kind: str) -> Iterator[tuple[str, bytes]]:
    yield kind, data
    try:
        archive = tarfile.open(fileobj=BytesIO(data))  # noqa: SIM115 - closed below
    except tarfile.TarError:
        return
    with archive:
        for member in archive:
            if (stream := archive.extractfile(member)) is not None:
                yield "tar", stream.read()


_UNPACK: dict[bytes, Callable[[bytes], Iterator[tuple[str, bytes]]]] = {
    b"PK\x03\x04": _zip,
    b"\x1f\x8b": lambda data: _tar_or(gzip.decompress(data), "gzip"),
    b"BZh": lambda data: _tar_or(bz2.decompress(data), "bzip2"),
    b"\xfd7zXZ\x00": lambda data: _tar_or(lzma.decompress(data), "xz"),
}


def _sqlite_cells(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as con:
        con.text_factory = bytes
        names = con.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            cursor = con.execute(f"SELECT * FROM {quote(name.decode())}")
            while rows := cursor.fetchmany(_ROWS):
                cells = (cell for row in rows for cell in row if cell is not None)
                yield (
                    f"table {name.decode()}",
                    b"\n".join(c if isinstance(c, bytes) else str(c).encode() for c in cells),
                )


def _duckdb_cells(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(connect()) as con:
        attach(con, path, "searched", read_only=True)
        tables = con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables() "
            "WHERE database_name = 'searched' ORDER BY ALL"
        ).fetchall()
        for schema, table in tables:
            name = f"searched.{quote(schema)}.{quote(table)}"
            yield from _rows(con, name, f"table {schema}.{table}")


def _rows(con: duckdb.DuckDBPyConnection, relation: str, place: str) -> Iterator[tuple[str, bytes]]:
    con.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {relation}")
    while rows := con.fetchmany(_ROWS):
        yield place, "\n".join(str(cell) for row in rows for cell in row).encode()
