-- signals.counts_watched
--
-- What sequential surveillance watches, as of now: units at risk and first events of patients, of each
-- primary pair of a study, whether or not a look was taken. What hospitals pool their looks from.
--
-- grain: One row per site, study, outcome, window and what is watched.
-- key: site_id, study_id, outcome, window_name, watched
-- columns:
--   study_id VARCHAR - Study that watches the pair.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   watched VARCHAR - Drug or drug class whose units are watched; all where every unit is.
--   pair_hash VARCHAR - SHA-256 of what looks at the pair depend on.
--   n_units_first BIGINT - Units at risk that are a patient's first in the record, since surveillance began; closed and complete.
--   n_units_later BIGINT - Other units at risk; a patient's units count up to the first with the event.
--   n_patients_later BIGINT - Patients of these other units.
--   n_events BIGINT - Patients with an event; only the first of each.
--   run_id VARCHAR - Run that last changed the row.

select counts.*
from store.signals.counts_watched as counts
anti join (select * from store.reference.outcome where not is_published) as hidden
    on hidden.study_id = counts.study_id
    and hidden.outcome = counts.outcome
order by site_id, study_id, outcome, window_name, watched
