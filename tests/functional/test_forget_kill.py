"""Killed anywhere, forgetting a patient has not begun or is finished by whatever runs next."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.base.keys import load_key
from pipelines.base.search import search
from pipelines.base.site import Site, load_site
from tests.functional.fault_kit import Runner, area, left_behind, needs_layer, runner
from tests.functional.refresh_site import deliver, hospital, state
from tests.functional.small_kit import small_site
from tests.functional.test_forget import PATIENT

__all__ = ["hospital", "runner"]

#: What a command leaves that it began, whether it did anything or not.
_BEGUN = ("restricted/refresh.lock", "restricted/journal/", "restricted/log-2.building/")


@dataclass(frozen=True)
class Forgotten:
    """A site before a patient is forgotten, and what forgetting does to it, undisturbed.

    Attributes:
        site: before it; read only.
        calls: kind and path of each call on a file, in their order.
        n_before: how many of them come before the new log counts.
        states: digest of what is published before and after.
        keys: of the patient and every record that names the patient.
    """

    site: Site
    calls: list[tuple[str, str]]
    n_before: int
    states: tuple[str, str]
    keys: frozenset[bytes]


@pytest.fixture(scope="module")
def undisturbed(
    hospital: Path, runner: Runner, tmp_path_factory: pytest.TempPathFactory
) -> Forgotten:
    needs_layer(runner)
    folder = tmp_path_factory.mktemp("undisturbed")
    site = small_site(folder / "before", hospital)
    deliver(site, hospital, 1)
    assert runner.run(site).code == 0
    after = copied(site, folder / "after")
    calls = runner.calls(after, forget=PATIENT)
    n_before = calls.index(("rename", str(after.restricted / "log-2")))
    keys = keys_of(site)
    assert not found(after, keys)
    assert found(site, keys)
    relative = [(call, str(Path(path).relative_to(after.root))) for call, path in calls]
    return Forgotten(site, relative, n_before, (state(site), state(after)), keys)


def copied(site: Site, folder: Path) -> Site:
    shutil.copytree(site.root, folder)
    return load_site(folder / "site.toml")


def keys_of(site: Site) -> frozenset[bytes]:
    """The patient's key, and those of all records that are filed under it, as SQL finds them."""
    patient = str(load_key(site).patient("north", "mrn", PATIENT))
    with duck.connect(site.store_path, read_only=True) as con:
        tables = con.execute(
            "SELECT table_name FROM duckdb_columns() WHERE schema_name = 'event' "
            "AND column_name = 'patient_key'"
        ).fetchall()
        union = " UNION ALL ".join(
            f"SELECT record_key FROM event.{duck.quote(name)} WHERE patient_key = $1"
            for (name,) in tables
        )
        records = [row[0] for row in con.execute(union, [patient]).fetchall()]
    assert len(records) > 10
    return frozenset(one.encode() for one in (patient, *records))


def found(site: Site, keys: frozenset[bytes]) -> set[str]:
    """Files of the site that hold any of the keys, but for what was delivered."""
    places = [site.restricted, site.warehouse, site.report]
    hits = search(places, lambda data: any(key in data for key in keys)).found
    return {str(path.relative_to(site.root)) for path, _ in hits}


def files(site: Site) -> dict[str, str]:
    """The hash of every file that says anything, by its path."""
    told = {}
    for path in site.root.rglob("*"):
        name = str(path.relative_to(site.root))
        if path.is_file() and not name.startswith(_BEGUN):
            told[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return told


def killed(runner: Runner, site: Site, number: int) -> None:
    """Forget the patient and be killed before a call on any file of the site."""
    ended = runner.run(site, forget=PATIENT, arm={"kill": [str(site.root), "", number + 1, 1, 0]})
    assert ended.code == -9, f"call {number}: {ended}"


def finish(runner: Runner, site: Site, told: Forgotten) -> None:
    """Forget the patient again: all is as if nothing had been killed."""
    again = runner.run(site, forget=PATIENT)
    assert again.code == 0, again.what
    assert again.result
    assert again.result["n_found"] == 0
    whole(site, told)


def whole(site: Site, told: Forgotten) -> None:
    """The patient is nowhere, everybody else is there, and nothing is left over."""
    assert found(site, told.keys) == set()
    assert state(site) == told.states[1]
    assert left_behind(site) == []
    assert [path.name for path in site.restricted.glob("log*")] == ["log-2"]
    with duck.connect(site.warehouse, read_only=True) as con:
        # What has changed by it would be the patient.
        assert con.execute("SELECT count(*) FROM ops.change").fetchone() == (0,)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_before_the_new_log_counts_no_file_of_the_site_has_changed(
    undisturbed: Forgotten, runner: Runner, tmp_path: Path
) -> None:
    before = files(undisturbed.site)
    began = undisturbed.calls.index(("mkdir", "restricted/log-2.building"))
    for number in range(began, undisturbed.n_before + 1):
        site = copied(undisturbed.site, tmp_path / "site")
        killed(runner, site, number)
        assert files(site) == before, undisturbed.calls[number]
        assert site.log_root.name == "log"
        if number % 40 == 0:
            assert runner.run(site).code == 0  # the next night is as any
            assert state(site) == undisturbed.states[0]
            assert not list(site.restricted.glob("*.building"))
        if number % 40 in (0, 20):
            finish(runner, site, undisturbed)
        shutil.rmtree(site.root)


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_killed_after_the_new_log_counts_the_next_night_or_another_try_finishes_it(
    undisturbed: Forgotten, runner: Runner, tmp_path: Path
) -> None:
    """At one call of each kind in each place, at each file of the older log that goes."""
    points: dict[tuple[str, str], int] = {}
    for number, (call, path) in enumerate(undisturbed.calls):
        if number > undisturbed.n_before:
            is_older = call == "remove" and path.startswith("restricted/log/")
            place = path if is_older else area(undisturbed.site, str(undisturbed.site.root / path))
            points.setdefault((call, place), number)
    assert len(points) > 40
    for turn, (what, number) in enumerate(points.items()):
        site = copied(undisturbed.site, tmp_path / "site")
        killed(runner, site, number)
        assert site.log_root.name == "log-2", what
        assert state(site) in undisturbed.states, what
        if turn % 2:
            night = runner.run(site)
            assert night.code == 0, f"{what}: {night}"
            whole(site, undisturbed)
        else:
            finish(runner, site, undisturbed)
        shutil.rmtree(site.root)
