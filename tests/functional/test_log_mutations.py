"""A file of the log that was changed, and its hash with it: an error, or rows that pass as any."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.base import duck
from pipelines.base.errors import LogError, ReconciliationError
from pipelines.base.site import Site, load_site
from pipelines.ingest.changes import Nothing
from pipelines.ingest.log import EventLog
from pipelines.ingest.rewrite import rewrite
from tests.functional.refresh_site import hospital, run
from tests.functional.small_kit import one_night, small_site
from tests.log_kit import FACTS, VERDICT, stage
from tests.log_mutations import MUTATIONS, mutate
from warehouse import intake
from warehouse.batch import committed_batch
from warehouse.store import Store

__all__ = ["hospital", "one_night"]

ROOT = Path(__file__).parents[2]
#: Address space, most of it of libraries; what unpacks into gigabytes does not fit.
MOST_BYTES = 6 << 30


def judged(log: EventLog, store: Store, aside: Path) -> str:
    """What becomes of a log that is read, applied and written anew: an error's class, or `ok`."""
    store.con.execute("BEGIN")
    try:
        for manifest in log.verify():
            intake.apply_batch(store.con, committed_batch(log, manifest), None)
        rewrite(log, aside, Nothing())
    except (LogError, ReconciliationError) as error:
        # What is told of a file is where it is and what it should be; nothing that stands in it.
        return "quoted" if re.search("Jane|1969|DROP", str(error)) else type(error).__name__
    finally:
        store.con.execute("ROLLBACK")
        shutil.rmtree(aside, ignore_errors=True)
    return "ok"


def judge_all(site: Site, original: Path, seeds: range) -> Counter[tuple[str, str]]:
    """Change a log in one way after the other; return how each kind of change ended, how often."""
    found: Counter[tuple[str, str]] = Counter()
    log = EventLog(site.root / "changed" / "log")
    with Store(site) as store:
        for seed in seeds:
            shutil.copytree(original, log.root)
            (folder,) = (log.root / "committed").iterdir()
            done = mutate(seed, folder)
            print(done, flush=True)  # noqa: T201 - the last line says what ended in a crash
            found[done.split()[1], judged(log, store, log.root.with_name("log-2.building"))] += 1
            shutil.rmtree(log.root)
    return found


def test_changed_files_end_in_an_error_for_people_or_in_rows_that_add_up(
    hospital: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = EventLog(tmp_path / "log")
    with closing(duck.connect(threads=1)) as con:
        stage(con)
        for name in ("LabResulted", "InfusionRecorded"):
            con.execute(f"UPDATE event.{name} SET record_key = '{name}' || source_row")
        log.write(con, FACTS, VERDICT)
    log.commit(FACTS.batch_id)
    found = judge_all(small_site(tmp_path / "site", hospital), log.root, range(44))
    assert {kind for kind, _ in found} == {one.__name__ for one in MUTATIONS}
    ends = {end for _, end in found}
    assert {"LogError", "ok"} <= ends <= {"LogError", "ReconciliationError", "ok"}
    assert capfd.readouterr().err == ""  # nor do libraries say anything


_MANY = """
import json, resource, sys
from pathlib import Path
from pipelines.base.site import load_site
from tests.functional.test_log_mutations import MOST_BYTES, judge_all
resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
found = judge_all(load_site(Path(sys.argv[1])), Path(sys.argv[2]), range(500))
print(json.dumps([[*what, count] for what, count in found.items()]))
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_five_hundred_changed_files_of_a_night_end_so_within_bounds_of_memory(
    one_night: Site, hospital: Path, tmp_path: Path
) -> None:
    empty = small_site(tmp_path / "empty", hospital)
    done = subprocess.run(
        [sys.executable, "-c", _MANY, str(empty.root), str(one_night.log_root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=3000,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    assert done.stderr == ""
    found = json.loads(done.stdout.splitlines()[-1])
    print(*sorted(map(str, found)), sep="\n")  # noqa: T201
    assert sum(count for _, _, count in found) == 500
    assert {end for _, end, _ in found} == {"LogError", "ReconciliationError", "ok"}


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_night_over_rows_that_pass_ends_in_numbers_or_in_an_error_for_people(
    one_night: Site, tmp_path: Path
) -> None:
    """Of each kind of change that goes on being records, some; linked and published."""
    codes: Counter[str] = Counter()
    for seed in [one for one in range(300, 500) if one % len(MUTATIONS) in (0, 7, 10)][:30]:
        site = small_copy(one_night, tmp_path / "site")
        (folder,) = (site.log_root / "committed").iterdir()
        mutate(seed, folder)
        site.store_path.unlink()
        try:
            run(site)
            codes["ok"] += 1
        except (LogError, ReconciliationError) as error:
            codes[type(error).__name__] += 1
        shutil.rmtree(site.root)
    print(codes)  # noqa: T201
    assert codes["ok"] > 3


def small_copy(site: Site, folder: Path) -> Site:
    shutil.copytree(site.root, folder)
    return load_site(folder / "site.toml")
