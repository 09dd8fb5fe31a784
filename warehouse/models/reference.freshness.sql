-- reference.freshness
--
-- Since when results rest on old data, per feed: what this file showed when it was published. Nights
-- that failed later leave the file as it is; report/summary.md and `dripwatch runs` tell of them.
--
-- grain: One row per site, source and event type.
-- key: site_id, source, event_type
-- columns:
--   site_id VARCHAR - Hospital.
--   source VARCHAR - Source system.
--   event_type VARCHAR - Event type.
--   declared_through_at TIMESTAMP - Instant up to which the source says it is complete, UTC; null where it never said.
--   complete_through_at TIMESTAMP - Instant up to which windows take the feed as complete, UTC; null where it never said.
--   stale_since_at TIMESTAMP - The same where a later one should have been there; null where the feed is fresh.
--   reasons VARCHAR[] - Why it is stale: held (a later delivery of it is held), quiet (it fell silent while others deliver), behind (more than two days behind the newest feed); empty where it is fresh.

select * from store.reference.freshness order by site_id, source, event_type
