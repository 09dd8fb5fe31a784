-- signals.counts_self_controlled
--
-- Risk and control window of the same patients, of those with an event in one of them.
--
-- grain: One row per site, study, published outcome with a risk and a control window, and stratum (all, drug, ordinal).
-- key: site_id, study_id, outcome, stratum, stratum_value
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   stratum VARCHAR - What the units are divided by: all, drug, setting, age_band, sex, ...
--   stratum_value VARCHAR - Value that the units of the row share; `all` where undivided.
--   n_risk_events BIGINT - Units with an event in the risk window.
--   n_control_events BIGINT - Units with an event in the control window.
--   risk_us BIGINT - Time at risk of these patients in risk windows, in microseconds, events or not.
--   control_us BIGINT - The same in control windows.
--   n_cut_by_next BIGINT - Of these patients, those of whom the next unit cut a control window.
--   n_cut_by_end BIGINT - Of these patients, those of whom death or the end of observation cut a control window.
--   n_patients BIGINT - Patients with an event in the risk or the control window of a unit.
--   run_id VARCHAR - Run that last changed the row.

select counted.*
from store.signals.counts_self_controlled as counted
semi join store.reference.outcome as published
    on published.study_id = counted.study_id
    and published.outcome = counted.outcome
    and published.is_published
order by site_id, study_id, outcome, stratum, stratum_value
