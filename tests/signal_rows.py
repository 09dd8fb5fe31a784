"""A small linked site: its rows, and its counts as two buckets of patients gave them."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow as pa

from pipelines.linkage.kernel import LinkageInput, link_tables
from pipelines.signals.counts import COUNT_TABLES, merge_counts
from studies.load import Study
from studies.outcomes import WindowTable
from tests.linkage_cases import ALL_TYPES, THROUGH, event_tables
from tests.reference.patients import make_patients
from tests.reference.studies import WINDOWS, Drawn, drawn, only

Row = dict[str, Any]


class SignalRows(NamedTuple):
    """Rows of linkage, one a unit, outcome and window, with what the unit is; and counts."""

    study: Study
    rows: list[Row]
    counts: dict[str, pa.Table]


#: After the risk window, where the next unit and death cut it.
CONTROL = WindowTable(
    name="control", start_anchor="end", start_offset_hours=72, end_offset_hours=480
)


@cache
def signal_rows() -> SignalRows:
    """An ache with a control window and a laboratory outcome, of children with many infusions."""
    every = drawn(Drawn(missing_start="unplaceable"))
    chosen = {one.name: one for one in every.model.outcome}
    ache = {"window": [*WINDOWS, CONTROL], "ascertainment": "independent"}
    study = only(every, chosen["ache"].model_copy(update=ache), chosen["high_creatinine"])
    patients = make_patients(11, 120)
    given = LinkageInput(study, tuple(("here", name, THROUGH) for name in ALL_TYPES))
    rows: list[Row] = []
    merged: dict[str, dict[tuple[Any, ...], list[tuple[Any, ...]]]] = {n: {} for n in COUNT_TABLES}
    with tempfile.TemporaryDirectory() as name:
        for number in range(2):
            folder = Path(name) / str(number)
            folder.mkdir()
            linked = link_tables(event_tables(patients[number::2]), given, folder)
            rows += read(linked.files)
            for table, found in linked.counts.items():
                n_keys = len(COUNT_TABLES[table].keys)
                for one in found:
                    merged[table].setdefault(one[:n_keys], []).append(one[n_keys:])
    return SignalRows(study, rows, {n: counted(n, found) for n, found in merged.items()})


def counted(name: str, found: dict[tuple[Any, ...], list[tuple[Any, ...]]]) -> pa.Table:
    schema = COUNT_TABLES[name].schema
    rows = [key + merge_counts(sums) for key, sums in found.items()]
    return pa.Table.from_pylist(
        [dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema
    )


def read(files: dict[str, str]) -> list[Row]:
    found = duckdb.sql(
        f"""SELECT o.*, c.* EXCLUDE (study_id, site_id, unit_id, patient_key, flags)
        FROM read_parquet('{files["linkage.unit_outcome"]}') AS o
        JOIN read_parquet('{files["linkage.course"]}') AS c USING (unit_id)"""
    )
    return [dict(zip(found.columns, row, strict=True)) for row in found.fetchall()]
