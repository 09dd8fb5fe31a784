"""A real extract through the whole road: the MIMIC-IV demo as one site with two flat sources.

The expected counts come from one SQL query over the raw files and from the standard library's
zoneinfo, with none of the product's code.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.base.keys import new_key
from tests.functional.mimic_truth import EXPECTED, FOUND, QUESTIONS, doses, results, rows_of

FIXTURES = Path(__file__).parents[1] / "fixtures" / "icu_adult"

SITE = """
[site]
id = "mimic"
zone = "America/New_York"
studies = ["{study}"]
scope = "all"
patients = "implied"
row_level = "internal"

[[source]]
name = "icu"
mapping = "{fixtures}/administrations.toml"
path = "inbox/icu"

[[source]]
name = "laboratory"
mapping = "{fixtures}/labs.toml"
path = "inbox/laboratory"
"""


def dripwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("dripwatch"), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def raw(shared_dir: Path) -> Path:
    return shared_dir / "data" / "mimic-iv-demo"


@pytest.fixture(scope="module")
def site(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A site whose two inboxes hold the real files, refreshed once."""
    folder = tmp_path_factory.mktemp("mimic")
    for source, name in (("icu", "icu_administrations"), ("laboratory", "labs")):
        inbox = folder / "inbox" / source / "2026-01-01"
        inbox.mkdir(parents=True)
        shutil.copy(raw / f"{name}.csv.gz", inbox)
    text = SITE.format(study=FIXTURES / "study", fixtures=FIXTURES)
    (folder / "site.toml").write_text(text)
    (folder / "restricted").mkdir(mode=0o700)
    key = folder / "restricted" / "site.key"
    key.touch(mode=0o600)
    key.write_text(new_key())
    return folder


@pytest.fixture(scope="module")
def first_run(site: Path) -> dict[str, Any]:
    done = dripwatch("refresh", "--config", str(site / "site.toml"), "--json")
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def warehouse(site: Path, first_run: dict[str, Any]) -> duckdb.DuckDBPyConnection:
    assert first_run
    con = duckdb.connect()
    con.execute(f"ATTACH '{site / 'warehouse.duckdb'}' AS w (READ_ONLY)")
    con.execute("USE w")
    return con


@pytest.fixture(scope="module")
def independent(raw: Path) -> duckdb.DuckDBPyConnection:
    """The raw files with UTC times, made by the standard library alone."""
    con = duckdb.connect()
    told = rows_of(raw / "icu_administrations.csv.gz")
    names = ("subject_id", "itemid", "method", "effective_iso", "end_iso")
    con.register("given", doses((*(row[name] for name in names), None) for row in told))
    con.register("result", results(raw / "labs.csv.gz"))
    return con


@pytest.mark.parametrize("outcome", list(QUESTIONS))
def test_counts_equal_an_independent_query_over_the_raw_files(
    outcome: str, independent: duckdb.DuckDBPyConnection, warehouse: duckdb.DuckDBPyConnection
) -> None:
    [expected] = independent.execute(EXPECTED.format(**QUESTIONS[outcome])).fetchall()
    [found] = warehouse.execute(FOUND, ["icu_adult", outcome]).fetchall()
    assert found == expected
    # A question that finds nothing would compare nothing.
    assert expected[0] > 100
    assert expected[1] > 10
    assert expected[2] > 0


def test_every_row_is_accounted_for_and_lands_where_the_rules_say(
    raw: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    given_rows = rows_of(raw / "icu_administrations.csv.gz")
    result_rows = rows_of(raw / "labs.csv.gz")
    fates = {
        source: dict(pairs)
        for source, pairs in (
            (source, warehouse.execute(FATES, [source]).fetchall())
            for source in ("icu", "laboratory")
        )
    }
    for source, rows in (("icu", given_rows), ("laboratory", result_rows)):
        exact_duplicates = len(rows) - len({tuple(row.values()) for row in rows})
        assert fates[source]["read"] == len(rows)
        assert fates[source]["duplicate"] == exact_duplicates
        assert fates[source]["accepted"] == len(rows) - exact_duplicates
    by_mouth = {"13-Enteral Nutrition", "14-Oral/Gastric Intake"}
    no_infusion = {
        tuple(row.values())
        for row in given_rows
        if row["method"] == "Non Iv Meds"
        or "Non IV" in row["category"]
        or row["category"] in by_mouth
    }
    [(given,)] = warehouse.execute(
        "SELECT sum(n_accepted) FROM quality.reconciliation WHERE event_type = 'MedicationGiven'"
    ).fetchall()
    assert given == len(no_infusion)


FATES = """
    UNPIVOT (
        SELECT sum(n_read) AS read, sum(n_accepted) AS accepted, sum(n_duplicate) AS duplicate,
               sum(n_quarantined) AS quarantined
        FROM quality.reconciliation WHERE source = ?
    ) ON COLUMNS (*) INTO NAME fate VALUE n
"""


def test_results_without_a_number_and_unknown_units_are_accepted_and_counted(
    raw: Path, warehouse: duckdb.DuckDBPyConnection
) -> None:
    rows = {tuple(row.values()): row for row in rows_of(raw / "labs.csv.gz")}.values()
    counted = dict(
        warehouse.execute(
            """SELECT check_id, sum(n_failed) FROM quality.check_result
               WHERE event_type = 'LabResulted' GROUP BY check_id"""
        ).fetchall()
    )
    assert counted["no_number"] == sum(not row["value"] for row in rows)
    # What stands in a unit's place without being one; a unit matters only beside a number, and
    # codes that no study reads may have none.
    assert counted["unknown_unit"] == sum(
        bool(row["value"]) and row["unit"] in {"UNK", "units"} for row in rows
    )


@pytest.mark.slow
def test_the_same_night_twice_changes_nothing_and_says_so(
    site: Path, first_run: dict[str, Any]
) -> None:
    assert first_run
    before = (site / "warehouse.duckdb").read_bytes()
    again = dripwatch("refresh", "--config", str(site / "site.toml"))
    assert again.returncode == 0, again.stderr
    assert (site / "warehouse.duckdb").read_bytes() == before
    assert "nothing" in (again.stdout + again.stderr).lower()


def test_no_identifier_of_the_extract_reaches_what_is_published(site: Path, raw: Path) -> None:
    identifiers = {
        row["subject_id"].encode() for row in rows_of(raw / "icu_administrations.csv.gz")
    }
    for path in [site / "warehouse.duckdb", *(site / "report").rglob("*")]:
        if path.is_file():
            content = path.read_bytes()
            assert not [1 for identifier in identifiers if identifier in content]
