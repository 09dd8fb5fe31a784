"""Whoever queries the published file in a loop meets no error and no half state, all night long."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pipelines.simulate import simulate
from tests.functional.fault_kit import ROOT, Runner, runner
from tests.functional.refresh_site import deliver, make_site
from warehouse.query import open_reader

__all__ = ["runner"]

#: What one publication says of itself, in two questions with a moment between them.
STATE = "SELECT value FROM ops.state WHERE name = 'state_hash'"
CONTENT = """
SELECT (SELECT count(*) FROM ops.batch), (SELECT sum(n_accepted) FROM quality.reconciliation),
    (SELECT count(*) FROM linkage.unit_outcome), (SELECT sum(hash(e)) FROM linkage.evidence AS e),
    (SELECT sum(hash(r)) FROM signals.risk AS r), (SELECT sum(n) FROM linkage.attrition)
"""

READER = textwrap.dedent(
    """
    import json, sys, time
    from pathlib import Path
    from warehouse.query import open_reader

    path, stop = Path(sys.argv[1]), Path(sys.argv[2])
    n_opened, met = 0, {}
    while not stop.exists():
        with open_reader(path) as con:
            [(state,)] = con.execute(sys.argv[3]).fetchall()
            time.sleep(0.02)
            [content] = con.execute(sys.argv[4]).fetchall()
        met.setdefault(state, set()).add(str(content))
        n_opened += 1
        if n_opened == 1:
            print("ready", flush=True)
    print(json.dumps({"n_opened": n_opened, "met": {k: sorted(v) for k, v in met.items()}}))
    """
)


@pytest.mark.parametrize(
    "n_refreshes", [pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(4 * 3600)])]
)
def test_readers_in_a_loop_meet_whole_publications_and_no_error(
    tmp_path: Path, runner: Runner, n_refreshes: int
) -> None:
    hospital, stop = tmp_path / "hospital", tmp_path / "stop"
    simulate(4, "readers", n_refreshes + 1, 0.02, hospital)
    (tmp_path / "site").mkdir()
    site = make_site(tmp_path / "site", hospital)
    command = [sys.executable, "-P", "-c", READER, str(site.warehouse), str(stop), STATE, CONTENT]
    published: dict[str, list[str]] = {}
    readers = []
    try:
        for night in range(1, n_refreshes + 2):
            deliver(site, hospital, night)
            ended = runner.run(site)
            assert ended.code == 0, ended.what
            with open_reader(site.warehouse) as con:
                [(state,)] = con.execute(STATE).fetchall()
                published[state] = [str(con.execute(CONTENT).fetchall()[0])]
            if night == 1:
                readers = [
                    subprocess.Popen(
                        command,
                        stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE,
                        text=True,
                        cwd=ROOT,
                        env={"PYTHONPATH": str(ROOT)},
                    )
                    for _ in range(2)
                ]
                assert [reader.stdout.readline() for reader in readers if reader.stdout] == [
                    "ready\n"
                ] * 2
    finally:
        stop.touch()
        told = [reader.communicate(timeout=60) for reader in readers]
    assert len(published) == n_refreshes + 1
    for reader, (out, errors) in zip(readers, told, strict=True):
        assert reader.returncode == 0, errors
        found = json.loads(out)
        assert found["n_opened"] > n_refreshes
        assert len(found["met"]) > min(n_refreshes, 20) / 2
        assert found["met"].items() <= published.items()
