-- quality.completeness
--
-- How many current records each source has told for each local day. A day without a row had none;
-- `quality.feed` sums the days up, and `quality.silence` names those that should have had some.
--
-- grain: One row per site, source, event type and local day; one with a null day for what has none.
-- key: site_id, source, event_type, occurred_date
-- columns:
--   site_id VARCHAR - Hospital.
--   source VARCHAR - Source system.
--   event_type VARCHAR - Event type.
--   occurred_date DATE - Local date at the site; null for records that are not known by their day.
--   n_rows BIGINT - Current records of that day, retracted ones left out.

select * from store.quality.completeness order by site_id, source, event_type, occurred_date
