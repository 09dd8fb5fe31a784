"""The command line: quick, documented, and every way to end has its code."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.reference import help_texts
from pipelines.base.errors import EXIT_MEANING, DripwatchError, ExitCode

ROOT = Path(__file__).parents[2]
HEAVY = ("great_expectations", "apache_beam", "prefect", "pandas", "polars", "scipy", "pyarrow")
COMMANDS = [words[1:] for words, _ in help_texts()]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", "from flows.cli import main; main()", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        cwd="/",
        timeout=120,
        check=False,
    )


def test_every_help_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from flows.reference import help_texts\n"
        "n = len(list(help_texts()))\n"
        f"print(n, [name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.split(maxsplit=1) == [str(len(COMMANDS)), "[]\n"]


def test_the_console_script_itself_answers_help_without_heavy_libraries() -> None:
    code = (
        "import sys\n"
        "from flows.cli import main\n"
        "sys.argv = ['dripwatch', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"assert not [name for name in {HEAVY!r} if name in sys.modules]\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True, capture_output=True, cwd="/")


@pytest.mark.parametrize(("words", "text"), list(help_texts()), ids=lambda part: str(part)[:40])
def test_help_fits_80_columns_and_says_what_every_option_does(
    words: tuple[str, ...], text: str
) -> None:
    assert text.startswith(f"Usage: {' '.join(words)}")
    assert max(len(line) for line in text.splitlines()) <= 80
    options = re.findall(r"^  (?:-\w, )?(--[a-z-]+|[a-z]+)(?: <[a-z ]+>)?(.*)$", text, re.MULTILINE)
    bare = [name for name, rest in options if name.startswith("--") and not rest.strip()]
    assert not [name for name in bare if f"{name}\n" in text and not _next_line_helps(text, name)]


def _next_line_helps(text: str, name: str) -> bool:
    lines = text.splitlines()
    place = next(i for i, line in enumerate(lines) if line.rstrip().endswith(name))
    return place + 1 < len(lines) and lines[place + 1].startswith(" " * 20)


def test_every_exit_code_is_documented() -> None:
    assert set(EXIT_MEANING) == set(ExitCode)
    assert all(meaning and remedy for meaning, remedy in EXIT_MEANING.values())


def test_every_exit_code_is_used_somewhere() -> None:
    packages = ("expectations", "flows", "pipelines", "studies", "schemas", "warehouse")
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for package in packages
        for path in (ROOT / package).rglob("*.py")
        if path.name != "errors.py"
    )
    by_code = {kind.exit_code: kind.__name__ for kind in DripwatchError.__subclasses__()}
    unused = [
        code.name
        for code in ExitCode
        if f"ExitCode.{code.name}" not in source
        and not re.search(rf"raise {by_code.get(code, '-')}\b|{by_code.get(code, '-')}\(", source)
    ]
    assert unused == []


def test_a_wrong_option_ends_with_2_and_a_hint() -> None:
    done = run("refresh", "--nonsense")
    assert done.returncode == ExitCode.USAGE
    assert "dripwatch refresh --help" in done.stderr
    assert "Traceback" not in done.stderr


def test_json_prints_one_object_of_one_schema_whatever_happens(tmp_path: Path) -> None:
    missing = str(tmp_path / "no" / "site.toml")
    ends = {
        ExitCode.OK: run("version", "--json"),
        ExitCode.USAGE: run("refresh", "--json", "--nonsense"),
        ExitCode.CONFIG: run("refresh", "--json", "--config", missing),
        ExitCode.STORAGE: run("sql", "--json", str(tmp_path / "no.duckdb"), "select 1"),
    }
    keys = set()
    for code, done in ends.items():
        assert done.returncode == code, done.stderr
        answer = json.loads(done.stdout)
        assert done.stdout.count("\n") == 1
        assert (answer["exit_code"], answer["exit_name"]) == (int(code), code.name)
        assert answer["ok"] == (code == ExitCode.OK) == (answer["error"] is None)
        keys.add(tuple(answer))
    assert len(keys) == 1


def test_an_error_is_told_in_the_last_lines_without_a_traceback(tmp_path: Path) -> None:
    done = run("refresh", "--config", str(tmp_path / "site.toml"))
    assert done.returncode == ExitCode.CONFIG
    assert done.stderr.rstrip().splitlines()[-1].strip() == "exit:     3 (CONFIG)"
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_shell_completes_commands_and_values() -> None:
    asked = {"_DRIPWATCH_COMPLETE": "complete_bash"}
    commands = run(**asked, COMP_WORDS="dripwatch si", COMP_CWORD="1").stdout.split()
    assert sorted(commands) == ["signals", "simulate"]
    zsh = {"_DRIPWATCH_COMPLETE": "complete_zsh"}
    values = run(**zsh, _TYPER_COMPLETE_ARGS="dripwatch quality --only ").stdout
    assert all(f'"{part}"' in values for part in ("rows", "feeds", "checks", "drift", "silences"))


FAULT = """
import sys
from flows import doctor
from flows.cli import main
def broken(config):
    raise {raised}
doctor.examine = broken
sys.argv = ["dripwatch", "doctor"]
main()
"""


def _with_fault(raised: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", FAULT.format(raised=raised)],
        capture_output=True,
        text=True,
        cwd="/",
        check=False,
    )


def test_a_fault_names_its_type_and_place_but_never_its_message() -> None:
    done = _with_fault("KeyError('patient-4711')")
    assert done.returncode == ExitCode.INTERNAL
    assert "KeyError" in done.stderr
    assert "flows/cli.py:" in done.stderr
    assert "4711" not in done.stderr + done.stdout


def test_a_full_disk_is_a_storage_error() -> None:
    done = _with_fault("OSError(28, 'No space left on device', '/x')")
    assert done.returncode == ExitCode.STORAGE
    assert "The disk is full" in done.stderr
    assert "/x" not in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_with_130_and_runs_the_clean_up(number: signal.Signals) -> None:
    code = (
        "import sys, time\n"
        "from flows import doctor\n"
        "from flows.cli import main\n"
        "def wait(config):\n"
        "    print('ready', flush=True)\n"
        "    try:\n        time.sleep(60)\n    finally:\n        print('cleaned', flush=True)\n"
        "doctor.examine = wait\n"
        "sys.argv = ['dripwatch', 'doctor']\n"
        "main()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    time.sleep(0.05)
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == ExitCode.INTERRUPTED
    assert "cleaned" in out
    assert "Traceback" not in err
