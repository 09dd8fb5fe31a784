"""Which texts have to be looked at one by one, as SQL over all of them; and the looking."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from pipelines.sources.fhir.blocks import Reading
from pipelines.sources.fhir.strict import verdict

#: Resource type of each row of `is_suspect, resource`; null where it has to be looked at. One
#: call gives type and text of an element: a string keeps its quotes. CASE keeps texts that are no
#: JSON from it, since it raises on them.
RESOURCE_TYPE = (
    "nullif(regexp_extract(CASE WHEN NOT is_suspect AND json_valid(resource) THEN "
    "json_extract(resource, '$.resourceType') END::VARCHAR, '^\"([A-Za-z]+)\"$', 1), '')"
)
_PAGE = 200


def decide(con: duckdb.DuckDBPyConnection, table: str, found: Reading) -> None:
    """Look at the rows without a resource type: give them one, or take them out of the table.

    Args:
        con: connection that has the table.
        table: quoted name of `source_row, resource_type, resource`.
        found: gets each row that is taken out.
    """
    rows: list[int] = []
    types: list[str | None] = []
    con.execute(f"SELECT source_row, resource FROM {table} WHERE resource_type IS NULL")
    while page := con.fetchmany(_PAGE):
        for row, text in page:
            told, reason = verdict(text)
            rows.append(row)
            types.append(told)
            if reason:
                found.set_aside(row, reason, text)
    if not rows:
        return
    judged = pa.table({"source_row": rows, "told": pa.array(types, pa.string())})
    con.register("judged", judged)
    try:
        con.execute(
            f"UPDATE {table} SET resource_type = told FROM judged "
            f"WHERE {table}.source_row = judged.source_row"
        )
        con.execute(f"DELETE FROM {table} WHERE resource_type IS NULL")
    finally:
        con.unregister("judged")
