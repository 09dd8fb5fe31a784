-- quality.feed
--
-- What each source delivers of each event type: how much, of which days, and up to when it is
-- complete, by its own word and as the closing of windows takes it (docs/windows.md, section 6).
--
-- grain: One row per site, source and event type.
-- key: site_id, source, event_type
-- columns:
--   site_id VARCHAR - Hospital.
--   source VARCHAR - Source system.
--   event_type VARCHAR - Event type.
--   n_rows BIGINT - Current records, retracted ones left out.
--   first_occurred_date DATE - Local date of the earliest of them; null where none is dated.
--   last_occurred_date DATE - Local date of the latest of them; null where none is dated.
--   data_through_at TIMESTAMP - Instant up to which the source says its records are complete, UTC; null where it never said.
--   complete_through_at TIMESTAMP - Instant up to which windows take it as complete, UTC: earlier where it is quiet.
--   is_quiet BOOLEAN - Whether it has fallen silent while others at the site deliver.
--   is_believed BOOLEAN - Whether site.toml says that its silence is real.

select * from store.quality.feed order by site_id, source, event_type
