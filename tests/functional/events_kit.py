"""Receivers on 127.0.0.1 for what is announced, and a worker of a Prefect server."""

from __future__ import annotations

import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message as Mail
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pipelines.base.site import Site


class Received:
    """What arrived at a webhook and at a mail server, both of the test's own.

    Attributes:
        posts: the bodies of requests.
        mails: e-mails, one per recipient.
        status: what the webhook answers.
    """

    def __init__(self) -> None:
        self.posts: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.mails: list[Mail] = []
        self.status = 200
        self.webhook = ""
        self.mail = ""


@pytest.fixture
def received() -> Iterator[Received]:
    """Listen for posts and mails on 127.0.0.1 while the test runs."""
    found = Received()
    with _serving(ThreadingHTTPServer(("127.0.0.1", 0), _web(found))) as port:
        found.webhook = f"http://127.0.0.1:{port}/alerts"
        with _serving(_Server(("127.0.0.1", 0), _smtp(found))) as mail_port:
            found.mail = (
                f"mailto://127.0.0.1:{mail_port}?from=dripwatch@north.example"
                "&to=safety@north.example&mode=insecure"
            )
            yield found


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def _serving(server: Any) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _web(found: Received) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if found.status == 200:
                found.headers.append(dict(self.headers))
                found.posts.append(body)
            self.send_response(found.status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def _smtp(found: Received) -> type[socketserver.StreamRequestHandler]:
    """Return a mail server of six commands; RFC 5321 needs no more to take a message."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self._say("220 north.example")
            while line := self.rfile.readline():
                command = line.strip().upper()
                if command == b"DATA":
                    self._say("354 go on")
                    found.mails.append(message_from_bytes(self._body()))
                self._say("221 bye" if command == b"QUIT" else "250 ok")
                if command == b"QUIT":
                    return

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

        def _body(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) not in (b".\r\n", b""):
                lines.append(line)
            return b"".join(lines)

    return Handler


def wait_for(is_so: Callable[[], object], seconds: float) -> float:
    """Wait until something is so; return how long that took; fail where it never is."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < seconds, "it never came to that"
        time.sleep(0.1)
    return time.monotonic() - began


@contextmanager
def running(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a Python module while the `with` block lasts; it is told to stop, and must."""
    child = subprocess.Popen(
        [sys.executable, "-P", "-W", "ignore", *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(timeout=30)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise


def site_with(site: Site, **tables: dict[str, object]) -> Site:
    """Return a site with other settings in some tables."""
    found = site.model_dump()
    for name, table in tables.items():
        found[name] = {**found[name], **table}
    return Site.model_validate(found).model_copy(update={"config_path": site.config_path})
