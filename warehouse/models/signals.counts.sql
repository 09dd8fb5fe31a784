-- signals.counts
--
-- The counts that every statistic is computed from. Rows of several sites can be added up, since
-- the sums over patients need no patient.
--
-- grain: One row per site, study, outcome, window, stratum and denominator.
-- key: site_id, study_id, outcome, window_name, stratum, stratum_value, denominator
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   stratum VARCHAR - What the units are divided by: all, drug, setting, age_band, sex, ...
--   stratum_value VARCHAR - Value that the units of the row share; `all` where undivided.
--   denominator VARCHAR - Which closed, eligible units at risk are counted: all, complete (not censored), observed, tested, tested_with_baseline or determined.
--   n_units BIGINT - Units in the denominator that this row names; censored units are in it only where that denominator counts them (n_closed_units always does).
--   n_events BIGINT - Of those, units with the event.
--   n_patients BIGINT - Patients with at least one unit in the denominator (the clusters, G).
--   sum_e2 BIGINT - Sum over patients of the squared number of events.
--   sum_en BIGINT - Sum over patients of events times units.
--   sum_n2 BIGINT - Sum over patients of the squared number of units.
--   person_us BIGINT - Time at risk of the units in the denominator, in microseconds.
--   n_closed_units BIGINT - Closed, eligible units at risk, censored ones included, whatever the denominator.
--   n_open BIGINT - Units whose window is still open, those with an event so far (n_open_event) included.
--   n_open_event BIGINT - Of n_open, units with an event already; in no risk.
--   n_censored BIGINT - Closed units without an event whose follow-up ended inside the window.
--   n_not_at_risk BIGINT - Units without any time at risk in the window.
--   n_ineligible BIGINT - Units that the study's eligibility rules leave out.
--   n_observed BIGINT - Closed units that anybody looked at in the window; null where the outcome has none (laboratory outcomes).
--   n_tested BIGINT - Closed units with a usable laboratory result in the window; null where the outcome has none.
--   n_tested_with_baseline BIGINT - Of those, units with a baseline value; null where the outcome has none.
--   n_determined BIGINT - Closed units whose composite outcome can be told; null where the outcome has none (it is no composite).
--   n_rows BIGINT - All units of the stratum, whatever became of them (merged and unplaceable ones included).
--   run_id VARCHAR - Run that last changed the row.

select counts.*
from store.signals.counts as counts
semi join store.reference.outcome as published
    on published.study_id = counts.study_id
    and published.outcome = counts.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, stratum, stratum_value, denominator
