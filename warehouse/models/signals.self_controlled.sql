-- signals.self_controlled
--
-- Is the rate higher after an infusion than at another time of the same patients? Only patients with
-- an event in one of the windows tell anything. Null but for outcomes that the study calls
-- independent: who was just infused is asked, watched and sampled more.
--
-- grain: One row per site, study, published outcome, stratum (all, drug, ordinal) and method.
-- key: site_id, study_id, outcome, stratum, stratum_value, method
-- columns:
--   study_id VARCHAR - Study that defines outcome, windows and strata.
--   site_id VARCHAR - Hospital.
--   outcome VARCHAR - The study's name of the outcome.
--   stratum VARCHAR - What the units are divided by: all, drug or ordinal.
--   stratum_value VARCHAR - Value that the units of the row share; `all` where undivided.
--   method VARCHAR - scri: risk against control window, exact binomial given the sum of events (Glanz et al. 2006). sccs: the same windows as a case series, each patient by the own lengths and age bands (Whitaker et al. 2006); only of independent outcomes that have both windows.
--   ascertainment VARCHAR - independent or differential: whether the study says that the outcome is found as surely without an infusion.
--   n_patients BIGINT - Patients with an event in the risk or the control window of a unit.
--   n_risk_events BIGINT - Units with an event in the risk window.
--   n_control_events BIGINT - Units with an event in the control window.
--   risk_days DOUBLE - Time at risk of these patients in risk windows, in days, events or not.
--   control_days DOUBLE - The same in control windows.
--   rate_ratio DOUBLE - Events per day in risk windows over those in control windows; null without an event in a control window, and where the note says why.
--   ci_low DOUBLE - Lower end of its 95 % interval: exact of scri, and told also where the ratio is unbounded; of sccs Wald's on the log scale.
--   ci_high DOUBLE - Upper end of its 95 % interval; null where unbounded.
--   wald_low DOUBLE - Lower end of the 95 % interval by the normal approximation, as many papers print it; null where a window has no event.
--   wald_high DOUBLE - Upper end of that interval.
--   n_cut_by_next BIGINT - Of these patients, those of whom the next unit cut a control window.
--   n_cut_by_end BIGINT - Of these patients, those of whom death or the end of observation cut a control window.
--   cut_by_next_share DOUBLE - n_cut_by_next / n_patients, to look for exposure that depends on the event: the next infusion put off, or not given, after one.
--   cut_by_end_share DOUBLE - n_cut_by_end / n_patients, to look for observation that ends because of the event.
--   is_converged BOOLEAN - Of sccs: whether the likelihood has its maximum there, with age bands where patients passed from one to another; null of scri.
--   adjusted_for VARCHAR - age_band where that is in the model; null otherwise.
--   note VARCHAR - Why a number is missing or to be read with care: differential_ascertainment, no_control_window, ...; null otherwise.
--   run_id VARCHAR - Run that last changed the row.

select self_controlled.*
from store.signals.self_controlled as self_controlled
semi join store.reference.outcome as published
    on published.study_id = self_controlled.study_id
    and published.outcome = self_controlled.outcome
    and published.is_published
order by site_id, study_id, outcome, stratum, stratum_value, method
