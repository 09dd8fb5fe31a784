-- linkage.attrition
--
-- From infusion records to counted units: how many there are at each step, and why the others were
-- left out between two of them.
--
-- grain: One row per site, study and step.
-- key: site_id, study_id, step_number, step
-- columns:
--   study_id VARCHAR - Study.
--   site_id VARCHAR - Hospital.
--   step_number BIGINT - Position of the step, from the widest set to the narrowest; reasons of one step share it.
--   step VARCHAR - What is counted, or why it was left out.
--   n BIGINT - Number of records, administrations or units (the step says which).
--   run_id VARCHAR - Run that last changed the row.

select * from store.linkage.attrition order by site_id, study_id, step_number, step
