"""What must be said at the end of a run: skipped, rejected, held, stale, provisional."""

from __future__ import annotations

from datetime import datetime, timedelta

from flows.context import RunContext
from warehouse.store import Store

#: A feed this far behind the newest one is called stale.
STALE_AFTER = timedelta(days=2)


def remark_on_rows(context: RunContext) -> None:
    """Remark on rows of this run that were set aside."""
    rejected = sum(one.n_rejected for one in context.incoming)
    if rejected:
        context.remark(
            f"{rejected:,} of {sum(one.n_rows for one in context.incoming):,} rows were "
            "quarantined; `select * from quality.check_result where n_failed > 0` says why."
        )


def find_held(context: RunContext) -> list[str]:
    """Return the batches that wait for somebody.

    A held batch whose delivery was committed after all (read with a mended mapping, or delivered
    again) waits for nobody any more.
    """
    told = {(one.source, one.exported_at) for one in context.log.committed()}
    waiting = []
    for one in context.log.held():
        if (one.source, one.exported_at) in told:
            context.remark(
                f"Batch {one.batch_id[:12]} of {one.source} is held but no longer waited for: its "
                "delivery has been committed since. Its folder in log/held may be deleted."
            )
        else:
            waiting.append(one.batch_id)
    return waiting


def remark_on_held(context: RunContext) -> None:
    """Remark on every batch that is held, with its reasons."""
    for manifest in context.log.held():
        if manifest.batch_id not in context.held:
            continue
        reasons = " ".join(manifest.hold_reasons)
        context.remark(
            f"Held: batch {manifest.batch_id[:12]} of {manifest.source}, exported "
            f"{manifest.exported_at:%Y-%m-%d}. {reasons}"
        )


def remark_on_reading(context: RunContext) -> None:
    """Remark on batches that were read with another mapping or scope and are no longer there."""
    now = {facts.source: facts for facts in context.current.values()}
    old = [
        manifest
        for manifest in context.log.in_force()
        if manifest.batch_id not in context.current
        and (facts := now.get(manifest.source)) is not None
        and manifest.scope_hash != facts.scope_hash
    ]
    if old:
        context.remark(
            f"{len(old)} batches need to be delivered again: they were read under another scope, "
            "and codes that are asked for now may be missing from them."
        )


def remark_on_feeds(context: RunContext, store: Store) -> None:
    """Remark on event types that outcomes need and nobody delivers, and on feeds that lag."""
    through = store.data_through()
    for study in context.studies:
        for outcome in study.model.outcome:
            lacking = [name for name in study.reads(outcome) if name not in through]
            if lacking and outcome.publish:
                context.remark(
                    f"{study.id}: {outcome.name} needs {', '.join(lacking)}, "
                    "which no source delivers."
                )
    if not through:
        return
    newest = max(through.values())
    for event_type, instant in through.items():
        if newest - instant > STALE_AFTER:
            context.remark(
                f"Stale: {event_type} is complete only up to {instant:%Y-%m-%d}, "
                f"{_days(newest, instant)} days behind the newest feed."
            )


def _days(newest: datetime, instant: datetime) -> int:
    return (newest - instant).days


def remark_on_open_windows(context: RunContext, store: Store) -> None:
    """Remark on windows that are still open: their units are in no risk yet."""
    row = store.con.execute(
        "SELECT coalesce(sum(n_open), 0), count(DISTINCT (outcome, window_name)) FROM signals.risk "
        "WHERE stratum = 'all' AND is_headline AND n_open > 0"
    ).fetchone()
    if row and row[0]:
        context.remark(
            f"Provisional: windows of {row[1]} outcomes are still open for some units; "
            "they count once their windows have closed."
        )


def headline(store: Store) -> tuple[tuple[str, str], ...]:
    """Return the first numbers of a synthetic site; a real site's stay in its warehouse."""
    rows = store.con.execute(
        """SELECT coalesce(o.label, r.outcome), r.stratum, r.stratum_value, r.n_events, r.n_units
        FROM signals.risk AS r
        LEFT JOIN reference.outcome AS o USING (study_id, outcome)
        JOIN (SELECT study_id, outcome, min(window_name) AS window_name,
                     bool_or(window_name = 'risk') AS has_risk
              FROM signals.risk GROUP BY ALL) AS w USING (study_id, outcome)
        WHERE r.is_headline AND o.is_published
            AND r.window_name = CASE WHEN w.has_risk THEN 'risk' ELSE w.window_name END
            AND (r.stratum = 'all' OR (r.stratum = 'ordinal' AND r.stratum_value = 'first'
                 AND r.outcome = 'any_side_effect'))
        ORDER BY r.outcome, r.stratum, r.stratum_value"""
    ).fetchall()
    return tuple((_label(row), f"{row[3]}/{row[4]} = {_percent(row)}") for row in rows)


def _label(row: tuple[str, str, str, int, int]) -> str:
    return f"{row[0]}, {'all units' if row[1] == 'all' else 'first in record'}"


def _percent(row: tuple[str, str, str, int, int]) -> str:
    return f"{100 * row[3] / row[4]:.1f} %" if row[4] else "no unit"
