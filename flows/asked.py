"""What `signals` and `quality` share: rows of the site's warehouse, and filters over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.console import printable
from flows.reply import Reply, UsageError, may_name
from flows.tabular import write_csv
from pipelines.base.site import load_site
from warehouse.query import run_query

Row = dict[str, Any]


class Asked:
    """The published warehouse of a site.

    It is the site's own file, unmasked: small counts are shown, as they are to whoever opens it.

    Errors:
        ConfigError: site.toml cannot be read.
        StorageError: nothing has been published yet.
    """

    def __init__(self, config: Path) -> None:
        site = load_site(config)
        may_name(site)
        self._file = site.warehouse

    def rows(self, sql: str) -> list[Row]:
        """Return the rows of a statement by the names of their columns."""
        found = run_query(self._file, sql)
        return [dict(zip(found.columns, row, strict=True)) for row in found.rows]

    def freshness(self) -> Row:
        """Return how old the file is; `analysis.freshness` has one row a site."""
        (row,) = self.rows("FROM analysis.freshness")
        return row


def chosen(rows: Iterable[Row], column: str, wanted: Sequence[str], option: str) -> list[Row]:
    """Return the rows with one of the wanted values; all rows where none is wanted.

    Errors:
        UsageError: no row has such a value.
    """
    rows = list(rows)
    known = sorted({str(row[column]) for row in rows if row[column] is not None})
    if unknown := sorted(set(wanted) - set(known)):
        raise UsageError(
            f"{option}: there is none of that name: {', '.join(map(repr, unknown))}.",
            remedy=f"One of: {', '.join(known) or 'none; there are no rows'}.",
        )
    return [row for row in rows if not wanted or str(row[column]) in wanted]


def print_csv(answer: Reply, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Print rows as CSV, unless the answer is JSON."""
    if not answer.as_json:
        write_csv(names, [[row[name] for name in names] for row in rows])


def minute(at: datetime | None) -> str:
    """Return an instant to the minute; empty where there is none."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"


def headline(fresh: Row) -> str:
    """Return about the file: whose it is, how new, how far its data reach, what is late."""
    label = "SYNTHETIC: " if fresh["is_synthetic"] else ""
    reach = (
        f"Every feed is complete to {minute(fresh['data_through_at'])} UTC"
        if fresh["data_through_at"]
        else "Not every feed says how far it reaches"
    )
    late = "".join(f"\n- {printable(feed)}" for feed in fresh["stale_feeds"])
    return (
        f"{label}site {fresh['site_id']}, published {minute(fresh['published_at'])} UTC.\n"
        f"{reach}; {f'stale:{late}' if late else 'none is stale.'}"
    )


def natural(text: str) -> list[tuple[int, str]]:
    """Return a key that sorts 2-5 before 12-20."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in _PARTS.split(text)]


_PARTS = re.compile(r"(\d+)")
