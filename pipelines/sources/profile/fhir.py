"""What is in FHIR resources: elements, codes, units and times by resource type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipelines.base.duck import literal
from pipelines.base.errors import DeliveryError
from pipelines.sources.fhir.lines import load, open_fhir
from pipelines.sources.fhir.mapping import resource_names
from pipelines.sources.profile import elements, times
from pipelines.sources.profile.asked import Asked
from pipelines.sources.profile.codings import all_codes
from pipelines.sources.profile.disclosure import Value, count
from pipelines.sources.profile.report import Column, Key, Problem, Table
from pipelines.sources.profile.shapes import sql_path
from pipelines.sources.profile.sniff import Sniffed
from pipelines.sources.profile.tables import Rows

_TIME = re.compile(
    r"(^|\.)(.*(DateTime|Instant|Date|Time)|issued|date|recorded|authoredOn|when[A-Z]\w*"
    r"|start|end|instant)$"
)
_BORN = ("birthDate", "deceasedDateTime")


@dataclass
class FhirFound:
    """Resources as they were found: what a mapping is suggested from.

    Attributes:
        tables: one per resource type that may be told.
        elements: elements of each, by resource type.
        has_manifest: whether a bulk export's manifest lies beside them.
    """

    tables: tuple[Table, ...] = ()
    elements: dict[str, tuple[str, ...]] = field(default_factory=dict)
    has_manifest: bool = False


def describe(files: Sequence[Sniffed], asked: Asked) -> FhirFound:
    """Return what resources hold; those of types with few patients are not told of."""
    found = FhirFound()
    if not files:
        return found
    asked.con.execute(
        "CREATE TABLE resource (file INTEGER, type VARCHAR, patient VARCHAR, resource VARCHAR)"
    )
    unreadable = _read(files, asked, found)
    _stand_in_for_patients(asked)
    rows = Rows(asked.con, "resource", "patient")
    if not rows.size()[0]:
        return found
    # No total over types is told, so none of them can be reckoned from the others.
    types = rows.tallies(["type"]) or []
    names = [str(t.value[0]) for t in types if t.reaches(asked.min_cell) and _is_type(t.value)]
    tables = []
    for n, name in enumerate(names, start=1):
        tables.append(_table(name, asked, found, with_files=len(names) == len(types)))
        asked.advance(f"{name}, {n} of {len(names)}")
    if len(names) < len(types):
        tables.append(_others(asked))
    if unreadable and tables:
        told = f"{unreadable:,}" if unreadable >= asked.min_cell else f"fewer than {asked.min_cell}"
        note = f"resources of this extract that cannot be read: {told}."
        last = tables[-1]
        tables[-1] = Table(**{**vars(last), "notes": (*last.notes, note)})
    found.tables = tuple(sorted(tables, key=lambda t: (t.name == OTHERS, t.name)))
    asked.con.execute("DROP TABLE resource")
    return found


OTHERS = "other types"


def _is_type(value: Value) -> bool:
    return value[0] in resource_names()


def _others(asked: Asked) -> Table:
    note = (
        f"of each there are fewer than {asked.min_cell} patients (or resources, where\n"
        "  none is told), or FHIR R4 does not know it."
    )
    return Table(OTHERS, "fhir", None, None, None, "patients", notes=(note,))


def _read(files: Sequence[Sniffed], asked: Asked, found: FhirFound) -> int:
    """Read every file; return the number of records that cannot be read."""
    unreadable = 0
    for number, one in enumerate(files, start=1):
        if one.path.name == "manifest.json":
            found.has_manifest = True
            continue
        try:
            told = load(asked.con, open_fhir(one.path, one.where), "lines")
        except DeliveryError as error:
            asked.problems.append(Problem.of(error))
            continue
        unreadable += len(told.unreadable)
        asked.con.execute(
            f"INSERT INTO resource SELECT {number}, resource_type, {_PATIENT}, resource FROM lines"
        )
        asked.con.execute("DROP TABLE lines")
        asked.advance(f"FHIR file {number} of {len(files)}")
    return unreadable


_PATIENT = """CASE WHEN resource_type = 'Patient' THEN json_extract_string(resource, '$.id') ELSE
    split_part(coalesce(json_extract_string(resource, '$.subject.reference'),
        json_extract_string(resource, '$.patient.reference'),
        json_extract_string(resource, '$.subject.identifier.value'),
        json_extract_string(resource, '$.patient.identifier.value')), '/', -1) END"""


def _stand_in_for_patients(asked: Asked) -> None:
    """Let each resource of a type that tells no patient count as one of its own."""
    asked.con.execute(
        "UPDATE resource SET patient = 'row ' || rowid WHERE type NOT IN "
        "(SELECT type FROM resource WHERE patient IS NOT NULL)"
    )


def _table(name: str, asked: Asked, found: FhirFound, *, with_files: bool) -> Table:
    con = asked.con
    con.execute(
        "CREATE OR REPLACE TABLE one AS SELECT row_number() OVER () AS n, file, patient, resource, "
        f"json_structure(resource)::VARCHAR AS shape FROM resource WHERE type = {literal(name)}"
    )
    rows = Rows(con, "one", "patient")
    size, patients = rows.size()
    has_patient = not con.execute("FROM one WHERE starts_with(patient, 'row ') LIMIT 1").fetchall()
    notes = []
    columns, is_whole = elements.columns(rows, asked)
    if not is_whole:
        notes.append("shares are of the most frequent shapes alone: there are too many others.")
    told = [one.name for one in columns]
    found.elements[name] = tuple(told)
    told_times = (
        times.describe(
            rows,
            path,
            f"json_extract_string(resource, {sql_path(path)})",
            asked.min_cell,
            with_span=path not in _BORN,
        )
        for path in _time_paths(columns)
    )
    return Table(
        name,
        "fhir",
        # one resource a file: files of the types left out would be their number
        rows.one("count(DISTINCT file)")[0] if with_files else None,
        size,
        patients if has_patient else None,
        "patients" if has_patient else "rows",
        tuple(columns),
        tuple(one for one in told_times if one.forms or one.span),
        tuple(all_codes(rows, columns, asked)),
        tuple(_keys(rows, asked)),
        tuple(notes),
    )


def _time_paths(columns: Sequence[Column]) -> Iterator[str]:
    for one in columns:
        if "[*]" in one.name or one.name.count(".") > 1:
            continue
        if one.kind == "Period":
            yield from (f"{one.name}.start", f"{one.name}.end")
        elif one.kind == "text" and _TIME.search(one.name):
            yield one.name
    if any(one.name == "meta" for one in columns):
        yield "meta.lastUpdated"  # inside `meta`, which is told as one


def _keys(rows: Rows, asked: Asked) -> Iterator[Key]:
    """Yield how often ids repeat: versions, or one resource in several files."""
    made = Rows(
        rows.con,
        "(SELECT patient, json_extract_string(resource, '$.id') AS id, "
        "json_extract_string(resource, '$.meta.versionId') AS version FROM one)",
        "patient",
    )
    for names, columns in ((("id",), "id"), (("id", "meta.versionId"), "id, version")):
        repeats, patients = made.con.execute(
            "SELECT coalesce(sum(n - 1), 0), count(DISTINCT p) FROM (SELECT count(*) AS n, "
            f"any_value(patient) AS p FROM {made.relation} GROUP BY {columns} HAVING count(*) > 1)"
        ).fetchall()[0]
        yield Key(
            names,
            count(int(repeats), patients, asked.min_cell),
            made.share("id IS NULL", asked.min_cell),
        )
        if not repeats:
            return
