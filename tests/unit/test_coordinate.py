"""A coordinator's rounds: who is awaited and late, what is refused, pooled, and pooled again."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from ruamel.yaml import YAML

from flows.coordinate import Round, run_round
from flows.deploy import deploy_command
from flows.deploy_coordinator import coordinator_yaml
from flows.doctor import examine
from flows.export import export, export_key
from flows.init import make_coordinator
from pipelines.base.errors import ConfigError, ExitCode, PackError
from pipelines.base.site import load_site
from pipelines.disclosure.watched import NAME, SCHEMA
from pipelines.pooling import packs, signing, tables
from pipelines.pooling.coordinator import (
    Coordinator,
    CoordinatorTable,
    RhythmTable,
    load_coordinator,
)
from tests.pack_kit import STUDY, make_site, units_of
from tests.unit.test_pool import answer, without_pages  # noqa: F401 - a fixture that is used unasked
from warehouse import pooling
from warehouse.models import pooled_models
from warehouse.packing import export_path
from warehouse.query import run_query

Row = dict[str, Any]
SITES = ("east", "north", "west")
LOOKS = ("sequential", "alert")

#: In the second quarter of 2031, before and after its packs are due.
EARLY, AFTER = date(2031, 4, 10), date(2031, 5, 1)


class Network:
    """Three hospitals and their coordinator; packs are signed as of any quarter."""

    def __init__(self, root: Path, made: Path) -> None:
        self.made = made
        shutil.copytree(made / "keys", root / "keys")
        make_coordinator(root, sites=SITES)
        text = (root / "coordinator.toml").read_text(encoding="utf-8")
        text = text.replace("# settle_seconds = 60.0", "settle_seconds = 0.0")
        (root / "coordinator.toml").write_text(text, encoding="utf-8")
        self.config: Coordinator = load_coordinator(root)
        self.root, self.inbox = root, root / "inbox"

    def send(
        self,
        name: str,
        exported: str,
        number: int = 1,
        change: Callable[[Row], None] = lambda _facts: None,
        folder: str = "",
        watched: tuple[int, int] | None = None,
    ) -> Path:
        """Put a pack into the inbox, signed by its site; of what is watched units and events."""
        pack = packs.read_pack(self.made / name / "pack", self.made / "keys")
        facts = json.loads(json.dumps({k: v for k, v in pack.facts.items() if k != "files"}))
        facts.update(exported=exported, number=number)
        change(facts)
        made = {NAME: watched_row(name, *watched)} if watched else {}
        files = packs.pack_files(facts, {**pack.tables, **made})
        key = signing.load_key(export_path(load_site(self.made / name)))
        to = self.inbox / (folder or f"{name}-{number}")
        to.mkdir()
        for file, data in {**files, packs.SIGNATURE: packs.sign(files, key)}.items():
            (to / file).write_bytes(data)
        return to

    def look(self, today: date = AFTER, *, is_now: bool = False) -> Round:
        return run_round(self.config, today=today, is_now=is_now)

    def rows(self, table: str) -> list[Row]:
        found = run_query(self.root / "pooled.duckdb", f"FROM pooled.{table}")
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    def states(self) -> dict[str, tuple[str, int | None]]:
        return {row["site_id"]: (row["state"], row["pack_number"]) for row in self.rows("expected")}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hospitals")
    (root / "keys").mkdir()
    for number, name in enumerate(SITES):
        make_site(root / name, name, units_of(number, 60, 0.3))
        export_key(root / name, root / "keys", answer())
        export(root / name, root / name / "pack", answer(), is_preview=False)
    return root


@pytest.fixture
def network(tmp_path: Path, made: Path, monkeypatch: pytest.MonkeyPatch) -> Network:
    # Estimates take seconds, and are those of `dripwatch pool`.
    def only_sites(found: list[packs.Pack]) -> dict[str, list[Row]]:
        return {"pooled.site": [tables._site(one) for one in found]}

    monkeypatch.setattr(tables, "pooled_tables", only_sites)
    few = [one for one in pooled_models() if one.name in {"site", "pack", "expected", *LOOKS}]
    monkeypatch.setattr(pooling, "pooled_models", lambda: few)
    return Network(tmp_path / "network", made)


def test_it_waits_pools_what_is_there_and_pools_again_when_a_late_one_comes(
    network: Network,
) -> None:
    network.send("east", "2031-Q2")
    network.send("north", "2031-Q2")
    waiting = network.look(EARLY)
    assert (waiting.done, waiting.exit_code) == ("waiting", ExitCode.OK)
    assert "until 2031-04-30. Still to come: west." in waiting.message
    assert not (network.root / "pooled.duckdb").exists()
    assert not list(network.inbox.iterdir())

    late = network.look(AFTER)
    assert (late.done, late.exit_code) == ("pooled", ExitCode.LATE)
    assert "Late for 2031-Q2: west." in late.message
    assert network.states() == {
        "east": ("in_time", 1),
        "north": ("in_time", 1),
        "west": ("missing", None),
    }
    written = (network.root / "pooled.duckdb").read_bytes()
    assert network.look(AFTER).done == "unchanged"
    assert (network.root / "pooled.duckdb").read_bytes() == written

    network.send("west", "2031-Q2")
    assert (network.look(AFTER).done, network.look(AFTER).exit_code) == ("pooled", ExitCode.OK)
    assert {row["site_id"] for row in network.rows("site")} == set(SITES)


def watched_row(site: str, units: int, events: int) -> pa.Table:
    row = {
        **dict.fromkeys(SCHEMA.names),
        "study_id": STUDY,
        "site_id": site,
        "outcome": "any_side_effect",
        "window_name": "risk",
        "watched": "bisphosphonate",
        "pair_hash": "a" * 64,
        "n_units_first": units,
        "n_units_later": 0,
        **dict.fromkeys(("n_events", "n_events_low", "n_events_high"), events),
    }
    return pa.Table.from_pylist([row], schema=SCHEMA)


PAIR = f"""
[[pair]]
study = "{STUDY}"
outcome = "any_side_effect"
drug_class = "bisphosphonate"
alpha = 0.05
max_expected = 40.0
rate_first = 0.1
rate_later = 0.1
"""


def test_each_new_set_of_packs_is_looked_at_once_and_for_good(network: Network) -> None:
    with network.config.config_path.open("a", encoding="utf-8") as stream:
        stream.write(PAIR)
    network.config = load_coordinator(network.root)
    network.send("east", "2031-Q2", watched=(60, 5))
    network.send("north", "2031-Q2", watched=(50, 3))
    [first] = network.look().watched
    assert "2 sites: 8 events, 11.00 expected" in str(first.look)
    [path] = (network.root / "state" / "log" / "recorded" / "LookTaken").glob("*.avro")
    before = path.read_bytes()
    again = network.look()
    assert (again.done, again.watched[0].look) == ("unchanged", None)
    # The file is a cache of the facts: removed, it is made again without a look.
    (network.root / "pooled.duckdb").unlink()
    assert network.look().done == "pooled"
    network.send("west", "2031-Q2", watched=(90, 40))
    late = network.look()
    assert late.exit_code == ExitCode.OK
    assert [one["n_events"] for one in network.rows("sequential")] == [8, 48]
    assert [one["n_sites"] for one in network.rows("sequential")] == [2, 3]
    [alert] = network.rows("alert")
    assert (alert["state"], alert["look_number"]) == ("signal", 2)
    assert path.read_bytes() == before


def test_alpha_of_all_pairs_of_a_study_is_at_most_a_twentieth(network: Network) -> None:
    with network.config.config_path.open("a", encoding="utf-8") as stream:
        stream.write(PAIR + PAIR.replace("any_side_effect", "fever"))
    with pytest.raises(ConfigError, match=r"adds up to 0\.1"):
        load_coordinator(network.root)


def spoil(folder: Path) -> None:
    with (folder / "signals.counts.csv").open("ab") as stream:
        stream.write(b"more")


def test_a_bad_pack_is_set_apart_and_the_last_good_one_is_pooled(network: Network) -> None:
    for name in SITES:
        network.send(name, "2031-Q1")
    network.look(EARLY, is_now=True)
    network.send("east", "2031-Q2", 2)
    spoil(network.send("west", "2031-Q2", 2))
    found = network.look(AFTER)
    assert (found.done, found.exit_code) == ("pooled", ExitCode.PACK)
    [refusal] = found.intake.refused
    assert (refusal.name, refusal.site_id) == ("west-2", None)
    reason = (network.root / "refused" / "west-2.reason.txt").read_text(encoding="utf-8")
    assert "is not what the site signed" in reason
    assert network.states() == {
        "east": ("in_time", 2),
        "north": ("late", 1),
        "west": ("late", 1),
    }
    assert network.look(AFTER).exit_code == ExitCode.LATE


def test_a_pack_that_is_damaged_where_it_is_kept_is_told_and_taken_when_it_is_sent_again(
    network: Network,
) -> None:
    for name in SITES:
        network.send(name, "2031-Q2")
    network.look()
    sent = shutil.copytree(network.send("west", "2031-Q2", 2), network.root / "again")
    assert network.look(EARLY).exit_code == ExitCode.OK
    assert network.states()["west"] == ("in_time", 2)
    (network.root / "pooled.duckdb").unlink()  # it would say that nothing older may be pooled
    [kept] = (network.root / "packs" / "west").glob("0002-*")
    spoil(kept)
    found = network.look()  # an older pack of the same quarter is used: nobody is late
    assert (found.exit_code, network.states()["west"]) == (ExitCode.PACK, ("in_time", 1))
    assert found.intake.refused == []
    shutil.rmtree(network.root / "packs" / "east")
    assert network.look().exit_code == ExitCode.LATE
    network.send("east", "2031-Q2")
    shutil.copytree(sent, network.inbox / "again")
    found = network.look()
    assert [one.site_id for one in found.intake.taken] == ["west", "east"]
    assert (found.exit_code, network.states()["west"]) == (ExitCode.OK, ("in_time", 2))
    shutil.copytree(sent, network.inbox / "again")
    assert network.look().intake.n_again == 1


def test_one_hospital_s_folder_cannot_stop_the_round_of_all_others(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name too long for its reason, and a folder that may be neither read nor moved."""
    spoil(network.send("west", "2031-Q2", folder="w" * 250))
    network.send("north", "2031-Q2", folder="closed")
    network.send("east", "2031-Q2")
    closed = network.inbox / "closed"
    seen, moved = Path.iterdir, shutil.move

    def iterdir(path: Path) -> Iterator[Path]:
        if path == closed:
            raise PermissionError(errno.EACCES, "closed")
        return seen(path)

    def move(path: Path, to: Path) -> object:
        if path == closed:
            raise PermissionError(errno.EACCES, "closed")
        return moved(path, to)

    monkeypatch.setattr(Path, "iterdir", iterdir)  # root would not be refused
    monkeypatch.setattr(shutil, "move", move)
    found = network.look()
    assert [one.site_id for one in found.intake.taken] == ["east"]
    assert {one.name: "another account's" in one.what for one in found.intake.refused} == {
        "closed": True,
        "w" * 250: False,
    }
    assert (found.done, found.exit_code) == ("pooled", ExitCode.PACK)


def test_what_cannot_be_verified_yet_may_still_be_arriving(network: Network) -> None:
    folder = network.send("east", "2031-Q2")
    signature = (folder / packs.SIGNATURE).read_bytes()
    (folder / packs.SIGNATURE).unlink()
    patient = network.config.watch.model_copy(update={"settle_seconds": 600.0})
    network.config = network.config.model_copy(update={"watch": patient})
    found = network.look()
    assert (found.intake.n_arriving, found.intake.refused) == (1, [])
    (folder / packs.SIGNATURE).write_bytes(signature)
    assert [one.site_id for one in network.look().intake.taken] == ["east"]


@pytest.mark.parametrize(
    ("number", "change", "said"),
    [
        (1, lambda _: None, "older than its pack 2"),
        (2, lambda facts: facts.update(data_through="2030-Q4"), "Another pack 2"),
        (3, lambda facts: facts.update(site_id="south"), "No public key"),
    ],
)
def test_a_replayed_a_second_or_a_foreign_pack_is_refused(
    network: Network, number: int, change: Callable[[Row], None], said: str
) -> None:
    network.send("east", "2031-Q2", 2)
    network.look()
    network.send("east", "2031-Q2", number, change, folder="other")
    [refusal] = network.look().intake.refused
    assert said in refusal.what


def version(text: str) -> Callable[[Row], None]:
    return lambda facts: facts.update(software_version=text)


def test_who_counts_another_way_is_set_aside_until_most_do(network: Network) -> None:
    for name in SITES:
        network.send(name, "2031-Q1")
    network.look(EARLY, is_now=True)
    network.send("east", "2031-Q2", 2, version("9.0"))
    found = network.look()
    assert network.states()["east"] == ("late", 1)
    assert "set aside, pack 1 is used" in found.standings[0].note
    assert "versions of Dripwatch" in found.standings[0].note
    network.send("north", "2031-Q2", 2, version("9.0"))
    network.look()
    assert network.states() == {
        "east": ("in_time", 2),
        "north": ("in_time", 2),
        "west": ("missing", None),
    }
    # What was pooled once is not undone by older packs.
    network.send("west", "2031-Q2", 2, version("9.0"))
    assert network.look().exit_code == ExitCode.OK


def test_where_as_many_count_one_way_as_another_nothing_is_pooled(network: Network) -> None:
    network.send("east", "2031-Q2")
    network.send("north", "2031-Q2", 1, version("9.0"))
    with pytest.raises(PackError, match="do not count the same"):
        network.look()
    assert not (network.root / "pooled.duckdb").exists()


def test_all_that_are_there_are_pooled_before_the_deadline_while_their_keys_stand(
    network: Network,
) -> None:
    for name in SITES:
        network.send(name, "2031-Q2")
    assert network.look(EARLY).done == "pooled"
    again = network.send("east", "2031-Q2")
    found = network.look(EARLY)
    assert (found.done, found.intake.n_again, again.exists()) == ("unchanged", 1, False)
    (network.root / "keys" / "west.pub").unlink()
    found = network.look()
    assert network.states()["west"] == ("missing", None)
    assert "There is no west.pub" in found.standings[2].note


def test_a_site_that_is_expected_twice_is_a_mistake(network: Network) -> None:
    path = network.root / "coordinator.toml"
    path.write_text(path.read_text().replace('"north"', '"east"'))
    with pytest.raises(ConfigError, match="names a site twice"):
        load_coordinator(path)


def test_doctor_names_the_key_that_is_missing_or_no_key(network: Network) -> None:
    (network.root / "keys" / "east.pub").unlink()
    (network.root / "keys" / "west.pub").write_text("not a key")
    found = {one.what: one.level for one in examine(network.root)}
    keys = {name: found[f"public key of {name}"] for name in SITES}
    assert keys == {"east": "warn", "north": "ok", "west": "fail"}


def test_the_settings_that_init_writes_are_the_defaults(network: Network) -> None:
    found = load_coordinator(network.root).model_copy(update={"watch": RhythmTable()})
    wanted = Coordinator(
        coordinator=CoordinatorTable(id="my-network", sites=SITES), config_path=found.config_path
    )
    assert found == wanted


def test_the_flow_waits_then_ends_as_the_command_would(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows import coordinated

    day = EARLY
    monkeypatch.setattr(coordinated, "run_round", lambda found: run_round(found, today=day))
    network.send("east", "2031-Q2")
    config = str(network.root / "coordinator.toml")
    waiting = coordinated.coordinate.fn(config)
    assert (waiting.name, waiting.is_completed()) == ("Waiting", True)
    assert "Still to come: north, west." in str(waiting.message)
    day = AFTER
    late = coordinated.coordinate.fn(config)
    assert (late.name, late.is_failed()) == ("Late", True)
    (network.root / "coordinator.toml").write_text("nothing")
    assert coordinated.coordinate.fn(config).name == "Config"


def test_the_deployment_runs_rounds_by_its_schedule(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    [found] = YAML(typ="safe").load(coordinator_yaml(network.config))["deployments"]
    assert (found["name"], found["entrypoint"]) == ("my-network", "flows.coordinated.coordinate")
    assert found["parameters"] == {"config": str(network.config.config_path)}
    assert [one["cron"] for one in found["schedules"]] == ["0 6 * * *"]
    with pytest.raises(ConfigError, match="No Prefect server"):
        deploy_command(network.root, answer())
