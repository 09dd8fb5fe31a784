"""The stage that takes the night's looks and settles the alerts, and what is said of both."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from flows.console import Step, plural
from flows.context import RunContext
from flows.news import WORDS
from flows.plan import LINKED
from flows.run import StageResult
from warehouse.guard import guarded, transaction
from warehouse.models import model
from warehouse.results import replace_content

if TYPE_CHECKING:
    from studies.load import Study
    from studies.surveillance import PairTable
    from warehouse.looks import Taken
    from warehouse.store import Store

#: What looks and alerts were last made from, as JSON.
_LOOKED = "looked_at"


def look(context: RunContext, _step: Step) -> StageResult:
    """Look at every pair whose closed windows changed; bring alerts up to date and tell of them.

    It runs whether or not anything was linked: a run may have been killed before it came here, and
    reviews come without a batch.
    """
    from studies.surveillance import pair_hash
    from warehouse import alerts, look_records, looks, watched
    from warehouse.store import Store

    recorded = context.log.recorded
    with Store(context.site, say=context.console.say) as store:
        if store.get_state(_LOOKED) == _made_from(context, store):
            return StageResult("look", note="nothing new: not run")
        with guarded("taking looks", store.path):
            through = store.data_through()
            taken = looks.take(store.con, recorded, context.site.site.id, context.studies, through)
        with guarded("loading looks", store.path), transaction(store.con):
            look_records.load(store.con, recorded.rows(looks.LOOK), context.run_id)
            reviews = recorded.rows(alerts.REVIEWED)
            alerts.stage_alerts(
                store.con,
                context.site,
                context.run_id,
                context.channels,
                reviews,
                [pair_hash(one, pair) for one in context.studies for pair in _pairs(one)],
            )
            replace_content(store.con, model(alerts.TABLE), context.run_id)
            watched.stage_watched(store.con, context.site.site.id, context.studies)
            replace_content(store.con, model(watched.TABLE), context.run_id)
            store.set_state(_LOOKED, _made_from(context, store))
    _remark(context, taken)
    n_looks = sum(one.look is not None for one in taken)
    return StageResult("look", rows_out=n_looks, note=f"{plural(n_looks, 'look')} taken")


def _pairs(study: Study) -> list[PairTable]:
    return study.model.surveillance.pair


def _made_from(context: RunContext, store: Store) -> str:
    """Return what looks and alerts follow from: what was linked, records, channels."""
    linked = store.get_state(LINKED)
    names = context.log.recorded.names()
    hashes = [one.study_hash for one in context.studies]
    return json.dumps([linked, hashes, names, list(context.channels), "watched"])


def _remark(context: RunContext, taken: list[Taken]) -> None:
    for one in taken:
        if one.why_not:
            context.remark(f"Surveillance of {one.name} takes no look: {one.why_not}.")
        if one.is_anew:
            context.remark(
                f"Surveillance of {one.name} begins anew: the study has changed. Its earlier looks "
                "stay in `signals.sequential`."
            )
        if one.look is not None and one.look.decision == "end":
            context.remark(
                f"Surveillance of {one.name} has reached its end without a signal; no more looks "
                "are taken."
            )


def remark_on_surveillance(context: RunContext, store: Store) -> None:
    """Remark on what surveillance costs, and on alerts, each behind what changed in the data."""
    from warehouse.screened import in_words

    pairs = [pair for study in context.studies for pair in _pairs(study)]
    if pairs:
        total = math.fsum(pair.alpha for pair in pairs)
        context.remark(
            f"Surveillance: {plural(len(pairs), 'primary pair')}; {total:g} false signals are "
            "expected at most of all their looks together, where nothing is wrong. "
            "`select * from signals.sequential`."
        )
    stale = [one["event_type"] for one in context.feeds if one["stale_since_at"]]
    rows = store.con.execute(_ALERTS, {"run": context.run_id}).fetchall()
    for key, state, reasons, changes in rows:
        data = ", ".join(
            [*(WORDS[one] for one in changes or ()), *(f"{name} is late" for name in stale)]
        )
        context.remark(
            f"Alert {key}: in the data: {data or 'no change'}; state: {state} "
            f"({in_words(reasons)})."
        )


_ALERTS = """
SELECT a.alert_key, a.state, a.reasons, c.reasons
FROM signals.alert AS a
LEFT JOIN ops.change AS c ON c.run_id = $run AND c.study_id = a.study_id
    AND c.outcome = a.outcome AND c.window_name = a.window_name
WHERE a.evidence <> 'none' AND a.state NOT IN ('none', 'refuted') ORDER BY a.alert_key
"""
