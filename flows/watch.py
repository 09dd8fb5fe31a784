"""`dripwatch watch`: start a refresh when an extract has arrived whole.

With a Prefect server an event is sent, which triggers the deployment; without, the refresh is run
as a child, so that a watch of years neither grows nor keeps old code.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from flows.arrival import Arrivals, Delivery, Folder
from flows.console import Console, plural
from flows.events import ARRIVED, send_event, site_resource
from flows.reply import ROOT, Reply, may_name
from flows.server import configured_url, require
from pipelines.base.errors import ConfigError, DeliveryError, ExitCode, LockedError, ServerError
from pipelines.base.files import make_private, write_durably
from pipelines.base.site import Site, load_site

#: After a try that failed for now: another run at work, a server that does not answer.
RETRY_SECONDS = 30.0
_COMMAND = "from flows.cli import main; main()"


class Watch:
    """The watch over one site's sources.

    Attributes:
        site: whose.
        api_url: the server that is told; empty where the refresh is run here.
        n_arrived: deliveries that were dealt with.
        exit_codes: of the refreshes run here.
    """

    def __init__(self, site: Site, console: Console, *, to_stderr: bool = False) -> None:
        self.site = site
        self.api_url = configured_url(site)
        self.n_arrived = 0
        self.exit_codes: list[int] = []
        self._console = console
        self._to_stderr = to_stderr
        self._folders = _folders(site)
        self._memory = site.restricted / "watch.json"
        self._arrivals = Arrivals(site.watch.stable_seconds, _known(self._memory))
        self._said = ""
        self._rests_until = 0.0

    def run(self, *, once: bool = False) -> None:
        """Look, and deal with what has arrived, until stopped.

        Args:
            once: stop as soon as nothing is left that has arrived or may still be growing.

        Errors:
            DeliveryError, ServerError: with `once` alone; else it is said, and tried again.
        """
        while True:
            try:
                is_done = self.look()
            except (DeliveryError, ServerError) as error:
                if once:
                    raise
                self._say_once(f"{error.what} Tries again.")
                self._rest()
                is_done = False
            if once and is_done:
                return
            time.sleep(self.site.watch.poll_seconds)

    def look(self) -> bool:
        """Look once; return whether nothing is left to do or to wait for.

        Errors:
            DeliveryError: a folder cannot be looked into.
            ServerError: the server does not take the event.
        """
        if time.monotonic() < self._rests_until:
            return False
        arrived = self._arrivals.look(self._folders, time.monotonic())
        if not arrived:
            if n_lacking := self._arrivals.n_lacking:
                self._say_once(
                    f"{plural(n_lacking, 'delivery lacks', 'deliveries lack')} files that "
                    "manifest.json names; waiting for them."
                )
            return not self._arrivals.is_waiting
        for folder, delivery in arrived:
            if folder.is_remote:
                folder.fetch(delivery)
        is_started = self._start([delivery for _, delivery in arrived])
        if is_started:
            self._remember(delivery for _, delivery in arrived)
        else:
            self._say_once("Another run is at work on this site; waiting for it.")
            self._rest()
        return is_started and not self._arrivals.is_waiting

    def _start(self, arrived: Sequence[Delivery]) -> bool:
        """Start a refresh; return whether it, or a later one, will read what has arrived."""
        sources = sorted({one.source.name for one in arrived})
        count = plural(len(arrived), "delivery", "deliveries")
        self._console.say(f"{count} of {', '.join(sources)} arrived.")
        if self.api_url:
            self._tell_server(arrived, sources)
            return True
        code = run_refresh(self.site, to_stderr=self._to_stderr)
        if code != ExitCode.LOCKED:
            self.exit_codes.append(code)
        return code != ExitCode.LOCKED

    def _tell_server(self, arrived: Sequence[Delivery], sources: list[str]) -> None:
        payload = {
            "site_id": self.site.site.id,
            "sources": sources,
            "n_deliveries": len(arrived),
            "n_files": sum(len(one.files) for one in arrived),
            "n_bytes": sum(one.n_bytes for one in arrived),
        }
        resource = {
            "prefect.resource.id": site_resource(self.site),
            "prefect.resource.name": self.site.site.id,
        }
        require(self.api_url)
        try:
            send_event(self.site, self.api_url, uuid4(), ARRIVED, resource, payload, wait=False)
        except Exception as error:  # whatever its client raises
            raise ServerError(
                f"The Prefect server did not take the event ({type(error).__name__}).",
                where=self.api_url,
                remedy="See the server's own log.",
                next_run="It is sent again; the nightly run reads what has arrived all the same.",
            ) from None
        self._console.say(f"Sent {ARRIVED}.")

    def _remember(self, arrived: Iterator[Delivery]) -> None:
        stamps = {one.stamp for one in arrived}
        self.n_arrived += len(stamps)
        self._arrivals.known |= stamps
        told = {"known": sorted(self._arrivals.known)}
        write_durably(self._memory, json.dumps(told).encode(), mode=0o600)
        self._said = ""

    def _say_once(self, text: str) -> None:
        if text != self._said:
            self._console.say(text)
            self._said = text

    def _rest(self) -> None:
        self._rests_until = time.monotonic() + RETRY_SECONDS


def _folders(site: Site) -> list[Folder]:
    """Return where each source delivers.

    Errors:
        ConfigError: [watch] fetch names no source, or one that cannot be fetched.
    """
    by_name = {source.name: source for source in site.source}
    for name in site.watch.fetch:
        if name not in by_name or by_name[name].layout == "folder":
            raise ConfigError(
                f"[watch] fetch names {name!r}, which "
                + ("is one folder" if name in by_name else "is no source")
                + ": deliveries are fetched folder by folder.",
                where=str(site.config_path),
                remedy="Name a [[source]] with layout = folder_per_delivery.",
            )
    return [Folder(site, source) for source in site.source]


def _known(memory: Path) -> set[str]:
    """Return what earlier watches dealt with; nothing where that cannot be read: all is told again.

    Telling again costs a refresh that finds nothing new.
    """
    try:
        return set(json.loads(memory.read_text(encoding="ascii"))["known"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def run_refresh(site: Site, *, to_stderr: bool = False) -> int:
    """Run a refresh as a child and return its exit code; the child ends before we do."""
    kept = os.environ.get("PYTHONPATH", "")
    paths = os.pathsep.join(path for path in (str(ROOT), kept) if path)
    arguments = ["refresh", "--config", str(site.config_path)]
    child = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-P", "-c", _COMMAND, *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=sys.stderr if to_stderr else None,
    )
    try:
        return child.wait()
    except BaseException:
        child.terminate()
        child.wait()
        raise


@contextmanager
def _alone(site: Site) -> Iterator[None]:
    """Be the only watch of a site: two would fetch one delivery over each other.

    Errors:
        LockedError: another one is at work.
    """
    path = make_private(site.restricted) / "watch.lock"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _lock(handle, path)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(
            "Another `dripwatch watch` is at work on this site.",
            where=str(path),
            remedy="One is enough; stop it first. The lock goes with its process.",
        ) from None


def watch_command(config: Path, answer: Reply, *, once: bool) -> None:
    """Watch a site until stopped, or once.

    Errors:
        DripwatchError: settings are wrong, or another watch is at work; with `once` also what
            keeps it from looking or telling.
    """
    site = load_site(config)
    may_name(site)
    with _alone(site):
        watch = Watch(site, answer.console, to_stderr=answer.as_json)
        how = f"tells {watch.api_url}" if watch.api_url else "runs the refresh itself"
        answer.console.say(
            f"Watching {plural(len(site.source), 'source')} of {site.site.id}; {how}."
        )
        watch.run(once=once)
    last = watch.exit_codes[-1] if watch.exit_codes else int(ExitCode.OK)
    answer.exit_code = ExitCode(last)
    answer.message = f"{plural(watch.n_arrived, 'delivery', 'deliveries')} had arrived."
    answer.result = {
        "n_arrived": watch.n_arrived,
        "exit_codes": watch.exit_codes,
        "told": watch.api_url or None,
    }
    answer.console.say(answer.message)
