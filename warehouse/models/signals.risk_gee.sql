-- signals.risk_gee
--
-- A sensitivity analysis beside the headline risk: estimating equations whose units hang together
-- within patients (exchangeable correlation, robust errors). A patient with many units counts for less
-- than in events over units, so that both differ where patients who react stop early.
--
-- grain: One row per site, study, published outcome, window and stratum (all, drug, ordinal), of the headline denominator (complete).
-- key: site_id, study_id, outcome, window_name, stratum, stratum_value
-- columns:
--   study_id VARCHAR - Study that defines outcome, window and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   window_name VARCHAR - The study's name of the window.
--   stratum VARCHAR - What the units are divided by: all, drug or ordinal.
--   stratum_value VARCHAR - Value that the units share; `all` where undivided.
--   n_units BIGINT - Units in the headline denominator: closed, eligible, at risk and not censored.
--   n_events BIGINT - Of those, units with the event.
--   n_patients BIGINT - Patients with at least one of these units.
--   risk DOUBLE - n_events / n_units, as in signals.risk; null where there is no unit.
--   gee_risk DOUBLE - The risk that solves the equations, a proportion from 0 to 1; null where note says why.
--   ci_low DOUBLE - Lower end of its 95 % interval: t over patients on the logit scale, with G / (G - 1).
--   ci_high DOUBLE - Upper end of its 95 % interval.
--   log_odds DOUBLE - gee_risk on the logit scale.
--   standard_error DOUBLE - Robust standard error of log_odds, without G / (G - 1), as other software prints it.
--   correlation DOUBLE - Between two units of a patient; 0 where independence is assumed.
--   is_converged BOOLEAN - Whether the exchangeable equations are solved; false where there is no estimate, too.
--   method VARCHAR - Working correlation: exchangeable, independence (where that does not converge) or none.
--   note VARCHAR - What is missing, or was fallen back on; null otherwise.
--   run_id VARCHAR - Run that last changed the row.

select gee.*
from store.signals.risk_gee as gee
semi join store.reference.outcome as published
    on published.study_id = gee.study_id
    and published.outcome = gee.outcome
    and published.is_published
order by site_id, study_id, outcome, window_name, stratum, stratum_value
