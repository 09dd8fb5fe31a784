"""Nights of a site as `dripwatch runs` tells them: good, bad, bad, good, and a quiet one.

`signals` and `quality` are asked of the same site: its warehouse as tables of a terminal.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli import app
from flows.journal import journal_path
from flows.run import RunResult
from pipelines.base.errors import ConfigError, DeliveryError, ExitCode
from pipelines.base.site import Site
from pipelines.sources.inbox import RACY_SECONDS
from tests.functional.refresh_site import deliver, hospital, make_site, run
from warehouse.query import run_query
from warehouse.runlog import RunLog
from warehouse.store import Store

__all__ = ["hospital"]
ROOT = Path(__file__).parents[2]


@dataclass
class Story:
    """The nights of one site, and the summaries that stood in its report after them."""

    site: Site
    good: RunResult
    failed_page: str
    mended: RunResult
    mended_page: str


def settle() -> None:
    """Let what was delivered become old enough to be trusted."""
    time.sleep(RACY_SECONDS + 0.1)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Story:
    """A real site, as far as it knows; read only."""
    site = make_site(tmp_path_factory.mktemp("story"), hospital, site={"synthetic": False})
    summary = site.report / "summary.md"
    deliver(site, hospital, 1)
    settle()
    good = run(site)
    deliver(site, hospital, 2)
    labs = site.root / "inbox" / "night-002" / "labs.csv"
    whole = labs.read_bytes()
    labs.write_bytes(b"\x1f\x8b\x08not gzip at all")
    with pytest.raises(DeliveryError):
        run(site)
    mapping = site.root / "mapping.toml"
    mapped = mapping.read_text()
    mapping.write_text(mapped.replace('column = "sex"', 'colunm = "sex"'))
    with pytest.raises(ConfigError):
        run(site)
    failed_page = summary.read_text()
    mapping.write_text(mapped)
    labs.write_bytes(whole)
    settle()
    mended = run(site)
    return Story(site, good, failed_page, mended, summary.read_text())


def asked(site: Site, *arguments: str) -> dict[str, Any]:
    """The answer of a command, and that it says the same without `--json`."""
    command = [*arguments, "--config", str(site.config_path)]
    assert CliRunner().invoke(app, command).exit_code == ExitCode.OK
    told: dict[str, Any] = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    return told


def test_every_run_is_listed_however_it_ended(story: Story) -> None:
    runs = asked(story.site, "runs")["result"]["runs"]
    assert [(one["status"], one["exit_code"]) for one in runs] == [
        ("done", 0),
        ("failed", ExitCode.CONFIG),
        ("failed", ExitCode.DELIVERY),
        ("done", 0),
    ]
    assert runs[0]["run_id"] == story.mended.run_id
    [latest] = asked(story.site, "runs", "--limit", "1")["result"]["runs"]
    assert latest == runs[0]


def test_a_run_is_shown_with_all_that_it_did(story: Story) -> None:
    shown = asked(story.site, "runs", "show", "last")["result"]
    told = json.loads(json.dumps(story.mended.to_json(), default=str))
    assert {name: shown[name] for name in told} == told
    assert [one["state"] for one in shown["batches"]] == ["committed"]
    assert {one["kind"] for one in shown["journal"]} >= {"stage_ended", "remark", "run_ended"}
    failed = asked(story.site, "runs")["result"]["runs"][2]["run_id"]
    stages = asked(story.site, "runs", "show", failed[:13])["result"]["stages"]
    assert [one["stage"] for one in stages] == ["recover", "discover"]
    assert stages[1]["note"].startswith("failed: ")


@pytest.mark.parametrize("start", ["", "zz", "0"])
def test_a_run_that_is_not_one_is_refused(story: Story, start: str) -> None:
    command = ["runs", "show", start, "--config", str(story.site.config_path)]
    assert CliRunner().invoke(app, command).exit_code == ExitCode.USAGE


def test_after_a_bad_night_the_report_says_since_when_it_is_stale(story: Story) -> None:
    ended = f"{story.good.ended_at:%Y-%m-%d %H:%M}"
    assert f"**Stale:** the warehouse is that of the run of {ended} UTC; 2 runs have" in (
        story.failed_page
    )
    assert "exit code 3 (CONFIG)" in story.failed_page
    assert "LabResulted of ehr says that it is complete up to 20" in story.failed_page
    assert any(
        remark.startswith(f"2 runs before this one failed (3 CONFIG, 5 DELIVERY); results had been "
                          f"stale since the run of {ended} UTC")
        for remark in story.mended.remarks
    )  # fmt: skip
    assert "Stale" not in story.mended_page


def test_a_real_sites_summary_tells_what_changed_and_why_without_a_number(story: Story) -> None:
    told = run_query(
        story.site.warehouse,
        "SELECT signal_key, reasons FROM ops.change WHERE least(n_units, n_units_before) >= 11 "
        f"AND run_id = '{story.mended.run_id}'",
    ).rows
    assert told
    shown = story.mended.changes
    assert {(one["signal_key"], *one["reasons"]) for one in shown} == {
        (key, *reasons) for key, reasons in told
    }
    assert {(one["before"], one["now"]) for one in shown} == {(None, None)}
    assert story.good.changes == ()
    why = story.mended_page.split("What changed in the signals, and why:")[1].split("\n\n- ")[0]
    cells = [row.split(" | ") for row in why.strip().splitlines()[2:]]
    assert len(cells) == len(shown)
    assert not any(letter.isdigit() for row in cells for letter in row[-1])


def test_a_store_that_is_lost_takes_no_run_along(story: Story, tmp_path: Path) -> None:
    before = run_query(story.site.warehouse, "SELECT run_id FROM ops.run ORDER BY 1").rows
    moved = story.site.store_path.rename(tmp_path / "site.duckdb")
    with Store(story.site) as store:
        rows = store.con.execute("SELECT run_id FROM ops.run ORDER BY 1").fetchall()
        changes = store.con.execute("SELECT count(*) FROM ops.change").fetchall()
    story.site.store_path.unlink()
    moved.rename(story.site.store_path)
    assert tuple(rows) == before == tuple((r.record.run_id,) for r in RunLog(story.site).read())
    assert changes[0] == run_query(story.site.warehouse, "SELECT count(*) FROM ops.change").rows[0]


def test_what_is_kept_of_runs_holds_no_identifier_of_a_patient(
    story: Story, hospital: Path
) -> None:
    kept = [journal_path(story.site), *RunLog(story.site).root.iterdir()]
    text = "".join(path.read_text() for path in kept) + story.failed_page + story.mended_page
    patients = (hospital / "deliveries" / "night-001" / "patients.csv").read_text().splitlines()
    assert len(patients) > 5
    for row in patients[1:]:
        assert not [cell for cell in row.split(",")[:1] if cell in text]
    with Store(story.site) as store:
        keys = store.con.execute("SELECT patient_key FROM current.PatientRegistered").fetchall()
    assert not [key for (key,) in keys if key[:12] in text]


QUIET = """
import sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, told: opened.append(str(told[0])) if event == "open" else None)
from flows.console import SilentConsole
from flows.refresh import refresh
from pipelines.base.site import load_site
site = load_site(Path(sys.argv[1]))
inbox = site.root / "inbox"
(inbox / "night-001" / "labs.csv").open().close()  # what the hook must see
seen = [name for name in opened if name.startswith(str(inbox))]
opened.clear()
result = refresh(site, console=SilentConsole())
assert "Nothing new" in result.sentence
read = [name for name in opened if name.startswith(str(inbox))]
heavy = {"apache_beam", "great_expectations", "prefect"} & {n.split(".")[0] for n in sys.modules}
print(len(seen), read, sorted(heavy))
"""


def test_a_night_with_nothing_new_reads_no_delivery_and_imports_nothing_heavy(
    story: Story,
) -> None:
    environment = {name: text for name, text in os.environ.items() if "PREFECT" not in name}
    done = subprocess.run(
        [sys.executable, "-P", "-c", QUIET, str(story.site.root)],
        capture_output=True,
        text=True,
        check=False,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout == "1 [] []\n", done.stderr


def told(site: Site, *arguments: str) -> Result:
    """What a command says of the site; one that fails says why."""
    return CliRunner().invoke(app, [*arguments, "--config", str(site.config_path)])


def test_signals_tells_the_headline_risks_of_the_warehouse(story: Story) -> None:
    wanted = run_query(
        story.site.warehouse,
        """SELECT signal_key, n_events, n_units, 100 * ci_high FROM signals.risk
        WHERE is_headline AND stratum = 'drug' AND outcome = 'fever' AND n_units > 0""",
    ).rows
    options = ("signals", "--stratum", "drug", "--outcome", "fever")
    names = ("signal_key", "n_events", "n_units", "ci_high_percent")
    risks = json.loads(told(story.site, *options, "--json").stdout)["result"]["risks"]
    assert {tuple(row[name] for name in names) for row in risks} == set(wanted)
    rows = list(csv.DictReader(io.StringIO(told(story.site, *options, "--csv").stdout)))
    as_text = {tuple(map(str, row)) for row in wanted}
    assert {tuple(row[name] for name in names) for row in rows} == as_text
    shown = told(story.site, *options).stdout
    assert all(f" {events}/{units} " in shown for _, events, units, _ in wanted)


def test_quality_accounts_for_every_row_that_was_read(story: Story) -> None:
    result = json.loads(told(story.site, "quality", "--json").stdout)["result"]
    fates = ("accepted", "quarantined", "repeated", "out_of_scope", "reference")
    for row in result["rows"]:
        assert row["n_read"] == sum(row[f"n_{fate}"] for fate in fates)
    read = sum(row["n_read"] for row in result["rows"])
    assert ((read,),) == run_query(
        story.site.warehouse, "SELECT sum(n_read)::BIGINT FROM ops.batch"
    ).rows
    labs = told(story.site, "quality", "--only", "feeds", "--type", "LabResulted", "--csv").stdout
    ((n_rows,),) = run_query(
        story.site.warehouse, "SELECT n_rows FROM quality.feed WHERE event_type = 'LabResulted'"
    ).rows
    assert [row["n_rows"] for row in csv.DictReader(io.StringIO(labs))] == [str(n_rows)]


def test_runs_are_told_as_csv(story: Story) -> None:
    rows = list(csv.DictReader(io.StringIO(told(story.site, "runs", "--csv").stdout)))
    listed = asked(story.site, "runs")["result"]["runs"]
    names = ("run_id", "status", "exit_code")
    assert [tuple(row[name] for name in names) for row in rows] == [
        tuple(str(one[name]) for name in names) for one in listed
    ]
    assert {"0", str(int(ExitCode.CONFIG))} <= {row["exit_code"] for row in rows}


@pytest.mark.parametrize(
    "command",
    ["signals", "signals --stratum age_band", "signals --alerts", "quality", "runs"],
)
def test_tables_of_a_terminal_fit_80_columns(story: Story, command: str) -> None:
    said = told(story.site, *command.split())
    assert said.exit_code == ExitCode.OK
    assert max(map(len, said.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("command", "known"),
    [
        ("signals --outcome feever", "fever"),
        ("signals --stratum ages", "age_band"),
        ("signals --window riks", "risk"),
        ("quality --type Labs", "LabResulted"),
        ("quality --source lis", "ehr"),
    ],
)
def test_a_filter_that_names_nothing_says_what_there_is(
    story: Story, command: str, known: str
) -> None:
    said = told(story.site, *command.split())
    assert said.exit_code == ExitCode.USAGE
    assert known in said.stderr
