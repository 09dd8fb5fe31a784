"""Tables made from rows: made where what they read has changed, and only there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from studies.load import load_study
from tests.results_kit import parquet
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse.models import model
from warehouse.row_signals import ROW_SIGNALS, load_row_signals
from warehouse.store import Store

COURSE = dict.fromkeys(c.name for c in model("linkage.course").columns if c.name != "run_id") | {
    "study_id": "iv_bisphosphonate",
    "site_id": "north",
    "patient_key": "0" * 64,
    "unit_id": "u",
    "drug": "pamidronate",
    "indication_type": "primary",
    "is_eligible": True,
}


def test_a_table_is_made_again_only_where_what_it_reads_has_changed(tmp_path: Path) -> None:
    studies = [load_study("iv_bisphosphonate")]
    start = datetime.fromisoformat("2024-03-01T09:00")
    course = COURSE | {"started_at": start, "index_date": start.date(), "record_started_at": start}
    scan: dict[str, Any] = {
        "code": "85394-5",
        "code_system": "loinc",
        "z_score": -2.0,
        "time_precision": "day",
    }
    later = (start + timedelta(days=365)).replace(tzinfo=UTC)

    with Store(make_site(tmp_path)) as store:

        def loaded(run: str, under: str = "settings") -> list[tuple[str, bool]]:
            made = load_row_signals(store, studies, run, under)
            return [(table.name, table.has_changed) for table in made]

        def told(column: str) -> object:
            [(value,)] = store.con.execute(
                f"""SELECT {column} FROM signals.effectiveness
                WHERE stratum = 'all' AND measure = 'density_z_change'"""
            ).fetchall()
            return value

        assert loaded("r1") == [(name, False) for name in sorted(ROW_SIGNALS)]
        store.load_linkage({"linkage.course": parquet(tmp_path, "linkage.course", [course])}, "r2")
        assert ("signals.effectiveness", True) in loaded("r2")
        assert (told("n_open"), told("n_without_before")) == (1, 0)
        assert loaded("r3") == []
        through = later + timedelta(days=200)
        events = {"BoneDensityMeasured": [
            event("BoneDensityMeasured", "s", occurred_at=later, zone="Asia/Kolkata", **scan)
        ]}  # fmt: skip
        store.apply([make_batch("b", events, exported_at=night(1), data_through=through)])
        assert ("signals.effectiveness", True) in loaded("r4")
        assert (told("n_open"), told("n_without_before"), told("run_id")) == (0, 1, "r4")
        assert loaded("r5") == []
        assert ("signals.effectiveness", False) in loaded("r6", under="other software")
        assert told("run_id") == "r4"
