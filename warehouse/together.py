"""Linked rows and counts of several hospitals in one store: each as its own, and added up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.base.duck import attach
from pipelines.base.errors import LogError
from pipelines.signals.counts import COUNT_TABLES, CountTable
from pipelines.signals.tables import MAKERS
from studies.load import Study
from warehouse import feeds, results
from warehouse.guard import guarded, one_row, transaction
from warehouse.layout import batch_ids
from warehouse.models import Model, in_schemas, model
from warehouse.store import Store

#: What stands in `site_id` of a row over all hospitals; no hospital may have the name.
ALL_SITES = "all"

#: What nights have recorded is each hospital's own, and is told at that hospital.
OF_NIGHTS = frozenset({"signals.sequential", "signals.alert", "signals.counts_watched"})
#: Tables besides those of linkage and signals whose rows are told of each hospital.
_ALSO = ("ops.batch", "reference.freshness")


def add_site(store: Store, linked: Path) -> None:
    """Add a hospital's rows to a store of several; all of them or none.

    Args:
        store: open; it gets the rows under the hospital's own `site_id`.
        linked: file of the hospital's linked store, which is read only.

    Errors:
        LogError: a patient of it is one of another hospital's.
        StorageError: a file cannot be read or written.
    """
    with guarded("adding a hospital", store.path):
        attach(store.con, linked, "part", read_only=True)
        try:
            with transaction(store.con):
                for found in _tables():
                    store.con.execute(
                        f"INSERT INTO {found.target('store')} BY NAME FROM {found.target('part')}"
                    )
                _refuse_shared(store.con)
        finally:
            store.con.execute("DETACH part")


def _tables() -> list[Model]:
    found = [one for one in in_schemas("linkage", "signals", "quality") if _is_told(one)]
    return [*found, *(model(name) for name in _ALSO)]


def _is_told(found: Model) -> bool:
    return found.full_name not in OF_NIGHTS | {"quality.published_rows"}


def _refuse_shared(con: duckdb.DuckDBPyConnection) -> None:
    (n_shared,) = one_row(
        con.execute(
            """SELECT count(*) FROM (SELECT patient_key FROM linkage.course
            GROUP BY patient_key HAVING count(DISTINCT site_id) > 1)"""
        )
    )
    if n_shared:
        raise LogError(
            "Two hospitals have a patient's key in common, which the site's name in it rules out.",
            remedy="One log was written under another hospital's name: find out which, and leave "
            "it out. Nothing was pooled.",
        )


def add_up(store: Store, studies: Sequence[Study], run_id: str) -> None:
    """Add the rows over all hospitals: counts are sums, and signals follow from them.

    Hospitals have no patient in common, so that patients and their squares add up as units do.
    What counts alone cannot make (`signals.effectiveness`, `.laboratory`, case series) stays by
    hospital.

    Args:
        store: holds every hospital, each added by `add_site`.
        studies: under which all of them were linked.
        run_id: written on the rows over all.

    Errors:
        StorageError: the store cannot be written.
    """
    con = store.con
    with guarded("adding hospitals up", store.path), transaction(con):
        counts = {name: _summed(con, table) for name, table in COUNT_TABLES.items()}
        made = {name: make(counts, studies) for name, make in MAKERS.items()}
        for name, table in {**counts, **made}.items():
            con.register("given", table)
            con.execute(f"INSERT INTO {name} BY NAME SELECT *, ? AS run_id FROM given", [run_id])
            con.unregister("given")
        con.execute(_ATTRITION, [ALL_SITES, run_id])
        for found in in_schemas("linkage", "signals"):
            results.note_content(con, found)
        feeds.take_as_told(con, store.site, batch_ids(con))


def people(store: Store) -> dict[str, tuple[int, int]]:
    """Return the number of units and of patients of each hospital."""
    rows = store.con.execute(
        """SELECT site_id, count(*), count(DISTINCT patient_key) FROM linkage.course
        GROUP BY site_id ORDER BY site_id"""
    ).fetchall()
    return {name: (n_units, n_patients) for name, n_units, n_patients in rows}


def _summed(con: duckdb.DuckDBPyConnection, table: CountTable) -> pa.Table:
    keys = ", ".join(f"? AS {key}" if key == "site_id" else key for key in table.keys)
    sums = ", ".join(f"sum({name})::BIGINT AS {name}" for name in table.sums)
    query = f"SELECT {keys}, {sums} FROM {table.name} GROUP BY ALL ORDER BY ALL"
    return con.execute(query, [ALL_SITES]).to_arrow_table().cast(table.schema)


_ATTRITION = """
INSERT INTO linkage.attrition BY NAME
SELECT study_id, ? AS site_id, step_number, step, sum(n)::BIGINT AS n, ? AS run_id
FROM linkage.attrition GROUP BY study_id, step_number, step
"""
