"""A site that encrypts: the same results, and nothing to be read in its folder at any time."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from typer.testing import CliRunner

from flows import encrypt
from flows.cli import app
from flows.console import SilentConsole
from flows.context import RunContext
from flows.refresh import refresh
from flows.run import Stage, StageResult
from flows.stages import STAGES
from pipelines.base import duck, sealed
from pipelines.base.errors import ExitCode
from pipelines.base.site import Site, load_site
from pipelines.ingest.forgotten import Forgotten
from schemas import CLINICAL_TYPES
from tests.at_rest_kit import needs_crypto, nobody_else
from tests.canary_kit import UNIQUE_VALUE, canaries, finder, plant
from tests.functional.refresh_site import KEY, deliver, hospital, run, state
from tests.functional.small_kit import one_night, small_site
from warehouse.digest import LEVELS, digest

__all__ = ["hospital", "nobody_else", "one_night"]

_HEX = re.compile(rb"(?=([0-9a-f]{64}))")
pytestmark = [pytest.mark.slow, needs_crypto]


def switched(site: Site, *, encrypt: bool) -> Site:
    """The site with another word on encryption."""
    path = site.config_path
    old, new = "# encrypt = false", "encrypt = true"
    text = path.read_text()
    path.write_text(text.replace(old, new) if encrypt else text.replace(new, old))
    return load_site(path)


def answer(site: Site, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*words, "-c", str(site.config_path), "--json"])
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def looked_at(site: Site, folder: Path) -> list[Stage[RunContext]]:
    """The stages of a night, after each of which the restricted folder is copied."""

    def copying(stage: Stage[RunContext]) -> Stage[RunContext]:
        def work(context: RunContext, step: Any) -> StageResult:
            result = stage.work(context, step)
            shutil.copytree(site.restricted, folder / stage.name)
            return result

        return replace(stage, work=work)

    return [copying(one) for one in STAGES]


def texts_of(site: Site) -> list[str]:
    """Every key and every code that the store of a plain site has of its patients."""
    with duck.connect(site.store_path, read_only=True) as con:
        found: set[str] = set()
        for name in CLINICAL_TYPES:
            told = {row[0] for row in con.execute(f'DESCRIBE current."{name}"').fetchall()}
            for column in {"patient_key", "record_key", "code"} & told:
                rows = con.execute(f'SELECT DISTINCT {column} FROM current."{name}"').fetchall()
                found |= {row[0] for row in rows if row[0] and len(row[0]) > 4}
    return sorted(found)


def found_in(folder: Path, texts: list[str]) -> dict[str, set[str]]:
    """Which parts of the copies after each stage hold any of the texts, byte by byte."""
    find = finder([*canaries(), str(UNIQUE_VALUE)])
    keys = {text.encode() for text in texts if len(text) == 64}
    rest = [text.encode() for text in (*texts, KEY) if text.encode() not in keys]
    found: dict[str, set[str]] = {}
    known: dict[bytes, bool] = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "site.key":
            data = path.read_bytes()
            if data not in known:  # most files are the same after several stages
                is_key = any(one in keys for one in _HEX.findall(data))
                known[data] = is_key or bool(find(data)) or any(one in data for one in rest)
            if known[data]:
                stage, part = path.relative_to(folder).parts[:2]
                found.setdefault(stage, set()).add(part)
    return found


@pytest.mark.timeout(2400)
def test_at_no_time_of_a_night_can_anything_be_read_and_the_results_are_the_same(
    hospital: Path, tmp_path: Path
) -> None:
    made = tmp_path / "made"
    shutil.copytree(hospital, made)
    plant(made / "deliveries", canaries())
    plain = small_site(tmp_path / "plain", made)
    secret = switched(small_site(tmp_path / "secret", made), encrypt=True)
    for site in (plain, secret):
        for night in (1, 2):
            deliver(site, made, night)
            copies = tmp_path / f"copies-{site.root.name}-{night}"
            refresh(site, console=SilentConsole(), stages=looked_at(site, copies))
    texts = texts_of(plain)
    assert len(texts) > 500
    for night in (1, 2):
        found = found_in(tmp_path / f"copies-plain-{night}", texts)
        assert found["extract"] >= {"staging"}
        assert found["commit"] >= {"log"}
        assert found["link"] >= {"log", "shards", "store"}
        assert found_in(tmp_path / f"copies-secret-{night}", texts) == {}
    for level in LEVELS:
        assert digest(plain.warehouse, level) == digest(secret.warehouse, level)


@pytest.fixture
def site(one_night: Site, tmp_path: Path) -> Site:
    """A copy of it that is to be encrypted from now on."""
    shutil.copytree(one_night.root, tmp_path / "site")
    return switched(load_site(tmp_path / "site" / "site.toml"), encrypt=True)


def kinds(site: Site) -> set[bool]:
    """Whether files of the newest log are sealed."""
    return {
        sealed.sealed_with(path) is not None for path in site.log_root.rglob("*") if path.is_file()
    }


def test_a_site_that_switches_on_reads_nothing_plain_until_all_is_written_anew(
    site: Site, hospital: Path, tmp_path: Path
) -> None:
    deliver(site, hospital, 2)
    refused = answer(site, "refresh")
    assert refused["exit_code"] == ExitCode.CONFIG
    assert "dripwatch encrypt" in refused["error"]["remedy"]
    assert answer(site, "encrypt")["exit_code"] == 0
    run(site)
    assert duck.is_encrypted(site.store_path)
    before = state(site)
    with duck.connect(site.store_path) as con:  # a store that says something else is noticed
        con.execute("UPDATE signals.risk SET n_events = n_events + 1")
    told = answer(site, "encrypt")
    assert (told["exit_code"], told["error"]["type"]) == (12, "DiffersError")
    assert kinds(site) == {True}
    fresh = small_site(tmp_path / "fresh", hospital)
    deliver(fresh, hospital, 1, 2)
    run(fresh)
    assert state(site) == before == state(fresh)
    # and back, with a patient forgotten in between, whose mark must not be lost
    with (hospital / "deliveries" / "night-001" / "patients.csv").open(encoding="utf-8") as rows:
        patient = next(csv.DictReader(rows))["patient_id"]
    assert answer(site, "forget", "--patient", patient)["exit_code"] == 0
    marks = Forgotten(site.log_root).marks()
    assert len(marks) == 1
    before = state(site)
    plain = switched(site, encrypt=False)
    assert answer(plain, "encrypt")["exit_code"] == 0
    assert kinds(plain) == {False}
    assert Forgotten(plain.log_root).marks() == marks
    assert not duck.is_encrypted(plain.store_path)
    assert state(plain) == before


@pytest.mark.parametrize("name", ["adopt", "refresh"])
def test_killed_while_all_is_written_anew_the_log_is_the_old_or_the_new_one(
    site: Site, name: str
) -> None:
    before = state(site)
    with patch.object(encrypt, name, side_effect=KeyboardInterrupt):
        answer(site, "encrypt")
    assert kinds(site) == {name == "refresh"}
    if name == "adopt":
        assert answer(site, "refresh")["exit_code"] == ExitCode.CONFIG
        assert answer(site, "encrypt")["exit_code"] == 0
    run(site)
    assert len(list(site.restricted.glob("log*"))) == 1
    assert kinds(site) == {True}
    assert state(site) == before


@pytest.mark.parametrize("name", ["manifest.json", "*"])
def test_plain_files_that_fit_together_in_the_place_of_sealed_ones_stop_every_command(
    one_night: Site, site: Site, hospital: Path, name: str
) -> None:
    deliver(site, hospital, 2)
    first = [path.relative_to(one_night.log_root) for path in one_night.log_root.rglob(name)]
    assert answer(site, "encrypt")["exit_code"] == 0
    run(site)
    before, log, kept = state(site), site.log_root, site.root / "kept"
    shutil.copytree(log, kept)
    for place in first:
        if (one_night.log_root / place).is_file():
            shutil.copy(one_night.log_root / place, log / place)
    for words in (["refresh"], ["replay"], ["encrypt"], ["forget", "--patient", "1000006"]):
        told = answer(site, *words)
        assert told["exit_code"] == ExitCode.LOG, told
        assert "plain file" in told["error"]["what"]
    found = answer(site, "doctor")["result"]["findings"]
    assert any(one["level"] == "fail" and "plain file" in one["found"] for one in found)
    shutil.rmtree(log)
    shutil.copytree(kept, log)
    # A plain store is not believed either, and is made anew.
    shutil.copy(one_night.store_path, site.store_path)
    run(site)
    assert duck.is_encrypted(site.store_path)
    assert state(site) == before


def test_a_copy_of_log_key_and_settings_is_restored_and_without_the_key_is_nothing(
    site: Site, tmp_path: Path
) -> None:
    assert answer(site, "encrypt")["exit_code"] == 0
    for name in ("site.toml", "mapping.toml", "study", "restricted/log-2", "restricted/site.key"):
        source, target = site.root / name, tmp_path / "restored" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    (tmp_path / "restored" / "inbox").mkdir()
    restored = load_site(tmp_path / "restored" / "site.toml")
    key = restored.at(restored.key.file)
    kept = key.read_text()
    key.write_text("ab" * 16 + "0123456789abcdef" * 2)
    told = answer(restored, "refresh")
    assert told["exit_code"] == ExitCode.KEY
    assert "under another key" in told["error"]["what"]
    assert not restored.warehouse.exists()
    key.write_text(kept)
    run(load_site(restored.root))
    assert state(restored) == state(site)


@pytest.mark.parametrize("at", [3, 20, 4500, 9000])
def test_a_store_with_a_flipped_bit_is_made_anew_from_the_log(site: Site, at: int) -> None:
    before = flipped(site, at)
    run(site)
    assert state(site) == before
    assert duck.is_encrypted(site.store_path)


def test_a_bit_flipped_deep_in_a_store_is_never_read_as_data(site: Site) -> None:
    before = flipped(site, -9000)
    told = answer(site, "refresh")
    if told["exit_code"] != 0:
        assert told["exit_code"] == ExitCode.STORAGE
        assert "not what was written" in told["error"]["what"]
        remarks = " ".join(run(site).remarks)  # nobody has to delete anything
        assert "rebuilt from the log: a part of it was not what was written" in remarks
    assert state(site) == before


def flipped(site: Site, at: int) -> str:
    """Encrypt a site, flip a bit of its store, and return the state that it had."""
    assert answer(site, "encrypt")["exit_code"] == 0
    before = state(site)
    data = bytearray(site.store_path.read_bytes())
    data[at] ^= 1
    site.store_path.write_bytes(data)
    return before
