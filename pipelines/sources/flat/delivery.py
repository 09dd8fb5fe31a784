"""What a delivery of flat files holds, and what it says about itself."""

from __future__ import annotations

import fnmatch
from datetime import UTC, datetime
from pathlib import Path

from pipelines.base import duck, zones
from pipelines.base.errors import DeliveryError
from pipelines.base.site import Site
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts
from pipelines.sources.flat.mapping import Mapping
from pipelines.sources.flat.reader import load, open_flat
from pipelines.sources.rows import sql
from pipelines.sources.rows.content import content_hash
from pipelines.sources.rows.delivery import (
    Clock,
    Key,
    data_through,
    each_once,
    facts_of,
    no_data,
    plain_files,
    sidecars,
    utc_query,
)
from pipelines.sources.rows.folders import AGAIN, DeliveryFolder
from pipelines.sources.rows.model import TimeSource
from pipelines.sources.rows.stage import Scope, is_whole

#: Raised when the same file would be read differently: every batch then gets a new id.
PARSER_VERSION = "flat-4"


def describe(delivery: DeliveryFolder, mapping: Mapping, site: Site, scope: Scope) -> DeliveryFacts:
    """Return what a delivery holds and declares; content is hashed once, as it is read.

    Errors:
        DeliveryError: a file matches no [[file]] or several, is damaged, or the delivery does
            not tell when it was exported or how far it is complete.
        MappingError: a column that tells a time is not in its file.
    """
    files = _files(delivery, mapping)

    def within(clock: Clock, source: TimeSource, key: Key) -> datetime | None:
        return None if source.column is None else _latest(clock, mapping, files, source, key)

    clock = Clock(delivery, mapping.table.zone or site.site.zone, within)
    told = mapping.table.delivery
    return facts_of(
        delivery,
        mapping,
        site,
        # a row has one code: studies have nothing to choose
        "all" if is_whole(scope) else scope,
        kind=told.kind,
        exported_at=clock.read(told.exported_at, ("exported_at",)),
        data_through=data_through(
            clock,
            told.data_through,
            {t for file in files for t in mapping.file(file.role).event_types},
        ),
        files=files,
        parser_version=PARSER_VERSION,
    )


def _files(delivery: DeliveryFolder, mapping: Mapping) -> list[DeliveredFile]:
    """Match each file to its [[file]]; a copy of a file is one file."""
    told = mapping.table.delivery
    aside = sidecars([told.exported_at, *told.data_through.values()])
    paths = plain_files(delivery, aside | {delivery.source.marker})
    if not paths:
        raise no_data(delivery)
    found = []
    for number, path in enumerate(paths, start=1):
        where = f"{delivery.where}, file {number} of {len(paths)} by name"
        sha256 = content_hash(path, where)
        role = _role(path, mapping, f"{where} (sha256 {sha256[:12]})")
        found.append(DeliveredFile(path, role, sha256))
    return each_once(found, delivery)


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


def _latest(
    clock: Clock, mapping: Mapping, files: list[DeliveredFile], source: TimeSource, key: Key
) -> datetime:
    """Return the latest time of a column over all files that have it."""
    role = source.file or mapping.table.file[0].name
    rule, column = mapping.file(role), source.column or ""
    con = duck.connect()
    latest: list[datetime] = []
    try:
        zones.install(con)
        for number, told in enumerate(files, start=1):
            if told.role != role:
                continue
            file = open_flat(told.path, rule, f"{clock.delivery.where}, file {number}")
            mapping.check_delivery_column(role, column, key, file.header)
            cell = sql.cell(file.sql_names()[column], rule.null)
            query = utc_query("max", cell, source.format, source.zone or clock.zone)
            load(con, file, [column], f"CREATE OR REPLACE TEMP TABLE latest AS {query}")
            row = con.execute("SELECT * FROM latest").fetchone()
            latest += [row[0]] if row and row[0] else []
    finally:
        con.close()
    if not latest:
        raise clock.untold(key, f"No row of {role} tells a time in its column.", "2026-01-06")
    return max(latest).replace(tzinfo=UTC)
