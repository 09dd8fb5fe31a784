"""What must be known of a file of resources before its records are read: types, times, outcomes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from pipelines.base import duck, zones
from pipelines.base.duck import literal
from pipelines.sources.fhir.delivery_model import ExportTime
from pipelines.sources.fhir.lines import load, open_fhir
from pipelines.sources.rows.content import open_content, reading
from pipelines.sources.rows.delivery import utc_query

_CHUNK = 1 << 20
#: White space is bounded, so that what a chunk's end cuts is whole in the next one.
_TYPE = re.compile(rb'"resourceType"\s{0,64}:\s{0,64}"([A-Za-z]{1,64})"')
_CUT = 512


@dataclass(frozen=True)
class Outcomes:
    """What a file of OperationOutcome holds.

    Attributes:
        n_records: its records.
        n_errors: those that tell an error, or that nobody can read.
    """

    n_records: int
    n_errors: int


@contextmanager
def _resources(path: Path, where: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, int, int]]:
    """Give a file's resources as the table `resources`, with numbers of rows and unreadable."""
    con = duck.connect()
    try:
        zones.install(con)
        read = load(con, open_fhir(path, where), "resources")
        yield con, read.n_rows, len(read.unreadable)
    finally:
        con.close()


def resource_types(path: Path, where: str) -> set[str]:
    """Return the types of a file's resources.

    Nearly every file holds one type and nothing contained, which a search through its bytes
    proves; only others are read as resources.

    Errors:
        DeliveryError: the file is damaged or holds no resources.
    """
    found: set[bytes] = set()
    tail = b""
    with reading(where), open_content(path) as stream:
        while chunk := stream.read(_CHUNK):
            text = tail + chunk
            found.update(_TYPE.findall(text))
            tail = text[-_CUT:]
    if len(found) == 1 and found != {b"Bundle"}:
        return {one.decode("ascii") for one in found}
    with _resources(path, where) as (con, _, _):
        rows = con.execute("SELECT DISTINCT resource_type FROM resources").fetchall()
    return {str(row[0]) for row in rows}


def latest_time(path: Path, where: str, source: ExportTime, zone: str) -> datetime | None:
    """Return the latest instant that an element of a type's resources tells, aware, UTC.

    Errors:
        DeliveryError: the file is damaged or holds no resources.
    """
    element = literal(f"$.{source.element}")
    rows = f"(SELECT * FROM resources WHERE resource_type = {literal(source.resource or '')})"
    query = utc_query("max", f"json_extract_string(resource, {element})", "iso", zone, rows)
    with _resources(path, where) as (con, _, _):
        row = con.execute(query).fetchone()
    found: datetime | None = row[0] if row else None
    return found.replace(tzinfo=UTC) if found else None


def weigh_outcomes(path: Path, where: str) -> Outcomes:
    """Tell what a server reports of an export: only errors mean that something may be missing.

    Errors:
        DeliveryError: the file is damaged.
    """
    with reading(where), open_content(path) as stream:
        if not stream.read(1):
            return Outcomes(0, 0)
    severity = "json_extract_string(resource, '$.issue[*].severity')"
    told = f"len({severity}) > 0 AND len(list_filter({severity}, lambda s: s NOT IN ('warning', "
    harmless = told + "'information'))) = 0"
    with _resources(path, where) as (con, n_rows, _):
        row = con.execute(
            f"SELECT count(*) FROM resources WHERE resource_type = 'OperationOutcome' "
            f"AND coalesce({harmless}, false)"
        ).fetchone()
    n_harmless = int(row[0]) if row else 0
    return Outcomes(n_rows, n_rows - n_harmless)
