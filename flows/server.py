"""A Prefect server: is the configured one there, and one of our own for the demo.

Our own server is a child that lives as long as the pipe to us: it goes when we end, however we
end. `python -m flows.server PORT` is that child.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pipelines.base.errors import ServerError
from pipelines.base.files import make_private
from pipelines.base.site import PrefectTable

START_SECONDS = 120.0
#: Folder in PREFECT_HOME where Prefect keeps what tasks returned or raised.
STORAGE = "storage"


class Served(Protocol):
    """Whose flows a server runs: a site, or a coordinator."""

    @property
    def prefect(self) -> PrefectTable:
        """Which server."""

    @property
    def prefect_home(self) -> Path:
        """PREFECT_HOME of its flows."""

    @property
    def config_path(self) -> Path:
        """Its site.toml or coordinator.toml."""


def quiet_settings(home: Path) -> dict[str, str]:
    """Return the environment under which Prefect keeps to itself: no telemetry, own folder."""
    return {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        # Without a server Prefect would start a hidden one; we run in-process instead.
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
        # Logs and tracebacks of libraries can quote values: they stay in this process.
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        # Failures are written whatever is asked for; `refresh` removes this folder at its end.
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(home / STORAGE),
    }


def configured_url(site: Served) -> str:
    """Return the API address of the server in force: the environment's, else the site's."""
    return os.environ.get("PREFECT_API_URL", "").strip() or site.prefect.api_url.strip()


def enter_quiet(site: Served) -> None:
    """Set this process' environment before Prefect is imported for the first time."""
    os.environ.update(quiet_settings(make_private(site.prefect_home)))


def answers(api_url: str, timeout: float = 5.0) -> bool:
    """Tell whether a Prefect server answers at this address."""
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=timeout) as reply:  # noqa: S310 - the user's own server
            return bool(reply.status < 300)
    except urllib.error.HTTPError as error:
        return error.code < 500 and error.code != 404
    except (OSError, ValueError):
        return False


def require(api_url: str) -> None:
    """Check that the configured server answers.

    Errors:
        ServerError: it does not.
    """
    if not answers(api_url):
        raise ServerError(
            "The configured Prefect server does not answer.",
            where=api_url,
            remedy="Start it, or empty PREFECT_API_URL and [prefect] api_url to run in-process.",
            next_run="Nothing was read; the next run starts where this one would have.",
        )


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class OwnServer:
    """A Prefect server of our own that is starting or up.

    Attributes:
        api_url: the address of its API.
    """

    def __init__(self, child: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.api_url = f"http://127.0.0.1:{port}/api"
        self._child = child
        self._log = log

    def wait(self, seconds: float = START_SECONDS) -> str:
        """Wait until it answers and return the address of its API.

        Errors:
            ServerError: it did not start in time.
        """
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and self._child.poll() is None:
            if answers(self.api_url, timeout=1.0):
                return self.api_url
            time.sleep(0.1)
        raise ServerError(
            "Our own Prefect server did not start.",
            where=str(self._log),
            remedy="Read that log; a second try starts faster.",
        )


@contextmanager
def own_server(home: Path, *, is_whole: bool = False) -> Iterator[OwnServer]:
    """Run a Prefect server of our own on 127.0.0.1 while the `with` block lasts.

    Args:
        home: PREFECT_HOME of the server, made 0700.
        is_whole: with its web pages and its scheduler, which a demo does not need.

    Yields:
        The server, still starting: a first start makes its database. `wait` for it.
    """
    port = free_port()
    log = make_private(home) / "server.log"
    with log.open("wb") as stream:
        child = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", "flows.server", str(port)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=stream,
            env=server_environment(home, os.environ) | (_WHOLE if is_whole else {}),
            start_new_session=True,  # ctrl-C is for us; we stop the server in order
        )
        try:
            yield OwnServer(child, port, log)
        finally:
            _stop(child)


def server_environment(home: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of our own server: quiet, and without what it need not serve."""
    kept = {name: text for name, text in environment.items() if not name.startswith("PREFECT_")}
    # The child must find the same packages as we do, wherever they were imported from.
    paths = [str(Path(__file__).parents[1]), kept.get("PYTHONPATH", "")]
    return {
        **kept,
        **quiet_settings(home),
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PREFECT_SERVER_UI_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    }


#: What `server_environment` leaves out.
_WHOLE = {
    "PREFECT_SERVER_UI_ENABLED": "true",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "true",
}


def _stop(child: subprocess.Popen[bytes]) -> None:
    if child.stdin:
        child.stdin.close()
    try:
        child.wait(timeout=10)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def serve(port: int) -> None:  # pragma: no cover - runs in the child
    """Serve Prefect's API until standard input ends."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(
            "prefect.server.api.server:create_app",
            factory=True,
            host="127.0.0.1",
            port=port,
            log_level="error",
            timeout_graceful_shutdown=3,
        )
    )

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        server.should_exit = True
        time.sleep(6)
        os._exit(0)

    threading.Thread(target=end_with_parent, daemon=True).start()
    server.run()


if __name__ == "__main__":  # pragma: no cover - runs in the child
    serve(int(sys.argv[1]))
