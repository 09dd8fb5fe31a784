"""`dripwatch doctor`: what it finds at a site, and that it changes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows import doctor
from flows.init import make_site
from flows.installation import Finding
from pipelines.base.at_rest import close_to_others, is_encrypted, open_to_others
from pipelines.base.errors import (
    LogError,
)
from pipelines.base.site import Site, load_site
from pipelines.ingest.log import EventLog

SHIPPED = Path(__file__).parents[2] / "studies" / "iv_bisphosphonate"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    make_site(tmp_path / "my-site")
    return load_site(tmp_path / "my-site")


def found(findings: list[Finding], what: str) -> list[Finding]:
    return [finding for finding in findings if what in finding.what]


def test_nothing_would_fail_at_a_new_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    findings = doctor.examine(site.root)
    assert [finding for finding in findings if finding.level == "fail"] == []
    assert found(findings, "deliveries of ehr")[0].level == "warn"


def test_doctor_names_outcomes_that_nobody_delivers_events_for(site: Site) -> None:
    findings = found(doctor.examine(site.root), "outcome ")
    assert findings
    assert all("which no mapping delivers" in finding.found for finding in findings)


def test_doctor_is_content_with_the_key_of_a_new_site(site: Site) -> None:
    assert {finding.level for finding in found(doctor.examine(site.root), "key")} == {"ok"}


def test_doctor_sees_a_key_that_others_can_read(site: Site) -> None:
    site.at(site.key.file).chmod(0o644)
    finding = found(doctor.examine(site.root), "key")[0]
    assert finding.level == "fail"
    assert "chmod 600" in finding.remedy


def test_doctor_sees_an_open_restricted_folder(site: Site) -> None:
    site.restricted.chmod(0o755)
    findings = found(doctor.examine(site.root), "permissions of the restricted")
    assert [finding.level for finding in findings] == ["fail"]


def test_doctor_describes_a_site_that_cannot_be_read(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path / "nowhere")
    assert findings[-1].what == "site.toml"
    assert findings[-1].level == "fail"


def test_doctor_names_the_file_of_each_package(site: Site) -> None:
    findings = found(doctor.examine(site.root), "package ")
    assert len(findings) == 6
    assert {finding.level for finding in findings} == {"ok"}


def test_doctor_sees_a_package_that_shadows_ours(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "__init__.py").touch()
    done = subprocess.run(
        [sys.executable, "-c", "from flows.cli import main; main()", "doctor"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={key: text for key, text in os.environ.items() if key != "PYTHONSAFEPATH"},
        check=False,
    )
    assert done.returncode == 12
    assert "fail  package studies" in done.stdout


def test_doctor_tells_a_mistake_of_a_mapping_once(site: Site) -> None:
    mapping = site.root / "mapping.toml"
    mapping.write_text(mapping.read_text().replace('namespace = "mrn"', 'namespce = "mrn"'))
    told = [finding for finding in doctor.examine(site.root) if "namespce" in finding.found]
    assert len(told) == 1


def test_doctor_tells_a_mistake_of_a_study_once(site: Site) -> None:
    settings = site.config_path.read_text(encoding="utf-8")
    site.config_path.write_text(settings.replace('"iv_bisphosphonate"', '"no_such_study"'))
    told = [one for one in doctor.examine(site.root) if "no_such_study" in one.what + one.found]
    assert [one.level for one in told] == ["fail"]


@pytest.mark.parametrize("is_needed", [True, False])
def test_doctor_warns_where_an_indication_is_needed_and_no_diagnosis_comes(
    site: Site, *, is_needed: bool
) -> None:
    study = site.root / "own"
    shutil.copytree(SHIPPED, study)
    text = (study / "study.toml").read_text(encoding="utf-8")
    wanted = f"[eligibility]\nrequires_indication = {str(is_needed).lower()}"
    lines = [line for line in text.splitlines() if not line.startswith("requires_indication")]
    text = "\n".join(lines).replace("[eligibility]", wanted)
    (study / "study.toml").write_text(text, encoding="utf-8")
    settings = site.config_path.read_text(encoding="utf-8")
    site.config_path.write_text(settings.replace('"iv_bisphosphonate"', '"own"'))
    told = [one for one in doctor.examine(site.root) if "needs an indication" in one.found]
    assert len(told) == is_needed
    assert {one.level for one in told} <= {"warn"}


def test_doctor_checks_the_hash_of_every_file_of_the_log(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(_log: EventLog) -> None:
        raise LogError("damaged", remedy="restore it")

    assert any("as it was written" in one.found for one in doctor.examine(site.root))
    monkeypatch.setattr(EventLog, "verify", damaged)
    assert [one.level for one in doctor.examine(site.root) if one.what == "event log"] == ["fail"]


def test_doctor_changes_nothing(site: Site) -> None:
    before = {path: path.stat().st_mtime_ns for path in site.root.rglob("*")}
    doctor.examine(site.root)
    assert {path: path.stat().st_mtime_ns for path in site.root.rglob("*")} == before


def test_an_encrypted_disk_is_told_from_one_that_is_not(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    block = tmp_path / "sys" / "dev" / "block" / f"{os.major(device)}:{os.minor(device)}"
    crypt = tmp_path / "sys" / "dm-1"
    (crypt / "dm").mkdir(parents=True)
    (crypt / "dm" / "uuid").write_text("CRYPT-LUKS2-0123")
    ask = (tmp_path, tmp_path / "sys", tmp_path / "proc")
    assert not is_encrypted(*ask)
    (block / "slaves").mkdir(parents=True)
    assert not is_encrypted(*ask)
    (block / "slaves" / "dm-1").symlink_to(crypt)  # LVM on LUKS
    assert is_encrypted(*ask)
    (tmp_path / "sys" / "plain").mkdir()
    (block / "slaves" / "plain").symlink_to(tmp_path / "sys" / "plain")
    assert not is_encrypted(*ask)


def test_files_that_others_may_read_are_found_and_closed(site: Site) -> None:
    loose = site.restricted / "log" / "x.avro"
    loose.parent.mkdir(mode=0o755)
    loose.touch(mode=0o644)
    [finding] = found(doctor.examine(site.root), "modes in the restricted folder")
    assert finding.level == "warn"
    assert close_to_others(site.restricted) == 2
    assert not list(open_to_others(site.restricted))
    assert not found(doctor.examine(site.root), "modes in the restricted folder")


def test_a_disk_that_linux_does_not_encrypt_is_warned_of_unless_the_site_gives_its_word(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.base.at_rest.is_encrypted", lambda _folder: False)
    path = site.config_path
    assert [one.level for one in found(doctor.examine(path), "encryption at rest")] == ["warn"]
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("# disk_is_encrypted = false", "disk_is_encrypted = true"))
    assert [one.level for one in found(doctor.examine(path), "encryption at rest")] == ["ok"]
