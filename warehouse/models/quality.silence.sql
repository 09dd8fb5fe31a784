-- quality.silence
--
-- Silences of feeds that were too long to be chance, by the rule of docs/windows.md, section 6: those
-- that last hold windows open, the others were never filled.
--
-- grain: One row per site, source, event type and last day before a silence.
-- key: site_id, source, event_type, last_date
-- columns:
--   site_id VARCHAR - Hospital.
--   source VARCHAR - Source system.
--   event_type VARCHAR - Event type.
--   last_date DATE - Local date of the last record before the silence.
--   next_date DATE - Local date of the first record after it; null while it lasts.
--   n_days BIGINT - Whole days without a record, up to the next one or to the declared end.
--   n_site_days BIGINT - Those of them on which anybody at the site delivered.
--   expected_days DOUBLE - Days on which the feed should have delivered, by the 28 days before.
--   is_open BOOLEAN - Whether the silence lasts.
--   holds_windows BOOLEAN - Whether it keeps windows open; false where it ended or is believed.

select * from store.quality.silence order by site_id, source, event_type, last_date
