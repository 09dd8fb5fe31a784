"""Writing a batch's folder: accepted events, quarantine, what was delivered, the manifest."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipelines.base.duck import literal, quote
from pipelines.base.errors import ReconciliationError
from pipelines.ingest.accounting import (
    UNKNOWN,
    Account,
    accepted_sql,
    delivered_types,
    known_type_sql,
    reconcile,
    same_row,
)
from pipelines.ingest.batch import naive_utc
from pipelines.ingest.facts import DeliveryFacts, ValidationSummary
from pipelines.ingest.folder import write_manifest
from pipelines.ingest.manifest import EventFile, Manifest
from pipelines.ingest.withdrawn import WITHDRAWN, n_withdrawn, withdrawn_sql
from schemas import QUARANTINED
from schemas.codec import WrittenFile, write_events
from schemas.columns import arrow_schema

_STREAM_ROWS = 65_536


def write_batch(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    facts: DeliveryFacts,
    validation: ValidationSummary,
    *,
    study_hashes: Mapping[str, str],
    key_check: str,
    replaces: tuple[str, ...] = (),
) -> Manifest:
    """Write everything of a batch into an empty folder, durably, and return its manifest.

    Errors:
        ReconciliationError: the rows do not add up.
        StorageError: a file cannot be written.
        ValueError: a staged table has not the canonical columns.
    """
    account = reconcile(con, facts.batch_id)
    _check_files(account, facts)
    types = {name: _write_type(con, folder, name, account, facts) for name in delivered_types(con)}
    if n_withdrawn(con, facts):
        types[WITHDRAWN] = _write_withdrawn(con, folder, facts)
    types["ExtractDelivered"] = _write_delivered(folder, facts, account)
    manifest = Manifest(
        batch_id=facts.batch_id,
        site_id=facts.site_id,
        source=facts.source,
        kind=facts.kind,
        exported_at=facts.exported_at,
        data_through=dict(facts.data_through),
        mapping_hash=facts.mapping_hash,
        scope_hash=facts.scope_hash,
        checks_hash=validation.checks_hash,
        study_hashes=dict(study_hashes),
        key_check=key_check,
        parser_version=facts.parser_version,
        software_version=software_version(),
        files=account.files,
        types=types,
        quarantine=_write_quarantine(con, folder, facts, account),
        fates=account.fates,
        fates_by_type=account.fates_by_type,
        out_of_scope=account.out_of_scope,
        checks=validation.checks,
        hold_reasons=validation.hold_reasons,
        replaces=replaces,
        namespaces=facts.namespaces,
        drift=validation.drift,
    )
    write_manifest(folder, manifest)
    return manifest


def software_version() -> str:
    """Return the installed version of Dripwatch."""
    try:
        return importlib.metadata.version("dripwatch")
    except importlib.metadata.PackageNotFoundError:
        return "0+unknown"


def _check_files(account: Account, facts: DeliveryFacts) -> None:
    if {file.sha256 for file in account.files} != {file.sha256 for file in facts.files}:
        raise ReconciliationError(
            "The files that were read are not the files that were delivered.",
            where=f"batch {facts.batch_id}",
            remedy="Do not change a delivery while it is read; if nobody did, report it.",
            next_run="reads the delivery again; nothing of it was committed",
        )


def _write_type(
    con: duckdb.DuckDBPyConnection,
    folder: Path,
    event_type: str,
    account: Account,
    facts: DeliveryFacts,
) -> EventFile:
    name = f"{event_type}.avro"
    reader = con.execute(accepted_sql(event_type)).to_arrow_reader(_STREAM_ROWS)
    written = write_events(reader, event_type, folder / name)
    counts = account.fates_by_type[event_type]
    _check_rows(written.rows, counts["accepted"], name, facts)
    return _event_file(name, written, counts["quarantined"])


def _write_quarantine(
    con: duckdb.DuckDBPyConnection, folder: Path, facts: DeliveryFacts, account: Account
) -> EventFile:
    name = "quarantine.avro"
    parameters = {"batch_id": facts.batch_id, "source": facts.source}
    reader = con.execute(_quarantine_sql(delivered_types(con)), parameters)
    written = write_events(reader.to_arrow_reader(_STREAM_ROWS), QUARANTINED, folder / name)
    counted = sum(counts["quarantined"] for counts in account.fates_by_type.values())
    _check_rows(written.rows, counted, name, facts)
    return _event_file(name, written, written.rows)


def _quarantine_sql(types: list[str]) -> str:
    """Return the query for `Quarantined` rows: rejected events, then rows that made no event."""
    rejected = [
        f"""
        SELECT r.event_type, e.record_key, r.source_file_sha, r.source_row, f.check_ids,
               to_json(e)::VARCHAR AS event_json, NULL::VARCHAR AS raw, r.source_part
        FROM judge.rejected r
        JOIN event.{quote(name)} e ON {same_row("e", "r")}
        JOIN reasons f ON f.event_type = r.event_type AND {same_row("f", "r")}
        WHERE r.event_type = {literal(name)}"""
        for name in types
    ]
    unread = f"""
        SELECT {known_type_sql("r.event_type")}, r.record_key, r.source_file_sha, r.source_row,
               [r.reason], NULL, u.raw, r.source_part
        FROM fate.row r
        LEFT JOIN fate.unreadable u
          ON u.source_file_sha = r.source_file_sha AND u.source_row = r.source_row
        WHERE r.fate = 'quarantined'"""
    return f"""
        WITH reasons AS (
            SELECT event_type, source_file_sha, source_row, source_part,
                   list(DISTINCT check_id ORDER BY check_id) AS check_ids
            FROM judge.failure WHERE severity = 'reject' GROUP BY ALL
        ), every AS ({" UNION ALL ".join([*rejected, unread])})
        SELECT $batch_id AS batch_id, $source AS source, every.* FROM every
        ORDER BY source_file_sha, source_row, source_part"""


def _write_withdrawn(
    con: duckdb.DuckDBPyConnection, folder: Path, facts: DeliveryFacts
) -> EventFile:
    name = f"{WITHDRAWN}.avro"
    reader = con.execute(withdrawn_sql(facts)).to_arrow_reader(_STREAM_ROWS)
    return _event_file(name, write_events(reader, WITHDRAWN, folder / name), 0)


def _write_delivered(folder: Path, facts: DeliveryFacts, account: Account) -> EventFile:
    """Write one `ExtractDelivered` per event type that the delivery speaks of."""
    import pyarrow as pa

    spoken = sorted({*facts.data_through, *account.fates_by_type} - {UNKNOWN})
    rows = [_delivered(name, facts, account) for name in spoken]
    table = pa.Table.from_pylist(rows, schema=arrow_schema("ExtractDelivered"))
    name = "ExtractDelivered.avro"
    return _event_file(name, write_events(table, "ExtractDelivered", folder / name), 0)


def _delivered(event_type: str, facts: DeliveryFacts, account: Account) -> dict[str, Any]:
    through = facts.data_through.get(event_type)
    exported_at = naive_utc(facts.exported_at)
    content = {
        "delivery_kind": facts.kind,
        "exported_at": exported_at,
        "reported_event_type": event_type,
        "data_through_at": None if through is None else naive_utc(through),
        "n_rows": account.fates_by_type.get(event_type, {}).get("accepted", 0),
    }
    text = json.dumps(content, sort_keys=True, default=str)
    return {
        "site_id": facts.site_id,
        "source": facts.source,
        "event_type": "ExtractDelivered",
        "record_key": f"{facts.batch_id}:{event_type}",
        "version": 1,
        "recorded_at": exported_at,
        "operation": "upsert",
        "occurred_at": exported_at,
        "time_precision": "instant",
        "zone": "UTC",
        "flags": [],
        "batch_id": facts.batch_id,
        "content_hash": hashlib.sha256(text.encode()).hexdigest(),
        **content,
    }


def _event_file(name: str, written: WrittenFile, quarantined: int) -> EventFile:
    return EventFile(
        name, written.rows, written.sha256, written.fingerprint, written.n_bytes, quarantined
    )


def _check_rows(written: int, counted: int, name: str, facts: DeliveryFacts) -> None:
    if written != counted:
        raise ReconciliationError(
            f"{name} holds {written} rows, but {counted} were counted.",
            where=f"batch {facts.batch_id}",
            remedy="Report it with this text; it is a fault of the program.",
            next_run="reads the delivery again; nothing of it was committed",
        )
