"""Going back: what the log tells again, what was on a date, and a study beside the running one.

One site with two nights; whatever works beside it must leave every file of it as it is.
"""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.nights import BEFORE, Night
from pipelines.base import duck
from pipelines.base.errors import ExitCode
from pipelines.base.site import Site
from tests.functional.refresh_site import deliver, hospital, run
from tests.functional.small_kit import small_site
from warehouse.digest import LEVELS, digest

__all__ = ["hospital"]


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory, hospital: Path) -> Site:
    """A site that was refreshed once, after both nights; read only."""
    site = small_site(tmp_path_factory.mktemp("refreshed"), hospital)
    deliver(site, hospital, 1, 2)
    run(site)
    return site


@pytest.fixture
def site(refreshed: Site) -> Iterator[Site]:
    """The same site; the test fails where it leaves another file of it behind than it found."""
    before = contents(refreshed)
    yield refreshed
    assert contents(refreshed) == before


def contents(site: Site) -> dict[str, bytes]:
    """Every file of a site's own; the lock of derived sites and their results are none."""
    beside = {site.restricted / "replay" / "refresh.lock"}
    return {
        str(path.relative_to(site.root)): path.read_bytes()
        for path in site.root.rglob("*")
        if path.is_file() and path not in beside and "shadow" not in path.parts
    }


def dripwatch(*arguments: str | Path) -> dict[str, Any]:
    """The answer of a command, as the one JSON object that it prints."""
    done = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["exit_code"] == done.exit_code
    return answer


def nights_of(site: Site, warehouse: Path | None = None) -> list[str]:
    """The dates of the exports that a warehouse was made from."""
    with duck.connect(warehouse or site.warehouse, read_only=True) as con:
        rows = con.execute(
            "SELECT exported_at::DATE FROM ops.batch ORDER BY exported_at"
        ).fetchall()
    return [row[0].isoformat() for row in rows]


@pytest.mark.slow
def test_nights_replayed_and_dated_are_what_each_night_published(
    hospital: Path, tmp_path: Path
) -> None:
    site = small_site(tmp_path, hospital)
    published = []
    for night in (1, 2):
        deliver(site, hospital, night)
        run(site)
        published.append([digest(site.warehouse, level).value for level in LEVELS])
    assert published[0] != published[1]
    first, second = nights_of(site)
    result = dripwatch("replay", "--config", site.config_path, "--from", second)["result"]
    assert result["is_published"]
    assert [one["night"] for one in result["nights"]] == [BEFORE, second]
    assert [[one[level] for level in LEVELS] for one in result["nights"]] == published
    assert [one["n_batches"] for one in result["nights"]] == [1, 1]
    then = dripwatch("refresh", "--config", site.config_path, "--as-of", first)["result"]
    assert [then["digest"], digest(Path(then["warehouse"]), "history").value] == published[0]


def test_nights_from_and_to_are_chosen_by_date_of_export(site: Site) -> None:
    first, second = nights_of(site)
    chosen = {}
    for option, night in product(("--from", "--to"), (first, second)):
        with patch("flows.nights._replayed", return_value=[Night(night, 1, 0, "", "")]) as replayed:
            answer = dripwatch("replay", "--config", site.config_path, option, night)
        chosen[option, night] = [label for label, _ in replayed.call_args.args[2]]
        is_whole = (option, night) != ("--to", first)
        assert answer["result"]["is_published"] == (False if is_whole else None)
    assert chosen == {
        ("--from", first): [first, second],
        ("--from", second): [BEFORE, second],
        ("--to", first): [first],
        ("--to", second): [first, second],
    }


def test_a_warehouse_as_of_a_date_holds_what_had_been_exported(site: Site, tmp_path: Path) -> None:
    out, (first, _) = tmp_path / "then.duckdb", nights_of(site)
    arguments = ("refresh", "--config", site.config_path, "--as-of", first, "--out", out)
    result = dripwatch(*arguments)["result"]
    assert result["digest"] == digest(out).value != digest(site.warehouse).value
    assert result["n_batches"] == 1
    assert nights_of(site, out) == [first]
    with duck.connect(out, read_only=True) as con:
        facts = dict(con.execute("SELECT name, value FROM ops.state").fetchall())
    assert facts["as_of"] == first
    out.write_bytes(b"something else")
    assert dripwatch(*arguments)["exit_name"] == "USAGE"
    assert out.read_bytes() == b"something else"


@pytest.mark.parametrize(
    "options",
    [
        ("--as-of", "yesterday"),
        ("--as-of", "1999-12-31"),
        ("--out", "x.duckdb"),
        ("--as-of", "2999-01-01", "--dry-run"),
        ("--as-of", "2999-01-01", "--out", "{site}/warehouse.duckdb"),
        ("--as-of", "2999-01-01", "--out", "{site}/restricted/store/site.duckdb"),
        ("--as-of", "2999-01-01", "--out", "{site}/inbox/x.duckdb"),
        ("--as-of", "2999-01-01", "--out", "{site}/nowhere/x.duckdb"),
    ],
)
def test_what_makes_no_sense_beside_a_site_is_refused(site: Site, options: tuple[str, ...]) -> None:
    filled = [one.format(site=site.root) for one in options]
    answer = dripwatch("refresh", "--config", site.config_path, *filled)
    assert answer["exit_name"] == "USAGE"
    assert answer["error"]["remedy"]


def test_nights_without_an_export_are_refused(site: Site) -> None:
    for options in (("--from", "2999-01-01"), ("--to", "1999-12-31"), ("--from", "June")):
        assert dripwatch("replay", "--config", site.config_path, *options)["exit_name"] == "USAGE"


@pytest.mark.slow
def test_a_shadow_study_is_held_against_the_running_one(site: Site, tmp_path: Path) -> None:
    new = tmp_path / "new"
    shutil.copytree(site.root / "study", new)
    text = (new / "study.toml").read_text(encoding="utf-8")
    (new / "study.toml").write_text(
        text.replace('version = "1"', 'version = "2"').replace(
            "max_age_years = 21.0", "max_age_years = 12.0"
        ),
        encoding="utf-8",
    )
    with (new / "codelists" / "measurements.csv").open("a", encoding="utf-8") as stream:
        stream.write("body_temperature,VitalSignMeasured,loinc,8480-6,exact,made up,a test\n")
    out, (_, second) = tmp_path / "shadow.duckdb", nights_of(site)
    beside = ("--study", new, "--as-of", second, "--out", out)
    answer = dripwatch("refresh", "--config", site.config_path, *beside)
    told = answer["result"]
    assert (told["as_of"], told["n_batches"], told["warehouse"]) == (second, 2, str(out))
    changes = {one["path"]: (one["old"], one["new"]) for one in told["definitions"]["settings"]}
    assert changes == {"study.version": ("1", "2"), "eligibility.max_age_years": (21.0, 12.0)}
    assert [one["code"] for one in told["definitions"]["codes"]["added"]] == ["8480-6"]
    assert [one["code"] for one in told["needs_reingest"]["codes"]] == ["8480-6"]
    assert told["needs_reingest"]["batches"]
    assert "delivered again" in answer["message"]
    (undivided,) = (
        one
        for one in told["signals"]["different"]
        if (one["stratum"], one["denominator"]) == ("all", "complete")
    )
    with duck.connect(site.warehouse, read_only=True) as running:
        assert undivided["old"]["n_units"] == _counted(running)
    with duck.connect(out, read_only=True) as shadow:
        assert undivided["new"]["n_units"] == _counted(shadow) < undivided["old"]["n_units"]
    page = Path(told["page"]).read_text(encoding="utf-8")
    assert page.count("eligibility.max_age_years") == 1
    with Path(told["page"]).with_suffix(".csv").open(encoding="utf-8") as stream:
        assert sum(1 for _ in csv.reader(stream)) == 1 + told["signals"]["n_compared"]


def _counted(con: duckdb.DuckDBPyConnection) -> int:
    row = con.execute(
        "SELECT n_units FROM signals.risk WHERE stratum = 'all' AND is_headline"
    ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.slow
def test_a_site_that_is_rebuilt_from_its_log_is_the_one_that_was_there(
    refreshed: Site, tmp_path: Path
) -> None:
    site = _copy(refreshed, tmp_path)
    site.warehouse.write_bytes(b"damaged")
    told = dripwatch("replay", "--config", site.config_path)["result"]
    assert (told["digest_before"], told["digest"]) == (None, digest(refreshed.warehouse).value)
    assert told["must_be_equal"]
    assert told["is_equal"]
    with duck.connect(site.warehouse, read_only=True) as con:
        runs = con.execute("SELECT status FROM ops.run").fetchall()
    assert runs == [("done",)] * 2


@pytest.mark.slow
def test_a_store_that_was_changed_by_hand_is_found_by_a_replay(
    refreshed: Site, tmp_path: Path
) -> None:
    site = _copy(refreshed, tmp_path)
    with duck.connect(site.store_path) as con:
        con.execute("UPDATE linkage.course SET sex = 'other' WHERE sex = 'female'")
    answer = dripwatch("replay", "--config", site.config_path)
    assert answer["exit_code"] == ExitCode.PROBLEMS
    assert answer["result"]["tables_that_differ"] == ["linkage.course"]
    assert digest(site.warehouse).value == digest(refreshed.warehouse).value
    again = dripwatch("replay", "--config", site.config_path)
    assert (again["exit_code"], again["result"]["is_equal"]) == (ExitCode.OK, True)


def test_a_damaged_log_stops_a_replay_before_anything_is_thrown_away(
    refreshed: Site, tmp_path: Path
) -> None:
    site = _copy(refreshed, tmp_path)
    path = next(site.log_root.glob("committed/*/LabResulted.avro"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    _refuses(site)


def test_a_batch_or_a_log_that_is_gone_stops_a_replay(refreshed: Site, tmp_path: Path) -> None:
    site = _copy(refreshed, tmp_path)
    first, second = site.log_root.glob("committed/*")
    for lost in (first, second):
        lost.rename(tmp_path / lost.name)
        _refuses(site)


def _refuses(site: Site) -> None:
    """A replay ends before the store is emptied: it holds the same batches and results after it."""
    told = digest(site.store_path), site.warehouse.read_bytes()
    assert dripwatch("replay", "--config", site.config_path)["exit_code"] == ExitCode.LOG
    assert (digest(site.store_path), site.warehouse.read_bytes()) == told


def _copy(site: Site, root: Path) -> Site:
    from pipelines.base.site import load_site

    shutil.copytree(site.root, root / "copy")
    return load_site(root / "copy" / "site.toml")
