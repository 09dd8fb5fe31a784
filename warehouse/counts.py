"""The counts of a published warehouse, as the rule of disclosure reads them, and risks of them."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.disclosure.rule import fewest_patients
from pipelines.disclosure.tables import REASON
from pipelines.disclosure.watched import COLUMNS as WATCHED_COLUMNS
from pipelines.disclosure.watched import NAME as WATCHED
from pipelines.signals.counts import COUNT_TABLES
from pipelines.signals.risk import risk_table


def counts_of(con: duckdb.DuckDBPyConnection, site_id: str, study_id: str) -> dict[str, pa.Table]:
    """Return the tables of counts of one study at one site, by name, unmasked.

    Tables that a file of an older version lacks are left out.
    """
    there = {
        f"{schema}.{name}"
        for schema, name in con.execute(
            "SELECT schema_name, table_name FROM duckdb_tables()"
        ).fetchall()
    }
    forms = {name: (*form.keys, *form.sums) for name, form in COUNT_TABLES.items()}
    forms[WATCHED] = WATCHED_COLUMNS
    found = {}
    for name, columns in forms.items():
        if name in there:
            keys = COUNT_TABLES[name].keys if name in COUNT_TABLES else columns[:5]
            table = con.execute(
                f"SELECT {', '.join(columns)} FROM {name} "
                f"WHERE site_id = ? AND study_id = ? ORDER BY {', '.join(keys)}",
                [site_id, study_id],
            ).to_arrow_table()
            found[name] = table.cast(COUNT_TABLES[name].schema) if name in COUNT_TABLES else table
    return found


def risks_of(counts: pa.Table) -> pa.Table:
    """Return the risks of the rows of masked counts that are told; the others have none.

    Where patients are not told, the interval takes as few as the sums allow: it is never narrower
    than the one that knows them.
    """
    told = counts.filter(pc.is_valid(counts["n_events"])).drop_columns([REASON])
    n_patients = [
        known if known is not None else fewest_patients(n or 0, n2 or 0)
        for known, n, n2 in zip(
            told["n_patients"].to_pylist(),
            told["n_units"].to_pylist(),
            told["sum_n2"].to_pylist(),
            strict=True,
        )
    ]
    place = told.column_names.index("n_patients")
    risks = risk_table(told.set_column(place, "n_patients", pa.array(n_patients, pa.int64())))
    return risks.set_column(
        risks.column_names.index("n_patients"), "n_patients", told["n_patients"]
    )
