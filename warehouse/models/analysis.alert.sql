-- analysis.alert
--
-- Alerts that stand, each behind what has changed in the data: look there first. A feed that is late,
-- or records that were corrected, make signals.
--
-- kind: view
-- grain: One row per alert whose state is not none.
-- key: alert_key
-- columns:
--   data_changes VARCHAR[] - Why the numbers of its outcome and window changed with this publication; null where they did not. See ops.change.
--   stale_feeds VARCHAR[] - Event types of sources whose data should reach further; see reference.freshness.
--   drifted VARCHAR[] - Event types of which the newest batch differs from the 28 days before; see quality.drift.
--   alert_key VARCHAR - Key of the alert, for `dripwatch review --alert`.
--   label VARCHAR - Name of the outcome.
--   window_name VARCHAR - Window.
--   watched VARCHAR - Drug or class that is watched; all for every unit.
--   state VARCHAR - case, watch, signal, or the review that stands: under_review, confirmed, refuted.
--   evidence VARCHAR - case, watch or signal.
--   reasons VARCHAR[] - Every reason for the evidence; see signals.alert.
--   n_serious BIGINT - Units with a serious event; null where a drug or class is watched.
--   look_number BIGINT - Last look of the surveillance; null where there was none.
--   reviewed_by VARCHAR - Who gave the last review.
--   reviewed_at TIMESTAMP - When, UTC.

select
    (
        select any_value(change.reasons)
        from ops.change as change
        join ops.state as state on state.name = 'published_by_run' and state.value = change.run_id
        where change.study_id = alert.study_id
            and change.outcome = alert.outcome
            and change.window_name = alert.window_name
    ) as data_changes,
    (
        select list(source || ' ' || event_type order by source, event_type)
        from reference.freshness where stale_since_at is not null
    ) as stale_feeds,
    (
        select list(distinct drift.event_type order by drift.event_type)
        from quality.drift as drift
        join (
            select batch_id from ops.batch
            qualify exported_at = max(exported_at) over ()
        ) as newest using (batch_id)
    ) as drifted,
    alert.alert_key,
    coalesce(outcome.label, alert.outcome) as label,
    alert.window_name,
    alert.watched,
    alert.state,
    alert.evidence,
    alert.reasons,
    alert.n_serious,
    alert.look_number,
    alert.reviewed_by,
    alert.reviewed_at
from signals.alert as alert
left join reference.outcome as outcome using (study_id, outcome)
where alert.state <> 'none'
order by alert.alert_key
