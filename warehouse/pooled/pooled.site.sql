-- pooled.site
--
-- The sites that were pooled, how much they tell and how far their data goes. A site's figures
-- may be older: they stay until what has changed since may be told.
--
-- grain: One row per site.
-- key: site_id
-- columns:
--   site_id VARCHAR - Hospital.
--   threshold BIGINT - Smallest count that it tells.
--   data_through VARCHAR - Calendar quarter that its data is complete into; null where a feed never said.
--   is_stale BOOLEAN - Whether a feed of it is old or silent.
--   n_rows_told BIGINT - Rows of counts that it tells.
--   n_rows_masked BIGINT - Rows of counts that it masks.
--   is_synthetic BOOLEAN - Whether its patients are invented.

from pooled_rows
