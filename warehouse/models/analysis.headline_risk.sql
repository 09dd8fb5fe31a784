-- analysis.headline_risk
--
-- The risks that the study reports first, undivided, with the outcome's name in words.
--
-- kind: view
-- grain: One row per site, study, outcome and window.
-- key: site_id, study_id, outcome, window_name
-- columns:
--   study_id VARCHAR - Study.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   label VARCHAR - The outcome in words.
--   window_name VARCHAR - The study's name of the window.
--   denominator VARCHAR - Which units are counted.
--   n_events BIGINT - Units with the event.
--   n_units BIGINT - Units in the denominator.
--   n_patients BIGINT - Patients with at least one unit in the denominator.
--   risk_percent DOUBLE - Risk, per cent of the units.
--   ci_low_percent DOUBLE - Lower end of the 95 % interval, per cent.
--   ci_high_percent DOUBLE - Upper end of the 95 % interval, per cent.
--   ci_method VARCHAR - How the interval was made.
--   n_open BIGINT - Units whose window is still open, with or without an event so far; in no risk.
--   n_censored BIGINT - Closed units without an event whose follow-up ended inside the window.

select
    risk.study_id,
    risk.site_id,
    risk.outcome,
    outcome.label,
    risk.window_name,
    risk.denominator,
    risk.n_events,
    risk.n_units,
    risk.n_patients,
    100 * risk.risk as risk_percent,
    100 * risk.ci_low as ci_low_percent,
    100 * risk.ci_high as ci_high_percent,
    risk.ci_method,
    risk.n_open,
    risk.n_censored
from signals.risk as risk
left join reference.outcome as outcome
    on outcome.study_id = risk.study_id and outcome.outcome = risk.outcome
where risk.is_headline and risk.stratum = 'all'
order by risk.study_id, risk.site_id, risk.outcome, risk.window_name
