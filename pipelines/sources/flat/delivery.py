"""What a delivery holds, and what it says about itself."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import json
import re
import stat
import tomllib
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import schemas
from pipelines.base import duck, zones
from pipelines.base.errors import DeliveryError
from pipelines.base.site import Site
from pipelines.ingest.batch import batch_id
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.sources.flat.mapping import Mapping
from pipelines.sources.flat.reader import load, open_flat
from pipelines.sources.rows import sql
from pipelines.sources.rows.content import content_hash, no_plain_file, open_plain
from pipelines.sources.rows.folders import AGAIN, DeliveryFolder, listing, shown
from pipelines.sources.rows.model import TimeSource
from pipelines.sources.rows.stage import Scope

#: Raised when the same file would be read differently: every batch then gets a new id.
PARSER_VERSION = "flat-2"

_RFC3339 = re.compile(
    r"[12]\d{3}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d{3}(\d{3})?)?)?(Z|[+-]\d\d:\d\d)"
)
#: How far a delivery may say it is complete beyond its export: clocks and whole days differ.
_AHEAD = timedelta(days=1)


def scope_hash(scope: Scope) -> str:
    """Return the SHA-256 of the codes in scope; order and repeats don't count."""
    codes = "all" if scope == "all" else sorted({tuple(row[:4]) for row in scope})
    return hashlib.sha256(json.dumps(codes).encode()).hexdigest()


def describe(delivery: DeliveryFolder, mapping: Mapping, site: Site, scope: Scope) -> DeliveryFacts:
    """Return what a delivery holds and declares; content is hashed once, as it is read.

    Errors:
        DeliveryError: a file matches no [[file]] or several, is damaged, or the delivery does
            not tell when it was exported or how far it is complete.
        MappingError: a column that tells a time is not in its file.
    """
    files = _files(delivery, mapping)
    clock = _Clock(delivery, mapping, site, files)
    told = mapping.table.delivery
    exported_at = clock.read(told.exported_at, ("exported_at",))
    delivered = {t for file in files for t in mapping.file(file.role).event_types}
    data_through = {}
    for name in (t for t in schemas.CLINICAL_TYPES if t in delivered):
        key = name if name in told.data_through else "default"
        data_through[name] = clock.read(told.data_through[key], ("data_through", name))
        if data_through[name] > exported_at + _AHEAD:
            raise _ahead(delivery, name)
    facts: dict[str, Any] = {
        "site_id": site.site.id,
        "source": delivery.source.name,
        "kind": told.kind,
        "exported_at": exported_at,
        "data_through": data_through,
        "files": tuple(files),
        "mapping_hash": mapping.content_hash(site.site.zone),
        "scope_hash": scope_hash(scope),
        "parser_version": PARSER_VERSION,
    }
    return DeliveryFacts(batch_id=batch_id(**facts), namespaces=mapping.namespaces, **facts)


def _ahead(delivery: DeliveryFolder, event_type: str) -> DeliveryError:
    return DeliveryError(
        f"data_through of {event_type} is more than a day later than exported_at: an extract "
        "cannot be complete up to a time after it was written.",
        where=f"{delivery.where}, data_through.{event_type}",
        remedy="Ask the sender which of the two is wrong; look for a mistyped year or zone.",
        next_run=AGAIN,
    )


def _files(delivery: DeliveryFolder, mapping: Mapping) -> list[DeliveredFile]:
    """Match each file to its [[file]]; a copy of a file is one file."""
    aside = _sidecars(mapping) | {delivery.source.marker}
    with listing(delivery.where):
        paths = [path for path in shown(delivery.path) if path.name not in aside]
        for number, path in enumerate(paths, start=1):
            if not stat.S_ISREG(path.lstat().st_mode):
                raise no_plain_file(f"{delivery.where}, entry {number} of {len(paths)} by name")
    if not paths:
        raise DeliveryError(
            "A delivery holds no data file.",
            where=delivery.where,
            remedy="Deliver the files, remove the empty folder, or configure a `marker`.",
            next_run=AGAIN,
        )
    found: dict[str, DeliveredFile] = {}
    for number, path in enumerate(paths, start=1):
        where = f"{delivery.where}, file {number} of {len(paths)} by name"
        sha256 = content_hash(path, where)
        role = _role(path, mapping, f"{where} (sha256 {sha256[:12]})")
        if sha256 in found and found[sha256].role != role:
            raise DeliveryError(
                f"One content is delivered as {found[sha256].role} and as {role}.",
                where=where,
                remedy="Ask the sender which of the two it is.",
                next_run=AGAIN,
            )
        found.setdefault(sha256, DeliveredFile(path, role, sha256))
    return list(found.values())


def _sidecars(mapping: Mapping) -> set[str | None]:
    told = mapping.table.delivery
    return {source.sidecar for source in (told.exported_at, *told.data_through.values())}


def _role(path: Path, mapping: Mapping, where: str) -> str:
    fits = [f.name for f in mapping.table.file if fnmatch.fnmatchcase(path.name, f.pattern)]
    if len(fits) == 1:
        return fits[0]
    what = f"matches the patterns of {' and '.join(fits)}" if fits else "matches no pattern"
    raise DeliveryError(
        f"A delivered file {what}.",
        where=where,
        remedy=f"Mend `pattern` in {mapping.path.name}, or take the file out of the delivery.",
        next_run=AGAIN,
    )


class _Clock:
    """Reads the times that a delivery tells about itself."""

    def __init__(
        self, delivery: DeliveryFolder, mapping: Mapping, site: Site, files: list[DeliveredFile]
    ) -> None:
        self.delivery, self.mapping, self.files = delivery, mapping, files
        self.zone = mapping.table.zone or site.site.zone
        self._sidecar: dict[str, dict[str, Any]] = {}
        self._maxima: dict[TimeSource, datetime] = {}

    def read(self, source: TimeSource, key: tuple[str, ...]) -> datetime:
        """Return the time as an aware UTC instant."""
        if source.column is not None:
            if source not in self._maxima:
                self._maxima[source] = self._maximum(source, key)
            return self._maxima[source]
        zone = source.zone or self.zone
        text = source.literal if source.sidecar is None else self._beside(source.sidecar, key)
        if (moment := _moment(text or "", zone)) is None:
            raise self._untold(key, "The sidecar's time cannot be read.", "2026-01-06T02:00:00Z")
        return moment

    def _untold(self, key: tuple[str, ...], what: str, example: str) -> DeliveryError:
        return DeliveryError(
            what,
            where=f"{self.delivery.where}, {'.'.join(key)}",
            remedy=f"Ask the sender for it, written like {example}.",
            next_run=AGAIN,
        )

    def _beside(self, name: str, key: tuple[str, ...]) -> str:
        if name not in self._sidecar:
            try:
                with open_plain(self.delivery.path / name) as stream:
                    self._sidecar[name] = tomllib.load(stream)
            except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
                what = f"The sidecar {name} is not there or is no TOML."
                raise self._untold(key, what, "exported_at = 2026-01-06T02:00:00Z") from None
        told: Any = self._sidecar[name].get(key[0])
        if len(key) > 1:
            table = told if isinstance(told, dict) else {}
            told = table.get(key[1], table.get("default"))
        if isinstance(told, datetime):
            return told.isoformat()
        if not isinstance(told, str):
            what = f"The sidecar {name} does not tell {'.'.join(key)}."
            raise self._untold(key, what, f"{key[-1]} = 2026-01-06T00:00:00Z")
        return told

    def _maximum(self, source: TimeSource, key: tuple[str, ...]) -> datetime:
        role = source.file or self.mapping.table.file[0].name
        rule, column = self.mapping.file(role), source.column or ""
        con = duck.connect()
        latest: list[datetime] = []
        try:
            zones.install(con)
            for number, told in enumerate(self.files, start=1):
                if told.role != role:
                    continue
                where = f"{self.delivery.where}, file {number}"
                file = open_flat(told.path, rule, where)
                self.mapping.check_delivery_column(role, column, key, file.header)
                name = file.sql_names()[column]
                query = _utc_query(
                    "max", sql.cell(name, rule.null), source.format, source.zone or self.zone
                )
                load(con, file, [column], f"CREATE OR REPLACE TEMP TABLE latest AS {query}")
                row = con.execute("SELECT * FROM latest").fetchone()
                latest += [row[0]] if row and row[0] else []
        finally:
            con.close()
        if not latest:
            raise self._untold(key, f"No row of {role} tells a time in its column.", "2026-01-06")
        return max(latest).replace(tzinfo=UTC)


def _utc_query(aggregate: str, text: str, pattern: str, zone: str) -> str:
    local = sql.local_time("t", pattern)
    minutes = sql.offset_minutes(sql.offset_text("t", pattern))
    instant = sql.in_calendar(sql.utc("l", "m", duck.literal(zone)))
    return (
        f"SELECT {aggregate}({instant}) FROM (SELECT {local} AS l, "
        f"CASE WHEN {sql.time_kind('t', pattern, 'auto')} = 'instant' THEN {minutes} END AS m "
        f"FROM (SELECT {text} AS t FROM delivered))"
    )


@cache
def _moment(text: str, zone: str) -> datetime | None:
    """Return an instant told as text; each inbox tells the same few, every night again."""
    if _RFC3339.fullmatch(text):
        # With an offset no zone is needed; a connection costs more than all else here.
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(text).astimezone(UTC)
    con = duck.connect()
    try:
        zones.install(con)
        con.execute("CREATE TEMP TABLE delivered AS SELECT $1::VARCHAR AS told", [text])
        row = con.execute(_utc_query("any_value", "told", "iso", zone)).fetchone()
    finally:
        con.close()
    found: datetime | None = row[0] if row else None
    return found.replace(tzinfo=UTC) if found else None
