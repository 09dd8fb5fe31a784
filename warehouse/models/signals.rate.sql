-- signals.rate
--
-- First events per 1,000 person-days: a unit is counted until its first event in the window, or
-- until the part of the window ends that belongs to it.
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
--   is_headline BOOLEAN - Whether this denominator is the one to report first: all, since a censored unit brings the time that it was followed.
--   n_units BIGINT - Units in the denominator.
--   n_first_events BIGINT - Of those, units with the event: the first of a unit in its window; later ones are not counted.
--   n_patients BIGINT - Patients with at least one unit in the denominator.
--   person_days DOUBLE - Time at risk of these units up to the first event, in days.
--   events_per_1000_person_days DOUBLE - 1000 x n_first_events / person_days; null without time at risk.
--   ci_low DOUBLE - Lower end of the 95 % interval by ci_method.
--   ci_high DOUBLE - Upper end of the 95 % interval by ci_method.
--   ci_method VARCHAR - Garwood 1936, exact for a Poisson count; events of one patient are taken as independent, so that it is too narrow where few patients have most events; none without a rate.
--   note VARCHAR - Why a number is missing; null otherwise.
--   signal_key VARCHAR - Key of the row within its site, for `dripwatch explain --signal`: study/outcome/window/stratum=value/denominator.
--   run_id VARCHAR - Run that last changed the row.

select rate.*
from store.signals.rate as rate
semi join store.reference.outcome as published
    on published.study_id = rate.study_id
    and published.outcome = rate.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, stratum, stratum_value, denominator
