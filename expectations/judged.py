"""The judged table: an event table joined with what its own row and its extract must fit.

Both compile targets, Great Expectations and the SQL pass, read this table, and each evaluates the
rules for itself. It holds inputs of the rules (a value beside its bounds, an end beside the latest
instant that it can mean), never their verdicts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from expectations.columns import (
    DOSED,
    DOSED_JOINS,
    MEASURED,
    MEASURED_JOINS,
    SCHEMA,
    columns_of,
)
from expectations.table import dose_ranges, dose_units
from pipelines.base.duck import literal, quote
from pipelines.base.errors import DeliveryError
from studies.analytes import analytes, known_units

if TYPE_CHECKING:
    import duckdb

#: Before this stand the placeholders of databases.
EARLIEST = datetime(1900, 1, 1)  # noqa: DTZ001 - staging tables hold naive UTC
#: A delivery speaks for the time up to `data_through`; a day's grace for clocks that run ahead.
GRACE = timedelta(days=1)
#: Stands for an event type where a check is about records that became no event.
RECORDS = "*"
#: Stands for an event type where a check is about what a batch tells against the days before.
DRIFT = "~"
DRIFT_TABLE = "_drift"
#: Why records become no event; every reason that is not here means that one could not be read.
_RECORD_REASONS = {
    "unknown_type": ("unknown_event_type", "wrong_resource_type", "no_resource_type"),
    "unresolved": ("unresolved_reference", "unresolved_patient", "missing_id"),
}


class ConceptLike(Protocol):
    """A code of a study's code list and the concept that it means."""

    @property
    def event_type(self) -> str:
        """Event type that carries the code."""

    @property
    def code_system(self) -> str:
        """Token of the code system."""

    @property
    def code(self) -> str:
        """The code, or its beginning."""

    @property
    def match(self) -> str:
        """`exact` or `prefix`."""

    @property
    def concept(self) -> str:
        """What it means."""


@dataclass(frozen=True)
class Judged:
    """A judged table.

    Attributes:
        event_type: whose events it holds.
        table: its name in schema `judge_in`; every row.
        content: the view without retractions.
        source: the event table that it was made from, quoted.
    """

    event_type: str
    table: str
    content: str
    source: str

    def relation(self, rows: str) -> str:
        """Return the unquoted name of the relation that checks over `rows` read."""
        return self.table if rows == "all" else self.content


def prepare_vocabulary(con: duckdb.DuckDBPyConnection, concepts: Iterable[ConceptLike]) -> None:
    """Put the vocabulary, the dose ranges and the studies' codes where judged tables join them."""
    import pyarrow as pa

    from pipelines.base import zones

    known = con.execute(
        "SELECT count(*) FROM duckdb_functions() WHERE function_name = 'utc_to_local'"
    ).fetchone()
    if not known or not known[0]:
        zones.install(con)
    con.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; CREATE SCHEMA {SCHEMA}")
    rows = [(c.event_type, c.code_system, c.code, c.match, c.concept) for c in concepts]
    names = ("event_type", "code_system", "code", "match", "concept")
    tables = {
        "_concept": pa.table(
            {name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)}
        ),
        "_analyte": pa.Table.from_pylist(
            [
                {
                    "concept": row.concept,
                    "unit": row.unit,
                    "possible_low": row.possible_low,
                    "possible_high": row.possible_high,
                }
                for row in analytes()
            ]
        ),
        "_unit": pa.table({"unit": sorted(known_units())}),
        "_dose": pa.Table.from_pylist([row._asdict() for row in dose_ranges()]),
        "_dose_unit": pa.Table.from_pylist([row._asdict() for row in dose_units()]),
    }
    for name, table in tables.items():
        con.register("vocabulary", table)
        con.execute(f"CREATE TABLE {SCHEMA}.{name} AS FROM vocabulary")
        con.unregister("vocabulary")
    con.execute(
        f"CREATE TABLE {SCHEMA}._code "
        "(event_type VARCHAR, code_system VARCHAR, code VARCHAR, concept VARCHAR)"
    )


def _resolve_codes(con: duckdb.DuckDBPyConnection, event_type: str, source: str) -> None:
    """Name one measurable concept for each code that occurs.

    Two studies may put one code under several concepts; only one that the vocabulary measures can
    judge the row. An exact code beats a prefix, a longer prefix a shorter one.
    """
    vocabulary = "_analyte" if event_type in MEASURED else "_dose"
    con.execute(f"DELETE FROM {SCHEMA}._code WHERE event_type = $type", {"type": event_type})
    con.execute(
        f"""
        INSERT INTO {SCHEMA}._code
        SELECT $type, d.code_system, d.code, c.concept
        FROM (SELECT DISTINCT code_system, code FROM {source}) d
        JOIN {SCHEMA}._concept c ON c.event_type = $type AND c.code_system = d.code_system
            AND CASE c.match WHEN 'prefix' THEN starts_with(d.code, c.code)
                ELSE d.code = c.code END
        WHERE c.concept IN (SELECT concept FROM {SCHEMA}.{vocabulary})
        QUALIFY row_number() OVER (PARTITION BY d.code_system, d.code
            ORDER BY c.match = 'prefix', length(c.code) DESC, c.concept) = 1
        """,
        {"type": event_type},
    )


def latest(data_through: Mapping[str, datetime], event_type: str) -> datetime:
    """Return the last instant (naive UTC) that events of a type can have in this extract.

    Errors:
        DeliveryError: the delivery does not say how far its records of this type reach. Without
            it no time could be judged, and a check that cannot fail is no check.
    """
    try:
        through = data_through[event_type]
    except KeyError:
        raise DeliveryError(
            f"The delivery does not say how far its {event_type} records reach.",
            remedy="Give `data_through` a `default`, or this event type's own instant.",
        ) from None
    naive = through if through.tzinfo is None else through.astimezone(UTC).replace(tzinfo=None)
    return naive + GRACE


def prepare(
    con: duckdb.DuckDBPyConnection,
    event_type: str,
    latest_at: datetime,
    *,
    source: str | None = None,
    table: str | None = None,
) -> Judged:
    """Build the judged table of one event type.

    Args:
        con: the staging database, `prepare_vocabulary` done.
        event_type: whose events are judged.
        latest_at: see `latest`, naive UTC.
        source: quoted name of the event table, `event."<type>"` unless given.
        table: name of the judged table, the event type unless given.
    """
    judged = Judged(
        event_type=event_type,
        table=table or event_type,
        content=f"{table or event_type}_content",
        source=source or f"event.{quote(event_type)}",
    )
    joins, values = "", {"latest": latest_at, "earliest": EARLIEST, "type": event_type}
    if event_type in MEASURED + DOSED:
        _resolve_codes(con, event_type, judged.source)
        joins = MEASURED_JOINS if event_type in MEASURED else DOSED_JOINS
    listed = ", ".join(f"{sql} AS {quote(name)}" for name, sql in columns_of(event_type).items())
    statement = (
        f"CREATE OR REPLACE TABLE {SCHEMA}.{quote(judged.table)} AS "
        f"SELECT {listed} FROM {judged.source} e {joins}"
    )
    con.execute(
        statement, {name: value for name, value in values.items() if f"${name}" in statement}
    )
    con.execute(
        f"CREATE OR REPLACE VIEW {SCHEMA}.{quote(judged.content)} AS "
        f"FROM {SCHEMA}.{quote(judged.table)} WHERE is_content"
    )
    return judged


def prepare_records(
    con: duckdb.DuckDBPyConnection, *, source: str = "fate.row", table: str = "_record"
) -> Judged:
    """Build the judged table of the records that became no event."""
    named = [literal(reason) for reasons in _RECORD_REASONS.values() for reason in reasons]

    def because(condition: str) -> str:
        return f"CASE WHEN fate = 'quarantined' AND {condition} THEN coalesce(reason, '(none)') END"

    def among(column: str) -> str:
        return because(f"reason IN ({', '.join(map(literal, _RECORD_REASONS[column]))})")

    con.execute(
        f"""
        CREATE OR REPLACE TABLE {SCHEMA}.{quote(table)} AS
        SELECT source_file_sha, source_row, source_part, record_key, true AS is_content,
            {because(f"coalesce(reason NOT IN ({', '.join(named)}), true)")} AS unreadable,
            {among("unknown_type")} AS unknown_type,
            {among("unresolved")} AS unresolved
        FROM {source}
        """
    )
    return Judged(event_type=RECORDS, table=table, content=table, source=source)
