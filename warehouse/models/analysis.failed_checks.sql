-- analysis.failed_checks
--
-- Checks that failed anywhere, over all batches, worst share first.
--
-- kind: view
-- grain: One row per site, source, event type and check.
-- key: site_id, source, event_type, check_id
-- columns:
--   site_id VARCHAR - Hospital.
--   source VARCHAR - Source system.
--   event_type VARCHAR - Event type that was judged.
--   check_id VARCHAR - Name of the check.
--   severity VARCHAR - reject, warn or info.
--   n_batches BIGINT - Batches in which at least one row failed.
--   n_rows BIGINT - Rows judged, over all batches.
--   n_failed BIGINT - Rows that failed, over all batches.
--   failed_percent DOUBLE - Of the rows judged, per cent that failed.

select
    site_id,
    source,
    event_type,
    check_id,
    max(severity) as severity,
    count(distinct batch_id) filter (where n_failed > 0) as n_batches,
    sum(n_rows)::bigint as n_rows,
    sum(n_failed)::bigint as n_failed,
    100 * sum(n_failed) / nullif(sum(n_rows), 0) as failed_percent
from quality.check_result
group by site_id, source, event_type, check_id
having sum(n_failed) > 0
order by failed_percent desc, site_id, source, event_type, check_id
