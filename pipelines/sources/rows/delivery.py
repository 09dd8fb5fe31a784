"""What every delivery says about itself, whatever it holds: its times, its facts, its files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import stat
import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import schemas
from pipelines.base import duck, zones
from pipelines.base.errors import DeliveryError
from pipelines.base.site import Site
from pipelines.ingest.batch import batch_id
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts, DeliveryKind
from pipelines.sources.rows import sql
from pipelines.sources.rows.content import no_plain_file, open_plain
from pipelines.sources.rows.folders import AGAIN, DeliveryFolder, listing, shown
from pipelines.sources.rows.model import ToldTime
from pipelines.sources.rows.stage import Scope, is_whole

_RFC3339 = re.compile(
    r"[12]\d{3}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?(Z|[+-]\d\d:\d\d)"
)
#: How far a delivery may say it is complete beyond its export: clocks and whole days differ.
_AHEAD = timedelta(days=1)

Key = tuple[str, ...]


class ReadMapping(Protocol):
    """What a delivery's facts need of the mapping that reads it."""

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The kinds of patient identifier that it makes keys of patients from, sorted."""

    def content_hash(self, site_zone: str) -> str:
        """Return the SHA-256 of all that it decides."""


def scope_hash(scope: Scope) -> str:
    """Return the SHA-256 of the codes in scope; order and repeats don't count."""
    if scope == "all":
        return hashlib.sha256(b'"all"').hexdigest()
    codes = sorted({tuple(row[:4]) for row in scope})
    if is_whole(scope):
        codes.append(("all",))
    return hashlib.sha256(json.dumps(codes).encode()).hexdigest()


def facts_of(
    delivery: DeliveryFolder,
    mapping: ReadMapping,
    site: Site,
    scope: Scope,
    *,
    kind: DeliveryKind,
    exported_at: datetime,
    data_through: Mapping[str, datetime],
    files: Sequence[DeliveredFile],
    parser_version: str,
    remarks: Sequence[str] = (),
) -> DeliveryFacts:
    """Return the facts of a delivery under the identity that they make.

    Errors:
        DeliveryError: it claims to be complete up to a time after it was written.
    """
    for event_type, through in data_through.items():
        if through > exported_at + _AHEAD:
            raise _ahead(delivery, event_type)
    facts: dict[str, Any] = {
        "site_id": site.site.id,
        "source": delivery.source.name,
        "kind": kind,
        "exported_at": exported_at,
        "data_through": dict(data_through),
        "files": tuple(files),
        "mapping_hash": mapping.content_hash(site.site.zone),
        "scope_hash": scope_hash(scope),
        "parser_version": parser_version,
    }
    return DeliveryFacts(
        batch_id=batch_id(**facts),
        namespaces=mapping.namespaces,
        remarks=tuple(remarks),
        **facts,
    )


def _ahead(delivery: DeliveryFolder, event_type: str) -> DeliveryError:
    return DeliveryError(
        f"data_through of {event_type} is more than a day later than exported_at: an extract "
        "cannot be complete up to a time after it was written.",
        where=f"{delivery.where}, data_through.{event_type}",
        remedy="Ask the sender which of the two is wrong; look for a mistyped year or zone.",
        next_run=AGAIN,
    )


def plain_files(delivery: DeliveryFolder, aside: set[str | None]) -> list[Path]:
    """Return the files of a delivery by name, but for those that stand aside.

    Errors:
        DeliveryError: something there is no plain file.
    """
    with listing(delivery.where):
        paths = [path for path in shown(delivery.path) if path.name not in aside]
        for number, path in enumerate(paths, start=1):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise no_plain_file(f"{delivery.where}, entry {number} of {len(paths)} by name")
    return paths


def no_data(delivery: DeliveryFolder) -> DeliveryError:
    """Return the error for a delivery without a file of data."""
    return DeliveryError(
        "A delivery holds no data file.",
        where=delivery.where,
        remedy="Deliver the files, remove the empty folder, or configure a `marker`.",
        next_run=AGAIN,
    )


def each_once(told: Sequence[DeliveredFile], delivery: DeliveryFolder) -> list[DeliveredFile]:
    """Return each content once: a copy of a file is the same file.

    Errors:
        DeliveryError: one content is delivered in two roles.
    """
    found: dict[str, DeliveredFile] = {}
    for number, file in enumerate(told, start=1):
        other = found.setdefault(file.sha256, file)
        if other.role != file.role:
            raise DeliveryError(
                f"One content is delivered as {other.role} and as {file.role}.",
                where=f"{delivery.where}, file {number} of {len(told)} by name",
                remedy="Ask the sender which of the two it is.",
                next_run=AGAIN,
            )
    return list(found.values())


def sidecars(told: Sequence[ToldTime]) -> set[str | None]:
    """Return the names of the files that only tell times of the delivery."""
    return {source.sidecar for source in told}


class Clock:
    """Reads the times that a delivery tells about itself.

    Attributes:
        delivery: the delivery.
        zone: of times that are told without an offset.
    """

    def __init__(
        self,
        delivery: DeliveryFolder,
        zone: str,
        within: Callable[[Clock, Any, Key], datetime | None],
    ) -> None:
        """Make a clock.

        Args:
            delivery: the delivery.
            zone: of times without offset.
            within: reads a time out of the files of this kind of source; None where the
                mapping tells the time in a way that every kind knows.
        """
        self.delivery, self.zone = delivery, zone
        self._within = within
        self._sidecar: dict[str, dict[str, Any]] = {}
        self._found: dict[ToldTime, datetime] = {}

    def read(self, source: ToldTime, key: Key) -> datetime:
        """Return the time as an aware UTC instant.

        Errors:
            DeliveryError: the delivery does not tell it.
        """
        if source in self._found:
            return self._found[source]
        if (own := self._within(self, source, key)) is not None:
            self._found[source] = own
            return own
        zone = source.zone or self.zone
        text = source.literal if source.sidecar is None else self._beside(source.sidecar, key)
        if (moment := instant(text or "", zone)) is None:
            raise self.untold(key, "The sidecar's time cannot be read.", "2026-01-06T02:00:00Z")
        return moment

    def untold(self, key: Key, what: str, example: str) -> DeliveryError:
        """Return the error for a time that the delivery does not tell."""
        return DeliveryError(
            what,
            where=f"{self.delivery.where}, {'.'.join(key)}",
            remedy=f"Ask the sender for it, written like {example}.",
            next_run=AGAIN,
        )

    def _beside(self, name: str, key: Key) -> str:
        if name not in self._sidecar:
            try:
                with open_plain(self.delivery.path / name) as stream:
                    self._sidecar[name] = tomllib.load(stream)
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
                what = f"The sidecar {name} is not there or is no TOML."
                raise self.untold(key, what, "exported_at = 2026-01-06T02:00:00Z") from None
        told: Any = self._sidecar[name].get(key[0])
        if len(key) > 1:
            table = told if isinstance(told, dict) else {}
            told = table.get(key[1], table.get("default"))
        if isinstance(told, datetime):
            return told.isoformat()
        if not isinstance(told, str):
            what = f"The sidecar {name} does not tell {'.'.join(key)}."
            raise self.untold(key, what, f"{key[-1]} = 2026-01-06T00:00:00Z")
        return told


def data_through(
    clock: Clock, told: Mapping[str, ToldTime], event_types: set[str]
) -> dict[str, datetime]:
    """Return, for each of the event types in the order of schemas, up to when it is complete."""
    found = {}
    for name in (t for t in schemas.CLINICAL_TYPES if t in event_types):
        key = name if name in told else "default"
        found[name] = clock.read(told[key], ("data_through", name))
    return found


def utc_query(aggregate: str, text: str, pattern: str, zone: str, rows: str = "delivered") -> str:
    """Return SQL for an aggregate of the UTC instants that a text of each row tells."""
    local = sql.local_time("t", pattern)
    minutes = sql.offset_minutes(sql.offset_text("t", pattern))
    at = sql.in_calendar(sql.utc("l", "m", duck.literal(zone)))
    return (
        f"SELECT {aggregate}({at}) FROM (SELECT {local} AS l, "
        f"CASE WHEN {sql.time_kind('t', pattern, 'auto')} = 'instant' THEN {minutes} END AS m "
        f"FROM (SELECT {text} AS t FROM {rows}))"
    )


@cache
def instant(text: str, zone: str) -> datetime | None:
    """Return an instant told as text; each inbox tells the same few, every night again."""
    if _RFC3339.fullmatch(text):
        # With an offset no zone is needed; a connection costs more than all else here.
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(text).astimezone(UTC)
    con = duck.connect(threads=1)
    try:
        zones.install(con)
        con.execute("CREATE TEMP TABLE delivered AS SELECT $1::VARCHAR AS told", [text])
        row = con.execute(utc_query("any_value", "told", "iso", zone)).fetchone()
    finally:
        con.close()
    found: datetime | None = row[0] if row else None
    return found.replace(tzinfo=UTC) if found else None
