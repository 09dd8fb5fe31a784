"""`dripwatch demo-multisite`: invented hospitals of every kind, and what is pooled of them.

A whole run is slow. What comes after the nights is held against hospitals that are
counted unit by unit.
"""

from __future__ import annotations

import csv
import re
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from expectations import docs, suites
from flows import multisite, stages
from flows.console import SilentConsole
from flows.forest import WIDTH, Forest, forest_text, read_forest
from flows.multisite import HOSPITALS, Hospital, run_multisite
from flows.reply import Reply
from pipelines.base.errors import ExitCode
from pipelines.base.site import Site, load_site
from pipelines.simulate import Traits
from tests.checks_staging import as_sql_says
from tests.functional.planted import Planted, assert_risks_as_planted
from tests.functional.refresh_site import dripwatch
from tests.pack_kit import make_site, units_of
from warehouse.query import run_query

Row = dict[str, Any]
STUDY = "iv_bisphosphonate"
PAGE = Path(__file__).parents[2] / "docs" / "pooling.md"
#: What says in which quarter it was made.
DATED = {"pooled.pack", "pooled.expected"}


def rows_of(file: Path, statement: str) -> list[Row]:
    found = run_query(file, statement)
    return [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def tables_of(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of every table that says nothing of the day, in an order."""
    names = run_query(file, "SELECT schema_name || '.' || table_name FROM duckdb_tables()").rows
    return {
        name: sorted(run_query(file, f"FROM {name}").rows, key=repr)
        for (name,) in names
        if name not in DATED
    }


# After the nights -------------------------------------------------------------------------------

UNITS = {
    "east": units_of(1, 300, 0.20),
    "north": units_of(2, 200, 0.25),
    "small": units_of(4, 60, 0.04),
    "west": units_of(3, 250, 0.15),
}
COUNTED = tuple(Hospital(name, 1, is_late=name == "west") for name in UNITS)


def count(out: Path) -> Reply:
    """Run the command over hospitals whose nights were counted already."""

    def made(root: Path, hospital: Hospital, *_: object) -> tuple[Site, Row]:
        root.mkdir()
        return make_site(root, hospital.name, UNITS[hospital.name]), {}

    answer = Reply("demo-multisite", SilentConsole())
    with (
        patch.object(multisite, "refreshed", made),
        patch.object(multisite, "SHOWN", (("fever", "risk"),)),
        patch("flows.pool.write_page"),
    ):
        run_multisite(out, seed=None, answer=answer, hospitals=COUNTED, at_once=1)
    assert answer.exit_code == ExitCode.OK, answer.error
    return answer


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Reply]:
    """Four hospitals, of which one is small and one late, pooled; read only."""
    out = tmp_path_factory.mktemp("multisite") / "out"
    return out, count(out)


@pytest.fixture(scope="module")
def forest(counted: tuple[Path, Reply]) -> Forest:
    return read_forest(counted[0] / "pooled.duckdb", "fever", "risk")


def test_a_late_pack_is_missing_first_and_pooled_when_it_comes(
    counted: tuple[Path, Reply],
) -> None:
    out, answer = counted
    assert answer.result is not None
    first, second = answer.result["rounds"]
    assert {one["site_id"]: one["state"] for one in first["sites"]}["west"] == "missing"
    assert first["done"] == second["done"] == "pooled"
    assert second["n_rows"]["pooled.site"] == first["n_rows"]["pooled.site"] + 1 == 4
    ledger = rows_of(out / "pooled.duckdb", "FROM pooled.pack")
    assert {row["site_id"] for row in ledger if row["is_pooled"]} == set(UNITS)


def test_the_forest_tells_each_site_s_own_units(forest: Forest) -> None:
    told = {row["site_id"]: (row["n_events"], row["n_units"]) for row in forest.sites}
    for name in ("east", "north", "west"):
        inside = [one for one in UNITS[name] if not one.censored]
        assert told[name] == (sum(one.event for one in inside), len(inside))


def test_a_masked_site_is_never_shown_as_none(forest: Forest) -> None:
    [row] = [one for one in forest.sites if one["site_id"] == "small"]
    assert 0 < sum(one.event for one in UNITS["small"]) < 11
    assert (row["n_events"], row["risk"], row["suppressed_reason"]) == (None, None, "few_events")
    text = forest_text(forest)
    [line] = [one for one in text.splitlines() if one.startswith("small")]
    assert "masked" in line
    assert not re.search(r"\b0\b", line)
    assert "masked:  small (below 11)" in text


def test_where_one_site_is_masked_the_others_are_pooled_without_it(forest: Forest) -> None:
    text = forest_text(forest)
    assert forest.pooled["risk"] is None
    assert forest.without is not None
    [line] = [one for one in text.splitlines() if one.startswith("- small")]
    told = sum(row["n_events"] for row in forest.sites if row["n_events"] is not None)
    assert f"{told}/" in line
    assert f"{100 * forest.without['risk']:.1f} (" in line
    assert re.search(r"^another .*\(\d+\.\d-\d+\.\d\)$", text, flags=re.MULTILINE)
    assert re.search(r"^differ: +tau2 \d\.\d{3}, I2 \d+ % over 3 sites", text, flags=re.MULTILINE)


def test_a_forest_reads_in_80_columns_and_its_dots_stand_where_the_axis_says(
    forest: Forest,
) -> None:
    lines = forest_text(forest).splitlines()
    assert max(map(len, lines)) <= WIDTH
    [axis] = [line for line in lines if re.fullmatch(r" +\+[-+]+\+", line)]
    ticks = [at for at, sign in enumerate(axis) if sign == "+"]
    numbers = [float(one) for one in lines[1].split()]
    assert len(numbers) == len(ticks)
    # A number stands over its tick.
    for word, at in zip(re.finditer(r"\S+", lines[1]), ticks, strict=True):
        assert word.start() - 1 <= at <= word.end()
    dots = 0
    for line in lines:
        told = re.search(r" (\d+\.\d) \((\d+\.\d)-(\d+\.\d)\)$", line)
        if told is None:
            continue
        drawn = line[: told.start()]
        column = np.interp([float(one) for one in told.groups()], numbers, ticks)
        found = [drawn.index("#"), re.search(r"[(<]", drawn), re.search(r"[)>]", drawn)]
        places = [one if isinstance(one, int) else one.start() for one in found if one is not None]
        assert np.abs(column - places).max() <= 1, line
        dots += 1
    assert dots == 4


def test_a_range_is_drawn_from_the_least_to_the_greatest_risk(forest: Forest) -> None:
    masked = {
        **next(row for row in forest.sites if row["site_id"] == "small"),
        "n_units_low": 200, "n_units_high": 200, "n_events_low": 1, "n_events_high": 10,
    }  # fmt: skip
    ends = {"risk_lowest": 0.15, "risk_highest": 0.18, "ci_lowest": 0.1, "ci_highest": 0.25}
    sites = [*(row for row in forest.sites if row["site_id"] != "small"), masked]
    text = forest_text(replace(forest, sites=sites, pooled={**forest.pooled, **ends}))
    assert re.search(r"^small +masked +\.+ +1 to 10 of 200$", text, flags=re.MULTILINE)
    assert re.search(
        r"^pooled +masked +<=+##+=+> +15\.0-18\.0 \(10\.0-25\.0\)$", text, flags=re.MULTILINE
    )


def test_the_same_hospitals_are_pooled_to_the_same_tables(
    counted: tuple[Path, Reply], tmp_path: Path
) -> None:
    count(tmp_path / "again")
    first, second = (tables_of(one / "pooled.duckdb") for one in (counted[0], tmp_path / "again"))
    assert first["pooled.risk"]
    assert first == second


def test_a_hospital_that_fails_ends_the_command_with_its_reason(tmp_path: Path) -> None:
    answer = Reply("demo-multisite", SilentConsole())
    empty = Hospital("empty", 0)
    run_multisite(tmp_path / "out", seed=None, answer=answer, hospitals=[empty], at_once=1)
    assert answer.exit_code == ExitCode.USAGE
    assert answer.error is not None
    assert answer.error["what"] == "empty: At least one patient is needed."
    assert not (tmp_path / "out" / "pooled.duckdb").exists()


# Whole runs -------------------------------------------------------------------------------------

#: Three times the risk, so that few children have as many events as may be told.
TINY = (
    Hospital("east", 14, "fhir", Traits("Asia/Kolkata", 0.0, 3.0, is_closed=True), 5),
    Hospital("north", 16, "csv", Traits("Europe/Berlin", 1.0, 3.0, is_closed=True), 5),
    Hospital("small", 4, "csv", Traits("America/St_Johns", 0.5, 3.0), 11, is_late=True),
)


def run_tiny(out: Path) -> Path:
    """Run the command in this process; Great Expectations and the pages are left to others."""
    answer = Reply("demo-multisite", SilentConsole())
    with ExitStack() as patches:
        patches.enter_context(patch.object(suites, "run", as_sql_says))
        patches.enter_context(patch.object(docs, "_gx_body", lambda *_: ""))
        patches.enter_context(patch.object(stages, "write_page", lambda _context: ""))
        run_multisite(out, seed="t", answer=answer, hospitals=TINY, nights=1, at_once=1)
    assert answer.exit_code == ExitCode.OK, answer.error
    return out


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tiny hospitals, refreshed and pooled; read only."""
    return run_tiny(tmp_path_factory.mktemp("tiny") / "out")


@pytest.mark.slow
@pytest.mark.parametrize("name", [one.name for one in TINY])
def test_each_format_zone_and_unit_is_counted_as_planted(tiny: Path, name: str) -> None:
    root = tiny / "hospitals" / name
    assert_risks_as_planted(Planted(root, load_site(root)), STUDY)


@pytest.mark.slow
def test_equal_seeds_are_pooled_to_the_same_tables(tiny: Path, tmp_path: Path) -> None:
    again = run_tiny(tmp_path / "out")
    assert tables_of(again / "pooled.duckdb") == tables_of(tiny / "pooled.duckdb")


@pytest.mark.slow
def test_a_hospital_that_fails_in_a_process_of_its_own_is_named(tmp_path: Path) -> None:
    answer = Reply("demo-multisite", SilentConsole())
    both = [Hospital("empty", 0), Hospital("none", 0)]
    run_multisite(tmp_path / "out", seed=None, answer=answer, hospitals=both, at_once=2)
    assert answer.exit_code == ExitCode.USAGE
    assert answer.error is not None
    assert str(answer.error["what"]).startswith("empty: ")


@pytest.fixture(scope="module")
def eight(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The eight hospitals of the command, and what it printed."""
    out = tmp_path_factory.mktemp("eight") / "out"
    done = dripwatch("demo-multisite", "--out", out, seconds=1500)
    assert done.returncode == ExitCode.OK, done.stderr
    return out, done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_every_told_row_of_the_forest_is_the_site_s_own(eight: tuple[Path, str]) -> None:
    names = "outcome, window_name, stratum, stratum_value, denominator"
    told = rows_of(eight[0] / "pooled.duckdb", "FROM pooled.forest WHERE n_events IS NOT NULL")
    sites = {row["site_id"] for row in told}
    assert len(sites) == len(HOSPITALS)
    for site_id in sites:
        warehouse = eight[0] / "hospitals" / site_id / "warehouse.duckdb"
        own = {
            row[:5]: row[5:]
            for row in run_query(
                warehouse, f"SELECT {names}, n_events, n_units FROM signals.risk"
            ).rows
        }
        for row in (one for one in told if one["site_id"] == site_id):
            key = tuple(row[name] for name in names.split(", "))
            assert own[key] == (row["n_events"], row["n_units"]), (site_id, key)


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_what_was_planted_lies_where_the_pooled_file_says(eight: tuple[Path, str]) -> None:
    planted: dict[tuple[str, str], list[int]] = {}
    for hospital in HOSPITALS:
        path = eight[0] / "hospitals" / hospital.name / "truth" / "risk.csv"
        for row in csv.DictReader(path.read_text().splitlines()):
            if row["stratum"] == "all":
                sums = planted.setdefault((row["outcome"], row["window"]), [0, 0])
                sums[0] += int(row["n_events"])
                sums[1] += int(row["n_units"]) - int(row["n_censored"])
    found = rows_of(
        eight[0] / "pooled.duckdb", "FROM pooled.risk WHERE is_headline AND stratum = 'all'"
    )
    bounded = 0
    for row in found:
        key = (row["outcome"], row["window_name"])
        if key not in planted or row["n_events_high"] is None:
            continue
        n_events, n_units = planted[key]
        assert row["n_events_low"] <= n_events <= row["n_events_high"], key
        if row["risk_lowest"] is not None:
            assert row["ci_lowest"] <= n_events / n_units <= row["ci_highest"], key
            bounded += 1
    assert bounded >= 2


@pytest.mark.slow
@pytest.mark.timeout(1600)
def test_the_page_shows_what_the_command_prints(eight: tuple[Path, str]) -> None:
    out, printed = eight
    assert max(map(len, printed.replace(str(out), "build/multisite").splitlines())) <= WIDTH
    [shown] = re.findall(r"```text\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert shown.strip() in printed
