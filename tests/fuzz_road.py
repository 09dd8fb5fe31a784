"""One file on the road from its bytes to the log, and all that can be wrong with it then."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import duckdb
import fastavro

from expectations import suites
from expectations.judged import RECORDS
from expectations.validate import validate
from pipelines.base import duck
from pipelines.base.errors import DeliveryError
from pipelines.base.keys import SiteKey
from pipelines.base.site import Site
from pipelines.base.site_privacy import PrivacyTable
from pipelines.ingest.facts import DeliveredFile, DeliveryFacts, DeliveryKind
from pipelines.ingest.log import EventLog
from pipelines.sources.fhir.mapping import resource_names
from pipelines.sources.rows.stage import Scope
from schemas import CLINICAL_TYPES, fields
from studies.load import load_study
from tests.checks_staging import as_sql_says
from tests.fuzz_kit import CANARY

AT = datetime(2026, 1, 1, tzinfo=UTC)
KEY = SiteKey(bytes(range(32)))
BATCH = "0" * 64
SITE = cast(
    "Site",
    SimpleNamespace(
        site=SimpleNamespace(zone="America/New_York"),
        privacy=PrivacyTable(),
        log_root=Path("no-log"),
    ),
)
SCOPE = load_study("iv_bisphosphonate").concept_rows()

#: Why a line is no resource at all, then why a resource makes no event.
UNREADABLE = {"unreadable_record", "too_deep", "duplicate_keys", "no_resource_type"}
REASONS: dict[str, set[str]] = {
    "quarantined": UNREADABLE
    | {"malformed_element", "missing_id", "unresolved_reference", "unresolved_patient"}
    | {"unknown_event_type", "unreadable_deletion", "bundle_of_resources"},
    "superseded": {"version", "tie"},
    "duplicate": {"copy"},
    "reference": {"medication", "specimen", "diagnostic_report", "deletions"},
    "out_of_scope": {"code", "mapping", "resource_type"},
}

#: An event, or (fate, reason, record key), by event type, row and part.
Told = dict[tuple[str, int, int | None], tuple[Any, ...]]
RowTold = dict[tuple[str, int | None], tuple[Any, ...]]


@dataclass(frozen=True)
class Road:
    """A source as one site has it.

    Attributes:
        extract: from the file to staging; kept with its mapping.
        types: event types of a delivery.
        line: the line of a mutated record, from the seed.
        calm: lines of sound records.
        head: what a file begins with.
        reading: the standard library's reading of a line; the reason where it is none.
        lines: the lines of a file that are records.
        scope, kind: as of a delivery.
        reasons: what the mapping's own rules call their reasons.
        is_by_id: whether patients are known by the id that references tell.
    """

    extract: Callable[[duckdb.DuckDBPyConnection, DeliveryFacts, Scope], None]
    types: tuple[str, ...]
    line: Callable[[str], bytes]
    calm: tuple[bytes, ...]
    reading: Callable[[bytes], Any]
    lines: Callable[[bytes], list[bytes]]
    head: bytes = b""
    scope: Scope = "all"
    reasons: frozenset[str] = frozenset()
    kind: DeliveryKind = "snapshot"
    is_by_id: bool = False


@dataclass
class Outcome:
    """What became of a file: everything that is wrong, and what its rows were told as."""

    problems: list[str] = field(default_factory=list)
    told: Told = field(default_factory=dict)
    rows: list[bytes] = field(default_factory=list)


def travel(road: Road, content: bytes, folder: Path, *, to_log: bool = True) -> Outcome:
    """Take a file from its bytes to the log, and look for anything wrong."""
    path = folder / "records"
    path.write_bytes(content)
    file = DeliveredFile(path, "any", hashlib.sha256(content).hexdigest())
    through = dict.fromkeys(road.types, AT)
    facts = DeliveryFacts(BATCH, "here", "ehr", road.kind, AT, through, "m", "s", "p", (file,))
    found = Outcome(rows=road.lines(content))
    con = duck.connect(threads=1)
    try:
        road.extract(con, facts, road.scope)
        found.told = told_of(con)
        if to_log:
            check_staged(con, road, found)
            check_values(con, found)
            check_log(con, road, facts, folder, found)
    except DeliveryError as error:
        found.problems += check_refusal(error, found.rows, road)
    except Exception as error:
        found.problems.append(f"{type(error).__name__}: {error} after {error.__context__!r}")
    finally:
        con.close()
    return found


def told_of(con: duckdb.DuckDBPyConnection) -> Told:
    """Return all that is told of each row and part: an event but for its place, or a fate."""
    told: Told = {}
    names = [name for name in CLINICAL_TYPES if name in event_types(con)]
    for name in names:
        kept = "* EXCLUDE (source_file_sha, source_row, source_part)"
        query = f'SELECT source_row, source_part, {kept} FROM event."{name}"'
        for row, part, *event in con.execute(query).fetchall():
            told[name, row, part] = tuple(event)
    for row, part, name, *fate in con.execute(
        "SELECT source_row, source_part, event_type, fate, reason, record_key FROM fate.row"
    ).fetchall():
        if (name or "", row, part) in told:
            fate = ["told", "twice", None]
        told[name or "", row, part] = tuple(fate)
    return told


def event_types(con: duckdb.DuckDBPyConnection) -> set[str]:
    query = "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'event'"
    return {name for (name,) in con.execute(query).fetchall()}


def check_refusal(error: DeliveryError, rows: list[bytes], road: Road) -> list[str]:
    """Only a file that does not begin as one of its kind may be refused as a whole."""
    problems = []
    if error.__cause__ or not error.__suppress_context__ or CANARY in str(error):
        problems.append(f"a message may tell a value: {error}")
    if road.head or not any(isinstance(road.reading(row), str) for row in rows[:2]):
        problems.append(f"a whole file is refused: {error}")
    return problems


def check_staged(con: duckdb.DuckDBPyConnection, road: Road, found: Outcome) -> None:
    """Each line that is a record is told under its own number, as what it is."""
    say = found.problems.append
    counted = con.execute("SELECT n_rows FROM fate.file").fetchall()
    if counted != [(len(found.rows),)]:
        say(f"{len(found.rows)} lines are {counted} rows")
        return
    by_row: dict[int, RowTold] = {}
    for (name, row, part), event in found.told.items():
        by_row.setdefault(row, {})[name, part] = event
    if lost := set(range(1, len(found.rows) + 1)) ^ set(by_row):
        say(f"rows {sorted(lost)} are lost, or no rows")
        return
    for number, line in enumerate(found.rows, start=1):
        wrong = check_row(road, road.reading(line), by_row[number])
        found.problems += [f"{number}: {text}" for text in wrong]


def has_known_type(record: Any) -> bool:
    return not isinstance(record, dict) or record.get("resourceType") in resource_names()


def check_row(road: Road, record: Any, told: RowTold) -> Iterator[str]:
    fates = {part: event for (_, part), event in told.items() if len(event) == 3}
    reasons = {event[1] for event in fates.values()}
    if isinstance(record, str):
        alike = {"unreadable_record", "too_deep"} if record == "too_deep" else {record}
        if len(told) > 1 or not reasons or not reasons <= alike:
            yield f"is {record}, and told as {told}"
        return
    if reasons & (UNREADABLE if has_known_type(record) else UNREADABLE - {"no_resource_type"}):
        yield f"is a record, and told as {told}"
    for fate, reason, _ in fates.values():
        if reason not in REASONS.get(fate, set()) | road.reasons:
            yield f"{fate} because of {reason}"
    is_whole = None not in fates or fates[None][0] not in ("quarantined", "reference")
    if isinstance(record, dict) and is_whole:
        yield from check_resource(road, record, told)


def check_resource(road: Road, record: dict[str, Any], told: RowTold) -> Iterator[str]:
    """No part of a result vanishes; numbers and patients are those of the resource."""
    parts = {part for _, part in told}
    inside = record.get("component") if record["resourceType"] == "Observation" else None
    if isinstance(inside, list) and not set(range(1, len(inside) + 1)) <= parts:
        yield f"of {len(inside)} components only {parts} are told"
    subject = (record.get("subject") or {}).get("reference")
    pointed = re.search(r"(?:^|/)Patient/([^/?#|]+)(?:/_history/[^/?#]+)?\Z", str(subject))
    patient = KEY.patient("here", "mrn", pointed[1]) if pointed and road.is_by_id else None
    value = record.get("valueQuantity") or {}
    number: Any = None if "comparator" in value else value.get("value")
    for (name, part), event in told.items():
        if len(event) == 3:
            continue
        one = dict(zip(PLACELESS[name], event, strict=True))
        if patient and name != "PatientRegistered" and one["patient_key"] != patient:
            yield "is told of another patient"
        is_plain = isinstance(number, float) and isfinite(number)
        if is_plain and name == "LabResulted" and part is None and one["value"] != number:
            yield f"is told as another number: {one['value']}"


PLACELESS = {
    name: [
        f.name
        for f in fields(name)
        if f.name not in ("source_file_sha", "source_row", "source_part")
    ]
    for name in CLINICAL_TYPES
}


def check_values(con: duckdb.DuckDBPyConnection, found: Outcome) -> None:
    """Events hold what every reader of Avro can hold, and keys in place of ids."""
    for name in sorted(event_types(con)):
        tests = []
        for column in fields(name):
            told = duck.quote(column.name)
            if column.duckdb_type in ("TIMESTAMP", "DATE"):
                tests.append(f"NOT (isfinite({told}) AND year({told}) BETWEEN 1 AND 9999)")
            elif column.duckdb_type == "DOUBLE":
                tests.append(f"NOT isfinite({told})")
            elif column.name.endswith("_key"):
                tests.append(f"NOT regexp_full_match({told}, '[0-9a-f]{{64}}')")
        listed = " OR ".join(f"coalesce({test}, false)" for test in tests)
        rows = con.execute(f'SELECT source_row FROM event."{name}" WHERE {listed}').fetchall()
        found.problems += [f"{row}: {name} holds what cannot be told" for (row,) in rows]


def check_log(
    con: duckdb.DuckDBPyConnection, road: Road, facts: DeliveryFacts, folder: Path, found: Outcome
) -> None:
    """The checks judge, the log counts and writes, and another library reads what it wrote."""
    say = found.problems.append
    thresholds = SimpleNamespace(min_rows=1, share_of=lambda _name: 1.0)
    with patch.object(suites, "run", as_sql_says):
        verdict = validate(
            con,
            event_types=road.types,
            data_through=facts.data_through,
            concepts=SCOPE,
            thresholds=thresholds,
            proven={*CLINICAL_TYPES, RECORDS},
        )
    if verdict.hold_reasons:
        say(f"the batch is held: {verdict.hold_reasons}")
    log = EventLog(folder / "log")
    manifest = log.write(con, facts, verdict)
    if sum(manifest.fates.values()) != len(found.rows):
        say(f"{len(found.rows)} rows are {manifest.fates}")
    for name, counts in manifest.fates_by_type.items():
        if name in manifest.types:
            with (folder / "log/tmp" / BATCH / manifest.types[name].path).open("rb") as stream:
                n_read = sum(1 for _ in fastavro.reader(stream))
            if n_read != counts["accepted"]:
                say(f"{n_read} of {counts['accepted']} {name} can be read")
