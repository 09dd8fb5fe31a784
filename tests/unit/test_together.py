"""Hospitals of one legal entity in one store: each as it was, all of them added up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from flows.console import TextConsole
from flows.pool_logs import pool_logs
from flows.reply import Reply, UsageError
from pipelines.base.errors import ConfigError, LogError
from tests.pack_kit import counted, make_site, units_of
from tests.together_kit import counts_of, linked_site, together
from warehouse.store import Store

UNITS = {"east": units_of(1, 40, 0.3), "north": units_of(2, 25, 0.2)}
#: One child under each hospital's own key is two patients.
PATIENTS = {"east": ["e1", "child-at-east"], "north": ["child-at-north"]}


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=str)


def test_each_hospital_keeps_its_counts_and_all_are_those_of_all_units(tmp_path: Path) -> None:
    sites = [linked_site(tmp_path, n, units, PATIENTS[n]) for n, units in UNITS.items()]
    everybody = [
        unit._replace(patient=unit.patient + 1000 * number)
        for number, units in enumerate(UNITS.values())
        for unit in units
    ]
    told = {**UNITS, "all": everybody}
    with Store(together(tmp_path, sites)) as store:
        for name, units in told.items():
            found, by_hand = counts_of(store.con, name), counted(name, units)
            for table in found:
                assert rows(found[table]) == rows(by_hand[table]), table
        [(n_patients,)] = store.con.execute(
            "SELECT n FROM linkage.attrition WHERE site_id = 'all'"
        ).fetchall()
        assert n_patients == 3
        assert store.con.execute(
            "SELECT count(DISTINCT patient_key) FROM linkage.course"
        ).fetchall() == [(3,)]
        # Signals over all hospitals follow from the sums as those of one follow from its counts.
        [(risk, whole)] = store.con.execute(
            """SELECT risk, n_events / n_units FROM signals.risk WHERE site_id = 'all'
            AND stratum = 'all' AND denominator = 'complete'"""
        ).fetchall()
        counting = [one for one in everybody if not one.censored]
        assert risk == whole == sum(one.event for one in counting) / len(counting)


def test_one_key_at_two_hospitals_is_refused(tmp_path: Path) -> None:
    sites = [linked_site(tmp_path, name, UNITS[name], ["same"]) for name in UNITS]
    with pytest.raises(LogError, match="in common"):
        together(tmp_path, sites)


def test_hospitals_that_cannot_be_told_apart_or_have_no_log_are_refused(tmp_path: Path) -> None:
    for folder, name in (("a", "east"), ("b", "east"), ("c", "all"), ("d", "north")):
        (tmp_path / folder).mkdir()
        make_site(tmp_path / folder, name, [])

    def pool(*folders: str) -> None:
        answer = Reply("pool-logs", TextConsole())
        pool_logs([tmp_path / one for one in folders], tmp_path / "out.duckdb", answer)

    with pytest.raises(UsageError, match="only one"):
        pool("a")
    with pytest.raises(ConfigError, match="Two hospitals are called east"):
        pool("a", "b")
    with pytest.raises(ConfigError, match="stands for all"):
        pool("a", "c")
    with pytest.raises(UsageError, match="holds no batch"):
        pool("a", "d")
    assert not list(tmp_path.glob("*out*"))
