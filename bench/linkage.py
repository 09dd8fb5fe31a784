"""Linkage as the night runs it against its own SQL in one DuckDB connection over all patients.

LinkInfusions works through buckets of patients in a Beam pipeline, reads their shards and merges
what they count. The ratio says what that costs over the SQL itself. Both read the same events, with
the same threads and memory, in processes of their own, one after the other.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from pipelines.linkage.kernel import LinkageInput

HEADING = "# What linkage costs over its SQL"
#: Infusions of the full size; a patient has four, and each 6 results and 6.5 vital signs.
N_INFUSIONS = 400_000
N_MEASURED = 5_000_000
INFUSIONS_EACH = 4
BUCKETS = 16
MEMORY = "8GB"
THREADS = 2
#: Linkage may cost this many times what its SQL costs, and this many seconds.
ALLOWED = (1.5, 1.0)

_STUDY = "iv_bisphosphonate"
_THROUGH = datetime.fromisoformat("2026-01-01")

#: One row a patient, and one an infusion: every number is a hash of the row's own number.
_PEOPLE = """
CREATE TABLE person AS
SELECT
    i AS person, sha256('patient ' || i) AS patient_key,
    DATE '2010-01-01' + (hash(i, 'born') % 3000)::INTEGER AS birth_date,
    TIMESTAMP '2023-01-01' + to_hours((hash(i, 'first') % 8000)::INTEGER) AS first_at
FROM range({n_patients}) AS t(i);

CREATE TABLE dose AS
SELECT
    person * {each} + n AS dose, patient_key,
    first_at + to_days((n * 90 + hash(person, n) % 30)::INTEGER)
    + to_minutes((hash(person, n, 'minute') % 480)::INTEGER) AS began
FROM person, range({each}) AS t(n);
"""
_HEAD = """
    'bench' AS site_id, 'ehr' AS source, '{type}' AS event_type,
    sha256('{type} ' || {number}) AS record_key, 1 AS version, 'upsert' AS operation, patient_key,
    'instant' AS time_precision, 'America/New_York' AS zone, []::VARCHAR[] AS flags,
    repeat('f', 64) AS source_file_sha, {number} AS source_row,
    md5('{type} ' || {number}) AS content_hash, {at} AS occurred_at
"""
_MEASURED = """
FROM (
    SELECT *, (hash(i, '{type}') >> 2)::BIGINT AS h
    FROM range({n}) AS t(i) JOIN dose ON dose.dose = i % {n_doses}
)
"""
#: What each type tells besides where and whose it is; `i` numbers its rows, `h` is random.
_TYPES = {
    "PatientRegistered": (
        "person",
        "first_at - INTERVAL 1 YEAR",
        "birth_date, CASE WHEN person % 2 = 0 THEN 'male' ELSE 'female' END AS sex",
        "FROM person",
    ),
    "DiagnosisRecorded": (
        "person",
        "first_at - INTERVAL 1 YEAR",
        "'Q78.0' AS code, 'icd10cm' AS code_system",
        "FROM person",
    ),
    "InfusionRecorded": (
        "dose",
        "began",
        "'administered' AS evidence, 'completed' AS status, '77655' AS code, "
        "'rxnorm' AS code_system, began + INTERVAL 30 MINUTE AS ended_at, 'intravenous' AS route, "
        "1.0 AS dose_value, 'mg' AS dose_unit",
        "FROM dose",
    ),
    "EncounterOccurred": (
        "dose",
        "began - INTERVAL 1 HOUR",
        "'outpatient' AS setting, began + INTERVAL 3 HOUR AS ended_at",
        "FROM dose",
    ),
    "MedicationGiven": (
        "dose",
        "began - INTERVAL 20 MINUTE",
        "'161' AS code, 'rxnorm' AS code_system, 'completed' AS status",
        "FROM dose WHERE dose % 3 = 0",
    ),
    "AdverseEventReported": (
        "dose",
        "began + to_hours((hash(dose, 'event') % 300)::INTEGER)",
        "['R50.9', 'R52', 'R51.9', 'R11.2'][1 + dose % 4] AS code, 'icd10cm' AS code_system",
        "FROM dose WHERE dose % 10 = 0",
    ),
    "LabResulted": (
        "i",
        "began + to_minutes(h % 43200 - 14400)",
        "['17861-6', '2777-1', '2160-0', '1751-7', '19123-9'][1 + h % 5] AS code, "
        "'loinc' AS code_system, "
        "round([7.0, 2.0, 0.3, 2.5, 1.4][1 + h % 5] + (h // 5 % 1000) / 300, 2) AS value, "
        "CASE WHEN h % 5 = 3 THEN 'g/dL' ELSE 'mg/dL' END AS unit, 'final' AS status",
        _MEASURED,
    ),
    "VitalSignMeasured": (
        "i",
        "began + to_minutes(h % 14400 - 2880)",
        "['8310-5', '8867-4', '9279-1'][1 + h % 3] AS code, 'loinc' AS code_system, "
        "[36.0, 70.0, 14.0][1 + h % 3] + (h // 3 % 1000) / [350, 12, 60][1 + h % 3] AS value, "
        "CASE WHEN h % 3 = 0 THEN 'Cel' ELSE '/min' END AS unit",
        _MEASURED,
    ),
}


def event_queries(con: Any, share: float) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - DuckDB's
    """Yield event types with SQL for their rows, at a share of the full size."""
    n_doses = int(N_INFUSIONS * share)
    n_labs = int(N_MEASURED * share * 12 / 25)
    n_rows = {"LabResulted": n_labs, "VitalSignMeasured": int(N_MEASURED * share) - n_labs}
    people = _PEOPLE.format(n_patients=n_doses // INFUSIONS_EACH, each=INFUSIONS_EACH)
    con.execute(people.replace("CREATE TABLE", "CREATE TEMP TABLE"))
    for name, (number, at, told, source) in _TYPES.items():
        head = _HEAD.format(type=name, number=number, at=at)
        rows = source.format(type=name, n=n_rows.get(name), n_doses=n_doses)
        yield name, f"SELECT {head}, {told} {rows}"


def through() -> dict[str, datetime]:
    """Return up to when each event type is complete."""
    return dict.fromkeys(_TYPES, _THROUGH)


def make_shards(folder: Path, share: float) -> dict[str, int]:
    """Write events of all patients in `all`, and by bucket in `buckets`; return rows by type."""
    from pipelines.base import duck
    from schemas import create_table_sql
    from warehouse.shards import bucket_sql

    places = [folder / "all", *(folder / "buckets" / f"bucket={n}" for n in range(BUCKETS))]
    for place in places:
        place.mkdir(parents=True)
    counts = {}
    with duck.connect() as con:
        for name, query in event_queries(con, share):
            con.execute(create_table_sql(name, "made"))
            con.execute(f"INSERT INTO made BY NAME {query}")
            counts[name] = _number(con.execute("SELECT count(*) FROM made").fetchone())
            for number_of, place in enumerate(places, start=-1):
                test = "true" if number_of < 0 else f"{bucket_sql(BUCKETS)} = {number_of}"
                con.execute(
                    f"COPY (FROM made WHERE {test}) TO '{place / name}.parquet' "
                    "(FORMAT parquet, COMPRESSION zstd)"
                )
            con.execute("DROP TABLE made")
    return counts


def _number(row: tuple[Any, ...] | None) -> int:
    return int(row[0]) if row else 0


def _given(folder: Path, counts: list[str]) -> LinkageInput:
    from pipelines.linkage.kernel import LinkageInput
    from studies.load import load_study

    spill = folder / "spill"
    spill.mkdir(mode=0o700, exist_ok=True)
    through = tuple(("bench", name, _THROUGH) for name in counts)
    return LinkageInput(load_study(_STUDY), through, memory_limit=MEMORY, temp_dir=spill)


def on_two_cores() -> None:
    """DuckDB takes a thread for each core that the process may use."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])


def run_beam(folder: Path) -> dict[str, Any]:
    """Link bucket by bucket in Beam; imports and the files' making are not in the seconds."""
    on_two_cores()
    from pipelines.linkage.transform import run_linkage

    given = _given(folder, list(_TYPES))
    shards = sorted((folder / "buckets").iterdir())
    began = time.perf_counter()
    found = run_linkage(shards, [given], folder / "out-beam")
    return {"seconds": time.perf_counter() - began, "n_units": found.n_units}


def run_sql(folder: Path) -> dict[str, Any]:
    """Run the kernel over all patients at once; return seconds, also of each of its files."""
    on_two_cores()
    from pipelines.linkage import kernel

    given = _given(folder, list(_TYPES))
    out = folder / "out-sql"
    out.mkdir()
    spent: dict[str, float] = defaultdict(float)
    with _clocked(kernel, spent):
        began = time.perf_counter()
        found = kernel.link_bucket(folder / "all", given, out)
        seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "files": dict(spent),
        "n_counts": sum(map(len, found.counts.values())),
    }


class _Clocked:
    """A connection that notes the seconds of each SQL file; all else is `the rest`."""

    def __init__(self, con: Any, names: dict[str, str], spent: dict[str, float]) -> None:  # noqa: ANN401
        self._con, self._names, self._spent = con, names, spent

    def execute(self, text: str, *rest: Any) -> Any:  # noqa: ANN401 - as DuckDB's
        began = time.perf_counter()
        try:
            return self._con.execute(text, *rest)
        finally:
            name = self._names.get(text) or f"({' '.join(text.split()[:2]).lower()})"
            self._spent[name] += time.perf_counter() - began

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as DuckDB's
        return getattr(self._con, name)


@contextmanager
def _clocked(kernel: Any, spent: dict[str, float]) -> Iterator[None]:  # noqa: ANN401 - a module
    names = {text: name for name, text in kernel.sql_files()}
    connect = kernel.duck.connect
    with patch.object(
        kernel.duck, "connect", lambda **told: _Clocked(connect(**told), names, spent)
    ):
        yield


def section(counts: dict[str, int], beam: dict[str, Any], sql: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    times, more = ALLOWED
    allowed = times * sql["seconds"] + more
    kept = "within" if beam["seconds"] <= allowed else "MORE THAN"
    n_measured = counts["LabResulted"] + counts["VitalSignMeasured"]
    lines = [
        HEADING,
        "",
        f"{n_measured:,} results and vital signs to {counts['InfusionRecorded']:,} infusions",
        f"({beam['n_units']:,} units, {BUCKETS} buckets), against the same SQL files in one DuckDB",
        f"connection over all patients; {THREADS} threads and {MEMORY} each. Imports are left out.",
        "",
        "| | seconds | peak MB |",
        "|---|---:|---:|",
        f"| LinkInfusions, bucket by bucket | {beam['seconds']:.1f} | {beam['peak_mb']:,.0f} |",
        f"| the SQL alone | {sql['seconds']:.1f} | {sql['peak_mb']:,.0f} |",
        f"| **ratio** | **{beam['seconds'] / sql['seconds']:.2f}** "
        f"| **{beam['peak_mb'] / sql['peak_mb']:.2f}** |",
        "",
        f"{kept} the allowed {times} times plus {more:g} s ({allowed:.1f} s). Seconds of the SQL",
        "alone, by file:",
        "",
        "| file | seconds | share |",
        "|---|---:|---:|",
    ]
    for name, spent in sorted(sql["files"].items(), key=lambda one: -one[1]):
        if spent >= 0.01 * sql["seconds"]:
            lines.append(f"| {name} | {spent:.2f} | {spent / sql['seconds']:.0%} |")
    return "\n".join([*lines, ""])
