"""Pooling: from packs as from the units that they count; ranges where a site masks; refusals."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from flows.console import TextConsole
from flows.export import export, export_key
from flows.pool import pool
from flows.reply import Reply
from pipelines.base.duck import connect
from pipelines.base.errors import PackError
from pipelines.disclosure.tables import REASON, mask_counts
from pipelines.pooling import packs, signing
from pipelines.pooling.cells import ABOUT, Cell, cells_of
from pipelines.pooling.effects import pool_effects
from pipelines.pooling.glmm import pool_risks
from pipelines.pooling.risks import NO_END, pooled_risk
from pipelines.signals.comparison import Group, Shared, risk_ratios
from pipelines.signals.counts import COUNTS, MOMENT_COLUMNS, SUM_COLUMNS
from pipelines.signals.risk import estimate_risk
from tests.conftest import ROOT
from tests.pack_kit import Unit, counted, make_site, units_of
from tests.together_kit import counts_of, linked_site, together
from warehouse.packing import export_path
from warehouse.query import run_query
from warehouse.report.render import Written
from warehouse.store import Store

Row = dict[str, Any]

#: Three hospitals of which nothing must be masked, and one with few events.
SITES = {"east": (1, 300, 0.20), "north": (2, 200, 0.25), "west": (3, 400, 0.15)}
SMALL = ("south", (4, 60, 0.04))
#: An outcome that none had: it tells how many units there are, so that few events are a range.
NEVER = "tachycardia"
WHOLE = "outcome = 'fever' AND stratum = 'all' AND denominator = 'complete'"


def answer() -> Reply:
    return Reply("test", TextConsole())


@pytest.fixture(scope="module", autouse=True)
def without_pages() -> Iterator[None]:
    """The page costs a second, and has tests of its own."""
    with patch("warehouse.pooled_report.write_pooled_report", no_page):
        yield


def no_page(_file: Path, out: Path, _known: Sequence[str]) -> Written:
    return Written(out, 0, 0)


class World:
    """Hospitals with a pack each, and a coordinator who has their keys."""

    def __init__(self, root: Path, sites: Mapping[str, Sequence[Unit]], never: str = "") -> None:
        self.root, self.sites = root, sites
        self.keys = root / "keys"
        self.keys.mkdir()
        self.out = root / "pooled.duckdb"
        self.packs = []
        for name, units in sites.items():
            make_site(root / name, name, units, never=never)
            export_key(root / name, self.keys, answer())
            self.packs.append(self.export(name, "pack"))

    def export(self, name: str, folder: str) -> Path:
        export(self.root / name, self.root / name / folder, answer(), is_preview=False)
        return self.root / name / folder

    def pool(self, *folders: Path) -> None:
        pool(folders or self.packs, self.out, self.keys, answer())

    def rows(self, table: str, where: str = "true") -> list[Row]:
        found = run_query(self.out, f"FROM pooled.{table} WHERE {where}")
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    def resign(self, name: str, change: Callable[[Row], None]) -> Path:
        """Write a pack of a site whose manifest says something else, signed by the site."""
        pack = packs.read_pack(self.root / name / "pack", self.keys)
        facts = json.loads(json.dumps({k: v for k, v in pack.facts.items() if k != "files"}))
        change(facts)
        files = packs.pack_files(facts, pack.tables)
        key = signing.load_key(export_path(make_loaded(self.root / name)))
        folder = self.root / name / "changed"
        folder.mkdir(exist_ok=True)
        for file, data in {**files, packs.SIGNATURE: packs.sign(files, key)}.items():
            (folder / file).write_bytes(data)
        return folder


def make_loaded(root: Path) -> Any:
    from pipelines.base.site import load_site

    return load_site(root)


UNITS = {name: units_of(*drawn) for name, drawn in SITES.items()}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = World(tmp_path_factory.mktemp("pooling"), UNITS)
    made.pool()
    return made


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Two hospitals that tell nearly all, and one that masks."""
    name, drawn = SMALL
    units = {"east": UNITS["east"], "north": UNITS["north"], name: units_of(*drawn)}
    made = World(tmp_path_factory.mktemp("masked"), units, never=NEVER)
    made.pool()
    return made


def true_row(name: str, units: Sequence[Unit], stratum: str, value: str) -> Row:
    rows = counted(name, units)[COUNTS.name].to_pylist()
    [found] = [
        row
        for row in rows
        if (row["stratum"], row["stratum_value"], row["denominator"])
        == (stratum, value, "complete")
    ]
    return dict(found)


def own(row: Row) -> Any:
    names = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2")
    return estimate_risk(*(row[name] for name in names))


def test_counts_over_hospitals_are_those_of_their_units(world: World) -> None:
    told = {(r["stratum"], r["stratum_value"], r["denominator"]): r for r in world.rows("risk")}
    for (stratum, value, denominator), row in told.items():
        inside = [
            one
            for units in UNITS.values()
            for one in units
            if (denominator == "all" or not one.censored)
            and {"all": "all", "sex": one.sex, "ordinal": one.ordinal}.get(
                stratum, f"{one.sex} x {one.ordinal}"
            )
            == value
        ]
        assert row["n_sites"] == 3
        if not row["n_sites_masked"]:
            assert row["n_units"] == len(inside)
            assert row["n_events"] == sum(one.event for one in inside)
    assert not told["ordinal", "first", "complete"]["n_sites_masked"]


@pytest.mark.parametrize(("name", "most_masked"), [("world", 0), ("masked", 1)])
def test_pooled_counts_are_the_sums_of_the_packs_rows(
    request: pytest.FixtureRequest, name: str, most_masked: int
) -> None:
    """Added up by DuckDB from the CSV files that the sites sent."""
    masked: World = request.getfixturevalue(name)
    sent = ", ".join(f"'{folder / 'signals.counts.csv'}'" for folder in masked.packs)
    names = ", ".join(
        f"CASE WHEN count(n_events) = count({name}) FILTER (n_events::BIGINT >= 0) "
        f"THEN sum({name}::BIGINT) FILTER (n_events::BIGINT >= 0) END::BIGINT AS {name}"
        for name in SUM_COLUMNS
    )
    about = ", ".join(ABOUT)
    with connect() as con:
        slowly = con.execute(
            f"SELECT {about}, count(*) AS n_sites, (count(*) - count(n_events)) AS n_sites_masked, "
            f"{names} FROM read_csv([{sent}]) GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    wanted = [*ABOUT, "n_sites", "n_sites_masked", *SUM_COLUMNS]
    found = run_query(masked.out, f"SELECT {', '.join(wanted)} FROM pooled.counts ORDER BY ALL")
    assert list(found.rows) == slowly
    rows = masked.rows("counts", "outcome = 'fever'")
    assert most_masked in {row["n_sites_masked"] for row in rows}
    truth = true_counts(masked)
    for row in rows:
        e, n = truth[row["stratum"], row["stratum_value"], row["denominator"]]
        assert row["n_events_low"] <= e
        assert row["n_units_low"] <= n
        assert row["n_events_high"] is None or e <= row["n_events_high"]
        assert row["n_units_high"] is None or n <= row["n_units_high"]


@pytest.mark.parametrize("name", ["world", pytest.param("masked", marks=pytest.mark.slow)])
def test_packs_pool_to_what_their_rows_in_one_store_do(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    """The same estimators, of the counts that `pool-logs` has of each site."""
    world: World = request.getfixturevalue(name)
    sites = [linked_site(tmp_path, one, units, []) for one, units in world.sites.items()]
    with Store(together(tmp_path, sites)) as store:
        sums = counts_of(store.con, "all")[COUNTS.name].to_pylist()
        whole = [
            replace(pack, tables={**pack.tables, **unmasked(counts_of(store.con, pack.site_id))})
            for pack in (packs.read_pack(folder, world.keys) for folder in world.packs)
        ]
    cells = cells_of(whole)
    in_rows = {about(row): row for row in sums}
    exact = ranged = 0
    patients = {about(r): r["n_patients"] for r in world.rows("counts")}
    for row in world.rows("counts", "n_sites_masked = 0 AND outcome = 'fever'"):
        told_sums = {n: row[n] for n in SUM_COLUMNS if row[n] is not None}
        assert {"n_events", "n_units"} <= told_sums.keys()
        assert told_sums == {n: in_rows[about(row)][n] for n in told_sums}
    for row in world.rows("risk", "is_headline AND outcome = 'fever'"):
        truth = pooled_risk(cells[about(row)])
        if not row["n_sites_masked"]:
            told = [(row[n], truth[n]) for n in ("risk", "ci_low", "ci_high", "n_events")]
            # Without the number of patients the packs know less: near, and never too sure.
            exactly = patients[about(row)] is not None
            assert all(a == pytest.approx(b, rel=1e-9 if exactly else 1e-4) for a, b in told)
            assert row["ci_high"] - row["ci_low"] >= (truth["ci_high"] - truth["ci_low"]) * 0.999999
            exact += exactly
        elif row["risk_lowest"] is not None and row["risk_highest"] is not None:
            assert row["risk_lowest"] <= truth["risk"] <= row["risk_highest"]
            ranged += 1
    assert exact if name == "world" else ranged


def about(row: Row) -> tuple[str, ...]:
    return tuple(row[name] for name in ABOUT)


def unmasked(tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Counts as a pack has them that masks nothing."""
    return {
        name: table.append_column(REASON, pa.nulls(table.num_rows, pa.string()))
        for name, table in tables.items()
    }


def true_counts(world: World) -> dict[tuple[str, ...], tuple[int, int]]:
    found: dict[tuple[str, ...], tuple[int, int]] = {}
    for name, units in world.sites.items():
        for row in counted(name, units)[COUNTS.name].to_pylist():
            key = row["stratum"], row["stratum_value"], row["denominator"]
            e, n = found.get(key, (0, 0))
            found[key] = e + row["n_events"], n + row["n_units"]
    return found


def test_the_pooled_risk_is_the_model_on_the_sites_own_counts(world: World) -> None:
    [row] = world.rows("risk", WHOLE)
    risks = [own(true_row(name, units, "all", "all")) for name, units in UNITS.items()]
    found = pool_risks([r.risk * r.effective_n for r in risks], [r.effective_n for r in risks])
    assert row["risk"] == pytest.approx(found.risk, abs=1e-9)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((found.low, found.high), abs=1e-9)
    assert row["ci_low"] <= row["risk"] <= row["ci_high"]
    assert row["tau2"] == pytest.approx(found.tau2, abs=1e-9)
    assert 0 <= row["i2"] <= 1
    assert row["prediction_low"] <= row["ci_low"]


def test_the_ratio_of_first_to_later_is_that_of_the_sites_own_rows(world: World) -> None:
    [row] = world.rows("comparison", "denominator = 'complete' AND stratum = 'ordinal'")
    logs, errors = [], []
    for name, units in UNITS.items():
        one, other = (true_row(name, units, "ordinal", value) for value in ("first", "later"))
        shared = counted(name, units)["signals.counts_shared"].to_pylist()
        [both] = [
            s for s in shared if (s["stratum_value"], s["denominator"]) == ("first", "complete")
        ]
        names = ("n_patients", "sum_ee", "sum_en", "sum_ne", "sum_nn")
        first, later = (Group(*(side[n] for n in SIDE)).column() for side in (one, other))
        found = risk_ratios(first, later, Shared(*(both[n] for n in names)).column())
        logs.append(math.log(found.value[0]))
        errors.append(math.log(found.high[0] / found.low[0]) / (2 * 1.959963984540054))
    pooled = pool_effects(logs, errors)
    assert row["risk_ratio"] == pytest.approx(math.exp(pooled.effect), rel=2e-3)
    assert row["risk_ratio_low"] < row["risk_ratio"] < row["risk_ratio_high"]
    assert row["mh_low"] < row["mh_ratio"] < row["mh_high"]


SIDE = ("n_events", "n_units", "n_patients", "sum_e2", "sum_en", "sum_n2")


def test_without_one_site_the_risk_is_that_of_the_others(world: World) -> None:
    rows = {row["left_out"]: row for row in world.rows("leave_one_out", WHOLE)}
    assert set(rows) == set(SITES)
    others = [own(true_row(n, UNITS[n], "all", "all")) for n in ("north", "west")]
    found = pool_risks([r.risk * r.effective_n for r in others], [r.effective_n for r in others])
    assert rows["east"]["risk"] == pytest.approx(found.risk, abs=1e-9)
    assert rows["east"]["prediction_low"] is None


def test_the_statement_of_the_page_tells_numbers_where_a_hospital_masks(masked: World) -> None:
    page = (Path(__file__).parents[2] / "docs" / "pooling.md").read_text("utf-8")
    shown = re.findall(r'dripwatch sql pooled.duckdb "([^"]+)"', page)
    assert shown
    for one in shown:
        found = run_query(masked.out, one)
        rows = [dict(zip(found.columns, row, strict=True)) for row in found.rows]
        [row] = [row for row in rows if row["masked"]]
        assert row["low"] < row["least"] < row["most"] < row["high"]


def test_one_site_keeps_its_own_row(world: World, tmp_path: Path) -> None:
    out = tmp_path / "one.duckdb"
    pool(world.packs[:1], out, world.keys, answer())
    found = run_query(out, f"SELECT risk, ci_low, ci_high, tau2, i2 FROM pooled.risk WHERE {WHOLE}")
    risk = own(true_row("east", UNITS["east"], "all", "all"))
    assert found.rows[0] == (risk.risk, risk.low, risk.high, None, None)


def test_the_order_of_packs_does_not_matter(world: World, tmp_path: Path) -> None:
    out, told = tmp_path / "turned.duckdb", []
    for packs_in_order in (world.packs[:2], world.packs[1::-1]):
        pool(packs_in_order, out, world.keys, answer())
        told.append(run_query(out, "FROM pooled.risk ORDER BY ALL").rows)
    assert told[0] == told[1]


def test_a_masked_site_leaves_a_range(masked: World) -> None:
    [row] = masked.rows("risk", WHOLE)
    assert row["n_sites_masked"] == 1
    assert (row["risk"], row["n_events"]) == (None, None)
    events = [own(true_row(n, units, "all", "all")).n_events for n, units in masked.sites.items()]
    assert row["n_events_low"] < sum(events) <= row["n_events_high"]
    assert row["risk_lowest"] < row["risk_highest"]


def test_the_range_of_a_masked_site_holds_the_true_risk(masked: World) -> None:
    [row] = masked.rows("risk", WHOLE)
    units = masked.sites
    risks = [own(true_row(site, found, "all", "all")) for site, found in units.items()]
    truth = pool_risks([r.risk * r.effective_n for r in risks], [r.effective_n for r in risks])
    assert truth.risk is not None
    assert row["risk_lowest"] <= truth.risk <= row["risk_highest"]


def test_one_end_of_a_range_is_no_range() -> None:
    empty = dict.fromkeys(("n_events", "n_units", "n_patients", *MOMENT_COLUMNS[3:6]), 0)
    cells = [Cell("a", empty, None, (0, 0), (0, 0)), Cell("b", None, "masked", (0, 0), (9, 9))]
    found = pooled_risk(cells)
    assert found["note"] == NO_END
    assert not {"risk_lowest", "risk_highest"} & {k for k, v in found.items() if v is not None}


def test_every_interval_holds_its_estimate(world: World) -> None:
    rows = [*world.rows("risk"), *world.rows("leave_one_out"), *world.rows("forest")]
    told = [row for row in rows if row["risk"] is not None]
    assert told
    assert all(row["ci_low"] <= row["risk"] <= row["ci_high"] for row in told)
    assert all(np.isfinite(row["risk"]) for row in told)


def test_the_report_lies_beside_the_file_and_may_fail_alone(world: World, tmp_path: Path) -> None:
    said, out = answer(), tmp_path / "told.duckdb"
    broken = ValueError("quoted")
    with patch("warehouse.pooled_report.write_pooled_report", side_effect=broken) as write:
        pool(world.packs[:1], out, world.keys, said)
    assert write.call_args.args == (out, tmp_path / "told.html", ["east", "north", "west"])
    assert run_query(out, "FROM pooled.risk").rows
    assert (said.result or {})["report"] is None
    assert "ValueError" in said.message
    assert "quoted" not in said.message


# Refusals -----------------------------------------------------------------------------------


def test_a_pack_that_was_replaced_is_refused(tmp_path: Path) -> None:
    made = World(tmp_path, {"east": UNITS["east"]})
    newer = made.export("east", "second")
    made.pool(newer)
    before = made.out.read_bytes()
    with pytest.raises(PackError, match="older than its pack 2"):
        made.pool(made.packs[0])
    assert made.out.read_bytes() == before
    made.pool(newer)
    assert [row["is_pooled"] for row in made.rows("pack")] == [True]


def test_two_packs_of_one_site_are_refused(world: World) -> None:
    with pytest.raises(PackError, match="count twice"):
        world.pool(world.packs[0], world.packs[0])


def change_window(facts: Row) -> None:
    facts["studies"][0]["study_hash"] = "0" * 64
    window = facts["studies"][0]["settings"]["outcome"][0]["window"][0]
    window["end_offset_hours"] = 48.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_window, r"study iv_bisphosphonate in outcome\.fever\.window\.risk\.end_offset"),
        (lambda facts: facts.update(software_version="0.0.9"), "versions of Dripwatch"),
        (lambda facts: facts.update(checks_hash="1" * 64), "checks"),
        (lambda facts: facts.update(is_synthetic=False), "real and invented patients"),
    ],
)
def test_packs_that_count_another_way_are_refused_and_it_says_how(
    world: World, change: Callable[[Row], None], said: str
) -> None:
    changed = world.resign("east", change)
    with pytest.raises(PackError, match=said):
        world.pool(changed, *world.packs[1:])


@pytest.mark.parametrize(
    "change",
    [
        lambda facts: facts.pop("feeds"),
        lambda facts: facts.update(threshold=1),
        lambda facts: facts.update(number="1"),
        lambda facts: facts["studies"][0].pop("settings"),
        lambda facts: facts.update(n_rows={}),
    ],
)
def test_a_signed_pack_that_lacks_something_is_refused(
    world: World, change: Callable[[Row], None]
) -> None:
    changed = world.resign("east", change)
    with pytest.raises(PackError, match=r"manifest|thresholds"):
        world.pool(changed, *world.packs[1:])


def test_pooled_tables_are_the_same_whatever_lies_behind_masked_counts(
    masked: World, tmp_path: Path
) -> None:
    # A site that takes its own counts from pooled ones learns of the others what their packs tell.
    name, drawn = SMALL
    units = units_of(*drawn)
    true = mask_counts(counted(name, units, NEVER), 11).tables
    others = [
        one for one in changed(units) if mask_counts(counted(name, one, NEVER), 11).tables == true
    ]
    assert sum(one.event for one in others[-1]) < sum(one.event for one in units) / 2
    other = World(tmp_path, {name: others[-1]}, NEVER)
    for one in masked.keys.iterdir():
        if not (other.keys / one.name).exists():
            shutil.copy(one, other.keys)
    other.pool(*masked.packs[:2], *other.packs)
    with connect(masked.out) as con:
        tables = con.execute("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'pooled'")
        names = [table for (table,) in tables.fetchall()]
    assert {"risk", "counts", "comparison", "forest", "leave_one_out"} <= set(names)
    for table in names:
        assert told_in(other, table) == told_in(masked, table), table


def changed(units: Sequence[Unit]) -> Iterator[list[Unit]]:
    """Yield the same infusions with ever fewer events."""
    made = list(units)
    for number, one in enumerate(made):
        if one.event:
            made[number] = one._replace(event=False)
            yield list(made)


def told_in(world: World, table: str) -> list[Row]:
    """Return the rows of a table without the mark of a pack, which its signature is part of."""
    rows = [{k: v for k, v in row.items() if "digest" not in k} for row in world.rows(table)]
    return sorted(rows, key=repr)


@pytest.mark.parametrize("name", ["pooled", "network"])
def test_other_clients_find_the_tables_as_the_documentation_says(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.duckdb"
    with duckdb.connect(file) as con:
        con.execute("CREATE SCHEMA other")
        con.execute("CREATE SCHEMA pooled")
        con.execute(f"CREATE TABLE {name}.pooled.risk AS SELECT 7 AS n")
    with duckdb.connect(file, read_only=True) as con:
        assert con.execute(f"FROM {name}.pooled.risk").fetchall() == [(7,)]
        if name == "network":
            assert con.execute("FROM pooled.risk").fetchall() == [(7,)]
        else:
            with pytest.raises(duckdb.Error, match="Ambiguous"):
                con.execute("FROM pooled.risk")
    page = (ROOT / "docs" / "pooling.md").read_text(encoding="utf-8")
    attach = re.search(r"ATTACH '(\S+)' AS network \(READ_ONLY\);\nUSE network;", page)
    assert attach
    with duckdb.connect() as con:
        con.execute(attach[0].replace(attach[1], str(file)))
        assert con.execute("FROM pooled.risk").fetchall() == [(7,)]
