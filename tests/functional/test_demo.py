"""`dripwatch demo`: it works, says what is invented, and leaves nothing running.

Its report is read here too: one file, whose numbers are the warehouse's, and whose failure costs no
night.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import report
from flows.cli import app
from flows.console import SilentConsole
from flows.context import RunContext
from pipelines.base import duck
from pipelines.base.errors import ExitCode
from pipelines.base.site import PathsTable, Site, load_site
from tests.functional.refresh_site import CLI, dripwatch
from tests.report_nights import night, told_cells
from tests.report_page import links, read_tables
from warehouse.query import run_query
from warehouse.report import build, write_report
from warehouse.told import Told, begin_anew, load_told


def servers_of(folder: Path) -> list[str]:
    """Processes whose PREFECT_HOME lies in the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"PREFECT_HOME={folder}".encode() in environment:
            found.append(process.name)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small demo, made by the command; read only."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    done = dripwatch("demo", "--out", folder, "--patients", "8", "--nights", "1", "--seed", "x")
    assert done.returncode == ExitCode.OK, done.stderr
    (folder.parent / "said.txt").write_text(done.stdout)
    return folder


def test_a_demo_leaves_a_site_a_warehouse_a_report_and_the_truth(made: Path) -> None:
    for name in ("site.toml", "mapping.toml", "warehouse.duckdb", "report/summary.md", "truth"):
        assert (made / name).exists(), name
    with duck.connect(made / "warehouse.duckdb", read_only=True) as con:
        runs = con.execute("select conductor from ops.run").fetchall()
        units = con.execute("select count(*) from linkage.course").fetchone()
        looks = con.execute("select outcome, decision from ops.look").fetchall()
    assert runs == [("prefect_server",)]
    assert units is not None
    assert units[0] > 0
    assert looks == [("any_side_effect", "continue")]  # hypocalcaemia has no baseline in 8 children


def test_a_demo_says_that_its_patients_are_invented(made: Path) -> None:
    said = (made.parent / "said.txt").read_text()
    assert "SYNTHETIC" in said
    assert "SYNTHETIC" in (made / "report" / "summary.md").read_text()
    assert "Where to look next" in said


def test_a_demo_stops_its_server(made: Path) -> None:
    assert servers_of(made) == []


@pytest.mark.slow
def test_a_demo_is_made_again_in_its_folder_with_the_same_result(made: Path) -> None:
    before = dripwatch("digest", made / "warehouse.duckdb").stdout
    done = dripwatch(
        *("demo", "--out", made, "--patients", "8", "--nights", "1", "--seed", "x", "--json")
    )
    assert done.returncode == ExitCode.OK, done.stderr
    assert len(json.loads(done.stdout)["result"]["nights"]) == 1
    assert dripwatch("digest", made / "warehouse.duckdb").stdout == before


def test_a_folder_that_holds_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    done = dripwatch("demo", "--out", tmp_path)
    assert done.returncode == ExitCode.USAGE
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_demo_that_is_stopped_stops_its_server(tmp_path: Path, number: signal.Signals) -> None:
    with (tmp_path / "out.txt").open("w") as out:
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", CLI, "demo", "--out", str(tmp_path / "demo")],
            stdout=out,
            stderr=out,
            env=dict(os.environ),
        )
        ends_at = time.monotonic() + 60
        while not servers_of(tmp_path) and time.monotonic() < ends_at:
            time.sleep(0.1)
        assert servers_of(tmp_path)
        child.send_signal(number)
        code = child.wait(timeout=60)
    assert code == ExitCode.INTERRUPTED, (tmp_path / "out.txt").read_text()
    assert servers_of(tmp_path) == []
    assert "Traceback" not in (tmp_path / "out.txt").read_text()


@pytest.mark.slow
def test_the_demo_of_the_readme_finds_what_was_planted(tmp_path: Path) -> None:
    done = dripwatch("demo", "--out", tmp_path / "demo", "--json")
    assert done.returncode == ExitCode.OK, done.stderr
    result = json.loads(done.stdout)["result"]
    assert [night["n_new_batches"] for night in result["nights"]] == [1, 1, 1]
    told = {one["label"]: one["value"] for one in result["nights"][-1]["headline"]}
    assert told["Any side effect, all units"].startswith("66/942 ")
    assert told["Any side effect, first in record"].startswith("33/123 ")
    with duck.connect(tmp_path / "demo" / "warehouse.duckdb", read_only=True) as con:
        looks = con.execute(
            "select outcome, count(*), list(distinct decision) from ops.look group by all "
            "order by all"
        ).fetchall()
        signals = con.execute(
            "select count(*) from signals.alert where evidence = 'signal'"
        ).fetchone()
    assert looks == [("any_side_effect", 3, ["continue"]), ("hypocalcaemia", 3, ["continue"])]
    assert signals == (0,)


# The report -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(made: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the demo, with every count."""
    out = tmp_path_factory.mktemp("page") / "index.html"
    shutil.copytree(made / "report" / "data_docs", out.parent / "data_docs")
    write_report(made / "warehouse.duckdb", out, 1)
    return out.read_text(encoding="utf-8")


def percent(share: float) -> str:
    return f"{100 * share:.2f}" if 0 < share < 0.001 else f"{100 * share:.1f}"


def test_every_risk_on_the_page_is_the_warehouse_s(made: Path, page: str) -> None:
    found = run_query(
        made / "warehouse.duckdb",
        "SELECT signal_key, stratum, n_events, n_units, risk, ci_low, ci_high FROM signals.risk "
        "WHERE is_headline AND window_name = 'risk'",
    )
    truth = {row[0]: row[1:] for row in found.rows}
    shown = [
        (table.figure, key, cells)
        for table in read_tables(page)
        for key, cells in table.rows
        if key in truth
    ]
    strata = ("all", "ordinal", "drug", "indication_type", "setting", "premedicated")
    assert {key for _, key, _ in shown} == {k for k, one in truth.items() if one[0] in strata}
    for _, key, cells in shown:
        _, n_events, n_units, risk, low, high = truth[key]
        assert (cells["n_events"], cells["n_units"]) == (f"{n_events:,}", f"{n_units:,}")
        if risk is not None:
            assert cells["risk"] == f"{percent(risk)}\u00a0%"
            assert cells["ci"] == f"{percent(low)} to {percent(high)}\u00a0%"


def test_every_number_that_is_drawn_stands_in_the_table_below(page: str) -> None:
    figures = re.findall(r'<figure id="([^"]*)">(.*?)</figure>', page, flags=re.DOTALL)
    drawn = [(name, body) for name, body in figures if "<svg" in body and "published" not in name]
    assert len(drawn) >= 5
    for name, body in drawn:
        svg, _, rest = body.partition("</svg>")
        for n_events, n_units in re.findall(r">[^<]*\(([\d,]+) of ([\d,]+)\)</text>", svg):
            assert f'"n_events">{n_events}<' in rest, name
            assert f'"n_units">{n_units}<' in rest, name


def test_the_page_is_one_small_file_that_asks_nobody(page: str) -> None:
    assert len(page.encode()) < 3_000_000
    assert "<script" not in page
    assert [one for one in links(page) if not one.startswith("#")] == ["data_docs/index.html"]
    for address in re.findall(r"https?://[^\"'<> ]+", page):
        assert address == "http://www.w3.org/2000/svg"
    assert page.count("SYNTHETIC") > 4


def test_a_site_with_a_threshold_shows_no_small_count(made: Path) -> None:
    text = (made / "report" / "index.html").read_text(encoding="utf-8")
    counted = [
        cells[name]
        for table in read_tables(text)
        for _, cells in table.rows
        for name in ("n_events", "n_units", "n_rows")
        if name in cells
    ]
    assert counted
    assert not [one for one in counted if one.isdigit() and 0 < int(one) < 11]
    assert not re.search(r"\((?:[1-9]|10) of ", text)


def test_a_night_of_one_child_more_changes_no_number_that_was_told(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts of every figure grow by one; without what was told before, the page tells of it."""
    monkeypatch.setattr("vl_convert.vegalite_to_svg", lambda *_, **__: '<svg viewBox="0 0 1 1"/>')
    (tmp_path / "restricted").mkdir()
    site = load_site(made).model_copy(
        update={"paths": PathsTable(report=tmp_path, restricted=tmp_path / "restricted")}
    )
    first, later = made / "warehouse.duckdb", tmp_path / "later.duckdb"
    night(first, later, 1)
    pages = [tmp_path / name for name in ("index.html", "again.html", "held.html", "alone.html")]
    write_report(first, pages[0], 2, site)
    write_report(first, pages[1], 2, site)
    write_report(later, pages[2], 2, site)
    write_report(later, pages[3], 2)
    assert pages[0].read_text("utf-8") == pages[1].read_text("utf-8")
    texts = [one.read_text("utf-8") for one in pages]
    assert [one.count("As of data to") > 0 for one in texts] == [False, False, True, False]
    before, held, alone = (told_cells(pages[at]) for at in (0, 2, 3))
    assert {key: held.get(key) for key in before} == before
    changed = {key[0] for key, cell in before.items() if alone.get(key) != cell}
    # Of so few children no more figures are told.
    figures = {"all", "calcium_total", "phosphate", "density-z-change", "published"}
    assert {"calendar", *(f"s1-{name}" for name in figures)} <= changed
    (tmp_path / "restricted" / "told.json").unlink()
    context = context_of(site)
    assert report.write_page(context) == "no page"
    assert "told.json is missing" in context.remarks[0]
    assert told_cells(pages[0]) == before
    site.restricted.joinpath("told.json").write_text("damaged")
    begin_anew(site)
    assert load_told(site, []) == Told(1)


def context_of(site: Site) -> RunContext:
    return RunContext(site, "a run", SilentConsole(), datetime.now(UTC))


def test_a_page_that_cannot_be_made_costs_no_night(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = load_site(made)
    quoted = "Jane Doe, born 2012"

    def broken(*_: object) -> None:
        raise RuntimeError(quoted)

    monkeypatch.setattr(build, "make_page", broken)
    elsewhere = site.model_copy(update={"paths": PathsTable(report=tmp_path)})
    context = context_of(elsewhere)
    assert report.write_page(context) == "no page"
    (told,) = context.remarks
    assert "RuntimeError" in told
    assert "page is missing" in told
    assert quoted not in told


def test_a_night_with_nothing_new_draws_nothing(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(build, "make_page", never)
    context = context_of(load_site(made))
    assert report.write_page(context) == ""
    assert context.remarks == []


def test_nothing_heavy_is_imported_before_a_page_is_drawn() -> None:
    code = (
        "import sys, flows.stages, flows.report, warehouse.report\n"
        "assert not {'altair', 'vl_convert', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=120)


def test_the_command_writes_the_page_of_the_night_again(made: Path, tmp_path: Path) -> None:
    (tmp_path / "data_docs").mkdir()
    shutil.copy(made / "report" / "data_docs" / "index.html", tmp_path / "data_docs")
    out = tmp_path / "page.html"
    done = CliRunner().invoke(app, ["report", "--config", str(made), "--out", str(out), "--json"])
    assert done.exit_code == ExitCode.OK, done.output
    assert '"min_cell": 11' in done.output
    assert out.read_bytes() == (made / "report" / "index.html").read_bytes()
