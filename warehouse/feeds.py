"""Feeds: what each source delivers of each event type per day, and which fell silent.

The rule is docs/windows.md, section 6. It reads current events and what the sources declared, no
clock and no earlier night, so that it says the same whatever came first.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import date, datetime

import duckdb

import schemas
from pipelines.base import zones
from pipelines.base.duck import literal, quote
from pipelines.base.site import Site
from pipelines.base.site_nights import FeedsTable

#: A feed's habit is taken from so many days before its last record.
TRAILING_DAYS = 28
#: With fewer days on which the site delivered anything, a habit would be made of chance.
MIN_SITE_DAYS = 7
#: Told on fewer of those days, a feed has no habit that could be missed.
MIN_TOLD_DAYS = 3

#: What a message of a quiet feed says that it is; also the name of its event on a Prefect server.
FEED_QUIET = "dripwatch.feed.quiet"

_STATE = "feeds"


@dataclass(frozen=True)
class Silence:
    """A silence that was too long to be chance.

    Attributes:
        source, event_type: the feed.
        last_date: local date of the last record before it.
        next_date: local date of the first record after it; None while it lasts.
        n_days: whole days without a record.
        n_expected: days on which the feed should have delivered.
        holds_windows: whether it keeps windows open.
    """

    source: str
    event_type: str
    last_date: date
    next_date: date | None
    n_days: int
    n_expected: float
    holds_windows: bool


def state_key(site: Site, batch_ids: list[str]) -> str:
    """Return a hash of what the tables of feeds are a function of."""
    told = [batch_ids, site.site.zone, site.feeds.quiet_after_days, sorted(site.feeds.believed)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def keep_feeds(con: duckdb.DuckDBPyConnection, site: Site, batch_ids: list[str]) -> bool:
    """Bring `quality.completeness`, `.feed` and `.silence` up to date; False where they were.

    Args:
        con: the store in use, in a transaction of the caller.
        site: its zone, and its settings of feeds.
        batch_ids: the batches that the store holds, sorted.
    """
    wanted = state_key(site, batch_ids)
    known = con.execute("SELECT value FROM ops.state WHERE name = ?", [_STATE]).fetchone()
    if known and known[0] == wanted:
        return False
    zones.install(con)
    for table in ("completeness", "feed", "silence"):
        con.execute(f"DELETE FROM quality.{table}")
    con.execute(_COMPLETENESS, {"zone": site.site.zone, "site": site.site.id})
    keep_silences(con, site.site.zone, site.feeds)
    con.execute(_FEED, {"zone": site.site.zone, "believed": sorted(site.feeds.believed)})
    con.execute("INSERT OR REPLACE INTO ops.state VALUES (?, ?)", [_STATE, wanted])
    return True


def take_as_told(con: duckdb.DuckDBPyConnection, site: Site, batch_ids: list[str]) -> None:
    """Keep the tables of feeds as they are: of a store whose events were counted elsewhere."""
    wanted = state_key(site, batch_ids)
    con.execute("INSERT OR REPLACE INTO ops.state VALUES (?, ?)", [_STATE, wanted])


def keep_silences(con: duckdb.DuckDBPyConnection, zone: str, settings: FeedsTable) -> None:
    """Fill `quality.silence` from `quality.completeness` and what the sources declared."""
    con.execute(
        _SILENCE,
        {
            "zone": zone,
            "threshold": settings.quiet_after_days,
            "believed": sorted(settings.believed),
        },
    )


def complete_through(con: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Return, per event type, the naive UTC instant up to which all its feeds are complete.

    Per source the latest that any batch declared, or, where the feed is quiet, the end of the
    local day of its last record; over the sources of a type, the earliest. A type is absent where
    one of its sources never said up to when it is complete.
    """
    return dict(con.execute(_THROUGH.format(at="complete_through_at")).fetchall())


def declared_through(con: duckdb.DuckDBPyConnection) -> dict[str, datetime]:
    """Return the same by the sources' own word, quiet or not."""
    return dict(con.execute(_THROUGH.format(at="data_through_at")).fetchall())


_THROUGH = """
SELECT event_type, min({at}) FROM quality.feed
GROUP BY ALL HAVING count(*) = count({at}) ORDER BY ALL
"""


def silences(con: duckdb.DuckDBPyConnection) -> list[Silence]:
    """Return all silences that were too long to be chance, by feed and day."""
    rows = con.execute(
        """SELECT source, event_type, last_date, next_date, n_days, expected_days, holds_windows
        FROM quality.silence ORDER BY source, event_type, last_date"""
    ).fetchall()
    return [Silence(*row) for row in rows]


def last_told_days(con: duckdb.DuckDBPyConnection, zone: str) -> int | None:
    """Return the whole days, up to the latest declared end, since anybody told of anything.

    None where nothing is dated or nobody declared an end.
    """
    zones.install(con)
    row = con.execute(
        """SELECT date_diff('day', max(last_occurred_date),
            utc_to_local(max(data_through_at), $zone)::DATE) - 1
        FROM quality.feed""",
        {"zone": zone},
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def _counted(event_type: str) -> str:
    # Zones change by quarters of an hour, so few instants are converted for many records.
    return f"""
    SELECT source, {literal(event_type)} AS event_type,
        CASE WHEN coalesce(time_precision, 'instant') NOT IN ('month', 'year')
            THEN time_bucket(INTERVAL 15 MINUTE, occurred_at) END AS quarter_at,
        count(*) AS n_rows
    FROM current.{quote(event_type)} GROUP BY ALL"""


_COMPLETENESS = f"""
INSERT INTO quality.completeness BY NAME
WITH counted AS ({" UNION ALL ".join(_counted(name) for name in schemas.CLINICAL_TYPES)})
SELECT $site AS site_id, source, event_type,
    utc_to_local(quarter_at, $zone)::DATE AS occurred_date, sum(n_rows)::BIGINT AS n_rows
FROM counted GROUP BY ALL
"""

# `full_until` is the first day of which the source does not say that it is complete.
_SILENCE = f"""
INSERT INTO quality.silence BY NAME
WITH feed AS (
    SELECT *, utc_to_local(data_through_at, $zone)::DATE AS full_until
    FROM ledger.data_through WHERE data_through_at IS NOT NULL
),
site_day AS (
    SELECT DISTINCT occurred_date FROM quality.completeness WHERE occurred_date IS NOT NULL
),
-- Every feed on every day on which anybody at the site delivered.
grid AS (
    SELECT f.site_id, f.source, f.event_type, f.full_until, d.occurred_date,
        c.n_rows IS NOT NULL AS is_told
    FROM feed AS f
    JOIN site_day AS d ON d.occurred_date <= f.full_until
    LEFT JOIN quality.completeness AS c ON c.source = f.source AND c.event_type = f.event_type
        AND c.occurred_date = d.occurred_date
),
habit AS (
    SELECT *,
        count(*) OVER before AS n_trailing,
        count(*) FILTER (is_told) OVER before AS n_told,
        row_number() OVER (PARTITION BY source, event_type ORDER BY occurred_date) AS place,
        count(*) FILTER (occurred_date < full_until) OVER (PARTITION BY source, event_type)
            AS n_places
    FROM grid
    WINDOW before AS (PARTITION BY source, event_type ORDER BY occurred_date
        RANGE BETWEEN INTERVAL {TRAILING_DAYS} DAY PRECEDING AND INTERVAL 1 DAY PRECEDING)
),
told AS (
    SELECT site_id, source, event_type, occurred_date AS last_date,
        lead(occurred_date) OVER feed AS next_date,
        date_diff('day', occurred_date, coalesce(next_date, full_until)) - 1 AS n_days,
        coalesce(lead(place) OVER feed - 1, n_places) - place AS n_site_days,
        n_told,
        n_site_days * n_told / greatest(n_trailing, {MIN_SITE_DAYS}) AS expected_days
    FROM habit WHERE is_told
    WINDOW feed AS (PARTITION BY source, event_type ORDER BY occurred_date)
)
SELECT * EXCLUDE (n_told), next_date IS NULL AS is_open,
    is_open AND NOT list_contains($believed, source)
        AND NOT list_contains($believed, source || '/' || event_type) AS holds_windows
FROM told WHERE expected_days >= $threshold AND n_told >= {MIN_TOLD_DAYS}
"""

_FEED = """
INSERT INTO quality.feed BY NAME
WITH counted AS (
    SELECT source, event_type, sum(n_rows)::BIGINT AS n_rows,
        min(occurred_date) AS first_occurred_date, max(occurred_date) AS last_occurred_date
    FROM quality.completeness GROUP BY ALL
)
SELECT d.site_id, d.source, d.event_type, coalesce(c.n_rows, 0) AS n_rows,
    c.first_occurred_date, c.last_occurred_date, d.data_through_at,
    CASE WHEN s.holds_windows THEN least(d.data_through_at,
        local_to_utc((s.last_date + 1)::TIMESTAMP, $zone, 0))
        ELSE d.data_through_at END AS complete_through_at,
    s.source IS NOT NULL AS is_quiet,
    list_contains($believed, d.source)
        OR list_contains($believed, d.source || '/' || d.event_type) AS is_believed
FROM ledger.data_through AS d
LEFT JOIN counted AS c USING (source, event_type)
LEFT JOIN quality.silence AS s ON s.source = d.source AND s.event_type = d.event_type AND s.is_open
"""
