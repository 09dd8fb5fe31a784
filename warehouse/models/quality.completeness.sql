-- quality.completeness
--
-- What each source has delivered so far, and up to when it says its records are complete.
--
-- grain: One row per site, source and event type.
-- key: site_id, source, event_type
-- columns:
--   site_id VARCHAR - Hospital.
--   source VARCHAR - Source system.
--   event_type VARCHAR - Event type.
--   n_rows BIGINT - Current records, retracted ones left out.
--   first_occurred_date DATE - UTC date of the earliest of them; null where none is dated.
--   last_occurred_date DATE - UTC date of the latest of them; null where none is dated.
--   data_through_at TIMESTAMP - Instant up to which the source says its records are complete, UTC.

select * from store.quality.completeness order by site_id, source, event_type
