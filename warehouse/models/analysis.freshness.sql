-- analysis.freshness
--
-- How old the results are, in one row: when they were published, how far the data reach, what is
-- late. analysis.data_through tells the same by event type, reference.freshness by feed.
--
-- kind: view
-- grain: One row per site.
-- key: site_id
-- columns:
--   site_id VARCHAR - Hospital.
--   is_synthetic BOOLEAN - Whether the patients are invented.
--   published_at TIMESTAMP - When the run that published this file started, by the clock of the machine, UTC.
--   newest_export_at TIMESTAMP - When the newest extract was written by its source, UTC.
--   data_through_at TIMESTAMP - Instant up to which every feed is complete, UTC; null where one never said.
--   n_feeds BIGINT - Sources times event types that deliver.
--   n_stale_feeds BIGINT - Of those, feeds whose data should reach further.
--   stale_since_at TIMESTAMP - Up to when the stalest of them is complete, UTC; null where all are fresh.
--   stale_feeds VARCHAR[] - Source, event type and why, for each stale feed.
--   n_open_units BIGINT - Units that wait for their window to close, under the outcome that most units wait for.

select
    state.value as site_id,
    (select value = 'true' from ops.state where name = 'is_synthetic') as is_synthetic,
    (
        select any_value(run.started_at)
        from ops.run as run
        join ops.state as by_run on by_run.name = 'published_by_run' and by_run.value = run.run_id
    ) as published_at,
    (select max(exported_at) from ops.batch) as newest_export_at,
    feed.data_through_at,
    feed.n_feeds,
    feed.n_stale_feeds,
    feed.stale_since_at,
    feed.stale_feeds,
    (select coalesce(max(n_open), 0) from signals.risk where stratum = 'all') as n_open_units
from ops.state as state
cross join (
    select
        case when count(*) = count(complete_through_at) then min(complete_through_at) end
            as data_through_at,
        count(*) as n_feeds,
        count(stale_since_at) as n_stale_feeds,
        min(stale_since_at) as stale_since_at,
        coalesce(
            list(
                source || ' ' || event_type || ': ' || array_to_string(reasons, ', ')
                order by source, event_type
            ) filter (stale_since_at is not null),
            []
        ) as stale_feeds
    from reference.freshness
) as feed
where state.name = 'site_id'
