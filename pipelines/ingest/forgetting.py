"""Taking a patient out of the log: who that is, what there is of them, and the log without it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.ingest.log import EventLog
from pipelines.ingest.manifest import EventFile, Manifest
from pipelines.ingest.withdrawn import WITHDRAWN
from schemas import CLINICAL_TYPES

#: A row as a batch counts it: file and number.
Row = tuple[str, int]

#: Shorter identifiers occur in anything, so that rows which nobody could read are kept for them.
MIN_ID = 4

_REGISTERED = "PatientRegistered"
#: Its columns that name other records of the same person: one key, and a list of keys.
_LATER, _EARLIER = "replaced_by_key", "replaces_keys"


@dataclass(frozen=True)
class Person:
    """A patient, under every key that the log says is the same one.

    Attributes:
        patients: keys of the patient, those of merged records among them.
        records: keys of the patient's records.
        resources: keys of the nested records that they came from.
        n_rows: how many events and rows of the quarantine name a key of the patient.
    """

    patients: frozenset[str]
    records: frozenset[str]
    resources: frozenset[str]
    n_rows: int = 0

    @cached_property
    def keys(self) -> frozenset[str]:
        """Every key by which the person could be told."""
        return self.patients | self.records | self.resources


def find_person(log: EventLog, patients: Iterable[str]) -> Person:
    """Return what the log has of a patient, under the keys of merged records as well.

    Rows that nobody could read make no patient: a mistyped identifier stands in many of them.

    Args:
        log: one generation of it.
        patients: keys that the identifier gives.

    Errors:
        LogError: a file of the log is damaged.
    """
    batches = [*log.committed(), *log.held()]
    known = frozenset(_merged(log, batches, set(patients)))
    records: set[str] = set()
    resources: set[str] = set()
    n_rows = 0
    for batch, event_type in _clinical(batches):
        for part in log.read_parts(batch, event_type):
            mine = part.filter(_is_in(part["patient_key"], known))
            n_rows += mine.num_rows
            records.update(key for key in mine["record_key"].to_pylist() if key)
            resources.update(key for key in mine["resource_key"].to_pylist() if key)
    accepted = Person(known, frozenset(records), frozenset(resources))
    # A patient may have rows that were rejected, and no other.
    for batch in batches:
        for part in log.read_quarantine_parts(batch):
            rejected = [row for row in part.to_pylist() if _is_of(row, accepted)]
            n_rows += len(rejected)
            records.update(row["record_key"] for row in rejected if row["record_key"])
    return Person(known, frozenset(records), frozenset(resources), n_rows)


def _clinical(batches: Sequence[Manifest]) -> Iterator[tuple[Manifest, str]]:
    return ((one, name) for one in batches for name in one.types if name in CLINICAL_TYPES)


def _merged(log: EventLog, batches: Sequence[Manifest], known: set[str]) -> set[str]:
    """Return the keys that merges connect with those that are known."""
    ties: list[set[str]] = []
    for batch in batches:
        if _REGISTERED in batch.types:
            for part in log.read_parts(batch, _REGISTERED):
                ties += _ties(part)
    while new := {key for tie in ties if tie & known for key in tie} - known:
        known = known | new
    return known


def _ties(part: pa.Table) -> Iterator[set[str]]:
    """Yield the keys of each registration that names an earlier or a later record."""
    names = pc.or_(pc.is_valid(part[_LATER]), pc.is_valid(part[_EARLIER]))
    for row in part.filter(names).select(["patient_key", _LATER, _EARLIER]).to_pylist():
        others = {row[_LATER], *(row[_EARLIER] or ())} - {None}
        if others and row["patient_key"]:
            yield {row["patient_key"], *others}


@dataclass
class Forgetting:
    """A change of the log: one person is not in it.

    Attributes:
        person: who.
        ids: the identifier as the source writes it, to be looked for in rows that nobody could
            read and in names of files.
        new_marks: by which later deliveries are recognised.
        n_events, n_quarantined: what was taken out so far.
    """

    person: Person
    ids: Sequence[str]
    new_marks: Sequence[tuple[str, int]]
    n_events: int = 0
    n_quarantined: int = 0
    _gone: dict[str, list[Row]] = field(default_factory=dict)
    _set_aside: list[tuple[str, Row]] = field(default_factory=list)

    def events(self, event_type: str, events: pa.Table) -> pa.Table:
        """Return the events of a type that are not the person's."""
        if event_type == WITHDRAWN:
            return events.filter(pc.invert(_is_in(events["resource_key"], self.person.resources)))
        if event_type not in CLINICAL_TYPES:
            return events
        is_mine = _is_in(events["patient_key"], self.person.patients)
        mine = events.filter(is_mine)
        self._gone.setdefault(event_type, []).extend(_rows(mine))
        self.n_events += mine.num_rows
        rest = events.filter(pc.invert(is_mine))
        return _without_merges(rest, self.person) if event_type == _REGISTERED else rest

    def quarantine(self, rows: pa.Table) -> pa.Table:
        """Return the rows that were not accepted and say nothing of the person."""
        told = rows.to_pylist()
        mine = [_is_of(row, self.person, self.ids) for row in told]
        gone = [
            (row["event_type"] or "unknown", (row["source_file_sha"], row["source_row"]))
            for row, is_mine in zip(told, mine, strict=True)
            if is_mine
        ]
        self._set_aside += gone
        self.n_quarantined += len(gone)
        return rows.filter(pa.array([not one for one in mine], pa.bool_()))

    def manifest(self, old: Manifest, new: Manifest) -> Manifest:
        """Return the manifest as if the person's rows had not been delivered."""
        by_type = {name: Counter(counts) for name, counts in old.fates_by_type.items()}
        for name, rows in self._gone.items():
            by_type[name]["accepted"] -= len(rows)
        for name, _ in self._set_aside:
            by_type[name]["quarantined"] -= 1
        accepted = {row for rows in self._gone.values() for row in rows}
        quarantined = {row for _, row in self._set_aside} - accepted
        fates = Counter(old.fates)
        fates["accepted"] -= len(accepted)
        fates["quarantined"] -= len(quarantined)
        n_gone = Counter(sha for sha, _ in accepted | quarantined)
        told = replace(
            new,
            fates=dict(fates),
            fates_by_type={name: dict(counts) for name, counts in by_type.items()},
            types={name: self._recounted(name, file) for name, file in new.types.items()},
            files=tuple(
                replace(one, n_rows=one.n_rows - n_gone[one.sha256], name=self._named(one.name))
                for one in new.files
            ),
        )
        self._gone, self._set_aside = {}, []
        return told

    def _recounted(self, name: str, file: EventFile) -> EventFile:
        n_less = sum(kind == name for kind, _ in self._set_aside)
        return replace(file, quarantined=file.quarantined - n_less)

    def _named(self, name: str) -> str:
        return "(name withheld)" if any(id_ in name for id_ in self.ids) else name

    def marks(self, old: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """Return the marks of everybody who is forgotten."""
        return [*old, *self.new_marks]


def _is_of(row: Mapping[str, Any], person: Person, ids: Sequence[str] = ()) -> bool:
    """Return whether a row that was not accepted says anything of a person, by key or by id."""
    text = f"{row['record_key']} {row['event_json']}"
    if any(key in person.keys for key in re.findall(r"[0-9a-f]{64}", text)):
        return True
    raw = row["raw"] or ""
    return any(len(id_) >= MIN_ID and id_ in raw for id_ in ids)


def _is_in(column: pa.ChunkedArray[Any], keys: frozenset[str]) -> pa.BooleanArray:
    """Return whether each key is one of these; a null is none."""
    return pc.is_in(column, value_set=pa.array(sorted(keys), pa.large_string()))


def _rows(table: pa.Table) -> list[Row]:
    shas, numbers = table["source_file_sha"].to_pylist(), table["source_row"].to_pylist()
    return [(str(sha), int(number or 0)) for sha, number in zip(shas, numbers, strict=True)]


def _without_merges(table: pa.Table, person: Person) -> pa.Table:
    """Return registrations that do not name the person as another's earlier or later record."""
    later = pc.if_else(
        _is_in(table[_LATER], person.patients), pa.scalar(None, pa.large_string()), table[_LATER]
    )
    earlier = [
        [key for key in keys or () if key not in person.patients] or None
        for keys in table[_EARLIER].to_pylist()
    ]
    for name, column in (
        (_LATER, later),
        (_EARLIER, pa.array(earlier, table.schema.field(_EARLIER).type)),
    ):
        table = table.set_column(table.column_names.index(name), name, column)
    return table
