"""The runbook and the recipes: every exit code is there, and every command that they name is."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest
from typer.main import get_command

from flows.cli import app
from pipelines.base.errors import EXIT_MEANING, ExitCode

DOCS = Path(__file__).parents[2] / "docs"
RECIPES = sorted((DOCS / "recipes").iterdir())


def sections() -> dict[str, str]:
    text = (DOCS / "runbook.md").read_text(encoding="utf-8")
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in text.split("\n## ")[1:]}


def test_every_exit_code_has_a_section_under_its_number_and_name_in_order() -> None:
    coded = [head for head in sections() if head[0].isdigit()]
    assert coded == [f"{int(code)} {code.name}" for code in sorted(ExitCode)]


@pytest.mark.parametrize("code", list(ExitCode), ids=lambda code: code.name)
def test_a_section_begins_with_what_the_code_means(code: ExitCode) -> None:
    told = " ".join(sections()[f"{int(code)} {code.name}"].split())
    first = EXIT_MEANING[code][0].rstrip(".").partition(",")[0]
    assert told.startswith(first), f"docs/runbook.md does not say: {first}"


def commands(text: str) -> set[str]:
    return set(re.findall(r"dripwatch ([a-z]+)\b", " ".join(text.split())))


def test_every_command_that_the_pages_and_recipes_name_exists() -> None:
    known = set(getattr(get_command(app), "commands", {}))
    pages = [DOCS / "runbook.md", DOCS / "deploy.md"]
    quoted = "".join("\n".join(re.findall(r"`([^`]+)`", page.read_text())) for page in pages)
    started = set(re.findall(r"bin/dripwatch ([a-z]+)", "\n".join(map(_text, RECIPES))))
    assert started == {"refresh", "watch"}
    assert commands(quoted) | started <= known


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


UNITS = [one for one in RECIPES if one.suffix in {".service", ".timer"}]


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_is_one_that_systemd_reads(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign] # as the library tells to
    unit.read_string(path.read_text())
    kind = "Timer" if path.suffix == ".timer" else "Service"
    assert kind in unit.sections()
    if kind == "Service":
        assert unit["Service"]["ExecStart"].startswith("/")
        assert unit["Service"]["User"] == "dripwatch"
    else:
        assert path.with_suffix(".service").exists()


def test_the_line_of_cron_has_its_time_its_user_and_no_percent_sign() -> None:
    [line] = [
        line
        for line in (DOCS / "recipes" / "dripwatch.cron").read_text().splitlines()
        if line[:1].isdigit()
    ]
    assert line.split()[:6] == ["0", "2", "*", "*", "*", "dripwatch"]
    assert "%" not in line
