"""The numbers in which a batch is compared with the 28 days before: one row a cell, with bounds.

A batch is compared in the time that it is the first to cover: from the end that its source declared
before to the end that it declares itself. Records of one patient on one day resemble each other, so
chance is reckoned from patient days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import schemas
from expectations.columns import SCHEMA
from expectations.drift import Earlier
from expectations.judged import DRIFT, Judged
from expectations.judged import DRIFT_TABLE as TABLE
from pipelines.base.duck import literal, quote

if TYPE_CHECKING:
    import duckdb

#: Fewer patient days say nothing about a share; before, fewer make no habit.
MIN_NEW, MIN_BEFORE = 5, 20
#: Bounds lie so many standard errors from what was before: a false alarm in some thousand cells.
Z = 4.0

_CELLS = f"""
CREATE OR REPLACE TABLE {SCHEMA}.{TABLE} (
    source_file_sha VARCHAR, source_row BIGINT, source_part INTEGER, record_key VARCHAR,
    is_content BOOLEAN, event_type VARCHAR, what VARCHAR, n_rows BIGINT, n_rows_before BIGINT,
    drift_volume DOUBLE, drift_null DOUBLE, drift_unit DOUBLE, drift_code DOUBLE,
    drift_unmapped DOUBLE, before DOUBLE, low DOUBLE, high DOUBLE)
"""


def prepare(
    con: duckdb.DuckDBPyConnection, earlier: Earlier, data_through: Mapping[str, datetime]
) -> Judged | None:
    """Build the judged table of cells; None where nothing can be compared.

    Args:
        con: the staging database, its rows judged, `earlier.relations` attached.
        earlier: what the source had told before.
        data_through: per event type, up to when the batch is complete, aware.
    """
    con.execute(_CELLS)
    for event_type, through in data_through.items():
        since, until = earlier.since.get(event_type), through.astimezone(UTC).replace(tzinfo=None)
        if since is not None and until > since:
            _compare(con, earlier, event_type, since, until)
    row = con.execute(f"SELECT count(*) FROM {SCHEMA}.{TABLE}").fetchone()
    return Judged(DRIFT, TABLE, TABLE, TABLE) if row and row[0] else None


def _compare(
    con: duckdb.DuckDBPyConnection,
    earlier: Earlier,
    event_type: str,
    since: datetime,
    until: datetime,
) -> None:
    _collect(con, earlier, event_type, since, until)
    con.execute(_SIZES)
    told = {"type": event_type}
    row = con.execute("SELECT days, days_before FROM size").fetchone()
    days, days_before = row or (0, 0)
    if days_before < MIN_BEFORE:
        return
    con.execute(_VOLUME, {**told, "n_periods": (until - since).total_seconds() / 86_400})
    if days < MIN_NEW:
        return
    columns = [field.name for field in schemas.fields(event_type)]
    con.execute(_null_sql(columns[columns.index("resource_key") + 1 :]), told)
    if "unit" in columns:
        con.execute(_UNIT, told)
    if "code" in columns:
        con.execute(_CODE, told)
        _compare_unmapped(con, earlier, event_type)


def _collect(
    con: duckdb.DuckDBPyConnection,
    earlier: Earlier,
    event_type: str,
    since: datetime,
    until: datetime,
) -> None:
    """Make `recent`: what is new and the 28 days before; days are counted from `since`."""
    table = quote(event_type)
    day = "floor(epoch(e.occurred_at - $since) / 86400)::INTEGER AS day"
    parts = [
        f"""SELECT {number} AS part, {day}, e.* FROM {relation}.{table} AS e
        WHERE e.source = $source AND e.occurred_at >= $since - INTERVAL 28 DAY
            AND e.occurred_at < $since AND e.operation IS DISTINCT FROM 'retract'"""
        for number, relation in enumerate(earlier.relations)
    ]
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE recent AS
        WITH told AS ({" UNION ALL BY NAME ".join(parts)}),
        fullest AS (
            SELECT day, part FROM told GROUP BY day, part
            QUALIFY row_number() OVER (PARTITION BY day ORDER BY count(*) DESC, part DESC) = 1
        )
        SELECT false AS is_new, told.* EXCLUDE (part)
        FROM told JOIN fullest USING (day, part)
        UNION ALL BY NAME
        SELECT true AS is_new, {day}, e.* FROM event.{table} AS e
        ANTI JOIN (SELECT * FROM judge.rejected WHERE event_type = {literal(event_type)}) AS r
            ON r.source_file_sha = e.source_file_sha AND r.source_row = e.source_row
            AND r.source_part IS NOT DISTINCT FROM e.source_part
        WHERE e.occurred_at >= $since AND e.occurred_at < $until
            AND e.operation IS DISTINCT FROM 'retract'""",
        {"since": since, "until": until, "source": earlier.source},
    )


_DAYS = "count(DISTINCT (day, coalesce(patient_key, '')))"
_SIZES = f"""
CREATE OR REPLACE TEMP TABLE size AS
SELECT count(*) FILTER (is_new) AS n, count(*) FILTER (NOT is_new) AS n_before,
    {_DAYS} FILTER (is_new) AS days, {_DAYS} FILTER (NOT is_new) AS days_before
FROM recent
"""

_INSERT = f"""
INSERT INTO {SCHEMA}.{TABLE} BY NAME
SELECT '' AS source_file_sha, (SELECT count(*) FROM {SCHEMA}.{TABLE}) + row_number() OVER ()
    AS source_row, true AS is_content, $type AS event_type, *
FROM ({{cells}})
"""

# Days of the week have habits: each is set against the same day of the four weeks before. What is
# spread more than chance spreads it (one infusion, twenty results) has wider bounds.
_VOLUME = _INSERT.format(
    cells=f"""
    WITH grid AS (SELECT unnest(range(-28, 0))::INTEGER AS day),
    daily AS (
        SELECT g.day, count(r.day) AS n FROM grid AS g
        LEFT JOIN (SELECT day FROM recent WHERE NOT is_new) AS r USING (day) GROUP BY g.day
    ),
    habit AS (SELECT *, avg(n) OVER (PARTITION BY (day + 28) % 7) AS usual FROM daily),
    spread AS (SELECT greatest(1, sum((n - usual) ** 2) / 21 / avg(n)) AS factor FROM habit),
    ahead AS (
        SELECT unnest(range(0, ceil($n_periods)::BIGINT)) AS day
    ),
    expected AS (
        SELECT sum(h.usual * least(1, $n_periods - a.day)) AS mean
        FROM ahead AS a JOIN habit AS h ON h.day = a.day % 7 - 28
    ),
    bounds AS (
        SELECT mean, greatest(mean / 2, {Z} * sqrt(factor * mean * 1.25)) AS half
        FROM expected, spread
    )
    SELECT '' AS what, n AS n_rows, n_before AS n_rows_before, n AS drift_volume, mean AS before,
        mean - half AS low, mean + half AS high
    FROM bounds, size
    WHERE days_before >= {MIN_BEFORE} AND (SELECT min(day) FROM recent) < -21"""
)


def _share_cells(check: str, select: str) -> str:
    """Return SQL of cells whose `share`s, now and before, chance allows to differ by so much.

    A share that was 0 or 1 before has a variance too: one more patient day of each is added.
    """
    return _INSERT.format(
        cells=f"""
        WITH share AS ({select}),
        chance AS (
            SELECT *, (before * days_before + 1) / (days_before + 2) AS smooth FROM share
            WHERE days >= {MIN_NEW} AND days_before >= {MIN_BEFORE}
        ),
        bounds AS (
            SELECT *, greatest(0.1, {Z} * sqrt(smooth * (1 - smooth)
                * (1 / days + 1 / days_before))) AS half FROM chance
        )
        SELECT what, n_rows, n_rows_before, now AS {check}, before,
            before - half AS low, before + half AS high FROM bounds"""
    )


def _null_sql(columns: Sequence[str]) -> str:
    shares = ", ".join(
        f"avg(({quote(name)} IS NULL)::INTEGER) AS {quote(name)}" for name in columns
    )
    names = ", ".join(quote(name) for name in columns)
    return _share_cells(
        "drift_null",
        f"""SELECT what, n AS n_rows, n_before AS n_rows_before, days, days_before,
            any_value(share) FILTER (is_new) AS now,
            any_value(share) FILTER (NOT is_new) AS before
        FROM (UNPIVOT (SELECT is_new, {shares} FROM recent GROUP BY is_new)
            ON {names} INTO NAME what VALUE share), size
        GROUP BY ALL""",
    )


_UNMAPPED = _share_cells(
    "drift_unmapped",
    """SELECT '' AS what, $n::BIGINT AS n_rows, $n_before::BIGINT AS n_rows_before, days,
        days_before, $now::DOUBLE AS now, $before::DOUBLE AS before FROM size""",
)

# Half the sum of absolute differences of shares: 0 where nothing moved, 1 where everything did.
_UNIT = _INSERT.format(
    cells=f"""
    WITH told AS (
        SELECT concat_ws(' ', code_system, code) AS what, coalesce(unit, '') AS unit,
            count(*) FILTER (is_new) AS n, count(*) FILTER (NOT is_new) AS n_before
        FROM recent WHERE value IS NOT NULL GROUP BY ALL
    ),
    whole AS (
        SELECT concat_ws(' ', code_system, code) AS what, {_DAYS} FILTER (is_new) AS days,
            {_DAYS} FILTER (NOT is_new) AS days_before
        FROM recent WHERE value IS NOT NULL GROUP BY ALL
    ),
    moved AS (
        SELECT what, sum(n) AS n_rows, sum(n_before) AS n_rows_before FROM told GROUP BY ALL
    ),
    distance AS (
        SELECT t.what, sum(abs(t.n / m.n_rows - t.n_before / m.n_rows_before)) / 2 AS apart
        FROM told AS t JOIN moved AS m USING (what) GROUP BY ALL
    )
    SELECT what, n_rows::BIGINT AS n_rows, n_rows_before::BIGINT AS n_rows_before,
        apart AS drift_unit, 0 AS before, 0 AS low,
        greatest(0.1, {Z} / 2 * sqrt(1 / days + 1 / days_before)) AS high
    FROM moved JOIN whole USING (what) JOIN distance USING (what)
    WHERE days >= {MIN_NEW} AND days_before >= {MIN_BEFORE}"""
)

_CODE = _INSERT.format(
    cells=f"""
    WITH told AS (
        SELECT code_system, code, count(*) FILTER (is_new) / any_value(n) AS now,
            count(*) FILTER (NOT is_new) / any_value(n_before) AS before,
            (now * any_value(n) + before * any_value(n_before)) / any_value(n + n_before) AS pooled
        FROM recent, size GROUP BY ALL
    ),
    -- What chance moves on average, if patient days are the draws. The distance varies by at most
    -- 0.3 standard errors around that (two codes, half each), so one more is three times as much.
    moved AS (
        SELECT sum(abs(now - before)) / 2 AS apart,
            0.4 * sum(sqrt(pooled * (1 - pooled))) AS by_chance FROM told
    )
    SELECT '' AS what, n AS n_rows, n_before AS n_rows_before, apart AS drift_code, 0 AS before,
        0 AS low, greatest(0.2, (by_chance + 1) * sqrt(1 / days + 1 / days_before)) AS high
    FROM moved, size WHERE days >= {MIN_NEW} AND days_before >= {MIN_BEFORE}"""
)

_UNKNOWN_CODES = f"""
SELECT count(*) FILTER (r.is_new AND NOT is_known), count(*) FILTER (r.is_new),
    count(*) FILTER (NOT r.is_new AND NOT is_known), count(*) FILTER (NOT r.is_new)
FROM (
    SELECT r.is_new, EXISTS (
        FROM {SCHEMA}._concept AS c
        WHERE c.event_type = $type AND c.code_system = r.code_system
            AND CASE c.match WHEN 'prefix' THEN starts_with(r.code, c.code)
                ELSE r.code = c.code END) AS is_known
    FROM recent AS r
) AS r
"""


def _compare_unmapped(con: duckdb.DuckDBPyConnection, earlier: Earlier, event_type: str) -> None:
    """Compare the share of rows whose code no study asks for, whether left out or kept."""
    row = con.execute(
        """SELECT count(*) FILTER (fate = 'out_of_scope'), count(*) FROM fate.row
        WHERE event_type = ?""",
        [event_type],
    ).fetchone()
    n_out, n_fates = row or (0, 0)
    events = con.execute(f"SELECT count(*) FROM event.{quote(event_type)}").fetchone()
    out_before, n_before = earlier.unmapped.get(event_type, (0, 0))
    told = (n_out, n_fates + (events[0] if events else 0), out_before, n_before)
    if not n_out and not out_before:
        found = con.execute(_UNKNOWN_CODES, {"type": event_type}).fetchone()
        told = found or told
    unknown, n, unknown_before, n_before = told
    if n and n_before:
        con.execute(
            _UNMAPPED,
            {
                "type": event_type,
                "n": n,
                "n_before": n_before,
                "now": unknown / n,
                "before": unknown_before / n_before,
            },
        )
