"""The watch: what has arrived whole, what is fetched, and what is done about it once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from flows import watch as watching
from flows.arrival import Arrivals, Folder
from flows.console import SilentConsole
from flows.watch import Watch, _alone
from pipelines.base.errors import ConfigError, DeliveryError, ExitCode, LockedError, ServerError
from pipelines.base.files import make_private
from pipelines.base.site import Site
from tests.functional.events_kit import site_with
from tests.unit.store_batches import make_site

STABLE = 60.0


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    (tmp_path / "inbox").mkdir()
    make_private(tmp_path / "restricted")
    return make_site(tmp_path)


def with_source(site: Site, **settings: object) -> Site:
    """The same site, whose one source has other settings."""
    source = {**site.source[0].model_dump(), **settings}
    told = {**site.model_dump(), "source": [source]}
    return Site.model_validate(told).model_copy(update={"config_path": site.config_path})


def put(site: Site, delivery: str, **files: str) -> Path:
    folder = site.root / "inbox" / delivery
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


class Looks:
    """Looks that follow each other on a clock of the test's own."""

    def __init__(self, site: Site) -> None:
        self.folders = [Folder(site, source) for source in site.source]
        self.arrivals = Arrivals(STABLE)
        self.now = 0.0

    def after(self, seconds: float) -> list[str]:
        self.now += seconds
        found = self.arrivals.look(self.folders, self.now)
        return [Path(one.place).name for _, one in found]


def test_without_a_marker_a_delivery_arrives_when_nothing_has_changed_for_long_enough(
    site: Site,
) -> None:
    looks = Looks(site)
    put(site, "n1", labs_csv="a")
    assert looks.after(0) == []
    assert looks.arrivals.is_waiting
    put(site, "n1", labs_csv="ab")
    assert looks.after(STABLE) == []
    assert looks.after(STABLE - 1) == []
    assert looks.after(1) == ["n1"]
    assert not looks.arrivals.is_waiting


def test_a_file_of_the_same_size_that_was_written_again_starts_the_wait_again(site: Site) -> None:
    looks = Looks(site)
    folder = put(site, "n1", labs_csv="a")
    looks.after(0)
    os.utime(folder / "labs.csv", ns=(1, 1))
    assert looks.after(STABLE) == []
    assert looks.after(STABLE) == ["n1"]


def test_with_a_marker_a_delivery_arrives_with_it_and_at_once(site: Site) -> None:
    looks = Looks(with_source(site, marker="done"))
    put(site, "n1", labs_csv="a")
    assert looks.after(10 * STABLE) == []
    assert not looks.arrivals.is_waiting
    put(site, "n1", done="")
    assert looks.after(0) == ["n1"]


def test_one_that_grows_holds_up_one_that_is_whole_since_a_refresh_reads_both(site: Site) -> None:
    looks = Looks(site)
    put(site, "n1", labs_csv="a")
    looks.after(0)
    put(site, "n2", labs_csv="a")
    assert looks.after(STABLE) == []
    assert looks.after(STABLE) == ["n1", "n2"]


def test_a_manifest_waits_for_every_file_that_it_names(site: Site) -> None:
    looks = Looks(with_source(site, kind="fhir"))
    told = {
        "transactionTime": "2026-01-06T02:00:00Z",
        "output": [{"type": "Patient", "url": "https://ehr.example/x/p1.ndjson"}],
    }
    folder = put(site, "n1", manifest_json=json.dumps(told))
    looks.after(0)
    assert looks.after(STABLE) == []
    assert (looks.arrivals.n_lacking, looks.arrivals.is_waiting) == (1, False)
    (folder / "p1.ndjson.gz").write_text("{}")
    assert looks.after(0) == []
    assert looks.after(STABLE) == ["n1"]


def test_empty_hidden_and_loose_things_are_no_deliveries(site: Site) -> None:
    looks = Looks(site)
    put(site, "empty")
    put(site, ".n1.part", labs_csv="a")
    put(site, "hidden", _tmp="a")
    (site.root / "inbox" / "loose.csv").write_text("a")
    looks.after(0)
    assert looks.after(STABLE) == []
    assert not looks.arrivals.is_waiting


def test_a_folder_that_is_one_delivery_is_watched_as_one(site: Site) -> None:
    looks = Looks(with_source(site, layout="folder"))
    (site.root / "inbox" / "labs.csv").write_text("a")
    looks.after(0)
    assert looks.after(STABLE) == ["inbox"]


def test_a_folder_that_is_gone_is_told_by_its_source_alone(site: Site) -> None:
    looks = Looks(with_source(site, path="Doe-Jane"))
    with pytest.raises(DeliveryError, match=r"source ehr .*FileNotFoundError") as caught:
        looks.after(0)
    assert "Doe" not in str(caught.value)


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/export", recursive=True)


def fetching(site: Site, **settings: object) -> Site:
    changed = with_source(site, marker="done", **settings)
    return site_with(changed, watch={"fetch": {"ehr": "memory://export"}})


def test_a_delivery_is_fetched_whole_and_not_before(
    site: Site, bucket: fsspec.AbstractFileSystem
) -> None:
    bucket.pipe({"/export/n1/labs.csv": b"abc", "/export/n1/.tmp": b"x"})
    looks = Looks(fetching(site))
    assert looks.after(0) == []
    bucket.pipe("/export/n1/done", b"")
    [(folder, delivery)] = looks.arrivals.look(looks.folders, 0)
    inbox = site.root / "inbox"
    (inbox / ".n1.part").mkdir()  # of a copy that was killed
    (inbox / ".n1.part" / "stale").touch()
    folder.fetch(delivery)
    assert {path.name for path in inbox.iterdir()} == {"n1"}
    assert {path.name for path in (inbox / "n1").iterdir()} == {"labs.csv", "done"}
    assert (inbox / "n1" / "labs.csv").read_bytes() == b"abc"


def test_a_file_that_changes_while_it_is_fetched_never_appears(
    site: Site, bucket: fsspec.AbstractFileSystem
) -> None:
    bucket.pipe({"/export/n1/labs.csv": b"abc", "/export/n1/done": b""})
    looks = Looks(fetching(site))
    [(folder, delivery)] = looks.arrivals.look(looks.folders, 0)
    bucket.pipe("/export/n1/labs.csv", b"abcdef")
    with pytest.raises(DeliveryError):
        folder.fetch(delivery)
    assert not (site.root / "inbox" / "n1").exists()


@pytest.mark.parametrize("name", ["lis", "ehr"])
def test_only_a_source_of_folders_can_be_fetched(site: Site, name: str) -> None:
    told = site_with(with_source(site, layout="folder"), watch={"fetch": {name: "memory://export"}})
    with pytest.raises(ConfigError, match="fetch"):
        Watch(told, SilentConsole())


def test_an_address_without_its_package_says_what_to_install(site: Site) -> None:
    told = site_with(site, watch={"fetch": {"ehr": "nosuch://x"}})
    with pytest.raises(ConfigError, match="No file system"):
        Watch(told, SilentConsole())


class Refresh:
    """Stands for the command: notes its calls, and ends as it is told."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.n_calls = 0

    def __call__(self, _site: Site, **_: object) -> int:
        self.n_calls += 1
        return self.codes.pop(0) if self.codes else 0


@pytest.fixture
def refresh(monkeypatch: pytest.MonkeyPatch) -> Refresh:
    found = Refresh()
    monkeypatch.setattr(watching, "run_refresh", found)
    monkeypatch.setattr(watching, "RETRY_SECONDS", 0.0)
    return found


def quick(site: Site, **watch: object) -> Site:
    return site_with(site, watch={"poll_seconds": 0.1, "stable_seconds": 0.0, **watch})


def test_what_has_arrived_starts_one_refresh_and_a_new_watch_knows_it(
    site: Site, refresh: Refresh
) -> None:
    put(site, "n1", labs_csv="a")
    put(site, "n2", labs_csv="a")
    first = Watch(quick(site), SilentConsole())
    first.run(once=True)
    assert (refresh.n_calls, first.n_arrived) == (1, 2)
    Watch(quick(site), SilentConsole()).run(once=True)
    assert refresh.n_calls == 1
    put(site, "n2", labs_csv="ab")
    Watch(quick(site), SilentConsole()).run(once=True)
    assert refresh.n_calls == 2
    memory = site.restricted / "watch.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_text("{")  # damaged: all is told again, and nothing is lost
    Watch(quick(site), SilentConsole()).run(once=True)
    assert refresh.n_calls == 3


def test_while_another_run_is_at_work_the_watch_tries_again(site: Site, refresh: Refresh) -> None:
    put(site, "n1", labs_csv="a")
    refresh.codes = [int(ExitCode.LOCKED), int(ExitCode.LOCKED), int(ExitCode.HELD)]
    watch = Watch(quick(site), SilentConsole())
    watch.run(once=True)
    assert refresh.n_calls == 3
    assert watch.exit_codes == [int(ExitCode.HELD)]


def test_a_server_is_told_how_much_arrived_and_no_name(
    site: Site, refresh: Refresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []

    def send(*arguments: object, **_: object) -> None:
        sent.append({"event": arguments[3], "payload": arguments[5]})

    monkeypatch.setattr(watching, "require", lambda _url: None)
    monkeypatch.setattr(watching, "send_event", send)
    put(site, "Doe-Jane", labs_csv="abc")
    told = site_with(quick(site), prefect={"api_url": "http://127.0.0.1:9/api"})
    Watch(told, SilentConsole()).run(once=True)
    [event] = sent
    assert event["event"] == "dripwatch.extract.arrived"
    assert event["payload"] == {
        "site_id": "north",
        "sources": ["ehr"],
        "n_deliveries": 1,
        "n_files": 1,
        "n_bytes": 3,
    }
    assert refresh.n_calls == 0


def test_what_a_server_did_not_take_is_sent_again(site: Site) -> None:
    put(site, "n1", labs_csv="a")
    told = site_with(quick(site), prefect={"api_url": "http://127.0.0.1:9/api"})
    for _ in range(2):
        with pytest.raises(ServerError):
            Watch(told, SilentConsole()).run(once=True)
    assert not (site.restricted / "watch.json").exists()


def test_one_site_has_one_watch(site: Site) -> None:
    with _alone(site), pytest.raises(LockedError, match="watch"), _alone(site):
        pass
    with _alone(site):
        pass
