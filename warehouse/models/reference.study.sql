-- reference.study
--
-- The studies in force, with every setting that the numbers depend on.
--
-- grain: One row per study.
-- key: study_id
-- columns:
--   study_id VARCHAR - Name of the study.
--   title VARCHAR - Title in words.
--   version VARCHAR - Version that the study's authors gave it.
--   study_hash VARCHAR - SHA-256 of the whole definition: settings, code lists, tables.
--   settings_json VARCHAR - Settings in force, defaults spelled out, as JSON.

select * from store.reference.study order by study_id
