"""Rows of patients without keys, dates, times and values, published where they single out nobody.

What is told is an allow-list: a column that linkage gains stays at home until it is named here.
What of it could be known of a patient from outside is `RowColumn` of site.toml, and the site
chooses (`[privacy] row_columns`). Each combination of these must be held by at least `[privacy]
min_cell` patients (k-anonymity: L. Sweeney, Int J Uncertain Fuzz 2002;10:557), or no row is told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import get_args

import duckdb
import pyarrow as pa

from pipelines.base.duck import quote
from pipelines.base.site import RowColumn, Site
from pipelines.base.sitekey import SiteKey
from warehouse.guard import one_row
from warehouse.models import Model, model
from warehouse.results import DIGEST

#: What could be known from outside, of all that de-identified rows may tell; the one list of it.
QUASI_IDENTIFIERS: tuple[str, ...] = get_args(RowColumn)

#: Told of every row: what nobody outside could know, or what the rows are about.
_ALWAYS = {
    "linkage.infusion": ("evidence",),
    "linkage.course": ("is_eligible", "evidence"),
    "linkage.unit_outcome": (
        *("outcome", "window_name", "is_published", "status", "is_closed", "is_at_risk"),
        *("is_tested", "is_observed", "is_determined", "has_baseline", "onset_day", "grade"),
        *("baseline_grade", "is_worsened", "is_pre_existing", "n_events", "is_serious"),
        *("is_treated", "has_remedy"),
    ),
    "linkage.evidence": (
        *("outcome", "window_name", "event_type", "role", "rule", "is_counted", "reason"),
    ),
}
#: Names of a column in place of a key, and the numbers that are told in it.
_NUMBERED = {
    "linkage.infusion": {"infusion_key": "row_number() OVER (PARTITION BY study_id ORDER BY {})"},
    # Of each unit anew: one record behind two units would tell that they are one child's.
    "linkage.evidence": {
        "record_key": "dense_rank() OVER (PARTITION BY study_id, told.unit_id ORDER BY {})"
    },
}
#: Told where site.toml asks for it: `told` is the row's unit, `r` the row itself.
_CHOSEN = {
    "linkage.course": dict.fromkeys((one for one in QUASI_IDENTIFIERS if one != "patient"), "told"),
    "linkage.infusion": {"drug": "told", "day_in_record": "r"},
}
#: Which rows of a unit that is told are told: those of windows that do close.
_CLOSED = {
    "linkage.unit_outcome": "WHERE r.is_closed",
    "linkage.evidence": """SEMI JOIN (
        SELECT site_id, study_id, unit_id, outcome, window_name
        FROM store.linkage.unit_outcome WHERE is_closed
    ) AS closed USING (site_id, study_id, unit_id, outcome, window_name)""",
}
_UNIT = "site_id, study_id, unit_id"


@dataclass(frozen=True)
class PublishedRows:
    """Which rows of patients a publication holds: the row of `quality.published_rows`.

    Attributes:
        site_id: the site's short name.
        row_level: as in site.toml.
        row_columns: what could be known from outside and is told; empty but for `deidentified`.
        min_cell: fewest patients that may share a combination of these.
        n_units, n_patients: that could be told; None but for `deidentified`.
        n_combinations: that they make.
        n_small_combinations: of those, how many are held by fewer than `min_cell` patients.
        is_told: whether there are rows.
        reason: why there are none; None where there are.
    """

    site_id: str
    row_level: str
    row_columns: tuple[str, ...]
    min_cell: int
    n_units: int | None = None
    n_patients: int | None = None
    n_combinations: int | None = None
    n_small_combinations: int | None = None
    is_told: bool = False
    reason: str | None = None

    def table(self) -> pa.Table:
        """Return the row as a table."""
        return pa.Table.from_pylist([{**asdict(self), "row_columns": list(self.row_columns)}])


def rules_hash() -> str:
    """Return a hash of what is told and how, for files in place to be known as outdated."""
    parts = (
        QUASI_IDENTIFIERS,
        _ALWAYS,
        _NUMBERED,
        _CHOSEN,
        _CLOSED,
        _units_sql(()),
        _combinations_sql(()),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def judge(con: duckdb.DuckDBPyConnection, site: Site) -> PublishedRows:
    """Say which rows of patients may be published; the store is in use, or attached as `store`.

    Where they are de-identified it leaves the temp table `told_unit`: the units that could be told.
    """
    level, columns = site.site.row_level, tuple(dict.fromkeys(site.privacy.row_columns))
    told = PublishedRows(site.site.id, level, (), site.privacy.min_cell)
    if level == "none":
        return replace(told, reason="row_level is none")
    if level == "internal":
        return replace(told, is_told=True)
    con.execute(f"CREATE OR REPLACE TEMP TABLE told_unit AS {_units_sql(columns)}")
    n_units, n_patients = one_row(
        con.execute("SELECT count(*), count(DISTINCT patient) FROM temp.told_unit")
    )
    n_all, n_small = one_row(con.execute(_combinations_sql(columns), [told.min_cell]))
    reason = None
    if not n_units:
        reason = "no unit has all its windows closed"
    elif n_small:
        reason = f"combinations of row_columns are held by fewer than {told.min_cell} patients"
    return replace(
        told,
        row_columns=columns,
        n_units=n_units,
        n_patients=n_patients,
        n_combinations=n_all,
        n_small_combinations=n_small,
        is_told=reason is None,
        reason=reason,
    )


def _units_sql(columns: tuple[str, ...]) -> str:
    """Return the query for units that could be told, with the chosen columns, the others null.

    A unit with an open window would tell that it is recent, and so do windows that stay open for
    all: what waits is not told, and where a feed never comes, nobody waits for it.
    """
    chosen = (
        quote(name) if name in columns else f"NULL::{kind} AS {quote(name)}"
        for name, kind in _course_columns()
    )
    return f"""
    WITH outcome AS (SELECT o.* FROM ({model("linkage.unit_outcome").sql}) AS o),
    closing AS (
        SELECT study_id, outcome, window_name FROM outcome GROUP BY ALL HAVING bool_or(is_closed)
    ),
    waiting AS (
        SELECT DISTINCT {_UNIT}
        FROM outcome SEMI JOIN closing USING (study_id, outcome, window_name)
        WHERE NOT coalesce(is_closed, false)
    )
    SELECT {_UNIT}, patient_key AS patient, {", ".join(chosen)}
    FROM store.linkage.course ANTI JOIN waiting USING ({_UNIT})
    WHERE is_eligible"""


def _course_columns() -> Iterator[tuple[str, str]]:
    kinds = {column.name: column.type for column in model("linkage.course").columns}
    return ((name, kinds[name]) for name in QUASI_IDENTIFIERS if name != "patient")


def _combinations_sql(columns: tuple[str, ...]) -> str:
    """Return the query for the number of combinations, and of those that too few patients hold.

    A combination is all that is told at once of what could be known: of a unit with its
    administrations, and of all units of a patient together where it is told whose they are.
    """
    parts = ["study_id", *(name for name, _ in _course_columns() if name in columns)]
    if "n_infusions" in columns:
        parts.append("days")
    seen_together = "patient" if "patient" in columns else _UNIT
    days = "day_in_record" if "day_in_record" in columns else "NULL"
    return f"""
    WITH administration AS (
        SELECT {_UNIT}, list_sort(list(coalesce({days}::VARCHAR, '')))::VARCHAR AS days
        FROM store.linkage.infusion GROUP BY ALL
    ),
    unit AS (
        SELECT {_UNIT}, patient, to_json([{", ".join(f"{p}::VARCHAR" for p in parts)}]) AS told
        FROM temp.told_unit LEFT JOIN administration USING ({_UNIT})
    ),
    holder AS (
        SELECT list_sort(list(told::VARCHAR)) AS combination, any_value(patient) AS patient
        FROM unit GROUP BY {seen_together}
    ),
    combination AS (
        SELECT combination, count(DISTINCT patient) AS n FROM holder GROUP BY combination
    )
    SELECT count(*), count(*) FILTER (WHERE n < ?) FROM combination"""


@contextmanager
def numbered(
    con: duckdb.DuckDBPyConnection, told: PublishedRows, key: SiteKey | None
) -> Iterator[None]:
    """Give the units that are told, and their patients, numbers for this publication.

    The order is that of a keyed hash: it tells nothing of time or of keys, and only the site could
    repeat it. The hash is also of all that is linked, so that another state has other numbers, and
    rows of two nights cannot be joined by them.

    Errors:
        ValueError: the rows are de-identified, and no key is given.
    """
    if told.row_level != "deidentified" or not told.is_told:
        yield
        return
    if key is None:
        msg = "de-identified rows are numbered under the site's key"
        raise ValueError(msg)
    key.install_shuffle(con)
    try:
        con.execute("SET VARIABLE dripwatch_linked = $1", [_linked(con, told)])
        con.execute(_NUMBERS.format(patient=_patient_sql(told.row_columns)))
        yield
    finally:
        with suppress(duckdb.Error):  # refused in a transaction that has failed
            for name in ("inner_shuffle", "outer_shuffle", "linked"):
                con.execute(f"SET VARIABLE dripwatch_{name} = NULL")
            con.execute("DROP TABLE IF EXISTS temp.numbered_unit; DROP TABLE temp.told_unit")


def _linked(con: duckdb.DuckDBPyConnection, told: PublishedRows) -> str:
    digests = con.execute(
        "SELECT name, value FROM store.ops.state WHERE starts_with(name, ?) ORDER BY name",
        [f"{DIGEST}linkage."],
    ).fetchall()
    return repr((digests, told.row_columns, told.min_cell))


_NUMBERS = """
CREATE OR REPLACE TEMP TABLE numbered_unit AS
SELECT
    * EXCLUDE (patient),
    row_number() OVER (
        PARTITION BY study_id
        ORDER BY shuffled(
            to_json(['unit', getvariable('dripwatch_linked'), study_id, unit_id])::VARCHAR
        )
    ) AS number,
    {patient}::VARCHAR AS patient_key
FROM temp.told_unit
"""


def _patient_sql(columns: tuple[str, ...]) -> str:
    if "patient" not in columns:
        return "NULL"
    return (
        "dense_rank() OVER (ORDER BY shuffled("
        "to_json(['patient', getvariable('dripwatch_linked'), patient])::VARCHAR))"
    )


def rows_sql(found: Model, told: PublishedRows) -> str | None:
    """Return the query for a table's de-identified rows, inside `numbered`; None where it has none.

    Columns that it does not name are null.
    """
    name = found.full_name
    has_administrations = "n_infusions" in told.row_columns  # their rows would be counted
    if name not in _ALWAYS or (name == "linkage.infusion" and not has_administrations):
        return None
    columns = {"study_id": "study_id", "site_id": "site_id", "unit_id": "told.number::VARCHAR"}
    if "patient_key" in found.column_names:
        columns["patient_key"] = "told.patient_key"
    for column, number in _NUMBERED.get(name, {}).items():
        parts = f"'{column}', getvariable('dripwatch_linked'), study_id, told.unit_id, r.{column}"
        columns[column] = number.format(f"shuffled(to_json([{parts}])::VARCHAR)") + "::VARCHAR"
    columns |= {column: f"r.{column}" for column in _ALWAYS[name]}
    columns |= {
        column: f"{table}.{column}"
        for column, table in _CHOSEN.get(name, {}).items()
        if column in told.row_columns
    }
    as_told = ", ".join(f"{sql} AS {quote(column)}" for column, sql in columns.items())
    order = [quote(one) for one in found.key if one not in _UNIT.split(", ")]
    # A row stands where its number says: the store's own order is that of keys.
    return f"""SELECT {as_told}
    FROM ({found.sql}) AS r JOIN temp.numbered_unit AS told USING ({_UNIT}) {_CLOSED.get(name, "")}
    ORDER BY {", ".join(["told.number", *order])}"""
