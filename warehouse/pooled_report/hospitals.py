"""Who was pooled, how old and complete the data is, and what is masked: before any number."""

from __future__ import annotations

from collections.abc import Collection

from warehouse.pooled_report.read import Pooled
from warehouse.report import words
from warehouse.report.page import Card, Cell, Figure, Table
from warehouse.report.page import Row as TableRow

_HEAD = (
    "Hospital",
    "Complete into",
    "Stale feeds",
    "Rejected, most of a feed",
    "Pack",
    "Exported",
    "Smallest count told",
    "Rows told",
    "Rows masked",
)
_NOTE = (
    "A hospital tells a figure again only when its change may be told, so that figures can be "
    "older than the quarter here."
)
_REASONS = {
    "few_events": "1 to threshold - 1 events: the number of infusions may be told",
    "small_count": "a count is small, or would tell of one that is",
    "n_patients": "the number of patients alone",
}


def cards(file: Pooled, known: Collection[str] = ()) -> tuple[Card, ...]:
    """Return who is in it, how fresh and whole the data is, and what is masked.

    Args:
        file: the pooled file.
        known: hospitals whose packs could be verified.
    """
    every = list(file.hospitals.values())
    names = words.listed([one.site_id for one in every])
    old = tuple(
        f"{row['site_id']}: exported {row['exported']}, others {row['period']}"
        for row in file.late()
    )
    gone = tuple(f"{name}: no pack" for name in file.gone(known))
    late = tuple(f"{one.site_id}: {words.listed(list(one.stale))}" for one in every if one.stale)
    undated = [one.site_id for one in every if one.through is None]
    oldest = min((one.through for one in every if one.through), default="not known")
    lead = f"The oldest data is complete into {oldest}."
    if undated:
        lead += f" Of {words.listed(undated)} it is not known."
    masked = sum(one.n_rows_masked for one in every)
    told = sum(one.n_rows_told for one in every)
    return (
        Card(
            "who",
            "Who is in it",
            f"{words.many(len(every), 'hospital')}: {names}.",
            "look" if gone or old else "good",
            (*gone, *old),
        ),
        Card(
            "fresh",
            "How fresh",
            f"{lead} {'Stale feeds:' if late else 'No feed is stale.'}",
            "look" if late or undated else "good",
            late,
        ),
        Card(
            "whole",
            "How complete",
            f"Of the rows read, checks rejected: {_rejected(file)}.",
            link=("#hospitals", "Hospital by hospital"),
        ),
        Card(
            "masked",
            "What is masked",
            f"{masked:,} of {told + masked:,} rows of counts. A masked count is never taken as "
            "zero: it leaves a range, or no number.",
            link=("#masked", "What and why"),
        ),
    )


def _rejected(file: Pooled) -> str:
    return words.listed(
        [
            f"{one.site_id} "
            + (
                "not known"
                if one.rejected_percent is None
                else f"{one.rejected_percent}{words.NBSP}%"
            )
            for one in file.hospitals.values()
        ]
    )


def table(file: Pooled) -> Figure:
    """Return the hospitals, a row each."""
    rows = []
    for one in file.hospitals.values():
        rejected = one.rejected_percent
        share = words.DASH if rejected is None else f"{rejected}{words.NBSP}%"
        stale = words.listed(list(one.stale)) if one.stale else "none"
        cells = (
            Cell(one.site_id, "site_id", is_head=True),
            Cell(one.through or "not known", "data_through"),
            Cell(stale, "stale"),
            Cell(share, "quarantined_percent", is_number=True),
            Cell(words.count(one.pack_number), "pack_number", is_number=True),
            Cell(one.exported or words.DASH, "exported"),
            Cell(words.count(one.threshold), "threshold", is_number=True),
            Cell(words.count(one.n_rows_told), "n_rows_told", is_number=True),
            Cell(words.count(one.n_rows_masked), "n_rows_masked", is_number=True),
        )
        rows.append(TableRow(cells, one.site_id))
    made = Table("Hospitals, and how far their data goes.", _HEAD, tuple(rows), is_open=True)
    return Figure("hospital-table", "Who told what", notes=(_NOTE,), table=made)


def masked(file: Pooled) -> Figure:
    """Return how many rows of counts each hospital masks, by reason."""
    rows = file.rows(
        """SELECT site_id, suppressed_reason AS reason, count(*) AS n FROM pooled.forest
        WHERE suppressed_reason IS NOT NULL GROUP BY ALL ORDER BY ALL"""
    )
    name, title = "masked-table", "What is left out"
    if not rows:
        return Figure(name, title, absent="No hospital masks a row of these counts.")
    body = tuple(
        TableRow(
            (
                Cell(row["site_id"], is_head=True),
                Cell(_REASONS[row["reason"]]),
                Cell(words.count(row["n"]), "n", is_number=True),
                Cell(words.count(file.hospitals[row["site_id"]].threshold), is_number=True),
            ),
            f"{row['site_id']}/{row['reason']}",
        )
        for row in rows
    )
    head = ("Hospital", "Why", "Rows", "Its smallest count")
    made = Table("Rows of counts with something left out.", head, body, is_open=True)
    return Figure(name, title, table=made)
