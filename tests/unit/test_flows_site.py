"""The lock, `init`, and the generated reference."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from flows import doctor
from flows.init import make_site
from flows.lock import holder, lock_path, site_lock
from flows.reference import FOLDER, PAGES, models_within
from flows.reply import UsageError
from flows.server import answers, require
from pipelines.base.errors import (
    ConfigError,
    LockedError,
    ServerError,
    StorageError,
)
from pipelines.base.site import Site, load_site
from pipelines.sources.fhir.model import FhirMapping
from pipelines.sources.flat import load_mapping
from pipelines.sources.flat.model import MappingTable


@pytest.fixture
def site(tmp_path: Path) -> Site:
    make_site(tmp_path / "my-site")
    return load_site(tmp_path / "my-site")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_init_writes_a_site_that_loads_with_the_documented_defaults(site: Site) -> None:
    assert site.site.row_level == "none"
    assert site.privacy.min_cell == 11
    defaults = Site.model_validate(
        {
            "site": site.site.model_dump(),
            "source": [{"name": "ehr", "mapping": "mapping.toml", "path": "inbox"}],
        }
    )
    assert site.model_dump() == defaults.model_dump()


def test_init_keeps_the_key_and_its_folder_to_the_owner(site: Site) -> None:
    assert mode(site.restricted) == 0o700
    assert mode(site.at(site.key.file)) == 0o600
    assert len(site.at(site.key.file).read_text().strip()) == 64


def test_init_names_every_setting(site: Site) -> None:
    text = site.config_path.read_text()
    for name, info in Site.model_fields.items():
        if info.exclude:
            continue
        assert f"[{name}]" in text
    assert text.count("\n# ") > 25


def test_init_can_make_a_fhir_site_whose_mapping_loads_as_it_stands(tmp_path: Path) -> None:
    made = make_site(tmp_path, "fhir")
    site = load_site(tmp_path)
    assert [(one.kind, one.mapping.name) for one in site.source] == [("fhir", "fhir.toml")]
    assert tmp_path / "fhir.toml" in made
    assert not (tmp_path / "mapping.toml").exists()
    findings = {one.what: one.level for one in doctor.examine(tmp_path)}
    assert findings["mapping of ehr"] == "ok"
    assert "fail" not in findings.values()
    tables = models_within(FhirMapping)
    text = (tmp_path / "fhir.toml").read_text()
    for head in ("delivery", "files", "patient", "settings"):
        assert f"[{head}]" in text
        assert head in [name for name, _ in tables]


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    make_site(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError):
        make_site(tmp_path)
    (tmp_path / "site.toml").unlink()
    with pytest.raises(UsageError):
        make_site(tmp_path)
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    before.pop(tmp_path / "site.toml")
    assert after == before


def test_what_guards_small_counts_is_read_strictly(site: Site) -> None:
    path = site.config_path
    text = path.read_text()
    for old, new in (
        ("min_cell = 11", "min_cell = true"),
        ("# synthetic = false", "synthetic = 1"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match="must be a valid"):
            load_site(path)


LOCKS = """
import os, signal, sys
from pathlib import Path
from flows.lock import site_lock
from pipelines.base.site import load_site
with site_lock(load_site(Path(sys.argv[1])), "run-1"):
    os.kill(os.getpid(), getattr(signal, sys.argv[2]))
"""


def locks(site: Site, signal_name: str) -> subprocess.CompletedProcess[str]:
    """Take the lock in another process, which then gets a signal."""
    command = [sys.executable, "-P", "-c", LOCKS, str(site.root), signal_name]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_two_runs_do_not_share_a_site_and_the_second_is_told_who_holds_it(site: Site) -> None:
    with site_lock(site, "run-0"):
        who = holder(lock_path(site))
        assert who is not None
        assert (who.pid, who.run_id, who.host) == (os.getpid(), "run-0", socket.gethostname())
        told = locks(site, "SIGCONT").stderr
        assert "LockedError" in told
        assert f"process {os.getpid()} on {who.host} (run run-0), since {who.since} UTC" in told
        with pytest.raises(LockedError), site_lock(site):
            pass
    assert holder(lock_path(site)) is None
    with site_lock(site) as cut_short:
        assert cut_short is None


@pytest.mark.parametrize("signal_name", ["SIGKILL", "SIGINT"])
def test_a_run_that_is_cut_short_gives_its_lock_back_and_is_named_to_the_next(
    site: Site, signal_name: str
) -> None:
    assert locks(site, signal_name).returncode < 0
    with site_lock(site) as cut_short:
        assert cut_short is not None
        assert cut_short.run_id == "run-1"
    with site_lock(site) as cut_short:
        assert cut_short is None


def test_a_run_that_fails_is_not_taken_for_one_that_was_cut_short(site: Site) -> None:
    with pytest.raises(KeyError), site_lock(site):
        raise KeyError
    with site_lock(site) as cut_short:
        assert cut_short is None


@pytest.mark.parametrize("text", ["4711\n", '{"pid": 4711', "[]"])
def test_a_note_that_nobody_can_read_still_says_that_a_run_was_cut_short(
    site: Site, text: str
) -> None:
    with site_lock(site):
        pass
    lock_path(site).write_text(text)
    with site_lock(site) as cut_short:
        assert str(cut_short) == "another process"


def test_root_does_not_work_on_the_files_of_another_account(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site_lock(site):
        pass
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with (
        pytest.raises(StorageError, match="restricted folder is of account") as caught,
        site_lock(site),
    ):
        pass
    assert "sudo -u" in caught.value.remedy


def test_the_example_of_a_mapping_is_right(site: Site) -> None:
    assert load_mapping(site.root / "mapping.toml").table.namespace == "mrn"


def models() -> list[tuple[str, type[BaseModel]]]:
    return models_within(Site) + models_within(MappingTable) + models_within(FhirMapping)


@pytest.mark.parametrize(("place", "model"), models(), ids=lambda part: str(part)[-40:])
def test_every_setting_is_described(place: str, model: type[BaseModel]) -> None:
    tables = {name for _, inner in models_within(model)[1:] for name in [inner.__name__]}
    bare = [
        name
        for name, info in model.model_fields.items()
        if not info.description and getattr(info.annotation, "__name__", "") not in tables
    ]
    assert bare == [], place
    assert model.__doc__


def test_a_server_that_does_not_answer_is_an_error_of_its_own() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/api"
        assert not answers(url)
        with pytest.raises(ServerError, match="does not answer"):
            require(url)


@pytest.mark.parametrize("name", sorted(PAGES))
def test_a_reference_page_says_what_the_code_says(name: str) -> None:
    path = FOLDER / name
    assert path.exists(), "make docs"
    assert path.read_text(encoding="utf-8") == PAGES[name](), "the page has drifted: make docs"
