"""`dripwatch review`: somebody judges an alert, and the log keeps that."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.lock import site_lock
from flows.reply import Reply, UsageError
from pipelines.base.errors import ConfigError
from pipelines.base.site import load_site

if TYPE_CHECKING:
    from warehouse.store import Store


def review(
    config: Path, answer: Reply, *, alert: str, state: str, reviewer: str, note: str
) -> None:
    """Record that somebody judged an alert as it stands; the next refresh publishes it.

    Errors:
        UsageError: no such alert stands, or there is no such state, or nobody signs.
        LockedError: a run is at work.
        StorageError: it cannot be recorded.
    """
    from pipelines.ingest.log import EventLog
    from pipelines.ingest.recorded import fact_name
    from warehouse.alerts import REVIEW_STATES, REVIEWED
    from warehouse.store import Store

    if state not in REVIEW_STATES:
        raise UsageError(
            "There is no such state of a review.",
            remedy=f"Write `--state {'` or `--state '.join(REVIEW_STATES)}`.",
        )
    if not reviewer.strip():
        raise UsageError("Nobody signs the review.", remedy="Name a person or a role with --by.")
    site = load_site(config)
    if not site.store_path.is_file():
        raise ConfigError(
            "The site has no alerts yet.",
            where=str(site.store_path),
            remedy="Run `dripwatch refresh` first.",
        )
    recorded = EventLog(site.log_root).recorded
    with site_lock(site):
        with Store(site) as store:
            evidence, n_serious, reasons = _judged(store, alert)
        number = sum(one["alert_key"] == alert for one in recorded.rows(REVIEWED)) + 1
        told = {
            "alert_key": alert,
            "state": state,
            "reviewer": reviewer,
            "note": note or None,
            "judged_state": evidence,
            "judged_n_serious": n_serious or 0,
            "judged_reasons": reasons,
        }
        name = fact_name(REVIEWED, site.site.id, alert, number)
        recorded.add(REVIEWED, name, site.site.id, datetime.now(UTC), [told])
    answer.result = {"alert_key": alert, "state": state, "judged_state": evidence}
    answer.message = f"Recorded: {alert} is {state}. The next refresh publishes it."
    answer.console.say(answer.message)


def _judged(store: Store, alert: str) -> tuple[Any, ...]:
    """Return the evidence of an alert, its serious events and its reasons.

    Errors:
        UsageError: no such alert stands.
    """
    rows = store.con.execute(
        "SELECT alert_key, evidence, n_serious, reasons FROM signals.alert "
        "WHERE evidence <> 'none' ORDER BY alert_key"
    ).fetchall()
    found = {key: told for key, *told in rows}
    if alert not in found:
        standing = f"These stand: {', '.join(found)}." if found else "None stands."
        raise UsageError(
            "No alert of this key stands.",
            where=alert,
            remedy=f"{standing} `select * from analysis.alert` shows them; nothing was recorded.",
        )
    return tuple(found[alert])
