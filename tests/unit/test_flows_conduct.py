"""Stages: what is retried, what a failure may say, and what a result looks like."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from flows.conduct import run_in_process
from flows.console import SilentConsole, Step, TextConsole
from flows.reply import InternalError
from flows.run import Conductor, RunResult, Stage, StageResult
from pipelines.base.errors import ConfigError, DripwatchError, ExitCode, StorageError


@dataclass
class Night:
    failures: list[Exception] = field(default_factory=list)
    n_calls: int = 0
    console: SilentConsole = field(default_factory=SilentConsole)


def work(night: Night, _step: Step) -> StageResult:
    night.n_calls += 1
    if night.failures:
        raise night.failures.pop(0)
    return StageResult("work", rows_in=3, rows_out=2, quarantined=1)


def conducted(night: Night, retries: int) -> list[StageResult]:
    return run_in_process([Stage("work", work, retries)], night, delay_seconds=0)


@pytest.mark.parametrize("number", [errno.EBUSY, errno.EAGAIN, errno.ESTALE, errno.ETIMEDOUT])
def test_a_fault_that_passes_is_tried_again(number: int) -> None:
    night = Night([OSError(number, "busy"), OSError(number, "busy")])
    assert conducted(night, retries=2)[0].rows_out == 2
    assert night.n_calls == 3


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "full"),
        OSError(errno.EACCES, "no"),
        ConfigError("wrong", remedy="mend"),
        ValueError("a value"),
    ],
)
def test_a_fault_that_stays_is_not_tried_again(error: Exception) -> None:
    night = Night([error])
    with pytest.raises(DripwatchError):
        conducted(night, retries=5)
    assert night.n_calls == 1


def test_retries_end() -> None:
    night = Night([OSError(errno.EBUSY, "busy")] * 5)
    with pytest.raises(StorageError):
        conducted(night, retries=2)
    assert night.n_calls == 3


def test_a_stage_failure_quotes_no_value() -> None:
    with pytest.raises(InternalError) as caught:
        conducted(Night([ValueError("born 2011-02-03")]), retries=0)
    assert "2011" not in str(caught.value)
    assert caught.value.__suppress_context__
    assert "ValueError" in str(caught.value)


def test_a_failure_for_users_comes_through_as_it_is() -> None:
    with pytest.raises(ConfigError, match="wrong line"):
        conducted(Night([ConfigError("wrong line", remedy="mend it")]), retries=0)


def result(**changes: object) -> RunResult:
    values: dict[str, object] = {
        "run_id": "0190",
        "site_id": "here",
        "conductor": Conductor(),
        "started_at": datetime(2026, 1, 6, 2, 0, tzinfo=UTC),
        "ended_at": datetime(2026, 1, 6, 2, 1, tzinfo=UTC),
        "stages": (StageResult("extract", 12345, 12000, 345, 0, 1.5, "two files"),),
    }
    return RunResult(**{**values, **changes})  # type: ignore[arg-type] # the test's own values


def test_a_run_without_new_batches_says_that_nothing_is_new() -> None:
    assert "Nothing new" in result().sentence
    assert "60.0 s" in result().sentence
    assert "in-process" in result().sentence


def test_a_held_batch_makes_the_run_fail_for_the_scheduler() -> None:
    held = result(held=("ab12",), is_changed=True, n_new_batches=1)
    assert held.exit_code == ExitCode.HELD
    assert "1 held" in held.sentence
    assert result().exit_code == ExitCode.OK


def test_a_synthetic_site_says_so() -> None:
    assert result(synthetic=True).sentence.startswith("SYNTHETIC")


def test_the_table_of_stages_is_a_markdown_table_and_fits_80_columns(
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = result().to_markdown()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    assert all(first.count("|") == second.count("|") for first, second in pairwise(rows))
    header, cells = result().table()
    TextConsole().table("", header, cells)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines) <= 80
    assert any("12,345" in line and "345" in line and "1.5" in line for line in lines)


def test_a_log_gets_a_line_while_a_stage_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    import time

    with TextConsole(minute=0.02).step("link") as step:
        step.expect(4)
        step.advance("bucket 1")
        time.sleep(0.2)
    assert "link: 1 of 4 bucket 1" in capsys.readouterr().err


def test_the_summary_shows_the_flow_of_exclusion_where_it_was_given() -> None:
    told = result(attrition=(("s1", "records of study drugs", 1200), ("s1", "left out: old", 3)))
    page = told.to_markdown()
    assert "| s1 | records of study drugs | 1,200 |" in page
    assert "| s1 |   left out: old | 3 |" in page
    assert told.to_json()["attrition"][1] == {"study_id": "s1", "step": "left out: old", "n": 3}
    assert "from records to units" not in result().to_markdown()


_AGAIN = """
import sys
from contextlib import closing
from pathlib import Path
from flows.conduct import run_stage
from flows.console import SilentConsole
from flows.run import Stage
from pipelines.base import duck

path = Path(sys.argv[1])

class Context:
    console = SilentConsole()

def work(context, step):
    path.unlink(missing_ok=True)
    with closing(duck.connect(path)) as con:
        con.execute("CREATE TABLE t AS FROM range(100_000)")
        reader = con.execute("FROM t").to_arrow_reader(1000)
        try:
            int("x")
        except ValueError as error:
            kept = error  # a cycle: nothing but the collector ends it
            raise

for _ in range(2):
    try:
        run_stage(Stage("again", work), Context())
    except Exception as error:
        print(type(error).__name__)
"""


def test_a_stage_that_failed_over_an_open_database_can_be_tried_again(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", _AGAIN, str(tmp_path / "staging.duckdb")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.stdout.split() == ["InternalError"] * 2, done.stderr
