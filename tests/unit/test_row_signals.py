"""Tables made from rows: made where what they read has changed, and only there."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from studies.load import load_study
from studies.outcomes import WindowTable
from tests.reference.studies import changed_outcomes
from tests.results_kit import parquet
from tests.unit.store_batches import event, make_batch, make_site, night
from warehouse.models import model
from warehouse.row_signals import ROW_SIGNALS, load_row_signals
from warehouse.store import Store

CONTROL = WindowTable(name="control", start_offset_hours=336, end_offset_hours=672)
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


def test_a_load_of_counts_leaves_the_rows_that_are_made_from_patients(tmp_path: Path) -> None:
    study = changed_outcomes(
        load_study("iv_bisphosphonate"),
        fever={"ascertainment": "independent", "window": [WindowTable(), CONTROL]},
    )
    start = datetime.fromisoformat("2024-03-01T09:00")
    ids = {name: COURSE[name] for name in ("study_id", "site_id", "patient_key", "unit_id")}
    windows = [
        dict.fromkeys(model("linkage.unit_outcome").content_columns)
        | ids
        | {"outcome": "fever", "window_name": name, "is_published": True}
        | {"status": status, "at_risk_days": days}
        for name, status, days in (("risk", "event", 3.0), ("control", "no_event", 13.0))
    ]
    scri = dict.fromkeys(model("signals.self_controlled").content_columns) | {
        **{name: ids[name] for name in ("study_id", "site_id")},
        "outcome": "fever",
        "stratum": "all",
        "stratum_value": "all",
        "method": "scri",
    }
    tables = {
        "linkage.course": [COURSE | {"started_at": start}],
        "linkage.unit_outcome": windows,
        "signals.self_controlled": [scri],
    }
    with Store(make_site(tmp_path)) as store:

        def methods() -> list[tuple[str, str]]:
            return store.con.execute(
                "SELECT stratum, method FROM signals.self_controlled ORDER BY ALL"
            ).fetchall()

        for run, note in (("r1", None), ("r2", "another")):
            rows = tables | {"signals.self_controlled": [scri | {"note": note}]}
            store.load_linkage({n: parquet(tmp_path, n, told) for n, told in rows.items()}, run)
            made = load_row_signals(store, [study], run, "settings")
            assert (model("signals.self_controlled").full_name in {t.name for t in made}) == (
                run == "r1"
            )
            assert methods() == [
                ("all", "sccs"), ("all", "scri"), ("drug", "sccs"), ("ordinal", "sccs"),
            ]  # fmt: skip
        load_row_signals(store, [load_study("iv_bisphosphonate")], "r3", "another study")
        assert methods() == [("all", "scri")]
        assert store.state_digests()["signals.self_controlled"] == store.get_state(
            "digest:signals.self_controlled"
        )
