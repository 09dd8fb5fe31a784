"""The outbox: what must be announced is written in the transaction that gives rise to it.

A message lies in `ops.outbox` from then on, and is sent at least once. What happened to it since is
kept in `restricted/outbox.jsonl`, which is only added to: an acknowledgement must outlive a store
that is made anew, or the message would be sent again. Where the two differ, the file is right.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from pipelines.base.duck import insert
from pipelines.base.files import append_line
from pipelines.base.site import Site

_COLUMNS = (
    "message_key, site_id, channel, subject, body, run_id, message_number, created_at, n_attempts"
)


@dataclass(frozen=True)
class Message:
    """What is announced. Neither subject nor body holds any value, id or date of a patient.

    Attributes:
        key: the same for the same fact, however often it is found out; see `message_key`.
        site_id: the hospital.
        channel: name of the channel that sends it.
        subject: one line for people.
        body: text, or JSON where the channel wants it.
        run_id: the run that wrote it.
    """

    key: str
    site_id: str
    channel: str
    subject: str
    body: str
    run_id: str


def message_key(*parts: object) -> str:
    """Return a key for what a message tells: 32 hex digits, equal for equal parts."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:32]


def put(con: duckdb.DuckDBPyConnection, messages: Iterable[Message]) -> int:
    """Add messages to the outbox of the store in use; the caller holds the transaction.

    A message whose key is there already, sent or not, is not added again.

    Returns:
        the number of messages added.
    """
    given = {message.key: message for message in messages}
    rows = con.execute("SELECT message_key, message_number FROM ops.outbox").fetchall()
    known = {key for key, _ in rows}
    last = max((number for _, number in rows), default=0)
    new = [message for key, message in given.items() if key not in known]
    now = datetime.now(UTC).replace(tzinfo=None)
    numbered = enumerate(new, start=last + 1)
    insert(con, f"ops.outbox ({_COLUMNS})", (_row(one, number, now) for number, one in numbered))
    return len(new)


def _row(message: Message, number: int, created_at: datetime) -> tuple[object, ...]:
    told = (message.key, message.site_id, message.channel, message.subject, message.body)
    return (*told, message.run_id, number, created_at, 0)


def waiting(con: duckdb.DuckDBPyConnection) -> list[Message]:
    """Return the messages that nobody has acknowledged, in the order in which they were put."""
    rows = con.execute(
        "SELECT message_key, site_id, channel, subject, body, run_id FROM ops.outbox "
        "WHERE sent_at IS NULL ORDER BY message_number"
    ).fetchall()
    return [Message(*row) for row in rows]


def journal(site: Site) -> Path:
    """Return the path of the file that knows what was sent."""
    return site.restricted / "outbox.jsonl"


def note_attempt(site: Site, message: Message) -> None:
    """Note, on the disk, that a message is about to be sent.

    Errors:
        OSError: the file cannot be written; then it must not be sent, or it might be sent again.
    """
    _note(site, {"tried": message.key})


def acknowledge(site: Site, message: Message) -> None:
    """Note, on the disk, that a message has arrived; from here on it is not sent again.

    Errors:
        OSError: the file cannot be written.
    """
    _note(site, {"sent": message.key, "at": datetime.now(UTC).isoformat()})


def synchronise(con: duckdb.DuckDBPyConnection, site: Site) -> None:
    """Copy what the file says of attempts and arrivals into the store, and new messages to it.

    Args:
        con: the store in use, in a transaction of the caller.
        site: whose file.

    Errors:
        OSError: the file cannot be read or written.
    """
    known = _Journal(site)
    for message, number, created_at in _messages(con):
        if message.key not in known.written:
            told = {**vars(message), "number": number, "created_at": created_at.isoformat()}
            _note(site, {"put": told})
    known.update(con)


def restore(con: duckdb.DuckDBPyConnection, site: Site) -> None:
    """Fill the empty outbox of a store that is made anew from the file.

    Errors:
        OSError: the file cannot be read.
    """
    known = _Journal(site)
    rows = [
        _row(Message(**told), number, datetime.fromisoformat(created_at))
        for told, number, created_at in known.written.values()
    ]
    insert(con, f"ops.outbox ({_COLUMNS})", rows)
    known.update(con)


class _Journal:
    """What the file says: messages as they were put, attempts, and arrivals."""

    def __init__(self, site: Site) -> None:
        self.written: dict[str, tuple[dict[str, str], int, str]] = {}
        self.sent: dict[str, str] = {}
        self.n_attempts: dict[str, int] = {}
        for line in _lines(journal(site)):
            if told := line.get("put"):
                number, created_at = told.pop("number"), told.pop("created_at")
                self.written.setdefault(told["key"], (told, number, created_at))
            if key := line.get("tried"):
                self.n_attempts[key] = self.n_attempts.get(key, 0) + 1
            if key := line.get("sent"):
                self.sent.setdefault(key, line["at"])

    def update(self, con: duckdb.DuckDBPyConnection) -> None:
        """Set attempts and arrivals in the store, where it does not know them."""
        rows = con.execute("SELECT message_key FROM ops.outbox WHERE sent_at IS NULL").fetchall()
        for (key,) in rows:
            at = self.sent.get(key)
            sent_at = (
                datetime.fromisoformat(at).astimezone(UTC).replace(tzinfo=None) if at else None
            )
            con.execute(
                "UPDATE ops.outbox SET sent_at = ?, n_attempts = ? WHERE message_key = ?",
                [sent_at, self.n_attempts.get(key, 0), key],
            )


def _messages(con: duckdb.DuckDBPyConnection) -> Iterator[tuple[Message, int, datetime]]:
    rows = con.execute(
        "SELECT message_key, site_id, channel, subject, body, run_id, message_number, created_at "
        "FROM ops.outbox ORDER BY message_number"
    ).fetchall()
    for *cells, number, created_at in rows:
        yield Message(*cells), number, created_at


def _note(site: Site, told: dict[str, Any]) -> None:
    append_line(journal(site), json.dumps(told, ensure_ascii=True))


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of the file; one that a crash cut off says nothing."""
    if not path.exists():
        return
    for line in path.read_bytes().splitlines():
        try:
            told = json.loads(line)
        except ValueError:
            continue
        if isinstance(told, dict):
            yield told
