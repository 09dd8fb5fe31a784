-- signals.risk
--
-- The risk of each published outcome: the proportion of units with the event, with an interval that
-- knows that one patient has several units.
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
--   is_headline BOOLEAN - Whether this denominator is the one that the study reports first.
--   n_units BIGINT - Units in the denominator that this row names; censored units are in it only where that denominator counts them (n_closed_units always does).
--   n_events BIGINT - Of those, units with the event.
--   n_patients BIGINT - Patients with at least one unit in the denominator.
--   risk DOUBLE - n_events / n_units, a proportion from 0 to 1; null where there is no unit.
--   ci_low DOUBLE - Lower end of the 95 % interval by ci_method.
--   ci_high DOUBLE - Upper end of the 95 % interval by ci_method.
--   wilson_low DOUBLE - Lower end of Wilson's 95 % interval, as if units were independent.
--   wilson_high DOUBLE - Upper end of Wilson's 95 % interval, as if units were independent.
--   effective_n DOUBLE - Number of independent units that would be as informative (Korn and Graubard 1998).
--   design_effect DOUBLE - Variance of the risk with clustering over the variance without.
--   ci_method VARCHAR - How ci_low and ci_high were made: korn-graubard, clopper-pearson with n = patients (no event, or nothing but events), or none.
--   note VARCHAR - Why a number is missing or to be read with care; null otherwise.
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
--   person_days DOUBLE - Time at risk of the units in the denominator, in days.
--   signal_key VARCHAR - Key of the row within its site, for `dripwatch explain --signal`: study/outcome/window/stratum=value/denominator.
--   run_id VARCHAR - Run that last changed the row.

select risk.*
from store.signals.risk as risk
semi join store.reference.outcome as published
    on published.study_id = risk.study_id
    and published.outcome = risk.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, stratum, stratum_value, denominator
