"""What the rows of a FHIR delivery give reason to say, without patient data."""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from pipelines.base.duck import quote
from pipelines.sources.fhir.mapping import Mapping
from pipelines.sources.rows.model import RowRule


def remarks(con: duckdb.DuckDBPyConnection, mapping: Mapping, source: str) -> list[str]:
    """Return a sentence for references that lead nowhere, and for codes of unknown systems.

    Args:
        con: the staging database, extracted.
        mapping: what the delivery was read with.
        source: name of the source.
    """
    found = []
    for reason, what in (
        ("unresolved_patient", "the Patient whom they name"),
        ("unresolved_reference", "a resource that they refer to"),
    ):
        if count := _number(con, f"SELECT count(*) FROM fate.row WHERE reason = '{reason}'"):
            found.append(
                f"{source}: records quarantined as {reason}, since {what} is not in the "
                f"delivery: {count:,}. Have Patient, Medication, Specimen and Encounter delivered "
                "whole with each delta (docs/fhir.md)."
            )
    known = _tokens(mapping)
    rows, systems = _unknown(con, known)
    if systems:
        found.append(
            f"{source}: codes of {systems} unknown system{'' if systems == 1 else 's'} in "
            f"{rows:,} rows, which no study can ask for: name those that matter in [systems] of "
            f"{mapping.path.name}; `dripwatch profile` lists them."
        )
    return found


def _tokens(mapping: Mapping) -> set[str]:
    """Return the code systems that the mapping names, in [systems] or as a constant of a rule."""
    rules: Iterable[RowRule] = mapping.table.resource.values()
    told = [
        field
        for rule in rules
        for event_type in rule.event_types
        if (field := rule.rules(event_type).get("code_system"))
    ]
    constants = {field.constant for field in told if field.constant}
    meant = {text for field in told for text in (field.values or {}).values()}
    return {*mapping.table.systems.values(), *constants, *meant}


def _unknown(con: duckdb.DuckDBPyConnection, known: set[str]) -> tuple[int, int]:
    """Return how many records, and how many systems, are beyond those that are known."""
    tables = con.execute(
        "SELECT table_name FROM duckdb_columns() "
        "WHERE schema_name = 'event' AND column_name = 'code_system' ORDER BY ALL"
    ).fetchall()
    parts = ["SELECT code_system FROM fate.row"]
    parts += [f"SELECT code_system FROM event.{quote(str(row[0]))}" for row in tables]
    row = con.execute(
        f"SELECT count(*), count(DISTINCT code_system) FROM ({' UNION ALL '.join(parts)}) "
        "WHERE code_system IS NOT NULL AND NOT list_contains(?, code_system)",
        [sorted(known)],
    ).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _number(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchone()
    return int(row[0]) if row else 0
