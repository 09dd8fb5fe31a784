"""Sums after a part of the patients was linked again: less what they were, plus what they are.

All sums are of whole numbers over whole patients, so the result is the one that linking everybody
again would give, to the last digit. Nothing here knows the store: files in, files out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.base import duck, parquet
from pipelines.linkage.kernel import COUNTS_FILES, LinkageInput, sql_files
from pipelines.linkage.study_tables import load_tables, study_tables
from pipelines.signals.counts import COUNT_TABLES, CountTable
from pipelines.signals.tables import MAKERS
from studies.load import Study


@dataclass(frozen=True)
class Before:
    """What was linked before, as Parquet.

    Attributes:
        buckets: folders with `linkage.course.parquet` and `linkage.unit_outcome.parquet` of the
            patients who were linked again, whole patients each.
        counts: of everybody, by table.
    """

    buckets: Sequence[Path]
    counts: Mapping[str, Path]


def recount(
    before: Before, counts: Mapping[str, Path], given: Iterable[LinkageInput], out: Path
) -> dict[str, Path]:
    """Write every table of counts of everybody and return their files.

    Args:
        before: what was linked before.
        counts: of the patients who were linked again, as they are now, by table.
        given: one entry per study, with the settings that `before` was counted under.
        out: private folder for scratch files and the result.
    """
    given = list(given)
    parts = [
        count_linked(bucket, one, out / f"before-{one.study.id}-{bucket.name}")
        for bucket in before.buckets
        for one in given
    ]
    return {
        name: _merge(
            table,
            [before.counts[name], counts[name]],
            [part[name] for part in parts],
            out / f"{name}-all.parquet",
        )
        for name, table in COUNT_TABLES.items()
    }


def _merge(table: CountTable, more: Sequence[Path], less: Sequence[Path], path: Path) -> Path:
    """Write what some files add up to, less what others do."""
    sums = ", ".join(f"sum({name} * weight)::BIGINT AS {name}" for name in table.sums)
    threads = duck.threads_for(duck.rows_at_most([*more, *less]))
    with duck.connect(temp_dir=path.parent, threads=threads) as con:
        _weighed(con, table, more, 1)
        _weighed(con, table, less, -1)
        found = con.execute(
            f"""SELECT {", ".join(table.keys)}, {sums} FROM weighed GROUP BY ALL
            HAVING sum({table.presence} * weight) > 0 ORDER BY ALL"""
        ).to_arrow_table()
    parquet.write(found.cast(table.schema), path)
    return path


def _weighed(
    con: duckdb.DuckDBPyConnection, table: CountTable, paths: Sequence[Path], weight: int
) -> None:
    columns = ", ".join(f"{field.name} {_TYPES[field.type]}" for field in table.schema)
    con.execute(f"CREATE TABLE IF NOT EXISTS weighed ({columns}, weight BIGINT)")
    for path in paths:
        con.execute(
            f"""INSERT INTO weighed BY NAME SELECT *, ?::BIGINT AS weight
            FROM {duck.parquet(path)}""",
            [weight],
        )


_TYPES = {pa.string(): "VARCHAR", pa.int64(): "BIGINT"}


def count_linked(bucket: Path, given: LinkageInput, out: Path) -> dict[str, Path]:
    """Count linked rows of whole patients, by the SQL that counts in linkage; files by table.

    Args:
        bucket: folder with `linkage.course.parquet` and `linkage.unit_outcome.parquet`; rows of
            other studies are left out.
        given: the study that the rows were linked under.
        out: folder of the results; it is made.
    """
    study, files = given.study, {}
    out.mkdir()
    sources = {name: bucket / f"linkage.{name}.parquet" for name in _LINKED}
    with duck.connect(
        memory_limit=given.memory_limit,
        temp_dir=given.temp_dir,
        threads=duck.threads_for(duck.rows_at_most(sources.values())),
    ) as con:
        load_tables(con, study_tables(study, patients_implied=given.patients_implied))
        for name, columns in _LINKED.items():
            source = duck.parquet(sources[name])
            con.execute(
                f"CREATE TABLE out_{name} AS SELECT {columns} FROM {source} WHERE study_id = ?",
                [study.id],
            )
        for name, text in sql_files():
            if name.startswith(COUNTS_FILES):
                con.execute(text)
        for name, table in COUNT_TABLES.items():
            files[name] = out / f"{name}.parquet"
            con.execute(
                f"COPY {table.sql_name} TO {duck.literal(str(files[name]))} "
                f"({duck.parquet_options(files[name])})"
            )
    return files


#: Microseconds come back exactly: a double tells them apart up to seventy years.
_LINKED = {
    "course": "*",
    "unit_outcome": "*, round(person_days * 86400e6)::BIGINT AS person_us",
}


def signal_tables(
    counts: Mapping[str, Path], out: Path, studies: Sequence[Study]
) -> dict[str, list[Path]]:
    """Write what follows from counts alone; return files by table, counts included."""
    read = {name: parquet.read(path) for name, path in counts.items()}
    files = {name: [path] for name, path in counts.items()}
    for name, make in MAKERS.items():
        path = out / f"{name}.parquet"
        parquet.write(make(read, studies), path)
        files[name] = [path]
    return files
