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
--   data_through_at TIMESTAMP - Instant up to which windows take all sources of the type as complete, UTC; null where one of them never said.
--   declared_through_at TIMESTAMP - The same by the sources' own word: later where one of them is quiet.
--   n_sources BIGINT - Sources that deliver the type.
--   slowest_source VARCHAR - The source that is furthest behind.
--   n_rows BIGINT - Current records of the type, over all sources.
--   n_quiet BIGINT - Sources that fell silent while others deliver (docs/windows.md, section 6).
--   stale_since_at TIMESTAMP - Since when the stalest source of the type has brought nothing that counts, UTC; null where all are fresh (reference.freshness says why).

select
    site_id,
    event_type,
    case when count(*) = count(data_through_at) then min(feed.complete_through_at) end as data_through_at,
    case when count(*) = count(data_through_at) then min(data_through_at) end as declared_through_at,
    count(*) as n_sources,
    first(source order by feed.complete_through_at nulls first, source) as slowest_source,
    sum(n_rows)::bigint as n_rows,
    count(*) filter (is_quiet) as n_quiet,
    min(stale_since_at) as stale_since_at
from quality.feed
left join reference.freshness using (site_id, source, event_type)
group by site_id, event_type
order by site_id, event_type
