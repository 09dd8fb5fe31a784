-- quality.quarantine
--
-- Rows that were read and not accepted: where they lie and which checks they failed, never what
-- they say. Empty where row_level is none: then `dripwatch quarantine list --rows` tells them.
--
-- grain: One row per site, batch, file, quarantined row and event type that it was read as.
-- key: site_id, batch_id, source_file_sha, source_row, event_type
-- holds: patients
-- columns:
--   site_id VARCHAR - Hospital.
--   source VARCHAR - Source system that delivered the batch.
--   batch_id VARCHAR - Batch.
--   event_type VARCHAR - Event type of the row; null where it could not be told.
--   record_key VARCHAR - Key of the record; null where the row has none.
--   source_file_sha VARCHAR - SHA-256 of the delivered file (decompressed).
--   source_row BIGINT - Ordinal of the record in that file, first is 1.
--   check_ids VARCHAR[] - Names of the checks that it failed, sorted.
--   run_id VARCHAR - Run that applied the batch.

select * from store.quality.quarantine order by site_id, source, batch_id, source_file_sha, source_row
