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

from expectations.table import checks_of, dose_ranges, dose_units
from pipelines.base.duck import quote
from pipelines.base.errors import DeliveryError
from schemas import fields
from studies.analytes import analytes, known_units

if TYPE_CHECKING:
    import duckdb

SCHEMA = "judge_in"
#: Before this stand the placeholders of databases.
EARLIEST = datetime(1900, 1, 1)  # noqa: DTZ001 - staging tables hold naive UTC
#: A delivery speaks for the time up to `data_through`; a day's grace for clocks that run ahead.
GRACE = timedelta(days=1)
#: A local day is at most this long (the night that summer time ends).
_DAY = "INTERVAL 25 HOUR"
MEASURED = ("LabResulted", "VitalSignMeasured")
DOSED = ("InfusionRecorded",)
#: Stands for an event type where a check is about records that became no event.
RECORDS = "*"


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


def _text(column: str) -> str:
    return f"nullif(trim(e.{column}), '')"


def _flagged(flag: str) -> str:
    return f"CASE WHEN list_contains(e.flags, '{flag}') THEN '{flag}' END"


_ALWAYS = {
    "source_file_sha": "e.source_file_sha",
    "source_row": "e.source_row",
    "is_content": "e.operation IS DISTINCT FROM 'retract'",
    "record_key": _text("record_key"),
    "version": "e.version",
    "operation_told": "coalesce(e.operation, '(none)')",
    "event_type_told": "coalesce(e.event_type, '(none)')",
    "patient_key": _text("patient_key"),
    "latest_at": "$latest",
    "earliest_at": "$earliest",
    "occurred_at": "e.occurred_at",
    "unread_time": _flagged("bad_time"),
    "precision_told": "CASE WHEN e.occurred_at IS NOT NULL "
    "THEN coalesce(e.time_precision, '(none)') END",
    "unread_end": _flagged("bad_end_time"),
}
# An end that only names a day is stored as that day's first instant, and may be as late as its
# last. Types without `end_precision` do not say so: there, an end at local midnight before its own
# start is taken for a day, and the zone is asked for those few rows alone.
_END_WITH_PRECISION = f"""CASE e.end_precision
    WHEN 'day' THEN e.ended_at + {_DAY} WHEN 'month' THEN e.ended_at + INTERVAL 32 DAY
    WHEN 'year' THEN e.ended_at + INTERVAL 367 DAY ELSE e.ended_at END"""
_END_WITHOUT = f"""CASE
    WHEN e.ended_at >= e.occurred_at OR e.ended_at + {_DAY} < e.occurred_at THEN e.ended_at
    WHEN CAST(utc_to_local(e.ended_at, e.zone) AS TIME) = TIME '00:00:00'
    THEN e.ended_at + {_DAY} ELSE e.ended_at END"""
_MEASURED = {
    "number": "e.value",
    "value": "e.value",
    # A unit says something about a number only, and a code outside the vocabulary (pH, a ratio)
    # may have none.
    "known_unit": f"""CASE WHEN e.value IS NULL THEN '(no number)'
        WHEN c.concept IS NOT NULL THEN a.unit
        WHEN {_text("unit")} IS NULL THEN '(no unit)' ELSE u.unit END""",
    "possible_low": "a.possible_low",
    "possible_high": "a.possible_high",
}
_MEASURED_JOINS = f"""
    LEFT JOIN {SCHEMA}._code c
        ON c.event_type = $type AND c.code_system = e.code_system AND c.code = e.code
    LEFT JOIN {SCHEMA}._analyte a ON a.concept = c.concept AND a.unit = e.unit
    LEFT JOIN {SCHEMA}._unit u ON u.unit = e.unit"""
_DOSED = {
    "dose_mg": "e.dose_value * m.mg",
    "dose_low_mg": "CASE WHEN d.concept IS NOT NULL THEN 0.0 END",
    "dose_high_mg": "d.possible_high_mg",
    "dose_judged": """CASE WHEN d.concept IS NULL THEN '(no range)'
        WHEN e.status = 'not-done' THEN '(not given)'
        WHEN e.dose_value * m.mg IS NOT NULL THEN 'judged' END""",
}
_DOSED_JOINS = f"""
    LEFT JOIN {SCHEMA}._code c
        ON c.event_type = $type AND c.code_system = e.code_system AND c.code = e.code
    LEFT JOIN {SCHEMA}._dose d ON d.concept = c.concept
    LEFT JOIN {SCHEMA}._dose_unit m ON m.unit = e.dose_unit"""
_BY_TYPE: Mapping[str, Mapping[str, str]] = {
    "PatientRegistered": {
        "born_at": "CAST(e.birth_date AS TIMESTAMP)",
        "died_at": "e.died_at",
        # The local date of a birth may be ahead of the UTC instant of a death on that day.
        "death_latest_at": "e.died_at + INTERVAL 1 DAY",
        "sex": "e.sex",
    },
    "InfusionRecorded": {
        **_DOSED,
        "end_latest_at": _END_WITH_PRECISION,
        "status": "e.status",
        "route": "e.route",
        "evidence_told": "coalesce(e.evidence, '(none)')",
    },
    "MedicationGiven": {"status": "e.status", "route": "e.route"},
    "AdverseEventReported": {"grade": "e.grade"},
    "LabResulted": {
        **_MEASURED,
        "status": "e.status",
        "low_limit": "e.low_limit",
        "high_limit": "e.high_limit",
    },
    "VitalSignMeasured": _MEASURED,
    "BoneDensityMeasured": {
        "number": "coalesce(e.z_score, e.height_adjusted_z_score, e.bmd_g_cm2)",
        "z_score": "e.z_score",
        "code_told": f"coalesce({_text('code')}, {_text('skeletal_site')})",
    },
    "EncounterOccurred": {"setting": "e.setting"},
}


def columns_of(event_type: str) -> dict[str, str]:
    """Return the columns of an event type's judged table, as SQL over the event row `e`."""
    names = {field.name for field in fields(event_type)}
    found = dict(_ALWAYS)
    if "code" in names:
        found |= {"code_told": _text("code"), "code_system": "e.code_system"}
    if "ended_at" in names:
        found["end_latest_at"] = _END_WITHOUT
    found |= _BY_TYPE.get(event_type, {})
    needed = {column for check in checks_of(event_type) for column in check.on}
    identity = {"source_file_sha", "source_row", "record_key", "is_content"}
    return {name: sql for name, sql in found.items() if name in needed | identity}


def prepare_vocabulary(con: duckdb.DuckDBPyConnection, concepts: Iterable[ConceptLike]) -> None:
    """Put the vocabulary, the dose ranges and the studies' codes where judged tables join them."""
    import pyarrow as pa  # noqa: PLC0415 - heavy

    from pipelines.base import zones  # noqa: PLC0415 - heavy

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
        joins = _MEASURED_JOINS if event_type in MEASURED else _DOSED_JOINS
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

    def because(reason: str) -> str:
        return f"CASE WHEN fate = 'quarantined' AND reason = '{reason}' THEN reason END"

    con.execute(
        f"""
        CREATE OR REPLACE TABLE {SCHEMA}.{quote(table)} AS
        SELECT source_file_sha, source_row, record_key, true AS is_content,
            {because("unreadable_record")} AS unreadable,
            {because("unknown_event_type")} AS unknown_type
        FROM {source}
        """
    )
    return Judged(event_type=RECORDS, table=table, content=table, source=source)
