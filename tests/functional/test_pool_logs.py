"""`dripwatch pool-logs` over three refreshed hospitals, two of which treated the same children."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from flows.console import TextConsole
from flows.pool_logs import pool_logs
from flows.reply import Reply, UsageError
from pipelines.simulate import simulate
from tests.functional.refresh_site import deliver, make_site, run
from tests.functional.refresh_site import hospital as hospital
from warehouse.digest import table_digests
from warehouse.query import run_query
from warehouse.together import OF_NIGHTS

NAMES = ("east", "north", "west")
ZONES = {"east": "Asia/Kolkata", "north": "America/New_York", "west": "Europe/Berlin"}


def files_of(root: Path) -> dict[Path, tuple[int, int]]:
    found = (path for name in NAMES for path in (root / name).rglob("*"))
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.mark.slow
@pytest.mark.timeout(1500)  # three refreshes, each linked twice
def test_each_hospital_is_as_at_home_and_all_are_their_sum(tmp_path: Path, hospital: Path) -> None:
    simulate(6, "another", 1, 0.02, tmp_path / "made")
    for number, name in enumerate(NAMES):
        made = tmp_path / "made" if name == "west" else hospital  # two have the same identifiers
        (tmp_path / name).mkdir()
        site = make_site(tmp_path / name, made, site={"id": name, "zone": ZONES[name]})
        key = site.restricted / "site.key"
        key.write_text(f"{number + 3}f" * 8 + "0123456789abcdef" * 3)
        deliver(site, made, 1)
        run(site)
    before = files_of(tmp_path)
    out = tmp_path / "trust.duckdb"
    answer = Reply("pool-logs", TextConsole())
    pool_logs([tmp_path / name for name in NAMES], out, answer)
    assert files_of(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {*NAMES, "made", out.name}
    assert "is two patients" in answer.message

    with duckdb.connect() as con:
        con.execute(f"ATTACH '{out}' AS pooled (READ_ONLY)")
        for name in NAMES:
            con.execute(f"ATTACH '{tmp_path / name / 'warehouse.duckdb'}' AS home (READ_ONLY)")
            for table in set(table_digests(con, "home")) - OF_NIGHTS:
                told = f"SELECT * EXCLUDE (run_id) FROM {{}}.{table} WHERE site_id = '{name}'"
                differ = f"({told} EXCEPT ALL {told}) UNION ALL ({told} EXCEPT ALL {told})"
                sides = ("home", "pooled", "pooled", "home")
                assert con.execute(differ.format(*sides)).fetchall() == [], table
            con.execute("DETACH home")
    people = run_query(
        out, "SELECT site_id, count(DISTINCT patient_key) FROM linkage.course GROUP BY 1 ORDER BY 1"
    ).rows
    assert list(people) == [("east", 8), ("north", 8), ("west", 6)]
    assert len(run_query(out, "SELECT DISTINCT patient_key FROM linkage.course").rows) == 22
    # Counts of all, from the rows of all hospitals: the cells of `complete`, undivided and by site.
    sums = """SELECT outcome, window_name, {0}, count(*) FILTER (is_in_complete),
        count(*) FILTER (is_in_complete AND is_event) FROM analysis.unit_outcome GROUP BY ALL"""
    rows = {
        *run_query(out, sums.format("'all'")).rows,
        *run_query(out, sums.format("site_id")).rows,
    }
    counts = run_query(
        out,
        """SELECT outcome, window_name, stratum_value, n_units, n_events FROM signals.counts
        WHERE site_id = 'all' AND stratum IN ('all', 'site') AND denominator = 'complete'""",
    ).rows
    assert set(counts) == rows
    with pytest.raises(UsageError, match="published warehouse"):
        pool_logs([tmp_path / n for n in NAMES], tmp_path / "east" / "warehouse.duckdb", answer)
