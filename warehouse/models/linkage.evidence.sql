-- linkage.evidence
--
-- The records behind each unit's outcome: which event made it so, and where that event's row lies
-- in the delivered files. This is what `explain` walks. Empty where row_level is none;
-- in de-identified rows keys are numbers, and what is not told is null.
--
-- grain: One row per site, study, unit of analysis, outcome, window, record and role.
-- key: site_id, study_id, unit_id, outcome, window_name, record_key, role, rule
-- holds: patients
-- columns:
--   study_id VARCHAR - Study that defines outcome and window.
--   site_id VARCHAR - Hospital.
--   unit_id VARCHAR - Unit of analysis (course or administration).
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   record_key VARCHAR - Key of the source record.
--   event_type VARCHAR - Event type of the record, such as LabResulted.
--   source_file_sha VARCHAR - SHA-256 of the delivered file (decompressed) that the record was read from; the manifest of its batch, in the restricted log, has the file's name.
--   source_row BIGINT - Ordinal of the record in that file, first is 1.
--   source_part INTEGER - Ordinal of the part of a nested record, first is 1; null for a record as a whole.
--   role VARCHAR - What the record is here: event (makes the event, or would but for the reason), earlier (before the window), worst (the furthest gone result, no event), baseline.
--   rule VARCHAR - Rule of the study or of the window page that brought it in or kept it out.
--   occurred_at TIMESTAMP - When the event occurred, UTC.
--   is_counted BOOLEAN - Whether the record counts; false for records looked at and left out.
--   reason VARCHAR - Why it does not count; null where it does.
--   run_id VARCHAR - Run that last changed the row.

select evidence.*
from store.linkage.evidence as evidence
semi join store.reference.outcome as published
    on published.study_id = evidence.study_id
    and published.outcome = evidence.outcome
    and published.is_published
