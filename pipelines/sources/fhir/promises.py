"""What an export promised, held against what was read of it."""

from __future__ import annotations

import duckdb

from pipelines.base.duck import quote
from pipelines.base.errors import DeliveryError
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources.fhir.extract import extract as read_all
from pipelines.sources.fhir.manifest import wrong_count
from pipelines.sources.fhir.mapping import Mapping
from pipelines.sources.rows.folders import AGAIN
from pipelines.sources.rows.stage import Scope


def extract(
    con: duckdb.DuckDBPyConnection,
    facts: DeliveryFacts,
    mapping: Mapping,
    site: Site,
    scope: Scope,
    key: SiteKey,
) -> None:
    """Read a delivery into an empty staging database, and see that it is what was promised.

    Errors:
        DeliveryError: a file is damaged, has changed, holds another number of records than its
            manifest says, or records of a type that the delivery is not complete for.
    """
    read_all(con, facts, mapping, site, scope, key)
    check_counts(con, facts)
    check_types(con, facts)


def check_counts(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts) -> None:
    """Compare the records read with the counts that the manifest told.

    Errors:
        DeliveryError: they differ.
    """
    read = dict(con.execute("SELECT source_file_sha, n_rows FROM fate.file").fetchall())
    for number, file in enumerate(facts.files, start=1):
        if file.n_told is not None and read.get(file.sha256) != file.n_told:
            place = f"file {number} of {len(facts.files)} (sha256 {file.sha256[:12]})"
            raise wrong_count(f"a delivery of source {facts.source}, {place}")


def check_types(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts) -> None:
    """Refuse events of a type that the delivery is not said to be complete for.

    Nobody would judge or date them, and dropping them would lose what was sent.

    Errors:
        DeliveryError: there are some.
    """
    tables = con.execute(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'event'"
    ).fetchall()
    for name in sorted({str(row[0]) for row in tables} - set(facts.data_through)):
        row = con.execute(f"SELECT count(*) FROM event.{quote(name)}").fetchone()
        if row and row[0]:
            raise DeliveryError(
                f"An export holds records that become {name}, and is not said to be complete for "
                "any resource type that does.",
                where=f"a delivery of source {facts.source}",
                remedy="Name the resource type in `[delivery] delivers`, or have the export's "
                "`_type` and files agree.",
                next_run=AGAIN,
            )
