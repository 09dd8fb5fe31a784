-- pooled.feed
--
-- How complete each kind of record is at each site.
--
-- grain: One row per site and event type.
-- key: site_id, event_type
-- columns:
--   site_id VARCHAR - Hospital.
--   event_type VARCHAR - Event type.
--   complete_through VARCHAR - Calendar quarter that it is complete into; null where the source never said.
--   is_stale BOOLEAN - Whether a later state should have been there.
--   quarantined_percent BIGINT - Of the rows read, those that a check rejected, in whole percent; null where fewer were read than a hundred times the site's threshold, for then a percent is few rows.

from pooled_rows
