"""Readers never notice a publication: no error, no torn read, whatever is published meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.store_batches import make_site
from warehouse.models import model
from warehouse.publish import publish
from warehouse.results import ARROW_TYPES
from warehouse.store import Store

ROOT = Path(__file__).parents[2]
N_PUBLICATIONS = 4
N_ROWS = 2_000

#: Opens the file again and again; each time two tables must tell of one and the same publication.
READER = textwrap.dedent(
    """
    import json, sys
    from pathlib import Path
    from warehouse.query import open_reader

    path, stop = Path(sys.argv[1]), Path(sys.argv[2])
    opened = 0
    seen, torn = set(), []
    while not stop.exists():
        with open_reader(path) as con:
            [(n, low, high)] = con.execute(
                "SELECT count(*), min(n), max(n) FROM linkage.attrition").fetchall()
            [(run,)] = con.execute(
                "SELECT value FROM ops.state WHERE name = 'published_by_run'").fetchall()
            again = con.execute("SELECT min(n), max(n) FROM linkage.attrition").fetchall()
        if low != high or n != int(sys.argv[3]) or str(low) != run or again != [(low, high)]:
            torn.append((n, low, high, run))
        if not opened:
            print("ready", flush=True)
        opened += 1
        seen.add(low)
    print(json.dumps({"opened": opened, "seen": sorted(seen), "torn": torn}))
    """
)


def load(store: Store, folder: Path, number: int) -> None:
    """Rows that all say the number of their publication."""
    found = model("linkage.attrition")
    schema = pa.schema([(c.name, ARROW_TYPES[c.type]) for c in found.columns if c.name != "run_id"])
    columns = {
        "study_id": ["s"] * N_ROWS,
        "site_id": ["north"] * N_ROWS,
        "step_number": list(range(N_ROWS)),
        "step": ["x"] * N_ROWS,
        "n": [number] * N_ROWS,
    }
    path = folder / "attrition.parquet"
    pq.write_table(pa.table(columns, schema=schema), path)
    store.load_linkage({"linkage.attrition": [path]}, f"run-{number}")


@pytest.mark.slow
def test_two_readers_in_a_loop_see_no_error_and_no_torn_read(tmp_path: Path) -> None:
    site, stop = make_site(tmp_path), tmp_path / "stop"
    with Store(site) as store:
        load(store, tmp_path, 0)
        publish(store, site, "0")
        command = [sys.executable, "-c", READER, str(site.warehouse), str(stop), str(N_ROWS)]
        readers = [
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        try:
            for reader in readers:
                assert reader.stdout
                assert reader.stdout.readline() == "ready\n"
            for number in range(1, N_PUBLICATIONS + 1):
                load(store, tmp_path, number)
                publish(store, site, str(number))
        finally:
            stop.touch()
            ended = [reader.communicate(timeout=60) for reader in readers]
    for reader, (out, errors) in zip(readers, ended, strict=True):
        assert reader.returncode == 0, errors
        told = json.loads(out)
        assert told["torn"] == []
        assert told["opened"] > N_PUBLICATIONS / 2
        assert len(told["seen"]) > 2, "the reader must have met several publications"


def test_a_reader_keeps_the_file_that_it_opened(tmp_path: Path) -> None:
    from warehouse.query import open_reader

    site = make_site(tmp_path)
    question = "SELECT DISTINCT n FROM linkage.attrition"
    with Store(site) as store:
        load(store, tmp_path, 1)
        publish(store, site, "1")
        with open_reader(site.warehouse) as early:
            assert early.execute(question).fetchall() == [(1,)]
            load(store, tmp_path, 2)
            publish(store, site, "2")
            assert early.execute(question).fetchall() == [(1,)]
            with open_reader(site.warehouse) as late:
                assert late.execute(question).fetchall() == [(2,)]


def test_a_publication_killed_anywhere_leaves_the_old_file_whole(tmp_path: Path) -> None:
    """SIGKILL before each of the steps that touch the disk: the file is the old one or the new."""
    site = make_site(tmp_path)
    script = textwrap.dedent(
        """
        import os, signal, sys
        from pathlib import Path
        import warehouse.publish as publishing
        from tests.unit.store_batches import make_site
        from warehouse.store import Store

        def die(*args, **kwargs):
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(publishing, sys.argv[2], die)
        site = make_site(Path(sys.argv[1]))
        with Store(site) as store:
            publishing.publish(store, site, "killed")
        """
    )
    with Store(site) as store:
        load(store, tmp_path, 1)
        publish(store, site, "1")
        load(store, tmp_path, 2)
    before = site.warehouse.read_bytes()
    for step in ("_build", "_fill", "replace_durably"):
        killed = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path), step],
            capture_output=True,
            check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert killed.returncode == -9, killed.stderr
        assert site.warehouse.read_bytes() == before
    assert list(tmp_path.glob(".dripwatch-publish-*"))
    with Store(site) as store:
        assert store.rebuilt_because is None
        publish(store, site, "2")
    assert not list(tmp_path.glob(".dripwatch-publish-*"))
    assert site.warehouse.read_bytes() != before
