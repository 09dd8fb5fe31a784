"""No identifier and no value of a patient gets into what is shown, whatever fails."""

from __future__ import annotations

import base64
import gzip
import json
import os
import pickle
import shutil
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

from flows.console import TextConsole
from flows.context import RunContext
from flows.export import export, export_key
from flows.pool import pool
from flows.refresh import refresh
from flows.reply import Reply
from flows.run import Stage, StageResult
from flows.server import own_server, quiet_settings
from flows.stages import STAGES
from pipelines.base import duck
from pipelines.base.errors import DripwatchError
from pipelines.base.search import search
from pipelines.base.site import Site
from pipelines.ingest.log import EventLog
from studies.load import HERE
from tests.canary_kit import UNIQUE_VALUE, canaries, finder, forms, plant
from tests.functional.refresh_site import deliver, hospital, make_site
from tests.functional.small_kit import keep_outcomes

__all__ = ["hospital"]

PLANTED = canaries()
ROOT = Path(__file__).parents[2]


def test_every_form_of_a_canary_is_found_wherever_it_stands(tmp_path: Path) -> None:
    is_in = finder(PLANTED)
    for one in (PLANTED[0], PLANTED[-1]):
        assert len(forms(one)) == 7
        for form in forms(one):
            assert is_in(b"\xffx" + form + b"y")
            assert not is_in(form[:-1])
    (tmp_path / "clean.txt").write_text(" ".join(str(int(one) + 1) for one in PLANTED))
    assert not search([tmp_path], lambda data: bool(is_in(data))).found


def _failing(name: str) -> list[Stage[RunContext]]:
    """The stages of a night, of which one does its work and then fails with every canary."""

    def broken(stage: Stage[RunContext]) -> Stage[RunContext]:
        def work(context: RunContext, step: object) -> StageResult:
            stage.work(context, step)  # type: ignore[arg-type]
            raise ValueError(" ".join(PLANTED), {"value": UNIQUE_VALUE})

        return replace(stage, work=work, retries=0)

    return [broken(one) if one.name == name else one for one in STAGES]


def _site(root: Path, hospital: Path) -> Site:
    shutil.copytree(HERE / "iv_bisphosphonate", root / "study")
    (root / "study" / "published.csv").unlink()
    keep_outcomes(root / "study" / "study.toml", "fever")
    settings: dict[str, object] = {"studies": ["study"], "row_level": "none"}
    return make_site(root, hospital, site=settings, resources={"buckets": 1})


def _shown(site: Site) -> list[Path]:
    """Where nothing of a patient may lie: what is shown, sent, or kept about runs."""
    recorded = EventLog(site.log_root).recorded.root
    kept = ("runs", "journal", "outbox.jsonl", "lock", "prefect", "tmp", "staging", "shards")
    places = [site.report, site.warehouse, recorded, *(site.restricted / name for name in kept)]
    return [one for one in places if one.exists()]


def _found(places: Iterable[Path], find: Callable[[bytes], bool]) -> list[tuple[str, str]]:
    """What is found in any byte, any cell, or the name of any file or folder."""
    every = [*places]
    inside = [(path.name, place) for path, place in search(every, lambda d: bool(find(d))).found]
    named = [path for one in every for path in (one, *one.rglob("*")) if find(path.name.encode())]
    return inside + [(str(path), "its name") for path in named]


def test_the_search_finds_one_in_every_kind_of_place(tmp_path: Path) -> None:
    [one] = canaries(1)
    find = finder([one])
    (tmp_path / "server").mkdir()
    with sqlite3.connect(tmp_path / "server" / "prefect.db") as con:
        con.execute("CREATE TABLE task_run_state (data BLOB)")
        pickled = base64.b64encode(b"xx" + pickle.dumps(ValueError(one)))
        con.execute("INSERT INTO task_run_state VALUES (?)", [pickled])
    con.close()
    with duck.connect(tmp_path / "warehouse.duckdb") as made:
        made.execute("CREATE TABLE ops AS SELECT ? AS error FROM range(5000)", [f"of {one}"])
        made.execute("CREATE TABLE v AS SELECT ?::BIGINT AS value FROM range(5000)", [int(one)])
    packed = gzip.compress(json.dumps({"error": one}).encode())
    (tmp_path / "page.html.gz").write_bytes(packed)
    (tmp_path / "pack.avro").write_bytes(b"Obj\x01" + one.encode("utf-16-le"))
    (tmp_path / f"{one}.csv").touch()
    assert {name for name, _ in _found([tmp_path], find)} == {
        *("prefect.db", "warehouse.duckdb", "page.html.gz", "pack.avro"),
        str(tmp_path / f"{one}.csv"),
    }


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nothing_of_a_patient_is_shown_whatever_stage_fails(
    hospital: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    temporary, told = tmp_path / "tmp", tmp_path / "told.txt"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    shutil.copytree(hospital, tmp_path / "made")
    plant(tmp_path / "made" / "deliveries", PLANTED)
    site = _site(tmp_path / "site", tmp_path / "made")
    deliver(site, tmp_path / "made", 1)
    errors = []
    for stage in STAGES:
        with pytest.raises(DripwatchError) as caught:
            refresh(site, console=TextConsole(), stages=_failing(stage.name))
        errors.append("".join(traceback.format_exception(caught.value)))
        assert caught.value.__cause__ is None
    deliver(site, tmp_path / "made", 2)
    refresh(site, console=TextConsole())
    out, err = capfd.readouterr()
    told.write_text("\n".join([*errors, out, err]), encoding="utf-8")
    assert len(told.read_text(encoding="utf-8")) > 2_000
    find = finder([*PLANTED, str(UNIQUE_VALUE)])
    assert not _found([told, temporary, *_shown(site)], find)
    # The search is no blind one: it finds them where they are.
    kept = search([site.root / "inbox", site.log_root], lambda data: bool(find(data))).found
    assert {"vitals.csv", "VitalSignMeasured.avro", "quarantine.avro"} <= {
        path.name for path, _ in kept
    }


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_nothing_of_a_patient_reaches_prefect_or_a_pack_wherever_a_library_fails(
    hospital: Path, tmp_path: Path
) -> None:
    shutil.copytree(hospital, tmp_path / "made")
    plant(tmp_path / "made" / "deliveries", PLANTED)
    site = _site(tmp_path / "site", tmp_path / "made")
    deliver(site, tmp_path / "made", 1)
    home, temporary, told = tmp_path / "home", tmp_path / "tmp", tmp_path / "told.txt"
    temporary.mkdir()
    with own_server(home, is_whole=True) as server:
        settings = {**quiet_settings(site.prefect_home), "PREFECT_API_URL": server.wait()}
        values = [*PLANTED, str(UNIQUE_VALUE)]
        done = subprocess.run(
            [sys.executable, "-P", "-m", "tests.functional.deep_failures", str(site.config_path)],
            input="\n".join(values),
            env={**os.environ, **settings, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        time.sleep(3)  # events reach the server a moment later
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAILED")]
    ended = [json.loads(line[7 : line.index("]") + 1]) for line in lines]
    # Each library has quoted a value; the flow has told no more than what kind of end it was.
    assert [one[0] for one in ended] == [stage.name for stage in STAGES], done.stderr
    assert all(name != "Completed" and is_quoted for _, name, is_quoted in ended), ended
    assert "ENDED Completed" in done.stdout
    packs = [tmp_path / "pack", tmp_path / "pooled.duckdb", tmp_path / "keys"]
    packs[2].mkdir()
    with redirect_stdout(StringIO()) as said:
        answer = Reply("test", TextConsole())
        export_key(site.root, packs[2], answer)
        export(site.root, None, answer, is_preview=True)
        export(site.root, packs[0], answer, is_preview=False)
        pool([packs[0]], packs[1], packs[2], answer)
    told.write_text("\n".join([done.stdout, done.stderr, said.getvalue()]), encoding="utf-8")
    find = finder(values)
    assert not _found([told, temporary, home, *packs, *_shown(site)], find)
    states = search([home / "prefect.db"], lambda data: b"StageFailedError" in data).found
    assert states, "the server has learned of no failure"
