"""Tables of `signals.*` that counts cannot make: from rows of patients, once they are linked.

They are made in the store, after linkage has been loaded, of everybody: not by bucket, for none of
them adds up. Rows are put in order before anything is summed, so that neither buckets nor replays
nor nights can change a digit. What a table reads is told here; where none of it has changed since
the table was made, it is not made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from importlib import resources
from typing import cast

import duckdb
import numpy as np
import pyarrow as pa

from pipelines.base import codes, zones
from pipelines.base.duck import insert
from pipelines.signals.case_series import case_series_rows
from pipelines.signals.effectiveness import EFFECTIVENESS_SCHEMA, density_rows, fracture_rows
from pipelines.signals.self_controlled import SELF_CONTROLLED_SCHEMA
from studies.load import Study
from warehouse import results
from warehouse.guard import guarded, transaction
from warehouse.laboratory import laboratory
from warehouse.layout import batch_ids
from warehouse.models import model
from warehouse.results import LoadedTable
from warehouse.store import Store
from warehouse.touched import MADE_FROM_ROWS

#: Facts of `ops.state` on what a table was made from, with the table's name at the end.
MADE_FROM = "made_from:"


@dataclass(frozen=True)
class Rows:
    """What a maker reads, besides the study.

    Attributes:
        con: the store in use, with the functions of `zones` and `codes` installed.
        zone: of the site.
        through: per event type, the naive UTC instant up to which it is complete.
    """

    con: duckdb.DuckDBPyConnection
    zone: str
    through: Mapping[str, datetime]

    def complete_until(self, event_type: str, study: Study) -> date | None:
        """Return the first local date that is not complete, its settle lag taken off."""
        instant = self.through.get(event_type)
        if instant is None:
            return None
        lag = timedelta(hours=study.model.follow_up.settle_lag_hours.get(event_type, 0))
        local = zones.utc_to_local(np.array([instant - lag], "datetime64[us]"), self.zone)
        return cast("date", local[0].item().date())


@dataclass(frozen=True)
class RowSignal:
    """A table that is made from rows.

    Attributes:
        linked: tables of linkage that it reads.
        events: event types that it reads, in the store's current version.
        make: makes the rows of one study.
        part: SQL condition on the rows that it makes, where counts make the others; None for all.
    """

    linked: tuple[str, ...]
    events: tuple[str, ...]
    make: Callable[[Rows, Study], pa.Table]
    part: str | None = None


def density_patients(rows: Rows, study: Study) -> pa.Table:
    """Return each treated patient's scans before and after; see rows/density_change.sql."""
    told = study.model.effectiveness
    given = {
        "concept": told.density_concept,
        "baseline_days": told.baseline_days,
        "follow_up_days": told.follow_up_days,
        "margin_days": told.follow_up_margin_days,
        "through": rows.complete_until("BoneDensityMeasured", study),
    }
    return _patients(rows, study, "density_change", given)


def fracture_patients(rows: Rows, study: Study) -> pa.Table:
    """Return each treated patient's fractures and days at risk; see rows/fracture_time.sql."""
    told = study.model.effectiveness
    given = {
        "concepts": told.fracture_concepts,
        "gap_days": told.fracture_gap_days,
        "left_before": told.left_out_before_days,
        "left_after": told.left_out_after_days,
        "through": rows.complete_until("DiagnosisRecorded", study),
    }
    return _patients(rows, study, "fracture_time", given)


def _patients(rows: Rows, study: Study, query: str, given: Mapping[str, object]) -> pa.Table:
    con = rows.con
    con.execute(
        """CREATE OR REPLACE TEMP TABLE effect_code (
        event_type VARCHAR, code_system VARCHAR, code VARCHAR, match VARCHAR, concept VARCHAR)"""
    )
    insert(con, "temp.effect_code", study.concept_rows())
    con.execute(_query("first_unit"), {"study": study.id, "zone": rows.zone})
    found = con.execute(_query(query), given).to_arrow_table()
    con.execute("DROP TABLE temp.first_unit; DROP TABLE temp.effect_code")
    return found


def effectiveness(rows: Rows, study: Study) -> pa.Table:
    """Return the rows of `signals.effectiveness` of a study."""
    told = study.model.effectiveness
    made = [EFFECTIVENESS_SCHEMA.empty_table()]
    if told.density_concept:
        made.append(density_rows(density_patients(rows, study), study.id, told.min_patients))
    if told.fracture_concepts:
        made.append(fracture_rows(fracture_patients(rows, study), study.id, told.min_patients))
    return pa.concat_tables(made)


def case_series(rows: Rows, study: Study) -> pa.Table:
    """Return the rows of `signals.self_controlled` of a study that counts cannot make."""
    wanted = [
        one.name
        for one in study.model.outcome
        if one.publish
        and one.ascertainment == "independent"
        and {"risk", "control"} <= {window.name for window in one.window}
    ]
    if not wanted:
        return SELF_CONTROLLED_SCHEMA.empty_table()
    found = rows.con.execute(_query("case_series"), {"study": study.id, "outcomes": wanted})
    return case_series_rows(found.to_arrow_table(), study.id)


#: By name in the warehouse. One that is new is a line here and a model.
ROW_SIGNALS: Mapping[str, RowSignal] = {
    "signals.effectiveness": RowSignal(
        linked=("linkage.course",),
        events=("BoneDensityMeasured", "DiagnosisRecorded"),
        make=effectiveness,
    ),
    "signals.laboratory": RowSignal(
        linked=("linkage.course",), events=("LabResulted",), make=laboratory
    ),
    "signals.self_controlled": RowSignal(
        linked=("linkage.course", "linkage.unit_outcome"),
        events=(),
        make=case_series,
        part=MADE_FROM_ROWS["signals.self_controlled"],
    ),
}


def load_row_signals(
    store: Store, studies: Sequence[Study], run_id: str, under: str
) -> list[LoadedTable]:
    """Make the tables whose rows have changed, in one transaction; after `Store.load_linkage`.

    Args:
        store: open, with linkage loaded.
        studies: of the site.
        run_id: written on rows that are new or changed; others keep theirs.
        under: whatever else results depend on: studies, settings, software.

    Returns:
        The tables that were made.

    Errors:
        StorageError: the store cannot be written.
    """
    rows = Rows(store.con, store.site.site.zone, store.data_through())
    # A transaction that is undone takes its functions along, and they cannot be installed again.
    zones.install(store.con)
    codes.install(store.con)
    with guarded("making signals from rows", store.path), transaction(store.con):
        return _load(rows, studies, run_id, under)


def _load(rows: Rows, studies: Sequence[Study], run_id: str, under: str) -> list[LoadedTable]:
    con, loaded = rows.con, []
    for name, signal in sorted(ROW_SIGNALS.items()):
        fact, made_from = MADE_FROM + name, _made_from(rows, signal, under)
        if _state(con, fact) == made_from:
            continue
        table = pa.concat_tables([signal.make(rows, study) for study in studies])
        results.stage_table(con, model(name), table)
        if signal.part is None:
            loaded.append(results.replace_content(con, model(name), run_id))
        else:
            loaded.append(results.replace_part(con, model(name), run_id, signal.part))
        con.execute("INSERT OR REPLACE INTO ops.state VALUES (?, ?)", [fact, made_from])
    return loaded


def _made_from(rows: Rows, signal: RowSignal, under: str) -> str:
    parts = {
        "under": under,
        "linked": {name: _state(rows.con, results.DIGEST + name) for name in signal.linked},
        # What stands of events is a function of the batches.
        "batches": batch_ids(rows.con) if signal.events else [],
        "through": {name: str(rows.through.get(name)) for name in signal.events},
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _state(con: duckdb.DuckDBPyConnection, name: str) -> str | None:
    row = con.execute("SELECT value FROM ops.state WHERE name = ?", [name]).fetchone()
    return row[0] if row else None


@cache
def _query(name: str) -> str:
    return (resources.files("warehouse") / "rows" / f"{name}.sql").read_text(encoding="utf-8")
