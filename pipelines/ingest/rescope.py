"""What a study asks for that deliveries held and that was left out of the log."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from pipelines.base import codes, duck
from pipelines.ingest.manifest import Manifest
from studies.load import ConceptRow


@dataclass(frozen=True)
class LeftOut:
    """Codes that a study asks for and the log may lack.

    Attributes:
        codes: those that no code in scope covers, sorted; none where everything is in scope.
        n_rows: delivered rows that were left out though the study asks for their code.
        batches: the batches with such rows, sorted: they must be delivered again.
    """

    codes: tuple[ConceptRow, ...]
    n_rows: int
    batches: tuple[str, ...]


# A prefix covers what begins with it; an exact code covers itself alone.
_COVERS = """{one}.event_type = {other}.event_type AND {one}.code_system = {other}.code_system
    AND ({one}.code = {other}.code AND ({one}.match = 'prefix' OR {other}.match = 'exact')
         OR {one}.match = 'prefix' AND starts_with({other}.code, {one}.code))"""


def left_out(
    in_scope: Iterable[ConceptRow] | None,
    wanted: Iterable[ConceptRow],
    batches: Iterable[Manifest],
) -> LeftOut:
    """Return which codes of a study are out of scope, and which batches held any of its codes.

    Args:
        in_scope: the codes that are ingested; None where all are.
        wanted: the codes of the study.
        batches: those in force; each tells which codes were left out of it, under its own scope.
    """
    with duck.connect() as con:
        codes.install(con)
        _load(con, "in_scope", in_scope or ())
        _load(con, "wanted", wanted)
        _load_missed(con, batches)
        new = con.execute(
            f"""SELECT DISTINCT event_type, code_system, told, match, concept
            FROM temp.wanted AS w
            WHERE NOT EXISTS (SELECT 1 FROM temp.in_scope AS s
                              WHERE {_COVERS.format(one="s", other="w")})
            ORDER BY ALL"""
        ).fetchall()
        found = con.execute(
            f"""SELECT batch_id, sum(n_rows)::BIGINT FROM temp.missed AS m
            WHERE EXISTS (SELECT 1 FROM temp.wanted AS w
                          WHERE {_COVERS.format(one="w", other="m")})
            GROUP BY batch_id ORDER BY batch_id"""
        ).fetchall()
    return LeftOut(
        () if in_scope is None else tuple(ConceptRow(*row) for row in new),
        sum(row[1] for row in found),
        tuple(row[0] for row in found),
    )


def _load(con: duckdb.DuckDBPyConnection, name: str, rows: Iterable[ConceptRow]) -> None:
    con.execute(
        f"""CREATE TEMP TABLE {name} (event_type VARCHAR, code_system VARCHAR, told VARCHAR,
            match VARCHAR, concept VARCHAR)"""
    )
    duck.insert(con, f"temp.{name}", rows)
    _compare(con, name)


def _load_missed(con: duckdb.DuckDBPyConnection, batches: Iterable[Manifest]) -> None:
    con.execute(
        """CREATE TEMP TABLE missed (event_type VARCHAR, code_system VARCHAR, told VARCHAR,
            match VARCHAR, batch_id VARCHAR, n_rows BIGINT)"""
    )
    rows = (
        (left.event_type, left.code_system, left.code, "exact", one.batch_id, left.n_rows)
        for one in batches
        for left in one.out_of_scope
    )
    duck.insert(con, "temp.missed", rows)
    _compare(con, "missed")


def _compare(con: duckdb.DuckDBPyConnection, name: str) -> None:
    con.execute(f"ALTER TABLE temp.{name} ADD COLUMN code VARCHAR")
    con.execute(f"UPDATE temp.{name} SET code = comparable_code(told, code_system)")
