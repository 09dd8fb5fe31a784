"""`dripwatch sql`: what it prints, in a pipe and in a terminal, and what it refuses."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from flows.console import TextConsole
from pipelines.base import duck
from pipelines.base.errors import (
    ExitCode,
)

CLI = "from flows.cli import main; main()"


def sql(file: Path, statement: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", CLI, "sql", str(file), statement, *options],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def published(tmp_path: Path) -> Path:
    path = tmp_path / "warehouse.duckdb"
    with duck.connect(path) as con:
        con.execute("create schema signals")
        con.execute("create table signals.risk as select 33 as n_events, 'secret' as name")
    return path


def in_terminal(columns: int, *arguments: str) -> str:
    """Return what a command prints into a terminal of that many columns."""
    primary, secondary = pty.openpty()
    fcntl.ioctl(secondary, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    names = [name for name in os.environ if name not in ("COLUMNS", "LINES")]
    with subprocess.Popen(
        [sys.executable, "-P", "-c", CLI, *arguments],
        stdout=secondary,
        env={**{name: os.environ[name] for name in names}, "TERM": "xterm"},
    ):
        os.close(secondary)
        told = b""
        with suppress(OSError):  # Linux says EIO when the other end is closed
            while part := os.read(primary, 65536):
                told += part
    os.close(primary)
    return re.sub(r"\x1b\[[0-9;]*m", "", told.decode()).replace("\r\n", "\n")


def test_sql_shortens_and_rounds_nothing_in_a_narrow_terminal(published: Path) -> None:
    long = "x" * 60
    statement = f"select 0.1234567890123456 as risk, '{long}' as label, '{long}' as note"
    narrow = in_terminal(80, "sql", str(published), statement)
    assert narrow.splitlines() == [
        "- row 1 of 1",
        "  risk   0.1234567890123456",
        f"  label  {long}",
        f"  note   {long}",
    ]
    wide = in_terminal(200, "sql", str(published), statement)
    assert any(["0.1234567890123456", long, long] == line.split() for line in wide.splitlines())


def test_in_a_narrow_terminal_sentences_are_folded_and_keys_stay_whole(published: Path) -> None:
    sentence, key = "nobody looked, " * 8 + "or could tell", "k/" * 45 + "all"
    statement = (
        f"select '{sentence}' as denominator_words, '{key}' as signal_key, ['a b', 'c'] as cautions"
        ", 'one' || chr(10) || 'two' as note"
    )
    told = in_terminal(80, "sql", str(published), statement)
    lines = [line for line in told.splitlines() if key not in line]
    assert max(map(len, lines)) <= 80
    assert " ".join(told.split()[6:]).startswith(sentence)
    assert f"signal_key         {key}" in told
    assert "  cautions           a b; c\n  note               one\n" + 21 * " " + "two" in told
    none = in_terminal(40, "sql", str(published), statement + " where false")
    assert none.splitlines() == [
        "- no row; columns: denominator_words,",
        "  signal_key, cautions, note",
    ]


@pytest.mark.parametrize("title", ["", "[/x]"])
def test_what_stands_in_a_table_is_no_markup(
    title: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = ["[degF]", "[/x]", ":on:", "[red]a[/red]"]
    console = TextConsole()
    console.table(title, [">[IU]"], [[cell] for cell in cells])
    console.wide_table(["[IU]"], [[cell] for cell in cells])
    console.say(" ".join(cells))
    told = capsys.readouterr().out.split()
    assert [one for one in told if "─" not in one] == [
        *([title] if title else []),
        *("[IU]", *cells) * 2,
        *cells,
    ]


def test_a_cell_does_nothing_to_a_terminal(published: Path) -> None:
    found = sql(published, "select chr(27) || '[31m' || chr(13) || 'x' as told").stdout
    assert found.split()[2] == r"\x1b[31m\rx"


def test_sql_prints_a_table_csv_or_json(published: Path) -> None:
    statement = "select n_events, name from signals.risk"
    assert sql(published, statement, "--csv").stdout == "n_events,name\n33,secret\n"
    answer = json.loads(sql(published, statement, "--json").stdout)
    assert answer["result"] == {"columns": ["n_events", "name"], "rows": [[33, "secret"]]}
    assert sql(published, statement).stdout.split()[:2] == ["n_events", "name"]


@pytest.mark.parametrize(
    "statement",
    ["drop table signals.risk", "select * from read_csv('/etc/passwd')", "selct 1"],
)
def test_a_refused_statement_ends_with_its_own_code(published: Path, statement: str) -> None:
    before = published.read_bytes()
    assert sql(published, statement).returncode == ExitCode.QUERY
    assert published.read_bytes() == before
