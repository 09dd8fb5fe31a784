"""Runs that something goes wrong in, compared with the same nights undisturbed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pipelines.base import duck
from pipelines.base.site import Site, load_site
from pipelines.simulate import simulate
from tests.functional.refresh_site import deliver, make_site
from warehouse.digest import digest, table_digest

ROOT = Path(__file__).parents[2]
LAYER = Path(__file__).with_name("fault_layer.c")
NIGHTS = 6
#: More calls than a run has.
FOR_GOOD = 10**9


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        code: exit code, or the negative number of the signal that killed it.
        what: the error's text.
        seconds: how long it took.
        result: what a command answered that is no refresh.
    """

    code: int
    what: str = ""
    error_type: str = ""
    remarks: tuple[str, ...] = ()
    seconds: float = 0.0
    result: dict[str, Any] | None = None


@dataclass
class Runner:
    """Starts runs in processes of their own, with the fault layer below them where it was built."""

    process: subprocess.Popen[str]
    scratch: Path
    has_layer: bool

    def run(self, site: Site, *, kill_after: float | None = None, **order: Any) -> Outcome:
        """Run a refresh; kill it after some seconds where that is asked for."""
        answer, said = self.scratch / "answer.json", self.scratch / "said.txt"
        answer.unlink(missing_ok=True)
        told = {"root": str(site.root), "answer": str(answer), "said": str(said), **order}
        began = time.monotonic()
        self._tell(json.dumps(told))
        pid = int(self.hear())
        if kill_after is not None:
            time.sleep(kill_after)
            # It may have ended by itself, and then the zygote has reaped it already.
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        code = int(self.hear())
        seconds = time.monotonic() - began
        if not answer.exists():
            return Outcome(code, what=said.read_text(errors="replace"), seconds=seconds)
        ended = json.loads(answer.read_text())
        return Outcome(
            code,
            ended["what"],
            ended.get("type", ""),
            tuple(ended["remarks"]),
            seconds,
            ended.get("result"),
        )

    def trace(self, site: Site) -> Counter[tuple[str, str]]:
        """Run a refresh and return how often it did which kind of call in which place."""
        return Counter((call, area(site, path)) for call, path in self.calls(site))

    def calls(self, site: Site, **order: Any) -> list[tuple[str, str]]:
        """Run a refresh, or what is ordered; return kind and path of each call, one by one."""
        file = self.scratch / "trace.txt"
        file.unlink(missing_ok=True)
        ended = self.run(site, arm={"trace": [str(site.root), str(file)]}, **order)
        assert ended.code == 0, ended.what
        lines = file.read_text(errors="replace").splitlines()
        return [(call, path) for call, _, path in (line.partition("\t") for line in lines)]

    def _tell(self, line: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Return the zygote's next line."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, "the zygote has ended"
        return line.strip()


def area(site: Site, path: str) -> str:
    """Return the place that a path is in, so that places are the same in every run."""
    parts = list(Path(path).relative_to(site.root).parts) or ["."]
    if parts[0].startswith(".dripwatch-publish-"):
        return ".dripwatch-publish-"
    if parts[0] == "restricted":
        return "/".join(parts[: 3 if parts[1:2] == ["log"] else 2])
    return parts[0]


@pytest.fixture(scope="session")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """One zygote for all tests of a worker, above the fault layer if it can be built."""
    scratch = tmp_path_factory.mktemp("faults")
    layer = scratch / "layer.so"
    build = ["cc", "-shared", "-fPIC", "-O1", "-o", str(layer), str(LAYER), "-ldl"]
    is_built = bool(shutil.which("cc")) and not subprocess.run(build, check=False).returncode
    with started(scratch, layer if is_built else None) as found:
        yield found


@contextmanager
def started(scratch: Path, layer: Path | None, within: Sequence[str] = ()) -> Iterator[Runner]:
    """Start a zygote, in the surroundings that a command makes; it ends with its standard input."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("PREFECT_")}
    environment = kept | {"PYTHONPATH": str(ROOT), "TMPDIR": str(scratch)}
    if layer:
        environment["LD_PRELOAD"] = str(layer)
    with subprocess.Popen(
        [*within, sys.executable, "-P", "-m", "tests.functional.fault_zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        found = Runner(process, scratch, layer is not None)
        assert found.hear() == "ready"
        try:
            yield found
        finally:
            assert process.stdin
            process.stdin.close()


def needs_layer(runner: Runner) -> None:
    """Skip, loudly, where no C compiler is at hand."""
    if not runner.has_layer:
        pytest.skip("THE FAULT LAYER DID NOT RUN: there is no C compiler (`cc`) here")


@dataclass
class Stream:
    """Nights of a hospital, and the site after each of them, undisturbed.

    Attributes:
        hospital: what is delivered.
        before: site before night 1, 2, ...; read only.
        told: what the site says after night 1, 2, ...
        seconds: how long each night's run took.
    """

    hospital: Path
    root: Path
    runner: Runner
    told: list[dict[str, Any]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def before(self, night: int, folder: Path) -> Site:
        """Return a copy of the site as it was before a night, with the night delivered."""
        shutil.copytree(self.root / f"after-{night - 1}", folder)
        site = load_site(folder)
        deliver(site, self.hospital, night)
        return site


def make_stream(root: Path, runner: Runner, nights: int) -> Stream:
    """Run some nights undisturbed, and keep what the site was after each."""
    hospital = root / "hospital"
    simulate(8, "fault-tests", nights, 0.02, hospital)
    (root / "after-0").mkdir()
    make_site(root / "after-0", hospital)
    stream = Stream(hospital, root, runner)
    for night in range(1, nights + 1):
        site = stream.before(night, root / f"after-{night}")
        outcome = runner.run(site)
        assert outcome.code == 0, outcome.what
        stream.seconds.append(outcome.seconds)
        stream.told.append(told_by(site))
    return stream


@pytest.fixture(scope="session")
def short_stream(tmp_path_factory: pytest.TempPathFactory, runner: Runner) -> Stream:
    """Two nights; each trial starts before the second one."""
    return make_stream(tmp_path_factory.mktemp("stream"), runner, 2)


#: Schemas of the published file that say what was found, but for who wrote it when.
_PUBLISHED = ("analysis", "linkage", "quality", "reference", "signals")
#: Schemas of the store that the next night starts from.
_KEPT = ("event", "ledger", "linkage", "signals")


def told_by(site: Site) -> dict[str, Any]:
    """Return everything that must be the same whatever went wrong on the way."""
    with duck.connect(site.warehouse, read_only=True) as con:
        published = digests(con, site.warehouse.stem, _PUBLISHED)
        facts = con.execute("SELECT * FROM ops.state WHERE name <> 'published_by_run'").fetchall()
        batches = con.execute("SELECT batch_id FROM ops.batch ORDER BY ALL").fetchall()
    with duck.connect(site.store_path, read_only=True) as con:
        kept = digests(con, site.store_path.stem, _KEPT)
        outbox = dict(
            con.execute("SELECT message_key, sent_at IS NOT NULL FROM ops.outbox").fetchall()
        )
        applied = con.execute("SELECT batch_id FROM ops.batch ORDER BY ALL").fetchall()
    committed = sorted(path.name for path in (site.log_root / "committed").iterdir())
    assert [(one,) for one in committed] == batches == applied
    assert all(outbox.values()), "a message still waits"
    assert outbox.keys() >= set(committed)
    return {
        "state": digest(site.warehouse, "state").value,
        "history": digest(site.warehouse, "history").value,
        "published": published,
        "facts": sorted(facts),
        "kept": kept,
        "batches": committed,
        "outbox": sorted(outbox),
    }


def digests(con: Any, catalog: str, schemas: tuple[str, ...]) -> dict[str, str]:
    """Return the digest of every table of some schemas."""
    rows = con.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE schema_name IN ? ORDER BY ALL",
        [list(schemas)],
    ).fetchall()
    return {f"{s}.{t}": table_digest(con, catalog, s, t) for s, t in rows}


def left_behind(site: Site) -> list[str]:
    """Return what a run must not leave: scratch files, half-written files, folders beside."""
    folders = (site.staging, site.shards, site.spill, site.log_root / "tmp")
    scratch = [path for folder in folders if folder.exists() for path in folder.rglob("*")]
    beside = [*site.root.rglob("*.tmp*"), *site.root.glob(".dripwatch-publish-*")]
    return sorted(str(path.relative_to(site.root)) for path in {*scratch, *beside})


def sent_twice(site: Site) -> dict[str, int]:
    """Return the messages that were received more than once."""
    keys = (site.root / "received.txt").read_text().split()
    return {key: count for key, count in Counter(keys).items() if count > 1}


@contextmanager
def trial(stream: Stream, night: int, folder: Path) -> Iterator[Site]:
    """Lend a site before a night; after the block, one more run must put everything right."""
    site = stream.before(night, folder)
    yield site
    if night > 1:
        is_old = digest(site.warehouse).value == stream.told[night - 2]["state"]
        is_new = digest(site.warehouse).value == stream.told[night - 1]["state"]
        assert is_old or is_new, "the published file is neither the old nor the new one"
    again = stream.runner.run(site)
    assert again.code == 0, again.what
    assert told_by(site) == stream.told[night - 1]
    assert left_behind(site) == []
    shutil.rmtree(folder)
