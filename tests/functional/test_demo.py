"""`dripwatch demo`: it works, says what is invented, and leaves nothing running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.base.errors import ExitCode
from tests.functional.refresh_site import CLI, dripwatch


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
