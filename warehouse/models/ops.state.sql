-- ops.state
--
-- What this file is: which hospital, which state of its data, which version made it, and whether
-- the patients are invented.
--
-- grain: One row per fact.
-- key: name
-- columns:
--   name VARCHAR - site_id, state_hash, software_version, models_hash, row_level, is_synthetic, published_by_run, log_generation (the folder of the event log that it was made from), or settings (those that results depend on, as JSON).
--   value VARCHAR - Value of the fact as text.

select * from file_facts order by name
