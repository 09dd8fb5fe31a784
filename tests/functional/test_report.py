"""The report: one file, whose numbers are the warehouse's, and whose failure costs no night."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows import report
from flows.cli import app
from flows.console import SilentConsole
from flows.context import RunContext
from pipelines.base.errors import ExitCode
from pipelines.base.site import PathsTable, Site
from tests.functional.refresh_site import deliver, hospital, make_site, run
from tests.report_page import links, read_tables
from warehouse.query import run_query
from warehouse.report import build, write_report

__all__ = ["hospital"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Site:
    """A site that shows every count, refreshed once with its report; read only."""
    made = make_site(tmp_path_factory.mktemp("report"), hospital, privacy={"min_cell": 1})
    deliver(made, hospital, 1)
    run(made, with_page=True)
    return made


@pytest.fixture(scope="module")
def page(site: Site) -> str:
    return (site.report / "index.html").read_text(encoding="utf-8")


def percent(share: float) -> str:
    return f"{100 * share:.2f}" if 0 < share < 0.001 else f"{100 * share:.1f}"


def test_every_risk_on_the_page_is_the_warehouse_s(site: Site, page: str) -> None:
    found = run_query(
        site.warehouse,
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


def test_a_site_with_a_threshold_shows_no_small_count(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "masked.html"
    write_report(site.warehouse, out, 11)
    text = out.read_text(encoding="utf-8")
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
    assert not re.search(r">(?:[1-9]|10)<", text.replace("<dd>11</dd>", ""))


def test_the_same_warehouse_gives_the_same_page(site: Site, page: str, tmp_path: Path) -> None:
    shutil.copytree(site.report / "data_docs", tmp_path / "data_docs")
    write_report(site.warehouse, tmp_path / "again.html", 1)
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def context_of(site: Site) -> RunContext:
    return RunContext(site, "a run", SilentConsole(), datetime.now(UTC))


def test_a_page_that_cannot_be_made_costs_no_night(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(build, "make_page", never)
    context = context_of(site)
    assert report.write_page(context) == ""
    assert context.remarks == []


def test_nothing_heavy_is_imported_before_a_page_is_drawn() -> None:
    code = (
        "import sys, flows.stages, flows.report, warehouse.report\n"
        "assert not {'altair', 'vl_convert', 'jinja2'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, timeout=120)


def test_the_command_writes_the_page_of_a_file(site: Site, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = CliRunner().invoke(
        app, ["report", "--warehouse", str(site.warehouse), "--out", str(out), "--json"]
    )
    assert done.exit_code == ExitCode.OK, done.output
    assert '"min_cell": 11' in done.output
    assert "</html>" in out.read_text(encoding="utf-8")
