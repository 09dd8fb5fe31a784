-- analysis.data_through
--
-- Up to when the site's data are complete for each event type: the slowest source decides.
--
-- kind: view
-- grain: One row per site and event type.
-- key: site_id, event_type
-- columns:
--   site_id VARCHAR - Hospital.
--   event_type VARCHAR - Event type.
--   data_through_at TIMESTAMP - Instant up to which all sources of the type are complete, UTC; null where one of them never said.
--   n_sources BIGINT - Sources that deliver the type.
--   slowest_source VARCHAR - The source that is furthest behind.
--   n_rows BIGINT - Current records of the type, over all sources.

select
    site_id,
    event_type,
    case when count(*) = count(data_through_at) then min(data_through_at) end as data_through_at,
    count(*) as n_sources,
    first(source order by data_through_at nulls first, source) as slowest_source,
    sum(n_rows)::bigint as n_rows
from quality.completeness
group by site_id, event_type
order by site_id, event_type
