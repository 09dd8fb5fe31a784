-- pooled.expected
--
-- The sites that the coordinator expects, and whose packs the results rest on; look here first.
-- Empty where packs were named by hand (dripwatch pool).
--
-- grain: One row per expected site.
-- key: site_id
-- columns:
--   site_id VARCHAR - Hospital.
--   period VARCHAR - Calendar quarter whose packs were due.
--   state VARCHAR - in_time: a pack of this quarter, or a later one, is pooled; late: one of an earlier quarter is; missing: none, the results are without this site.
--   pack_number BIGINT - The pack that is pooled; null where none is.
--   exported VARCHAR - Calendar quarter that it was exported in.
--   data_through VARCHAR - Calendar quarter that its data is complete into; null where a feed never said.
--   note VARCHAR - What was wrong with what the site sent; null where nothing was.

from pooled_rows
