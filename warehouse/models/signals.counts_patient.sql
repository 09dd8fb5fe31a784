-- signals.counts_patient
--
-- How many patients have so many events in so many units of the headline denominator (complete): all
-- that signals.risk_gee is made of. Small counts: not for leaving the hospital.
--
-- grain: One row per site, study, published outcome, window, stratum (all, drug, ordinal), number of units and number of events.
-- key: site_id, study_id, outcome, window_name, stratum, stratum_value, n_units, n_events
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   stratum VARCHAR - What the units are divided by: all, drug or ordinal.
--   stratum_value VARCHAR - Value that the units share; `all` where undivided.
--   n_units BIGINT - Units of a patient: closed, eligible, at risk and not censored.
--   n_events BIGINT - Of those, units with the event.
--   n_patients BIGINT - Patients who have just so many units and events.
--   run_id VARCHAR - Run that last changed the row.

select counted.*
from store.signals.counts_patient as counted
semi join store.reference.outcome as published
    on published.study_id = counted.study_id
    and published.outcome = counted.outcome
    and published.is_published
order by
    site_id, study_id, outcome, window_name, stratum, stratum_value, n_units, n_events
