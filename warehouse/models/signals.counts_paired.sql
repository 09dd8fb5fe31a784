-- signals.counts_paired
--
-- The first and the second unit of the same patients, and who got a second one at all.
--
-- grain: One row per site, study, published outcome, window, drug class and denominator.
-- key: site_id, study_id, outcome, window_name, drug_class, denominator
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   drug_class VARCHAR - The study's drug class; ordinals count its units.
--   denominator VARCHAR - Which closed, eligible units at risk are counted: all, complete (not censored), observed, tested, tested_with_baseline or determined.
--   n_both BIGINT - Patients whose first and second unit are in the denominator, with an event after both.
--   n_first_only BIGINT - The same with an event after the first only.
--   n_second_only BIGINT - The same with an event after the second only.
--   n_neither BIGINT - The same without an event.
--   n_event BIGINT - Patients with an event after the first unit, whatever came later.
--   n_event_again BIGINT - Of those, patients who were given a second unit by now.
--   n_none_again BIGINT - Patients without an event after the first unit who were given a second one by now.
--   n_first BIGINT - Patients whose first unit in the record is in the denominator.
--   run_id VARCHAR - Run that last changed the row.

select counted.*
from store.signals.counts_paired as counted
semi join store.reference.outcome as published
    on published.study_id = counted.study_id
    and published.outcome = counted.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, drug_class, denominator
