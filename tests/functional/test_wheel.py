"""The wheel: it holds everything it needs, and works away from the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("expectations", "flows", "pipelines", "schemas", "studies", "warehouse")


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    dropped = ("PYTHONPATH", "COVERAGE_", "PREFECT_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(dropped)}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment | {"PYTHONSAFEPATH": "1"},
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Path:
    """A fresh environment with the wheel; its libraries are those of this one, by path."""
    folder = tmp_path_factory.mktemp("elsewhere")
    call(sys.executable, "-m", "venv", "--without-pip", folder / "venv", cwd=folder)
    python = folder / "venv" / "bin" / "python"
    here: list[str | Path] = [
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
    ]
    call(sys.executable, "-m", "pip", *here, cwd=folder)
    site = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    # A path line adds the libraries but not what their own .pth files name: no checkout.
    libraries = Path(site.stdout.strip()) / "libraries.pth"
    libraries.write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "venv" / "bin" / "dripwatch"


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(PACKAGES)
    assert not [name for name in names if "tests" in name.split("/") or name.endswith(".pyc")]


def test_the_wheel_holds_every_file_of_our_packages(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tracked = call("git", "ls-files", *PACKAGES, cwd=ROOT).stdout.split()
    assert [name for name in tracked if (ROOT / name).exists() and name not in names] == []
    assert any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_elsewhere(installed: Path, tmp_path: Path) -> None:
    arguments = ["--patients", "6", "--nights", "1", "--seed", "wheel", "--json"]
    done = call(installed, "demo", "--out", tmp_path / "out", *arguments, cwd=tmp_path)
    assert json.loads(done.stdout)["ok"]
    found = call(installed, "doctor", "--config", tmp_path / "out", "--json", cwd=tmp_path)
    findings = json.loads(found.stdout)["result"]["findings"]
    places = [one["found"] for one in findings if one["what"].startswith("package ")]
    assert len(places) == len(PACKAGES)
    assert all(place.startswith(str(installed.parents[1])) for place in places)
