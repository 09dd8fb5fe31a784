-- pooled.study
--
-- The studies that all packs count alike, with their settings.
--
-- grain: One row per study.
-- key: study_id
-- columns:
--   study_id VARCHAR - Study that defines outcomes, windows and strata.
--   version VARCHAR - Its version.
--   study_hash VARCHAR - Hash of the whole definition; equal in all packs.
--   title VARCHAR - What it watches, in words.
--   settings_json VARCHAR - Its settings as JSON: outcomes with their labels and windows.

from pooled_rows
