-- signals.counts_onset
--
-- When units leave the risk, counted from the index, and why. Who is at risk in a bin leaves in it or
-- in a later one. Windows that begin with the infusion only.
--
-- grain: One row per site, study, published outcome, window, stratum (all, drug, ordinal), scale and bin in which a unit leaves.
-- key: site_id, study_id, outcome, window_name, stratum, stratum_value, scale, bin
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   stratum VARCHAR - What the units are divided by: all, drug, setting, age_band, sex, ...
--   stratum_value VARCHAR - Value that the units of the row share; `all` where undivided.
--   scale VARCHAR - hour: full hours since the index, of units placed by instants; day: local dates since the index date, of all units.
--   bin BIGINT - Hours or days since the index; -1 for events that have no time on the scale.
--   n_events BIGINT - Units with their first event in the bin.
--   n_died BIGINT - Units without an event whose patient died in the bin.
--   n_censored BIGINT - Units without an event that the next unit or the end of observation cut in the bin.
--   n_completed BIGINT - Units without an event whose window ended in the bin.
--   n_left BIGINT - All of these.
--   run_id VARCHAR - Run that last changed the row.

select counted.*
from store.signals.counts_onset as counted
semi join store.reference.outcome as published
    on published.study_id = counted.study_id
    and published.outcome = counted.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, stratum, stratum_value, scale, bin
