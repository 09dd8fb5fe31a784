-- linkage.attrition
--
-- From infusion records to counted units: how many are left after each step.
--
-- grain: One row per site, study and step.
-- key: site_id, study_id, step_number
-- holds: patients
-- columns:
--   study_id VARCHAR - Study.
--   site_id VARCHAR - Hospital.
--   step_number BIGINT - Position of the step, from the widest set to the narrowest.
--   step VARCHAR - What was done or required in the step.
--   n BIGINT - How many records, administrations or units (the step says which) are left.
--   run_id VARCHAR - Run that last changed the row.

select * from store.linkage.attrition order by site_id, study_id, step_number
