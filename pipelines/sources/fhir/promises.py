"""What an export promised, held against what was read of it."""

from __future__ import annotations

import duckdb

from pipelines.base.duck import quote
from pipelines.base.errors import DeliveryError
from pipelines.ingest.facts import DeliveryFacts
from pipelines.sources.fhir.manifest import NAME
from pipelines.sources.rows.folders import AGAIN


def wrong_count(where: str) -> DeliveryError:
    """Return the error for a file that holds another number of records than its manifest says.

    It stops the run and is not merely held: a held batch can be released as it stands, and a file
    that is cut off or wrong must never be.
    """
    return DeliveryError(
        f"A file does not hold as many records as its {NAME} says: it is cut off, or not the "
        "file that the server wrote.",
        where=where,
        remedy="Download the export again, whole.",
        next_run=AGAIN,
    )


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
