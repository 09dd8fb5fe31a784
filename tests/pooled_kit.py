"""Packs of invented hospitals in memory: two outcomes of the same infusions, masked as sites do."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.disclosure.tables import mask_counts
from pipelines.pooling.packs import Pack
from pipelines.pooling.tables import pooled_tables
from pipelines.signals.counts import COUNT_TABLES, COUNTS
from studies.load import load_study
from tests.pack_kit import STUDY, Unit, counted, units_of
from warehouse.pooling import EXPECTED, LEDGER, ledger_with, write_pooled

Row = dict[str, Any]

#: Seed, children, risk of fever, risk of headache: the last one has few fevers, and masks them.
HOSPITALS: Mapping[str, tuple[int, int, float, float]] = {
    "east": (1, 300, 0.20, 0.10),
    "harbour": (7, 500, 0.18, 0.12),
    "north": (2, 200, 0.55, 0.09),
    "valley": (5, 350, 0.16, 0.11),
    "west": (3, 400, 0.15, 0.08),
    "hill": (4, 120, 0.025, 0.30),
}


def with_headache(units: Sequence[Unit], seed: int, risk: float) -> list[Unit]:
    """Return the same infusions with another outcome, so that both have one number of units."""
    luck = random.Random(seed)  # noqa: S311 - invented children
    return [one._replace(event=not one.censored and luck.random() < risk) for one in units]


@cache
def pack_of(site_id: str, place: int = 0) -> Pack:
    """Return the pack of one of the HOSPITALS; `place` makes its data older."""
    seed, n_patients, fever, headache = HOSPITALS[site_id]
    units = units_of(seed, n_patients, fever)
    tables = [counted(site_id, units)]
    tables.append(_renamed(counted(site_id, with_headache(units, seed, headache)), "headache"))
    counts = {name: _some(pa.concat_tables([one[name] for one in tables])) for name in COUNT_TABLES}
    masked = mask_counts(counts, 11, nested=frozenset(), outcomes=["headache", "fever"]).tables
    reasons = masked[COUNTS.name]["suppressed_reason"].to_pylist()
    n_masked = sum(reason in {"small_count", "few_events"} for reason in reasons)
    study = load_study(STUDY)
    facts = {
        "site_id": site_id,
        "number": 2,
        "exported": "2026-Q2" if place % 4 == 3 else "2026-Q4",
        "data_through": f"2026-Q{3 - place % 3}",
        "software_version": "0.1.0",
        "checks_hash": "c" * 64,
        "is_synthetic": True,
        "threshold": 11,
        "feeds": [
            {
                "event_type": name,
                "complete_through": f"2026-Q{3 - place % 3}",
                "is_stale": place % 3 == 2 and name == "LabResulted",
                "quarantined_percent": place,
            }
            for name in ("InfusionRecorded", "LabResulted")
        ],
        "studies": [
            {
                "study_id": STUDY,
                "version": study.model.study.version,
                "study_hash": study.study_hash,
                "settings": json.loads(study.settings_json),
            }
        ],
        "n_rows": {COUNTS.name: {"told": len(reasons) - n_masked, "masked": n_masked}},
    }
    return Pack(Path(site_id), facts, site_id[0] * 64, masked)


def _some(table: pa.Table) -> pa.Table:
    """Keep what the page tells of: every row more is a model more to fit."""
    names = set(table.column_names)
    if not {"stratum", "denominator"} <= names:
        return table
    kept = pc.is_in(table["stratum"], pa.array(["all", "ordinal"]))
    return table.filter(pc.and_(kept, pc.is_in(table["denominator"], pa.array(["complete"]))))


def _renamed(tables: Mapping[str, pa.Table], outcome: str) -> dict[str, pa.Table]:
    named = {}
    for name, table in tables.items():
        place = table.column_names.index("outcome")
        column = pa.array([outcome] * table.num_rows, pa.string())
        named[name] = table.set_column(place, "outcome", column)
    return named


def pooled_file(
    out: Path, sites: Sequence[str] = tuple(HOSPITALS), expected: Sequence[Row] = ()
) -> Path:
    """Write the pooled file of some of the HOSPITALS; one that was pooled before is gone now."""
    packs = [pack_of(site, place) for place, site in enumerate(sites)]
    gone = [{"site_id": "isle", "pack_number": 1, "pack_sha": "0" * 64, "exported": "2026-Q1"}]
    known = [{**row, "software_version": "0.1.0", "is_pooled": True} for row in gone]
    ledger = ledger_with(packs, known)
    write_pooled(out, {**pooled_tables(packs), LEDGER: ledger, EXPECTED: expected})
    return out
