"""The lock, `init`, `doctor`, `sql`, and the generated reference."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import socket
import stat
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from pydantic import BaseModel

from flows import doctor
from flows.init import make_site
from flows.installation import Finding
from flows.lock import holder, lock_path, site_lock
from flows.reference import FOLDER, PAGES, models_within
from flows.reply import UsageError
from flows.server import answers, require
from pipelines.base import duck
from pipelines.base.errors import (
    ConfigError,
    ExitCode,
    LockedError,
    LogError,
    ServerError,
    StorageError,
)
from pipelines.base.site import Site, load_site
from pipelines.ingest.log import EventLog
from pipelines.sources.fhir.model import FhirMapping
from pipelines.sources.flat import load_mapping
from pipelines.sources.flat.model import MappingTable

SHIPPED = Path(__file__).parents[2] / "studies" / "iv_bisphosphonate"
CLI = "from flows.cli import main; main()"


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


def found(findings: list[Finding], what: str) -> list[Finding]:
    return [finding for finding in findings if what in finding.what]


def test_the_example_of_a_mapping_is_right(site: Site) -> None:
    assert load_mapping(site.root / "mapping.toml").table.namespace == "mrn"


def test_nothing_would_fail_at_a_new_site(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    findings = doctor.examine(site.root)
    assert [finding for finding in findings if finding.level == "fail"] == []
    assert found(findings, "deliveries of ehr")[0].level == "warn"


def test_doctor_names_outcomes_that_nobody_delivers_events_for(site: Site) -> None:
    findings = found(doctor.examine(site.root), "outcome ")
    assert findings
    assert all("which no mapping delivers" in finding.found for finding in findings)


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
