"""Resources that a delivery takes back as a whole, as `RecordWithdrawn` events of the log."""

from __future__ import annotations

import duckdb

from pipelines.base.duck import literal
from pipelines.base.errors import ReconciliationError
from pipelines.ingest.facts import DeliveryFacts
from schemas import fields

WITHDRAWN = "RecordWithdrawn"

#: `deleted`: the source took it back. `out_of_scope`: this version of it makes no event here.
REASONS = ("deleted", "out_of_scope")


def n_withdrawn(con: duckdb.DuckDBPyConnection, facts: DeliveryFacts) -> int:
    """Return how many withdrawals the staging database holds.

    Errors:
        ReconciliationError: one lacks its resource, version or time, or has an unknown reason.
    """
    known = ", ".join(literal(reason) for reason in REASONS)
    row = con.execute(
        "SELECT count(*), count(*) FILTER (resource_key IS NULL OR version IS NULL "
        f"OR recorded_at IS NULL OR coalesce(reason NOT IN ({known}), true)) FROM fate.withdrawn"
    ).fetchone()
    total, incomplete = row or (0, 0)
    if incomplete:
        raise ReconciliationError(
            f"{incomplete} withdrawals do not say which resource they withdraw, when or why.",
            where=f"batch {facts.batch_id}",
            remedy="Report it with this text; it is a fault of the program, not of the delivery.",
            next_run="reads the delivery again; nothing of it was committed",
        )
    return int(total)


def withdrawn_sql(facts: DeliveryFacts) -> str:
    """Return the query for a batch's withdrawals in canonical columns.

    One per resource and reason, the newest: their versions stand for different things (the time of
    a deletion, the version that has nothing in scope), so neither may hide the other.
    """
    told = {
        "site_id": literal(facts.site_id),
        "source": literal(facts.source),
        "event_type": literal(WITHDRAWN),
        "record_key": "resource_key || ':' || reason",
        "version": "version",
        "recorded_at": "recorded_at",
        "operation": "'retract'",
        "flags": "[]::VARCHAR[]",
        "batch_id": literal(facts.batch_id),
        "source_file_sha": "source_file_sha",
        "source_row": "source_row",
        "content_hash": "sha256(concat_ws(' ', resource_key, reason, epoch_us(recorded_at)))",
        "resource_key": "resource_key",
        "reason": "reason",
    }
    columns = ", ".join(
        f"{told.get(field.name, f'NULL::{field.duckdb_type}')} AS {field.name}"
        for field in fields(WITHDRAWN)
    )
    return (
        f"SELECT {columns} FROM fate.withdrawn QUALIFY row_number() OVER (PARTITION BY "
        "resource_key, reason ORDER BY version DESC, recorded_at DESC, source_file_sha, "
        "source_row) = 1 ORDER BY record_key"
    )
