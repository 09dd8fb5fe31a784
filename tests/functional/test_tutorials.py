"""The tutorials: what a reader types is typed here, in the order of the page."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from pipelines.base.errors import ExitCode
from pipelines.sources.inbox import RACY_SECONDS
from studies.load import load_study

PAGES = Path(__file__).parents[2] / "docs" / "tutorials"


def blocks(page: str, language: str = "") -> list[str]:
    """Blocks of a language, in the order of the page."""
    text = (PAGES / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The study of the page, in its folder."""
    definition, overlap = blocks("own-study.md", "toml")
    (codes,) = blocks("own-study.md", "csv")
    folder = tmp_path / "vancomycin"
    (folder / "codelists").mkdir(parents=True)
    (folder / "study.toml").write_text(definition)
    (folder / "codelists" / "codes.csv").write_text(codes)
    assert load_study(str(folder)).outcome("creatinine_rise").overlap == "latest"
    (folder / "study.toml").write_text(
        definition.replace("ratio = 1.5\n", f"ratio = 1.5\n{overlap}")
    )
    return folder


def test_the_study_of_the_tutorial_is_right_and_says_what_the_page_says(study: Path) -> None:
    checked = CliRunner().invoke(app, ["study", "check", str(study)])
    assert checked.exit_code == ExitCode.OK, checked.stdout
    said = " ".join(CliRunner().invoke(app, ["study", "explain", str(study)]).stdout.split())
    assert "It counts from the start of the infusion to 6 h after its end" in said
    assert "Windows of the class that share time are one" in said
    merged = load_study(str(study)).outcome("creatinine_rise")
    assert merged.overlap == "merge"
    assert merged.window[0].end_offset_hours == 168


@pytest.mark.slow
def test_the_hospital_of_the_tutorial_goes_through_its_nights(tmp_path: Path) -> None:
    typed = [line for block in blocks("one-hospital.md") for line in block.splitlines()]
    shown = [(line, said(line, tmp_path)) for line in typed]
    refreshes = [
        text for line, text in shown if line.endswith("refresh --config my-site/site.toml")
    ]
    assert ["nothing new" in text.lower() for text in refreshes] == [False, True, False]
    (doctor,) = [text for line, text in shown if " doctor " in line]
    assert " 0 would fail" in doctor
    assert (tmp_path / "my-site" / "report" / "index.html").exists()


def said(line: str, folder: Path) -> str:
    """What one line of the page prints; it must succeed."""
    command = f"{shlex.quote(sys.executable)} -P -c 'from flows.cli import main; main()'"
    # Files that were written in the last moment are not trusted: a reader types slower than a test.
    wait = f"sleep {RACY_SECONDS + 0.1}; " if " refresh " in line else ""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        ["bash", "-euc", wait + line.replace("dripwatch ", f"{command} ", 1)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=kept | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done.stdout
